//! The other clusters of the mesh: started, stopped, counted.

use std::sync::Arc;

use actix::Addr;
use tokio::sync::Notify;
use webb_cluster::Cache;
use webb_cluster::kubernetes::WatchTimings;
use webb_settings::Settings;

use super::metrics::Added;
use crate::actors::mesh::{self, RemoteCluster};
use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::agent_metrics::cluster_mesh::{MeshCluster, MeshParts};
use crate::selfmetrics::{self as own, SelfMetrics};

/// The other clusters, and the signal that one of them has changed.
#[derive(Debug)]
pub(super) struct Mesh {
    pub(super) clusters: Arc<[Arc<RemoteCluster>]>,
    pub(super) changed: Arc<Notify>,
    /// One for each that was started.
    pub(super) supervisors: Vec<Addr<ThreadSupervisor>>,
}

impl Mesh {
    pub(super) fn new(settings: &Settings) -> Self {
        let new = |cluster| Arc::new(RemoteCluster::new(cluster, WatchTimings::default()));
        Self { clusters: settings.clusters.iter().map(new).collect(), changed: Arc::default(), supervisors: Vec::new() }
    }

    /// Their caches, in their order.
    pub(super) fn caches(&self) -> Vec<Arc<Cache>> {
        self.clusters.iter().map(|cluster| Arc::clone(cluster.cache())).collect()
    }

    /// Registers webb's own metrics about them, and returns what the agent endpoint reads. `cache`:
    /// the cache of this cluster.
    pub(super) fn register(
        &self,
        own: &SelfMetrics,
        cache: &Arc<Cache>,
        settings: &Settings,
    ) -> Result<MeshParts, prometheus::Error> {
        self.metrics(own, Arc::clone(cache))?;
        let part = |cluster: &Arc<RemoteCluster>| MeshCluster {
            name: cluster.name().to_owned(),
            cache: Arc::clone(cluster.cache()),
            status: Arc::clone(cluster.status()),
        };
        Ok(MeshParts {
            clusters: self.clusters.iter().map(part).collect(),
            own_cluster: settings.cluster_name.clone(),
            own_node: settings.node_name.clone(),
        })
    }

    /// Starts to follow them. `own`: the cache of this cluster.
    pub(super) fn start(
        &mut self,
        own: &Arc<Cache>,
        register: impl Fn(&str, &dyn Fn(Intensity) -> Addr<ThreadSupervisor>) -> Addr<ThreadSupervisor>,
    ) {
        let start = |cluster: &Arc<RemoteCluster>| {
            let follow =
                |intensity| mesh::start(Arc::clone(cluster), Arc::clone(own), Arc::clone(&self.changed), intensity);
            register(&cluster.component(), &follow)
        };
        self.supervisors = self.clusters.iter().map(start).collect();
    }

    fn metrics(&self, metrics: &SelfMetrics, cache: Arc<Cache>) -> Added {
        let clusters = Arc::clone(&self.clusters);
        if clusters.is_empty() {
            return Ok(());
        }
        metrics.add(
            &[&own::MESH_SYNCED, &own::MESH_FAILURES, &own::MESH_OVERLAPS],
            Box::new(move |rows| {
                for cluster in clusters.iter() {
                    rows.add(&own::MESH_SYNCED, &[cluster.name()], u64::from(cluster.status().synced()));
                    rows.add(&own::MESH_FAILURES, &[cluster.name()], cluster.status().failures());
                }
                for overlap in cache.overlaps() {
                    let [one, other] = &overlap.clusters;
                    rows.add(&own::MESH_OVERLAPS, &[one, other], overlap.addresses as u64);
                }
            }),
        )
    }
}
