//! Services and nodes, as the index takes them.

use std::collections::BTreeMap;

use webb_flow::{Address, EndpointId};
use webb_index::policy::NodeSpec;
use webb_index::{ServicePort, ServiceSpec};

use super::claims::{Owner, Rank};
use super::store::Store;
use super::{Kind, ObjectKey};

/// Every service that has ports, in the order of their names; then those of each other cluster, at
/// their external addresses.
pub(super) fn service_specs<'a>(store: &Store, mesh: impl Iterator<Item = (&'a str, &'a Store)>) -> Vec<ServiceSpec> {
    let by_name = |a: &ServiceSpec, b: &ServiceSpec| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name));
    let mut all: Vec<ServiceSpec> = store
        .services
        .iter()
        .filter(|service| !service.ports.is_empty())
        .map(|service| ServiceSpec {
            namespace: service.key().namespace.clone(),
            name: service.key().name.clone(),
            addresses: service.addresses.iter().copied().map(Address::from).collect(),
            ports: service.ports.clone(),
        })
        .collect();
    all.sort_unstable_by(by_name);
    for (cluster, store) in mesh {
        let services = store.services.iter().filter(|service| !service.external().is_empty());
        let mut more: Vec<ServiceSpec> = services
            .map(|service| ServiceSpec {
                namespace: format!("{cluster}/{}", service.key().namespace),
                name: service.key().name.clone(),
                addresses: service.external().iter().copied().map(Address::from).collect(),
                // Ports of its nodes are not looked up at nodes of this cluster.
                ports: service.ports.iter().map(|port| ServicePort { node_port: 0, ..*port }).collect(),
            })
            .collect();
        more.sort_unstable_by(by_name);
        all.append(&mut more);
    }
    all
}

/// The addresses of an owner, each with the id that it is to lead to.
pub(super) type Claimed = (Owner, Vec<(Address, Rank, EndpointId)>);

/// Suffix of a node's name in the owner of its addresses in its own pods' network.
pub(super) const OVERLAY: &str = " (overlay)";

/// The nodes as policies use them, by name; `claimed` has all addresses that are known to be
/// theirs.
pub(super) fn node_specs(store: &Store, claimed: &[Claimed]) -> Vec<NodeSpec> {
    let mut specs: BTreeMap<&str, NodeSpec> = BTreeMap::new();
    for (owner, addresses) in claimed.iter().filter(|(owner, ..)| owner.kind == Kind::Node) {
        let name = owner.key.name.strip_suffix(OVERLAY).unwrap_or(&owner.key.name);
        let spec = specs.entry(name).or_insert_with(|| {
            let key = ObjectKey { namespace: String::new(), name: name.to_owned() };
            let node = store.nodes.get(&key).map(|node| node.value().clone()).unwrap_or_default();
            NodeSpec {
                name: key.name,
                labels: node.labels,
                listed: node.network.addresses().map(Address::from).collect(),
                own: Vec::new(),
            }
        });
        spec.own.extend(addresses.iter().map(|(address, ..)| *address));
    }
    specs.into_values().collect()
}
