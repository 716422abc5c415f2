//! Kubernetes objects, stripped to what is used.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use webb_index::policy::spec::{Labels, NamedPort, PolicyKind, PolicySpec, TierSpec};
use webb_index::{ObjectKey, ServicePort, Workload};

use super::OtherKind;
use super::types;

/// The kinds of object that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Kind {
    Pod,
    Namespace,
    Node,
    Service,
    EndpointSlice,
    NetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    /// A vendor's kind of policy, of which only names are read.
    Other(OtherKind),
}

impl Kind {
    /// The kinds that every API server has.
    pub const CORE: [Self; 6] =
        [Self::Pod, Self::Namespace, Self::Node, Self::Service, Self::EndpointSlice, Self::NetworkPolicy];

    /// The kinds that are read of another cluster of the mesh.
    pub const MESH: [Self; 4] = [Self::Pod, Self::Namespace, Self::Node, Self::Service];

    /// The kinds of `policy.networking.k8s.io`, which an API server has or not.
    pub const TIERED: [Self; 3] =
        [Self::AdminNetworkPolicy, Self::BaselineAdminNetworkPolicy, Self::ClusterNetworkPolicy];

    /// Its API group; empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::Pod | Self::Namespace | Self::Node | Self::Service => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::NetworkPolicy => "networking.k8s.io",
            Self::AdminNetworkPolicy | Self::BaselineAdminNetworkPolicy | Self::ClusterNetworkPolicy => {
                "policy.networking.k8s.io"
            }
            Self::Other(kind) => kind.group(),
        }
    }

    /// Plural name in paths and roles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::NetworkPolicy => "networkpolicies",
            Self::AdminNetworkPolicy => "adminnetworkpolicies",
            Self::BaselineAdminNetworkPolicy => "baselineadminnetworkpolicies",
            Self::ClusterNetworkPolicy => "clusternetworkpolicies",
            Self::Other(kind) => kind.plural(),
        }
    }

    /// The versions that are read, the best first; empty where any will do.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Pod | Self::Namespace | Self::Node | Self::Service | Self::EndpointSlice | Self::NetworkPolicy => {
                &["v1"]
            }
            Self::AdminNetworkPolicy | Self::BaselineAdminNetworkPolicy => &["v1alpha1"],
            // v1beta1 was planned without changes to fields when this was written, and v1 follows
            // such a version.
            Self::ClusterNetworkPolicy => &["v1", "v1beta1", "v1alpha2"],
            Self::Other(_) => &[],
        }
    }

    /// Name in the field `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::Other(kind) => kind.name(),
        }
    }
}

/// Identity of an object: a deletion carries only this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Reference {
    pub kind: Kind,
    pub key: ObjectKey,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a truth of its own")]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, without repetition.
    pub addresses: Vec<IpAddr>,
    /// Its addresses in networks beside the cluster's, which no NetworkPolicy covers.
    pub other_addresses: Vec<IpAddr>,
    /// Creation time in seconds since 1970; the oldest of times if the object has none.
    pub created: i64,
    /// Workload that runs the pod, by the rules of the hubble-contract §5.8.
    pub workload: Option<Workload>,
    /// The node it runs on; empty if the object doesn't say.
    pub node: String,
    /// Succeeded or failed: it has given its addresses up.
    pub finished: bool,
    /// True if it has the node's addresses, not its own.
    pub host_network: bool,
    /// Its condition Ready is true.
    pub ready: bool,
    /// Its service account.
    pub service_account: String,
    /// Named ports of its containers.
    pub ports: Vec<NamedPort>,
    /// An annotation puts it under a vendor's rules.
    pub vendor: bool,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its labels, which policies share.
    pub labels: Arc<Labels>,
    /// Creation time, as of a [`Pod`]: one that was made anew has another.
    pub created: i64,
    /// Its addresses and networks, shared with what a relay has sent.
    pub network: Arc<NodeNetwork>,
    /// Addresses of its tunnels that network plugins note in annotations.
    pub tunnels: Vec<IpAddr>,
}

/// The part of a Node that its metadata lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeNetwork {
    /// Its internal addresses, by which nodes reach each other.
    pub internal: Vec<IpAddr>,
    /// Its external addresses, without those that are internal too.
    pub external: Vec<IpAddr>,
    /// Networks that its pods have their addresses from.
    pub pod_networks: Vec<IpNet>,
}

impl NodeNetwork {
    /// Its addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.internal.iter().chain(&self.external).copied()
    }
}

/// The labels of a node's zone and of its region, the present one first.
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
const REGION: [&str; 2] = ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"];

impl Node {
    /// Its zone and its region; empty where it has none.
    pub(super) fn place(&self) -> (&str, &str) {
        let label = |names: [&str; 2]| names.iter().find_map(|name| self.labels.get(*name)).map_or("", String::as_str);
        (label(ZONE), label(REGION))
    }

    /// A node of which neither labels nor time of creation are known. No object has such a time.
    pub(super) fn without_metadata() -> Self {
        Self { created: i64::MIN, ..Self::default() }
    }

    /// The node without those of its tunnels' addresses that it has as others too.
    pub(super) fn with_distinct_tunnels(self) -> Self {
        let Self { network, mut tunnels, .. } = self;
        tunnels.retain(|tunnel| network.addresses().all(|address| address != *tunnel));
        Self { network, tunnels, ..self }
    }

    /// All addresses that its object lists.
    pub(super) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.network.addresses().chain(self.tunnels.iter().copied())
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Addresses that it listens on: cluster addresses, external ones and those of load balancers.
    /// None if headless.
    pub addresses: Vec<IpAddr>,
    /// Number of its cluster addresses, which are the first ones.
    pub internal: usize,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

impl Service {
    /// Its addresses beside cluster addresses: external ones and those of load balancers.
    pub(super) fn external(&self) -> &[IpAddr] {
        self.addresses.get(self.internal..).unwrap_or_default()
    }
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slice {
    /// The service it belongs to, in its own namespace; empty if none.
    pub service: String,
    /// Addresses of its endpoints.
    pub addresses: Vec<IpAddr>,
}

/// One object, checked and stripped.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Object {
    Pod(ObjectKey, Box<Pod>),
    /// A namespace is its labels.
    Namespace(ObjectKey, Labels),
    Node(ObjectKey, Box<Node>),
    Service(ObjectKey, Service),
    EndpointSlice(ObjectKey, Slice),
    NetworkPolicy(ObjectKey, Arc<PolicySpec>),
    /// A policy of `policy.networking.k8s.io`, of whichever of its kinds.
    Tiered(ObjectKey, Arc<TierSpec>),
    OtherPolicy(OtherKind, ObjectKey),
}

impl Object {
    /// Reference to this object.
    pub fn reference(&self) -> Reference {
        let (kind, key) = match self {
            Self::Pod(key, _) => (Kind::Pod, key),
            Self::Namespace(key, _) => (Kind::Namespace, key),
            Self::Node(key, _) => (Kind::Node, key),
            Self::Service(key, _) => (Kind::Service, key),
            Self::EndpointSlice(key, _) => (Kind::EndpointSlice, key),
            Self::NetworkPolicy(key, _) => (Kind::NetworkPolicy, key),
            Self::Tiered(key, spec) => (Kind::of(spec.kind), key),
            Self::OtherPolicy(kind, key) => (Kind::Other(*kind), key),
        };
        Reference { kind, key: key.clone() }
    }
}

/// One object as Kubernetes defines it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Raw {
    Pod(Box<types::Pod>),
    Namespace(Box<types::Namespace>),
    Node(Box<types::Node>),
    Service(Box<types::Service>),
    EndpointSlice(Box<types::EndpointSlice>),
    NetworkPolicy(Box<types::Policy>),
    Tiered(PolicyKind, Box<types::Policy>),
    OtherPolicy(OtherKind, Box<types::Metadata>),
}

impl Kind {
    /// The key of an object of this kind; no namespace means `default` where the kind has
    /// namespaces.
    pub fn key(self, namespace: Option<String>, name: String) -> ObjectKey {
        match self {
            Self::Namespace
            | Self::Node
            | Self::AdminNetworkPolicy
            | Self::BaselineAdminNetworkPolicy
            | Self::ClusterNetworkPolicy => ObjectKey { namespace: String::new(), name },
            Self::Other(kind) => kind.key(namespace, name),
            Self::Pod | Self::Service | Self::EndpointSlice | Self::NetworkPolicy => {
                let namespace = namespace.filter(|namespace| !namespace.is_empty());
                ObjectKey { namespace: namespace.unwrap_or_else(|| "default".to_owned()), name }
            }
        }
    }

    /// The kind of a policy that is evaluated.
    pub fn of(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::NetworkPolicy => Self::NetworkPolicy,
            PolicyKind::AdminNetworkPolicy => Self::AdminNetworkPolicy,
            PolicyKind::BaselineAdminNetworkPolicy => Self::BaselineAdminNetworkPolicy,
            PolicyKind::ClusterNetworkPolicy => Self::ClusterNetworkPolicy,
        }
    }
}
