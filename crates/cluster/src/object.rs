//! Kubernetes objects, stripped to what is used.
//!
//! A cluster's pods are mostly text that no metric reads. Whatever source an object comes from, it is checked and cut
//! down here, once, before anything is stored; the rest of the crate never sees the API's own shapes.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use webb_flow::L4;
use webb_index::policy::spec::{Labels, NamedPort, PolicyKind, PolicySpec, TierSpec};
use webb_index::{Key, ServicePort, Workload};

use super::types::{self, ObjectMeta};
use super::{OtherKind, other_networks, policy, workload};

/// Why an object can't be used: which field, what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

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

    /// As paths and roles name it.
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
            // v1beta1 was planned without changes to fields when this was written, and v1 follows such a version.
            Self::ClusterNetworkPolicy => &["v1", "v1beta1", "v1alpha2"],
            Self::Other(_) => &[],
        }
    }

    /// As `kind:` names it.
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

/// Which object: what a deletion carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Reference {
    pub kind: Kind,
    pub key: Key,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, without repetition.
    pub addresses: Vec<IpAddr>,
    /// Its addresses in networks beside the cluster's, which no NetworkPolicy speaks of.
    pub other_addresses: Vec<IpAddr>,
    /// When it was made, in seconds since 1970; the oldest of times if nothing says.
    pub created: i64,
    /// What runs it, by the rules of the hubble-contract §5.8.
    pub workload: Option<Workload>,
    /// The node it runs on; empty if the object doesn't say.
    pub node: String,
    /// Succeeded or failed: it has given its addresses up.
    pub finished: bool,
    /// It has the node's addresses, not its own.
    pub host_network: bool,
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
    /// Its labels.
    pub labels: Labels,
    /// Its internal and external addresses.
    pub addresses: Vec<IpAddr>,
    /// Addresses of its tunnels that network plugins note in annotations.
    pub tunnels: Vec<IpAddr>,
    /// Where its pods have their addresses from.
    pub pod_networks: Vec<IpNet>,
}

impl Node {
    /// All addresses that its object tells.
    pub(super) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().chain(&self.tunnels).copied()
    }
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Where it listens: cluster addresses, external ones and those of load balancers. None if headless.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
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
    Pod(Key, Box<Pod>),
    /// A namespace is its labels.
    Namespace(Key, Labels),
    Node(Key, Node),
    Service(Key, Service),
    EndpointSlice(Key, Slice),
    NetworkPolicy(Key, Arc<PolicySpec>),
    /// A policy of `policy.networking.k8s.io`, of whichever of its kinds.
    Tiered(Key, Arc<TierSpec>),
    OtherPolicy(OtherKind, Key),
}

impl Object {
    /// Which object it is.
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

/// An object that was read, and the parts of it that could not be.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Checked {
    pub object: Object,
    pub passed_over: Vec<Invalid>,
}

impl Object {
    /// Checks an object. A part that cannot be read is passed over; an error means that nothing of it can be used.
    pub fn check(raw: Raw) -> Result<Checked, Invalid> {
        let mut odd = Vec::new();
        let object = match raw {
            Raw::Pod(pod) => Self::Pod(namespaced(&pod.metadata)?, Box::new(self::pod(*pod, &mut odd))),
            Raw::Namespace(namespace) => {
                Self::Namespace(named(&namespace.metadata)?, labels(namespace.metadata, &mut odd))
            }
            Raw::Node(node) => Self::Node(named(&node.metadata)?, self::node(*node, &mut odd)),
            Raw::Service(service) => Self::Service(namespaced(&service.metadata)?, self::service(*service, &mut odd)),
            Raw::EndpointSlice(slice) => {
                Self::EndpointSlice(namespaced(&slice.metadata)?, self::slice(*slice, &mut odd))
            }
            Raw::NetworkPolicy(policy) => {
                let key = namespaced(&policy.metadata)?;
                let (spec, problems) = policy::network_policy(&key, policy.spec.as_ref());
                odd = problems;
                Self::NetworkPolicy(key, Arc::new(spec))
            }
            Raw::Tiered(kind, policy) => {
                let key = named(&policy.metadata)?;
                let (spec, problems) = policy::tiered(kind, &key, policy.spec.as_ref());
                odd = problems;
                Self::Tiered(key, Arc::new(spec))
            }
            Raw::OtherPolicy(kind, object) => {
                let Key { name, .. } = named(&object.metadata)?;
                Self::OtherPolicy(kind, kind.key(object.metadata.namespace, name))
            }
        };
        Ok(Checked { object, passed_over: odd })
    }

    /// What stands for an object of which only kind and name could be read: a policy of which nothing is known may do
    /// anything. None for kinds that are simply missed.
    pub fn unreadable(kind: Kind, key: &Key) -> Option<Self> {
        let tiered = |kind| Self::Tiered(key.clone(), Arc::new(policy::unreadable_tiered(kind, key)));
        match kind {
            Kind::NetworkPolicy => {
                Some(Self::NetworkPolicy(key.clone(), Arc::new(policy::unreadable_network_policy(key))))
            }
            Kind::AdminNetworkPolicy => Some(tiered(PolicyKind::AdminNetworkPolicy)),
            Kind::BaselineAdminNetworkPolicy => Some(tiered(PolicyKind::BaselineAdminNetworkPolicy)),
            Kind::ClusterNetworkPolicy => Some(tiered(PolicyKind::ClusterNetworkPolicy)),
            Kind::Other(kind) => Some(Self::OtherPolicy(kind, key.clone())),
            Kind::Pod | Kind::Namespace | Kind::Node | Kind::Service | Kind::EndpointSlice => None,
        }
    }
}

impl Kind {
    /// The key of an object of this kind; no namespace means `default` where the kind has namespaces.
    pub fn key(self, namespace: Option<String>, name: String) -> Key {
        match self {
            Self::Namespace
            | Self::Node
            | Self::AdminNetworkPolicy
            | Self::BaselineAdminNetworkPolicy
            | Self::ClusterNetworkPolicy => Key { namespace: String::new(), name },
            Self::Other(kind) => kind.key(namespace, name),
            Self::Pod | Self::Service | Self::EndpointSlice | Self::NetworkPolicy => {
                let namespace = namespace.filter(|namespace| !namespace.is_empty());
                Key { namespace: namespace.unwrap_or_else(|| "default".to_owned()), name }
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

impl TryFrom<Raw> for Object {
    type Error = Invalid;

    /// As [`Object::check`], without what was passed over.
    fn try_from(raw: Raw) -> Result<Self, Invalid> {
        Self::check(raw).map(|checked| checked.object)
    }
}

/// As `kubectl` has it: no namespace means `default`.
fn namespaced(meta: &ObjectMeta) -> Result<Key, Invalid> {
    let namespace = meta.namespace.clone().filter(|namespace| !namespace.is_empty());
    Ok(Key { namespace: namespace.unwrap_or_else(|| "default".to_owned()), ..named(meta)? })
}

fn named(meta: &ObjectMeta) -> Result<Key, Invalid> {
    match &meta.name {
        Some(name) if !name.is_empty() => Ok(Key { namespace: String::new(), name: name.clone() }),
        _ => Err(Invalid("metadata.name is missing".to_owned())),
    }
}

fn labels(meta: ObjectMeta, odd: &mut Vec<Invalid>) -> Labels {
    let types::Labels { texts, unreadable } = meta.labels.unwrap_or_default();
    odd.extend(unreadable.iter().map(|key| Invalid(format!("metadata.labels.{key} is no text"))));
    texts
}

/// Adds an address that is not there yet.
fn add(addresses: &mut Vec<IpAddr>, field: impl FnOnce() -> String, text: &str, odd: &mut Vec<Invalid>) {
    match text.parse() {
        Ok(address) if !addresses.contains(&address) => addresses.push(address),
        Ok(_) => {}
        Err(_) => odd.push(Invalid(format!("{}: `{}` is not an IP address", field(), text.escape_debug()))),
    }
}

fn pod(pod: types::Pod, odd: &mut Vec<Invalid>) -> Pod {
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let mut addresses = Vec::new();
    for (at, ip) in status.pod_ips.iter().flatten().enumerate() {
        add(&mut addresses, || format!("status.podIPs[{at}].ip"), &ip.ip, odd);
    }
    if let Some(ip) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        add(&mut addresses, || "status.podIP".to_owned(), ip, odd);
    }
    let created = pod.metadata.creation_timestamp.as_ref().or(status.start_time.as_ref());
    let networks = pod.metadata.annotations.network_status();
    let other_addresses = networks.map(|text| other_networks::addresses(text, &addresses, odd)).unwrap_or_default();
    Pod {
        addresses,
        other_addresses,
        created: created.map_or(i64::MIN, |time| time.0),
        workload: workload::of(&pod.metadata),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: named_ports(&spec, odd),
        vendor: pod.metadata.annotations.security_groups(),
        host_network: spec.host_network.unwrap_or(false),
        node: spec.node_name.unwrap_or_default(),
        // The API server fills `default` in; a manifest written by hand may not have met one.
        service_account: spec.service_account_name.unwrap_or_else(|| "default".to_owned()),
        labels: labels(pod.metadata, odd),
    }
}

/// Ports that have a name, of the containers that stay: init containers count if they are sidecars.
fn named_ports(spec: &types::PodSpec, odd: &mut Vec<Invalid>) -> Vec<NamedPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut named = Vec::new();
    for container in spec.containers.iter().chain(sidecars) {
        for port in container.ports.iter().flatten() {
            let Some(name) = &port.name else { continue };
            let number = port_number("containerPort", port.container_port);
            let found = number.and_then(|number| Ok((number, policy::protocol(port.protocol.as_deref())?)));
            match found {
                Ok((port, protocol)) => named.push(NamedPort { name: name.clone(), protocol, port }),
                Err(why) => {
                    odd.push(Invalid(format!("port `{name}` of container `{}`: {why}", container.name)));
                }
            }
        }
    }
    named
}

/// Annotations in which a network plugin notes the address of a tunnel or bridge that the node itself has: Calico,
/// Cilium (by its old name, too), Kube-OVN.
pub(super) const TUNNEL_ADDRESSES: [&str; 10] = [
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
    "projectcalico.org/IPv6WireguardInterfaceAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "io.cilium.network.ipv4-cilium-host",
    "io.cilium.network.ipv6-cilium-host",
    "ovn.kubernetes.io/ip_address",
];

fn port_number(field: &str, number: i32) -> Result<u16, Invalid> {
    let port = u16::try_from(number).ok().filter(|&number| number > 0);
    port.ok_or_else(|| Invalid(format!("{field} is {number}, expected 1 to 65535")))
}

fn node(node: types::Node, odd: &mut Vec<Invalid>) -> Node {
    let mut addresses = Vec::new();
    for (at, found) in node.status.and_then(|status| status.addresses).iter().flatten().enumerate() {
        if matches!(found.type_.as_str(), "InternalIP" | "ExternalIP") {
            add(&mut addresses, || format!("status.addresses[{at}].address"), &found.address, odd);
        }
    }
    let mut tunnels = Vec::new();
    for annotation in TUNNEL_ADDRESSES {
        // Nobody promises what plugins write there, so what is no address is passed over.
        let text = node.metadata.annotations.0.get(annotation);
        let address = text.and_then(|text| text.split('/').next()?.parse().ok());
        tunnels.extend(address.filter(|address| !addresses.contains(address) && !tunnels.contains(address)));
    }
    let spec = node.spec.unwrap_or_default();
    let networks = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut pod_networks: Vec<IpNet> = Vec::new();
    for text in networks.filter(|text| !text.is_empty()) {
        match text.parse::<IpNet>().map(|network| network.trunc()) {
            Ok(network) if !pod_networks.contains(&network) => pod_networks.push(network),
            Ok(_) => {}
            Err(_) => {
                let text = text.escape_debug();
                odd.push(Invalid(format!("spec.podCIDRs: `{text}` is not a network such as 10.0.0.0/24")));
            }
        }
    }
    Node { labels: labels(node.metadata, odd), addresses, tunnels, pod_networks }
}

fn service(service: types::Service, odd: &mut Vec<Invalid>) -> Service {
    let (spec, status) = (service.spec.unwrap_or_default(), service.status.unwrap_or_default());
    let balancers = status.load_balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    let cluster = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).map(|ip| ("spec.clusterIP", ip));
    let external = spec.external_ips.iter().flatten().map(|ip| ("spec.externalIPs", ip));
    // One that has a host name instead of an address is of a cloud, whose names are nobody's here.
    let balancers = balancers.iter().filter_map(|found| Some(("status.loadBalancer.ingress.ip", found.ip.as_ref()?)));
    let mut addresses = Vec::new();
    for (field, ip) in cluster.chain(external).chain(balancers) {
        if !ip.is_empty() && ip != "None" {
            add(&mut addresses, || field.to_owned(), ip, odd);
        }
    }
    let mut ports = Vec::new();
    for (at, found) in spec.ports.iter().flatten().enumerate() {
        match service_port(found) {
            Ok(port) => ports.push(port),
            Err(why) => odd.push(Invalid(format!("spec.ports[{at}]: {why}"))),
        }
    }
    Service { addresses, ports }
}

fn service_port(port: &types::ServicePort) -> Result<ServicePort, Invalid> {
    let protocol = policy::protocol(port.protocol.as_deref())?;
    let node_port = port.node_port.unwrap_or(0);
    Ok(ServicePort {
        protocol: L4::of_protocol(protocol),
        port: port_number("port", port.port)?,
        node_port: if node_port == 0 { 0 } else { port_number("nodePort", node_port)? },
    })
}

fn slice(slice: types::EndpointSlice, odd: &mut Vec<Invalid>) -> Slice {
    let service = slice.metadata.labels.and_then(|mut labels| labels.texts.remove("kubernetes.io/service-name"));
    let mut addresses = Vec::new();
    // The third type, FQDN, holds names.
    if matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        for (at, endpoint) in slice.endpoints.iter().enumerate() {
            for text in &endpoint.addresses {
                add(&mut addresses, || format!("endpoints[{at}].addresses"), text, odd);
            }
        }
    }
    Slice { service: service.unwrap_or_default(), addresses }
}
