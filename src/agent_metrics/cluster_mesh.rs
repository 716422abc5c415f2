//! Cluster mesh: the clusters of the setting `clusters`, by their watches.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use webb_cluster::Cache;
use webb_cluster::kubernetes::Status;
use webb_settings::Compat;

use crate::families::{Absent, Category, CategorySource, Family, SelectedRows, Versions, cilium_families};

const OLD: Versions = Versions::to(Compat::V1_18);
const NEW: Versions = Versions::from(Compat::V1_19);

cilium_families! {
    CLUSTERS_OLD: gauge "cilium_clustermesh_remote_clusters" ["source_cluster", "source_node_name"]
        "The total number of remote clusters meshed with the local cluster"
        from "clusters of the setting `clusters`, reachable or not", in OLD;
    CLUSTERS: gauge "cilium_clustermesh_remote_clusters" []
        "The total number of remote clusters meshed with the local cluster"
        from "clusters of the setting `clusters`, reachable or not", in NEW;
    NODES_OLD: gauge "cilium_clustermesh_remote_cluster_nodes" ["source_cluster", "source_node_name", "target_cluster"]
        "The total number of nodes in the remote cluster"
        from "Node objects of its API server", in OLD;
    NODES: gauge "cilium_clustermesh_remote_cluster_nodes" ["target_cluster"]
        "The total number of nodes in the remote cluster"
        from "Node objects of its API server", in NEW;
    SERVICES_OLD: gauge "cilium_clustermesh_remote_cluster_services" ["source_cluster", "source_node_name", "target_cluster"]
        "The total number of services in the remote cluster"
        from "Service objects of its API server: all, since there are no global ones here", in OLD;
    SERVICES: gauge "cilium_clustermesh_remote_cluster_services" ["target_cluster"]
        "The total number of services in the remote cluster"
        from "Service objects of its API server: all, since there are no global ones here", in NEW;
    ENDPOINTS_OLD: gauge "cilium_clustermesh_remote_cluster_endpoints" ["source_cluster", "source_node_name", "target_cluster"]
        "The total number of endpoints in the remote cluster"
        from "pods that run there with an address of their own", in OLD;
    ENDPOINTS: gauge "cilium_clustermesh_remote_cluster_endpoints" ["target_cluster"]
        "The total number of endpoints in the remote cluster"
        from "pods that run there with an address of their own", in NEW;
    FAILURES_OLD: gauge "cilium_clustermesh_remote_cluster_failures" ["source_cluster", "source_node_name", "target_cluster"]
        "The total number of failures related to the remote cluster"
        from "failed attempts to list or watch its objects, of all kinds", in OLD;
    FAILURES: gauge "cilium_clustermesh_remote_cluster_failures" ["target_cluster"]
        "The total number of failures related to the remote cluster"
        from "failed attempts to list or watch its objects, of all kinds", in NEW;
    LAST_FAILURE_OLD: gauge "cilium_clustermesh_remote_cluster_last_failure_ts" ["source_cluster", "source_node_name", "target_cluster"]
        "The timestamp of the last failure of the remote cluster"
        from "Unix seconds of the last failed attempt; absent before the first", in OLD;
    LAST_FAILURE: gauge "cilium_clustermesh_remote_cluster_last_failure_ts" ["target_cluster"]
        "The timestamp of the last failure of the remote cluster"
        from "Unix seconds of the last failed attempt; absent before the first", in NEW;
    READINESS_OLD: gauge "cilium_clustermesh_remote_cluster_readiness_status" ["source_cluster", "source_node_name", "target_cluster"]
        "The readiness status of the remote cluster"
        from "1 while all kinds have been listed and none of their watches fails, else 0", in OLD;
    READINESS: gauge "cilium_clustermesh_remote_cluster_readiness_status" ["target_cluster"]
        "The readiness status of the remote cluster"
        from "1 while all kinds have been listed and none of their watches fails, else 0", in NEW;
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Cluster mesh",
    families: FAMILIES,
    absent: &[
        Absent {
            name: "cilium_clustermesh_remote_cluster_endpoint_slices",
            reason: "names come from pods: EndpointSlices of other clusters are not read",
        },
        Absent {
            name: "cilium_clustermesh_remote_cluster_cache_revocations",
            reason: "what is known of a cluster stays while it is out of reach",
        },
        Absent {
            name: "cilium_clustermesh_global_services",
            reason: "webb balances no traffic, so no service spans clusters",
        },
    ],
};

/// A remote cluster, as its supervisor keeps it.
#[derive(Debug)]
pub struct MeshCluster {
    /// Its name.
    pub name: String,
    /// Its objects.
    pub cache: Arc<Cache>,
    /// The status of its watches.
    pub status: Arc<Status>,
}

/// The other clusters, and the names that the older spelling has.
#[derive(Debug)]
pub struct MeshParts {
    /// The other clusters.
    pub clusters: Vec<MeshCluster>,
    /// Name of this cluster.
    pub own_cluster: String,
    /// Name of this node.
    pub own_node: String,
}

/// Both spellings of a family: the old one has the labels of this cluster and node before its own.
struct Spellings(&'static Family, &'static Family);

impl Spellings {
    fn add(&self, rows: &mut SelectedRows<'_>, [cluster, node]: [&str; 2], target: &[&str], value: u64) {
        let Self(old, new) = self;
        if rows.wants(old) {
            rows.add(old, &[&[cluster, node], target].concat(), value);
        }
        rows.add(new, target, value);
    }
}

/// Source of the rows: none without other clusters.
pub fn source(parts: MeshParts) -> CategorySource {
    let MeshParts { clusters, own_cluster, own_node } = parts;
    Box::new(move |rows| {
        if clusters.is_empty() {
            return;
        }
        let own = [own_cluster.as_str(), own_node.as_str()];
        Spellings(&CLUSTERS_OLD, &CLUSTERS).add(rows, own, &[], clusters.len() as u64);
        for MeshCluster { name, cache, status } in &clusters {
            let target = &[name.as_str()];
            let counts = cache.counts();
            let mut add = |old, new, value| Spellings(old, new).add(rows, own, target, value);
            add(&NODES_OLD, &NODES, counts.nodes as u64);
            add(&SERVICES_OLD, &SERVICES, counts.services as u64);
            add(&ENDPOINTS_OLD, &ENDPOINTS, cache.addressed_pods() as u64);
            add(&FAILURES_OLD, &FAILURES, status.failures());
            if let Some(time) = status.last_failure() {
                add(&LAST_FAILURE_OLD, &LAST_FAILURE, unix_seconds(time));
            }
            add(&READINESS_OLD, &READINESS, u64::from(status.is_well()));
        }
    })
}

/// Seconds from 1970 to that time, by the time of day as it is now.
fn unix_seconds(time: Instant) -> u64 {
    let then = SystemTime::now().checked_sub(time.elapsed());
    then.and_then(|then| then.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use webb_cluster::{CacheSettings, Object, ObjectKey, Pod};

    use super::*;
    use crate::families::Selection;

    /// Each version has its own labels, and a cluster that was never reached is there all the same.
    #[test]
    fn both_spellings() {
        let cache = Cache::new(CacheSettings { cluster: "east".into(), of_mesh: true, ..CacheSettings::default() });
        let key = |name: &str| ObjectKey { namespace: "a".into(), name: name.into() };
        cache.upsert(Object::Node(key("n"), Box::default()));
        for (name, addresses, host_network) in [("p", vec![], false), ("q", vec![[1, 1, 1, 1].into()], true)] {
            cache.upsert(Object::Pod(key(name), Box::new(Pod { addresses, host_network, ..Pod::default() })));
        }
        let pod = Pod { addresses: vec![[1, 1, 1, 2].into()], ..Pod::default() };
        cache.upsert(Object::Pod(key("r"), Box::new(pod)));
        let status = Arc::new(Status::of_mesh());
        let east = MeshCluster { name: "east".into(), cache: Arc::new(cache), status };
        let source = source(MeshParts { clusters: vec![east], own_cluster: "home".into(), own_node: "node-1".into() });
        let text = |compat| {
            let selection = Selection::new(compat, &[]);
            let mut rows = SelectedRows::new(&selection);
            source(&mut rows);
            let mut lines = Vec::new();
            for family in rows.into_families() {
                for metric in family.get_metric() {
                    let labels: Vec<&str> =
                        metric.get_label().iter().map(prometheus::proto::LabelPair::value).collect();
                    let name = family.name().trim_start_matches("cilium_clustermesh_remote_").to_owned();
                    lines.push(format!("{name} {} {}", labels.join(","), metric.get_gauge().get_value()));
                }
            }
            lines.sort();
            lines
        };
        assert_eq!(
            text(Compat::V1_19),
            [
                "cluster_endpoints east 1",
                "cluster_failures east 0",
                "cluster_nodes east 1",
                "cluster_readiness_status east 0",
                "cluster_services east 0",
                "clusters  1",
            ]
        );
        let old = text(Compat::V1_16);
        assert!(old.contains(&"clusters home,node-1 1".to_owned()), "{old:?}");
        assert!(old.contains(&"cluster_nodes home,node-1,east 1".to_owned()) && old.len() == 6, "{old:?}");
    }
}
