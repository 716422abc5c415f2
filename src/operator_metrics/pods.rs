//! Pods that no agent sees.

use webb_cluster::Kind;

use super::cluster::Cluster;
use crate::families::{Category, CategorySource, cilium_families};

cilium_families! {
    UNMANAGED_PODS: gauge "cilium_operator_unmanaged_pods" []
        "The total number of running pods in the cluster whose traffic no agent sees"
        from "pods and nodes: running pods of the pod network on nodes without a ready agent, by `operator.agent_labels`. \
              Cilium counts pods without a CiliumEndpoint, and restarts them; webb restarts nothing. Absent if no labels \
              are set";
}

/// The category.
pub static CATEGORY: Category = Category { title: "Unmanaged pods", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(cluster: &Cluster) -> CategorySource {
    cluster.source(|cluster, rows| {
        if cluster.watches.has_listed(Kind::Pod)
            && let Some(unseen) = cluster.view.unseen_pods()
        {
            rows.add(&UNMANAGED_PODS, &[], unseen);
        }
    })
}
