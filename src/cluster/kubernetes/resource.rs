//! Where each kind of object is in the API. `config/rbac.yaml` grants exactly this, and a test compares the two.

use crate::cluster::{Key, Kind};

/// One kind of object as the API serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource {
    /// What it holds.
    pub kind: Kind,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// As paths and roles name it.
    pub plural: &'static str,
}

/// Everything that is watched.
pub const RESOURCES: [Resource; Kind::CORE.len()] = [
    Resource { kind: Kind::Pod, group: "", version: "v1", plural: "pods" },
    Resource { kind: Kind::Namespace, group: "", version: "v1", plural: "namespaces" },
    Resource { kind: Kind::Node, group: "", version: "v1", plural: "nodes" },
    Resource { kind: Kind::Service, group: "", version: "v1", plural: "services" },
    Resource { kind: Kind::EndpointSlice, group: "discovery.k8s.io", version: "v1", plural: "endpointslices" },
    Resource { kind: Kind::NetworkPolicy, group: "networking.k8s.io", version: "v1", plural: "networkpolicies" },
];

impl Resource {
    /// Path of all its objects, in all namespaces.
    pub fn path(&self) -> String {
        let Self { group, version, plural, .. } = self;
        if group.is_empty() { format!("/api/{version}/{plural}") } else { format!("/apis/{group}/{version}/{plural}") }
    }

    /// The key of an object, as [`crate::cluster::Object`] makes it.
    pub(super) fn key(&self, namespace: Option<String>, name: String) -> Key {
        self.kind.key(namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind is watched once, and counters are found by the kind's place.
    #[test]
    fn kinds_are_in_order() {
        assert_eq!(RESOURCES.map(|resource| resource.kind), Kind::CORE);
        assert_eq!(RESOURCES[0].path(), "/api/v1/pods");
        assert_eq!(RESOURCES[5].path(), "/apis/networking.k8s.io/v1/networkpolicies");
    }
}
