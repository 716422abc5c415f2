//! Follows the other clusters of the mesh: a supervised thread for each, so that an outage of one
//! touches no other.
//!
//! Objects go into the cluster's own cache, which this cluster's index reads. Names stay while an
//! API server is away, as this cluster's own do. A cluster that cannot be read does not keep the
//! agent from being ready.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::Notify;
use tokio::time::sleep;
use webb_cluster::kubernetes::{self, Access, Status, WatchTimings};
use webb_cluster::{Cache, CacheSettings};
use webb_flow::fault::{Component, State, inject};

use super::restart::Intensity;
use super::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;

/// Interval of the thread's heartbeat and of its check for a stop.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Another cluster: what is known of it, and how its watches do. Shared by all runs of its thread.
#[derive(Debug)]
pub struct RemoteCluster {
    name: String,
    access: Access,
    timings: WatchTimings,
    cache: Arc<Cache>,
    status: Arc<Status>,
}

impl RemoteCluster {
    /// A cluster that is not followed yet.
    pub fn new(settings: &webb_settings::RemoteCluster, timings: WatchTimings) -> Self {
        let of_cache = CacheSettings { cluster: settings.name.clone(), of_mesh: true, ..CacheSettings::default() };
        Self {
            name: settings.name.clone(),
            access: Access::Kubeconfig(settings.kubeconfig.clone()),
            timings,
            cache: Arc::new(Cache::new(of_cache)),
            status: Arc::new(Status::of_mesh()),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its objects.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// The status of its watches.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Name of its component.
    pub fn component(&self) -> String {
        format!("cluster-{}", self.name)
    }

    fn run(&self, own: &Cache, changed: &Notify, lifecycle: &Lifecycle) -> Result<(), Failure> {
        lifecycle.beat();
        tracing::info!(cluster = self.name, "names of another cluster come from its API server, by {}", self.access);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                never = kubernetes::follow(&self.access, &self.timings, &self.cache, &self.status, changed) => match never {},
                () = self.maintain(own, lifecycle) => {}
            }
        });
        // A credential plugin or a name server that hangs must not keep us.
        runtime.shutdown_background();
        Ok(())
    }

    /// Reports the state, until the thread is to stop.
    async fn maintain(&self, own: &Cache, lifecycle: &Lifecycle) {
        let mut logged = String::new();
        while !lifecycle.stopping() {
            inject::point("mesh");
            lifecycle.beat();
            let overlaps = self.overlaps(own);
            if overlaps != logged {
                if overlaps.is_empty() {
                    tracing::info!(cluster = self.name, "no other cluster claims its addresses any more");
                } else {
                    tracing::warn!(cluster = self.name, "{overlaps}");
                }
                logged.clone_from(&overlaps);
            }
            self.report(lifecycle.component(), &overlaps);
            sleep(HEALTH_INTERVAL).await;
        }
    }

    /// Text about addresses that another cluster claims as well; empty if there are none.
    fn overlaps(&self, own: &Cache) -> String {
        let overlaps = own.overlaps().into_iter();
        let texts = overlaps.filter(|overlap| overlap.clusters.iter().any(|name| **name == *self.name));
        texts.map(|overlap| overlap.to_string()).collect::<Vec<_>>().join("; ")
    }

    fn report(&self, component: &Component, overlaps: &str) {
        let (listed, kinds) = self.status.progress();
        let complaint = self.status.complaint();
        let mut text = match (self.status.synced(), complaint.is_empty()) {
            (false, _) => format!("names not read yet: {listed} of {kinds} kinds; {complaint}"),
            (true, true) => String::new(),
            (true, false) => format!("names are those of before: {complaint}"),
        };
        if !overlaps.is_empty() {
            let separator = if text.is_empty() { "" } else { "; " };
            text = format!("{text}{separator}{overlaps}");
        }
        component.set_state(if text.is_empty() { State::Up } else { State::Degraded }, &text);
    }
}

/// Starts to follow a cluster, whose objects are in the index of `own`. `changed` is notified after
/// each change.
pub fn start(
    cluster: Arc<RemoteCluster>,
    own: Arc<Cache>,
    changed: Arc<Notify>,
    intensity: Intensity,
) -> Addr<ThreadSupervisor> {
    let body = move |lifecycle: &Lifecycle| cluster.run(&own, &changed, lifecycle);
    ThreadSupervisor::start(Arc::new(body), Arc::new(|| {}), intensity)
}
