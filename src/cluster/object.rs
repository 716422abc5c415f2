//! Kubernetes objects, stripped to what is used.
//!
//! A cluster's pods are mostly text that no metric reads. Whatever source an object comes from, it is checked and cut
//! down here, once, before anything is stored; the rest of the crate never sees the API's own shapes.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::types::{self, ObjectMeta};
use super::{policy, workload};
use crate::flow::L4;
use crate::index::policy::spec::{Labels, NamedPort, PolicySpec};
use crate::index::{Key, ServicePort, Workload};

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
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Pod, Self::Namespace, Self::Node, Self::Service, Self::EndpointSlice, Self::NetworkPolicy];

    /// As `kind:` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::NetworkPolicy => "NetworkPolicy",
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
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its internal and external addresses, and those of its tunnels that network plugins note in annotations.
    pub addresses: Vec<IpAddr>,
    /// Where its pods have their addresses from.
    pub pod_networks: Vec<IpNet>,
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
    NetworkPolicy(Box<types::NetworkPolicy>),
}

impl TryFrom<Raw> for Object {
    type Error = Invalid;

    fn try_from(raw: Raw) -> Result<Self, Invalid> {
        Ok(match raw {
            Raw::Pod(pod) => Self::Pod(namespaced(&pod.metadata)?, Box::new(self::pod(*pod)?)),
            Raw::Namespace(namespace) => Self::Namespace(named(&namespace.metadata)?, labels(namespace.metadata)),
            Raw::Node(node) => {
                let name = node.metadata.name.clone();
                Self::Node(named(&ObjectMeta { name, ..ObjectMeta::default() })?, self::node(*node)?)
            }
            Raw::Service(service) => Self::Service(namespaced(&service.metadata)?, self::service(*service)?),
            Raw::EndpointSlice(slice) => Self::EndpointSlice(namespaced(&slice.metadata)?, self::slice(*slice)?),
            Raw::NetworkPolicy(policy) => {
                let key = namespaced(&policy.metadata)?;
                let spec = policy::spec(&key, policy.spec.unwrap_or_default())?;
                Self::NetworkPolicy(key, Arc::new(spec))
            }
        })
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

fn labels(meta: ObjectMeta) -> Labels {
    meta.labels.unwrap_or_default()
}

fn address(field: &str, text: &str) -> Result<IpAddr, Invalid> {
    text.parse().map_err(|_| Invalid(format!("{field}: `{text}` is not an IP address")))
}

fn pod(pod: types::Pod) -> Result<Pod, Invalid> {
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let mut addresses = Vec::new();
    for (at, ip) in status.pod_ips.iter().flatten().enumerate() {
        let address = address(&format!("status.podIPs[{at}].ip"), &ip.ip)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if let Some(ip) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        let address = address("status.podIP", ip)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let created = pod.metadata.creation_timestamp.as_ref().or(status.start_time.as_ref());
    Ok(Pod {
        addresses,
        created: created.map_or(i64::MIN, |time| time.0),
        workload: workload::of(&pod.metadata),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        ports: named_ports(&spec)?,
        host_network: spec.host_network.unwrap_or(false),
        node: spec.node_name.unwrap_or_default(),
        // The API server fills `default` in; a manifest written by hand may not have met one.
        service_account: spec.service_account_name.unwrap_or_else(|| "default".to_owned()),
        labels: labels(pod.metadata),
    })
}

/// Ports that have a name, of the containers that stay: init containers count if they are sidecars.
fn named_ports(spec: &types::PodSpec) -> Result<Vec<NamedPort>, Invalid> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut named = Vec::new();
    for container in spec.containers.iter().chain(sidecars) {
        for port in container.ports.iter().flatten() {
            let Some(name) = &port.name else { continue };
            let field = || format!("port `{name}` of container `{}`", container.name);
            let number = u16::try_from(port.container_port).ok().filter(|&number| number > 0);
            let number = number.ok_or_else(|| {
                Invalid(format!("{}: containerPort is {}, expected 1 to 65535", field(), port.container_port))
            })?;
            let protocol =
                policy::protocol(port.protocol.as_deref()).map_err(|why| Invalid(format!("{}: {why}", field())))?;
            named.push(NamedPort { name: name.clone(), protocol, port: number });
        }
    }
    Ok(named)
}

/// Annotations in which a network plugin notes the address of a tunnel or bridge that the node itself has: Calico,
/// Cilium (by its old name, too), Kube-OVN.
const TUNNEL_ADDRESSES: [&str; 10] = [
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

fn node(node: types::Node) -> Result<Node, Invalid> {
    let mut addresses = Vec::new();
    for (at, found) in node.status.and_then(|status| status.addresses).iter().flatten().enumerate() {
        if matches!(found.type_.as_str(), "InternalIP" | "ExternalIP") {
            addresses.push(address(&format!("status.addresses[{at}].address"), &found.address)?);
        }
    }
    let annotations = node.metadata.annotations.unwrap_or_default();
    for annotation in TUNNEL_ADDRESSES {
        // Nobody promises what plugins write there, so what is no address is passed over.
        let address = annotations.get(annotation).and_then(|text| text.split('/').next()?.parse().ok());
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    let spec = node.spec.unwrap_or_default();
    let networks = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut pod_networks: Vec<IpNet> = Vec::new();
    for text in networks.filter(|text| !text.is_empty()) {
        let network: IpNet = text
            .parse()
            .map_err(|_| Invalid(format!("spec.podCIDRs: `{text}` is not a network such as 10.0.0.0/24")))?;
        let network = network.trunc();
        if !pod_networks.contains(&network) {
            pod_networks.push(network);
        }
    }
    Ok(Node { addresses, pod_networks })
}

fn service(service: types::Service) -> Result<Service, Invalid> {
    let (spec, status) = (service.spec.unwrap_or_default(), service.status.unwrap_or_default());
    let balancers = status.load_balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    let cluster = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).map(|ip| ("spec.clusterIP", ip));
    let external = spec.external_ips.iter().flatten().map(|ip| ("spec.externalIPs", ip));
    // One that has a host name instead of an address is of a cloud, whose names are nobody's here.
    let balancers = balancers.iter().filter_map(|found| Some(("status.loadBalancer.ingress.ip", found.ip.as_ref()?)));
    let mut addresses = Vec::new();
    for (field, ip) in cluster.chain(external).chain(balancers) {
        if ip.is_empty() || ip == "None" {
            continue;
        }
        let address = address(field, ip)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let ports = spec.ports.iter().flatten().enumerate();
    let ports = ports.map(|(at, port)| service_port(&format!("spec.ports[{at}]"), port)).collect::<Result<_, _>>()?;
    Ok(Service { addresses, ports })
}

fn service_port(field: &str, port: &types::ServicePort) -> Result<ServicePort, Invalid> {
    let protocol = policy::protocol(port.protocol.as_deref()).map_err(|why| Invalid(format!("{field}: {why}")))?;
    let wrong = |part: &str, number: i32| Invalid(format!("{field}.{part} is {number}, expected 1 to 65535"));
    let number = u16::try_from(port.port).ok().filter(|&number| number > 0);
    let node_port = port.node_port.unwrap_or(0);
    Ok(ServicePort {
        protocol: L4::of_protocol(protocol),
        port: number.ok_or_else(|| wrong("port", port.port))?,
        node_port: u16::try_from(node_port).map_err(|_| wrong("nodePort", node_port))?,
    })
}

fn slice(slice: types::EndpointSlice) -> Result<Slice, Invalid> {
    let service = slice.metadata.labels.and_then(|mut labels| labels.remove("kubernetes.io/service-name"));
    let mut addresses = Vec::new();
    // The third type, FQDN, holds names.
    if matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        for (at, endpoint) in slice.endpoints.iter().enumerate() {
            for text in &endpoint.addresses {
                addresses.push(address(&format!("endpoints[{at}].addresses"), text)?);
            }
        }
    }
    Ok(Slice { service: service.unwrap_or_default(), addresses })
}
