//! Extracts the used parts of an object: addresses, ports, labels. A part that cannot be read is
//! passed over.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use webb_flow::L4;
use webb_index::ServicePort;
use webb_index::policy::spec::{Labels, NamedPort};

use super::object::{Node, NodeNetwork, Pod, Service, Slice};
use super::passed_over::{Invalid, PassedOver};
use super::types::{self, ObjectMeta, TUNNEL_ADDRESSES};
use super::{other_networks, policy, workload};

pub(super) fn labels(meta: ObjectMeta, odd: &mut PassedOver) -> Labels {
    let types::Labels { texts, unreadable } = meta.labels.unwrap_or_default();
    for key in unreadable {
        odd.note(format!("metadata.labels.{key} is no text"));
    }
    texts
}

fn unreadable_annotations(meta: &ObjectMeta, odd: &mut PassedOver) {
    for key in &meta.annotations.unreadable {
        odd.note(format!("metadata.annotations.{key} is no text"));
    }
}

/// Adds an address that is not there yet.
fn add(addresses: &mut Vec<IpAddr>, path: &str, text: &str, odd: &mut PassedOver) {
    match text.parse() {
        Ok(address) if !addresses.contains(&address) => addresses.push(address),
        Ok(_) => {}
        Err(_) => odd.note(format!("{path}: `{}` is not an IP address", text.escape_debug())),
    }
}

pub(super) fn pod(pod: types::Pod, odd: &mut PassedOver) -> Pod {
    let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let mut addresses = Vec::new();
    for (path, ip) in odd.items("status.podIPs", status.pod_ips.as_deref()) {
        add(&mut addresses, &format!("{path}.ip"), &ip.ip, odd);
    }
    if let Some(ip) = status.pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        add(&mut addresses, "status.podIP", ip, odd);
    }
    let created = pod.metadata.creation_timestamp.as_ref().or(status.start_time.as_ref());
    _ = odd.items("metadata.ownerReferences", pod.metadata.owner_references.as_deref());
    unreadable_annotations(&pod.metadata, odd);
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
        ready: status.conditions.iter().flatten().flatten().any(|one| one.type_ == "Ready" && one.status == "True"),
        node: spec.node_name.unwrap_or_default(),
        // The API server fills `default` in; a manifest written by hand may not have met one.
        service_account: spec.service_account_name.unwrap_or_else(|| "default".to_owned()),
        labels: labels(pod.metadata, odd),
    }
}

/// Ports that have a name, of the containers that stay: init containers count if they are sidecars.
fn named_ports(spec: &types::PodSpec, odd: &mut PassedOver) -> Vec<NamedPort> {
    let mut containers = odd.items("spec.containers", spec.containers.as_deref());
    let sidecars = odd.items("spec.initContainers", spec.init_containers.as_deref()).into_iter();
    containers.extend(sidecars.filter(|(_, container)| container.restart_policy.as_deref() == Some("Always")));
    let mut named = Vec::new();
    for (path, container) in containers {
        for (path, port) in odd.items(&format!("{path}.ports"), container.ports.as_deref()) {
            let Some(name) = &port.name else { continue };
            let number = port_number("containerPort", port.container_port);
            let found = number.and_then(|number| Ok((number, policy::protocol(port.protocol.as_deref())?)));
            match found {
                Ok((port, protocol)) => named.push(NamedPort { name: name.clone(), protocol, port }),
                Err(why) => odd.note(format!("{path}: {why}")),
            }
        }
    }
    named
}

fn port_number(field: &str, number: i32) -> Result<u16, Invalid> {
    let port = u16::try_from(number).ok().filter(|&number| number > 0);
    port.ok_or_else(|| Invalid(format!("{field} is {number}, expected 1 to 65535")))
}

pub(super) fn node(node: types::Node, odd: &mut PassedOver) -> Node {
    let (mut addresses, mut internal) = (Vec::new(), Vec::new());
    let status = node.status.unwrap_or_default();
    for (path, found) in odd.items("status.addresses", status.addresses.as_deref()) {
        if matches!(found.type_.as_str(), "InternalIP" | "ExternalIP") {
            add(&mut addresses, &format!("{path}.address"), &found.address, odd);
        }
        if found.type_ == "InternalIP" {
            internal.extend(found.address.parse().ok().filter(|address| !internal.contains(address)));
        }
    }
    unreadable_annotations(&node.metadata, odd);
    let mut tunnels = Vec::new();
    for annotation in TUNNEL_ADDRESSES {
        // Free text of plugins: what is no address is passed over.
        let text = node.metadata.annotations.texts.get(annotation);
        let address = text.and_then(|text| text.split('/').next()?.parse().ok());
        tunnels.extend(address.filter(|address| !addresses.contains(address) && !tunnels.contains(address)));
    }
    let spec = node.spec.unwrap_or_default();
    let mut networks = odd.items("spec.podCIDRs", spec.pod_cidrs.as_deref());
    networks.extend(spec.pod_cidr.iter().map(|network| ("spec.podCIDR".to_owned(), network)));
    let mut pod_networks: Vec<IpNet> = Vec::new();
    for (path, text) in networks.into_iter().filter(|(_, text)| !text.is_empty()) {
        match text.parse::<IpNet>().map(|network| network.trunc()) {
            Ok(network) if !pod_networks.contains(&network) => pod_networks.push(network),
            Ok(_) => {}
            Err(_) => odd.note(format!("{path}: `{}` is not a network such as 10.0.0.0/24", text.escape_debug())),
        }
    }
    let created = node.metadata.creation_timestamp.as_ref().map_or(i64::MIN, |time| time.0);
    let external = addresses.into_iter().filter(|address| !internal.contains(address)).collect();
    let network = Arc::new(NodeNetwork { internal, external, pod_networks });
    Node { labels: Arc::new(labels(node.metadata, odd)), created, network, tunnels }
}

pub(super) fn service(service: types::Service, odd: &mut PassedOver) -> Service {
    let (spec, status) = (service.spec.unwrap_or_default(), service.status.unwrap_or_default());
    let balancers = status.load_balancer.unwrap_or_default();
    let mut texts = odd.items("spec.clusterIPs", spec.cluster_ips.as_deref());
    texts.extend(spec.cluster_ip.iter().map(|ip| ("spec.clusterIP".to_owned(), ip)));
    let mut addresses = Vec::new();
    let mut take = |texts: Vec<(String, &String)>, odd: &mut PassedOver| {
        for (path, ip) in texts {
            if !ip.is_empty() && ip != "None" {
                add(&mut addresses, &path, ip, odd);
            }
        }
        addresses.len()
    };
    let internal = take(texts, odd);
    let mut texts = odd.items("spec.externalIPs", spec.external_ips.as_deref());
    for (path, balancer) in odd.items("status.loadBalancer.ingress", balancers.ingress.as_deref()) {
        // One with a host name instead of an address is a cloud's; host names are not resolved
        // here.
        texts.extend(balancer.ip.iter().map(|ip| (format!("{path}.ip"), ip)));
    }
    take(texts, odd);
    let mut ports = Vec::new();
    for (path, found) in odd.items("spec.ports", spec.ports.as_deref()) {
        match service_port(found) {
            Ok(port) => ports.push(port),
            Err(why) => odd.note(format!("{path}: {why}")),
        }
    }
    Service { addresses, internal, ports }
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

pub(super) fn slice(slice: types::EndpointSlice, odd: &mut PassedOver) -> Slice {
    let endpoints = odd.items("endpoints", slice.endpoints.as_deref());
    let address_type = slice.address_type.as_deref();
    if !matches!(address_type, None | Some("IPv4" | "IPv6" | "FQDN")) {
        odd.note("addressType is unknown, expected IPv4, IPv6 or FQDN".to_owned());
    }
    let mut addresses = Vec::new();
    for (path, endpoint) in endpoints {
        for (path, text) in odd.items(&format!("{path}.addresses"), endpoint.addresses.as_deref()) {
            // That type holds names. Under any other, what is an address is one.
            if address_type != Some("FQDN") {
                add(&mut addresses, &path, text, odd);
            }
        }
    }
    let service = labels(slice.metadata, odd).remove("kubernetes.io/service-name");
    Slice { service: service.unwrap_or_default(), addresses }
}
