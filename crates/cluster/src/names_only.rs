//! Reduces objects of another cluster to what names need.

use std::sync::Arc;

use super::{NodeNetwork, Object, Pod, Service, Slice};

/// The object of another cluster with what names need, and no more.
pub(super) fn strip(object: Object) -> Object {
    match object {
        Object::Pod(key, pod) => {
            let pod = Pod { ports: Vec::new(), other_addresses: Vec::new(), vendor: false, ..*pod };
            Object::Pod(key, Box::new(pod))
        }
        Object::Node(key, mut node) => {
            node.labels = Arc::default();
            let network = NodeNetwork { pod_networks: Vec::new(), ..NodeNetwork::clone(&node.network) };
            node.network = Arc::new(network);
            Object::Node(key, node)
        }
        Object::Service(key, mut service) => {
            service.addresses.drain(..service.internal.min(service.addresses.len()));
            let ports = if service.addresses.is_empty() { Vec::new() } else { service.ports };
            Object::Service(key, Service { addresses: service.addresses, internal: 0, ports })
        }
        Object::EndpointSlice(key, _) => Object::EndpointSlice(key, Slice::default()),
        other => other,
    }
}
