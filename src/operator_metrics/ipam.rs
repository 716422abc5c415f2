//! Addresses of nodes.

use webb_cluster::Kind;

use super::cluster::Cluster;
use crate::families::{Absent, Category, CategorySource, cilium_families};

cilium_families! {
    AVAILABLE_IPS: gauge "cilium_operator_ipam_available_ips" ["target_node"]
        "Total available IPs on the node for IPAM allocation"
        from "the node's `podCIDRs` and its pods: addresses of the networks, without their own and the broadcast address, \
              that no pod has. What the network plugin keeps for itself is not known. IPv4 where the node has it. A node \
              without `podCIDRs`, or with a pod of another address, has no row: its plugin has pools of its own";
    USED_IPS: gauge "cilium_operator_ipam_used_ips" ["target_node"]
        "Total used IPs on the node for IPAM allocation"
        from "the node's pods, as `cilium_operator_ipam_available_ips`";
}

/// The category.
pub static CATEGORY: Category = Category {
    title: "IPAM",
    families: FAMILIES,
    absent: &[
        Absent {
            name: "cilium_operator_ipam_needed_ips",
            reason: "what a plugin plans for a node is known to that plugin alone",
        },
        Absent { name: "cilium_operator_ipam_ips", reason: "removed in Cilium 1.20; counts addresses of clouds" },
        Absent { name: "cilium_operator_ipam_nodes", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_resync_total", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_ip_*", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_interface_*", reason: "webb makes no interfaces in a cloud" },
        Absent { name: "cilium_operator_ipam_available_interfaces", reason: "webb makes no interfaces in a cloud" },
        Absent { name: "cilium_operator_ipam_available_ips_per_subnet", reason: "webb asks no cloud" },
        Absent { name: "cilium_operator_ipam_empty_interface_slots", reason: "webb makes no interfaces in a cloud" },
        Absent { name: "cilium_operator_ipam_allocation_*", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_release_*", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_background_sync_*", reason: "webb asks no cloud" },
        Absent { name: "cilium_operator_ipam_deficit_resolver_*", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_k8s_sync_*", reason: "webb gives out no addresses" },
        Absent { name: "cilium_operator_ipam_api_*", reason: "webb asks no cloud" },
        Absent { name: "cilium_operator_ec2_api_*", reason: "webb asks no cloud" },
        Absent { name: "cilium_operator_azure_api_*", reason: "webb asks no cloud" },
        Absent { name: "cilium_operator_alibabacloud_api_*", reason: "webb asks no cloud" },
    ],
};

/// Source of the rows.
pub fn source(cluster: &Cluster) -> CategorySource {
    cluster.source(|cluster, rows| {
        if !(cluster.watches.has_listed(Kind::Pod) && cluster.watches.has_listed(Kind::Node)) {
            return;
        }
        for node in cluster.view.addresses() {
            rows.add_f64(&AVAILABLE_IPS, &[&node.node], node.available);
            rows.add(&USED_IPS, &[&node.node], node.used);
        }
    })
}
