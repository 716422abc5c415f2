//! Features that are in use.

use webb_cluster::view::ViewedKind;

use super::cluster::Cluster;
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    GATEWAY_API: gauge "cilium_operator_feature_adv_connect_and_lb_gateway_api_enabled" []
        "GatewayAPI enabled in the cluster"
        from "1 if there is a GatewayClass, of any controller";
    INGRESS: gauge "cilium_operator_feature_adv_connect_and_lb_ingress_controller_enabled" []
        "IngressController enabled in the cluster"
        from "1 if there is an IngressClass, of any controller";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "Features",
    families: FAMILIES,
    absent: &[
        Absent {
            name: "cilium_operator_feature_adv_connect_and_lb_l7_aware_traffic_management_enabled",
            reason: "a feature of Cilium's proxy",
        },
        Absent {
            name: "cilium_operator_feature_adv_connect_and_lb_lb_ipam_enabled",
            reason: "webb gives no service an address",
        },
        Absent {
            name: "cilium_operator_feature_adv_connect_and_lb_node_ipam_enabled",
            reason: "webb gives no service an address",
        },
    ],
};

/// Source of the rows. A server without the API has no class of it, which is known once discovery
/// has answered.
pub fn source(cluster: &Cluster) -> CategorySource {
    cluster.source(|cluster, rows| {
        let knows =
            |kind: ViewedKind| cluster.watches.has_listed(kind.kind()) || cluster.watches.is_without(kind.kind());
        if knows(ViewedKind::GatewayClass) {
            rows.add(&GATEWAY_API, &[], u64::from(cluster.view.has_gateway_class()));
        }
        if knows(ViewedKind::IngressClass) {
            rows.add(&INGRESS, &[], u64::from(cluster.view.has_ingress_class()));
        }
    })
}
