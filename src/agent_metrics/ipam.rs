//! Addresses of this node's pods.

use std::sync::Arc;

use webb_cluster::Cache;
use webb_settings::Compat;

use crate::families::{Category, CategorySource, Versions, cilium_families};

cilium_families! {
    ADDRESSES: gauge "cilium_ip_addresses" ["family"]
        "Number of allocated IP addresses"
        from "distinct addresses of this node's pods (`status.podIPs`)";
    CAPACITY: gauge "cilium_ipam_capacity" ["family"]
        "Total number of IPs in the IPAM pool labeled by family"
        from "addresses of `spec.podCIDRs` of this node. Absent unless its pods have addresses of the family and all of \
              these lie there: some CNIs allocate elsewhere", in Versions::to(Compat::V1_19);
    CAPACITY_BY_CIDR: gauge "cilium_ipam_capacity" ["family", "cidr"]
        "Total number of IPs in the IPAM pool labeled by family and CIDR"
        from "as in earlier versions", in Versions::from(Compat::V1_20);
    EVENTS: counter "cilium_ipam_events_total" ["action", "family"]
        "Number of IPAM events received labeled by action and datapath family type"
        from "addresses that pods of this node got (`allocate`; those of the first list too) and gave up (`release`), as \
              their objects say";
}

/// The category.
pub static CATEGORY: Category = Category { title: "IPAM", families: FAMILIES, absent: &[] };

/// Source of the rows.
pub fn source(cache: Arc<Cache>) -> CategorySource {
    Box::new(move |rows| {
        let pods = cache.node_pods();
        let networks = cache.used_pod_networks();
        let [v4, v6] = cache.address_events();
        for (family, is_v4, pods, events) in [("ipv4", true, pods.v4, v4), ("ipv6", false, pods.v6, v6)] {
            rows.add(&ADDRESSES, &[family], pods as u64);
            rows.add(&EVENTS, &["allocate", family], events.allocated);
            rows.add(&EVENTS, &["release", family], events.released);
            let sizes = networks.iter().filter(|network| network.addr().is_ipv4() == is_v4).map(|network| {
                (network.to_string(), f64::from(network.max_prefix_len() - network.prefix_len()).exp2())
            });
            let sizes: Vec<(String, f64)> = sizes.collect();
            if !sizes.is_empty() {
                rows.add_f64(&CAPACITY, &[family], sizes.iter().map(|(_, size)| size).sum());
            }
            for (network, size) in sizes {
                rows.add_f64(&CAPACITY_BY_CIDR, &[family, &network], size);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use webb_cluster::{CacheSettings, Kind, Node, NodeNetwork, Object, ObjectKey, Pod, Reference};

    use super::*;
    use crate::families::listed;

    /// Addresses, their events and the pool of each family, in both forms of its labels; a pool
    /// that no pod has its address from is none.
    #[test]
    fn addresses_of_both_families() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let pod_networks = ["10.0.0.0/24", "10.0.1.0/25", "fd00::/64"].map(|text| text.parse().unwrap()).into();
        let name = ObjectKey { namespace: String::new(), name: "n1".into() };
        let network = Arc::new(NodeNetwork { pod_networks, ..NodeNetwork::default() });
        cache.upsert(Object::Node(name, Box::new(Node { network, ..Node::default() })));
        let key = |last: u8| ObjectKey { namespace: "a".into(), name: format!("p{last}") };
        for last in 1..=3 {
            let pod = Pod { node: "n1".into(), addresses: vec![[10, 0, 0, last].into()], ..Pod::default() };
            cache.upsert(Object::Pod(key(last), Box::new(pod)));
        }
        cache.remove(&Reference { kind: Kind::Pod, key: key(3) });
        let source = source(Arc::new(cache));
        let common = [
            "cilium_ip_addresses [ipv4] 2",
            "cilium_ip_addresses [ipv6] 0",
            "cilium_ipam_events_total [allocate ipv4] 3",
            "cilium_ipam_events_total [allocate ipv6] 0",
            "cilium_ipam_events_total [release ipv4] 1",
            "cilium_ipam_events_total [release ipv6] 0",
        ];
        let with = |capacities: &[&'static str]| {
            let mut all: Vec<&str> = common.iter().chain(capacities).copied().collect();
            all.sort_unstable();
            all
        };
        assert_eq!(listed(&source, Compat::V1_19), with(&["cilium_ipam_capacity [ipv4] 384"]));
        assert_eq!(
            listed(&source, Compat::V1_20),
            with(&["cilium_ipam_capacity [ipv4 10.0.0.0/24] 256", "cilium_ipam_capacity [ipv4 10.0.1.0/25] 128"])
        );
    }
}
