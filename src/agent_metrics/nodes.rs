//! Nodes of this cluster.

use std::sync::Arc;

use webb_cluster::{Cache, Kind};

use super::kubernetes::{Watches, each_action};
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    NODES: gauge "cilium_nodes_all_num" []
        "Number of nodes managed"
        from "Node objects of the cluster";
    EVENTS: counter "cilium_nodes_all_events_received_total" ["event_type", "source"]
        "Number of node events received"
        from "events of the watch of Nodes, `source` is `k8s`";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Nodes",
    families: FAMILIES,
    absent: &[Absent { name: "cilium_nodes_all_datapath_validations_total", reason: "webb programs no nodes" }],
};

/// Source of the rows.
pub fn source(cache: Arc<Cache>, watches: Watches) -> CategorySource {
    Box::new(move |rows| {
        rows.add(&NODES, &[], cache.counts().nodes as u64);
        each_action(&watches, Kind::Node, |action, counts| {
            rows.add(&EVENTS, &[action, "k8s"], counts.changed + counts.equal);
        });
    })
}
