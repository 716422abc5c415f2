//! Endpoints: this node's pods.

use std::sync::Arc;

use webb_cluster::Cache;
use webb_settings::Compat;

use crate::families::{Absent, Category, CategorySource, Versions, cilium_families};

cilium_families! {
    ENDPOINT: gauge "cilium_endpoint" []
        "Number of endpoints managed by this agent"
        from "pods of this node with a network of their own, but those that have finished";
    ENDPOINT_STATE: gauge "cilium_endpoint_state" ["endpoint_state"]
        "Count of all endpoints, tagged by different endpoint states"
        from "as `cilium_endpoint`: `ready` with an address, `not-ready` without one";
    MAX_IFINDEX: gauge "cilium_endpoint_max_ifindex" []
        "Maximum interface index observed for existing endpoints"
        from "the interfaces that are watched as pods'", in Versions::to(Compat::V1_18);
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Endpoints",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_endpoint_component_status", reason: "webb programs no endpoints" },
        Absent { name: "cilium_endpoint_regeneration*", reason: "webb programs no endpoints" },
        Absent {
            name: "cilium_endpoint_detached_selector_policy_time_stats_seconds",
            reason: "webb programs no endpoints",
        },
        Absent { name: "cilium_endpoint_propagation_delay_seconds", reason: "there are no CiliumEndpoints" },
        Absent { name: "cilium_endpoint_restoration_*", reason: "webb programs no endpoints" },
    ],
};

/// Source of the rows.
pub fn source(cache: Arc<Cache>) -> CategorySource {
    Box::new(move |rows| {
        let pods = cache.node_pods();
        rows.add(&ENDPOINT, &[], (pods.addressed + pods.unaddressed) as u64);
        rows.add(&ENDPOINT_STATE, &["ready"], pods.addressed as u64);
        rows.add(&ENDPOINT_STATE, &["not-ready"], pods.unaddressed as u64);
        if let Some(index) = cache.max_pod_interface() {
            rows.add(&MAX_IFINDEX, &[], u64::from(index));
        }
    })
}

#[cfg(test)]
mod tests {
    use webb_cluster::{CacheSettings, Object, ObjectKey, Pod};

    use super::*;
    use crate::families::listed;

    /// Pods of other nodes, of the host's network and finished ones are no endpoints here.
    #[test]
    fn endpoints_of_this_node() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let pod = |node: &str, last: u8| Pod {
            node: node.into(),
            addresses: if last == 0 { Vec::new() } else { vec![[10, 0, 0, last].into()] },
            ..Pod::default()
        };
        let pods = [
            pod("n1", 1),
            pod("n1", 0),
            pod("n2", 2),
            Pod { host_network: true, ..pod("n1", 3) },
            Pod { finished: true, ..pod("n1", 4) },
        ];
        for (pod, number) in pods.into_iter().zip(0..) {
            let key = ObjectKey { namespace: "a".into(), name: format!("p{number}") };
            cache.upsert(Object::Pod(key, Box::new(pod)));
        }
        assert_eq!(
            listed(&source(Arc::new(cache)), Compat::V1_19),
            ["cilium_endpoint [] 2", "cilium_endpoint_state [not-ready] 1", "cilium_endpoint_state [ready] 1",]
        );
    }
}
