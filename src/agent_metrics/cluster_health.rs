//! Cluster health: nodes that cannot be reached.

use std::sync::Arc;

use crate::families::{Absent, Category, CategorySource, cilium_families};
use crate::health::Health;

cilium_families! {
    UNREACHABLE_NODES: gauge "cilium_unreachable_nodes" []
        "Number of nodes that cannot be reached"
        from "probes between the agents, while `health.listen` is set: nodes with an internal address that is \
              unreachable. A node without a result is not one";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Cluster health",
    families: FAMILIES,
    absent: &[Absent {
        name: "cilium_unreachable_health_endpoints",
        reason: "webb has no responder in the pod network, as Cilium's health endpoint of each node is",
    }],
};

/// Source of the rows; none while nodes are not probed.
pub fn source(health: Option<Arc<Health>>) -> CategorySource {
    Box::new(move |rows| {
        if let Some(health) = &health {
            rows.add(&UNREACHABLE_NODES, &[], health.counts().unreachable_nodes);
        }
    })
}
