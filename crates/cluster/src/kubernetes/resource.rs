//! Paths of each kind of object in the API. `config/rbac.yaml` grants exactly this, and a test
//! compares the two.

use std::borrow::Cow;

use crate::{Kind, ObjectKey};

/// One kind of object as the API serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Kind of its objects.
    pub kind: Kind,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: Cow<'static, str>,
    /// Plural name in paths and roles.
    pub plural: &'static str,
    /// Whether only the metadata of its objects is requested.
    metadata_only: bool,
}

const fn of(kind: Kind, group: &'static str, plural: &'static str) -> Resource {
    Resource { kind, group, version: Cow::Borrowed("v1"), plural, metadata_only: false }
}

/// Everything that is watched wherever webb runs.
pub static RESOURCES: [Resource; Kind::CORE.len()] = [
    of(Kind::Pod, "", "pods"),
    of(Kind::Namespace, "", "namespaces"),
    of(Kind::Node, "", "nodes"),
    of(Kind::Service, "", "services"),
    of(Kind::EndpointSlice, "discovery.k8s.io", "endpointslices"),
    of(Kind::NetworkPolicy, "networking.k8s.io", "networkpolicies"),
];

/// The form of whole objects.
pub(super) const JSON: &str = "application/json";

/// The forms in which only metadata is sent, as one object and as a list.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Resource {
    /// A kind of policy that a server serves in this version.
    pub(super) fn found(kind: Kind, version: String) -> Self {
        let metadata_only = matches!(kind, Kind::Other(_));
        Self { kind, group: kind.group(), version: Cow::Owned(version), plural: kind.plural(), metadata_only }
    }

    /// A kind that a server serves in this version, with whole objects.
    pub(super) fn whole(kind: Kind, version: String) -> Self {
        Self { metadata_only: false, ..Self::found(kind, version) }
    }

    /// Path of all its objects, in all namespaces.
    pub fn path(&self) -> String {
        let Self { group, version, plural, .. } = self;
        if group.is_empty() { format!("/api/{version}/{plural}") } else { format!("/apis/{group}/{version}/{plural}") }
    }

    /// The form of a list.
    pub(super) fn accept_list(&self) -> &'static str {
        if self.metadata_only { METADATA_LIST } else { JSON }
    }

    /// The form of a watch's objects.
    pub(super) fn accept_watch(&self) -> &'static str {
        if self.metadata_only { METADATA } else { JSON }
    }

    /// The key of an object, as [`crate::Object`] makes it.
    pub(super) fn key(&self, namespace: Option<String>, name: String) -> ObjectKey {
        self.kind.key(namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind is watched once, and counters are found by the kind's place.
    #[test]
    fn kinds_are_in_order() {
        assert_eq!(RESOURCES.each_ref().map(|resource| resource.kind), Kind::CORE);
        assert_eq!(RESOURCES[0].path(), "/api/v1/pods");
        assert_eq!(RESOURCES[5].path(), "/apis/networking.k8s.io/v1/networkpolicies");
    }
}
