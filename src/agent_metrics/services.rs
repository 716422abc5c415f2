//! Services of this cluster.

use webb_cluster::Kind;

use super::kubernetes::{Watches, each_action};
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    EVENTS: counter "cilium_services_events_total" ["action"]
        "Number of services events labeled by action type"
        from "events of the watch of Services that changed something";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Services",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_service_implementation_delay", reason: "webb balances no traffic" },
        Absent { name: "cilium_localredirectpolicy_controller_duration_seconds", reason: "webb redirects no traffic" },
        Absent {
            name: "cilium_act_*",
            reason: "connections by service and zone are in the `traffic` and `flow` metrics, by contexts",
        },
    ],
};

/// Source of the rows.
pub fn source(watches: Watches) -> CategorySource {
    Box::new(move |rows| {
        each_action(&watches, Kind::Service, |action, counts| rows.add(&EVENTS, &[action], counts.changed));
    })
}
