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
    /// The only namespace that is read; empty for all.
    pub namespace: &'static str,
    /// Parameters that select the objects, each with a `&` before it.
    selection: Cow<'static, str>,
    /// Whether only the metadata of its objects is requested.
    metadata_only: bool,
}

const fn of(kind: Kind, group: &'static str, plural: &'static str) -> Resource {
    Resource {
        kind,
        group,
        version: Cow::Borrowed("v1"),
        plural,
        namespace: "",
        selection: Cow::Borrowed(""),
        metadata_only: false,
    }
}

/// Everything that is watched wherever webb runs.
pub static RESOURCES: [Resource; Kind::CORE.len()] = [
    of(Kind::Pod, "", "pods"),
    of(Kind::Namespace, "", "namespaces"),
    of(Kind::Node, "", "nodes"),
    of(Kind::Service, "", "services"),
    API_SLICES,
    of(Kind::NetworkPolicy, "networking.k8s.io", "networkpolicies"),
];

/// The EndpointSlices of the API server itself, the only ones of use: names come from pods. All of
/// them would be a third of the load that an agent is to its API server.
const API_SLICES: Resource = Resource {
    kind: Kind::EndpointSlice,
    group: "discovery.k8s.io",
    version: Cow::Borrowed("v1"),
    plural: "endpointslices",
    namespace: "default",
    selection: Cow::Borrowed("&labelSelector=kubernetes.io/service-name%3Dkubernetes"),
    metadata_only: false,
};

/// The form of whole objects.
pub(super) const JSON: &str = "application/json";

/// The kind of an object of which only metadata is sent.
const METADATA_KIND: &str = "PartialObjectMetadata";

/// The forms in which only metadata is sent, as one object and as a list.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

impl Resource {
    /// A kind of policy that a server serves in this version.
    pub(super) fn found(kind: Kind, version: String) -> Self {
        let metadata_only = matches!(kind, Kind::Other(_));
        let (group, plural) = (kind.group(), kind.plural());
        Self {
            kind,
            group,
            version: Cow::Owned(version),
            plural,
            namespace: "",
            selection: Cow::Borrowed(""),
            metadata_only,
        }
    }

    /// A kind that a server serves in this version, with whole objects.
    pub(super) fn whole(kind: Kind, version: String) -> Self {
        Self { metadata_only: false, ..Self::found(kind, version) }
    }

    /// The same objects, of which only the metadata is requested.
    pub(super) fn metadata(&self) -> Self {
        Self { metadata_only: true, ..self.clone() }
    }

    /// The objects that a parameter selects, with a `&` before it.
    pub(super) fn selected(&self, parameter: String) -> Self {
        Self { selection: Cow::Owned(parameter), ..self.clone() }
    }

    /// Path of its objects, in all namespaces or in the one that is read.
    pub fn path(&self) -> String {
        let Self { group, version, namespace, plural, .. } = self;
        let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if namespace.is_empty() {
            format!("{root}/{plural}")
        } else {
            format!("{root}/namespaces/{namespace}/{plural}")
        }
    }

    /// Path and parameters of a request.
    pub(super) fn request(&self, parameters: &str) -> String {
        format!("{}?{parameters}{}", self.path(), self.selection)
    }

    /// Whether its objects are read in protocol buffers as well.
    pub(super) fn is_in_protobuf(&self) -> bool {
        self.kind == Kind::Pod && !self.metadata_only
    }

    /// Whether an object of this kind is one of its: of a vendor's kind any is.
    pub(super) fn is_of(&self, kind: &str) -> bool {
        match self.kind {
            Kind::Other(_) => true,
            own => kind == own.name() || (self.metadata_only && kind == METADATA_KIND),
        }
    }

    /// Refuses a list of another kind: an empty one would make all objects go.
    pub(super) fn check_list(&self, kind: &str) -> Result<(), String> {
        if kind.strip_suffix("List").is_some_and(|of| self.is_of(of)) {
            return Ok(());
        }
        let Self { plural, kind: own, .. } = self;
        Err(format!("a list of {plural} is of the kind {kind:?}, expected {}List", own.name()))
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
        assert_eq!(
            RESOURCES[4].request("watch=true"),
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?watch=true\
             &labelSelector=kubernetes.io/service-name%3Dkubernetes"
        );
    }
}
