//! Services of the type LoadBalancer.

use webb_cluster::Kind;

use super::cluster::Cluster;
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    SERVICES_MATCHING: gauge "cilium_lbipam_services_matching" []
        "Number of services that are to have an address of a load balancer"
        from "services of the type LoadBalancer, of every class: which controller is to serve them is not known";
    SERVICES_UNSATISFIED: gauge "cilium_lbipam_services_unsatisfied" []
        "Number of services that are to have an address of a load balancer, and have none"
        from "services of the type LoadBalancer without an address or a name in `status.loadBalancer.ingress`";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "LoadBalancer IPAM",
    families: FAMILIES,
    absent: &[
        Absent { name: "cilium_lbipam_conflicting_pools", reason: "webb has no pools of addresses" },
        Absent { name: "cilium_lbipam_ips_*", reason: "webb has no pools of addresses" },
        Absent { name: "cilium_lbipam_event_processing_time_seconds", reason: "webb gives no service an address" },
    ],
};

/// Source of the rows.
pub fn source(cluster: &Cluster) -> CategorySource {
    cluster.source(|cluster, rows| {
        if cluster.watches.has_listed(Kind::Service) {
            let (all, without) = cluster.view.load_balancers();
            rows.add(&SERVICES_MATCHING, &[], all);
            rows.add(&SERVICES_UNSATISFIED, &[], without);
        }
    })
}
