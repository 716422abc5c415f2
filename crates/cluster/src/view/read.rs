//! Objects as the API has them, cut down to the view.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::kinds::ViewedKind;
use crate::{Kind, ObjectKey};

/// A pod, as far as it is viewed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a truth of its own")]
pub struct ViewedPod {
    /// The node it runs on; empty if it is not scheduled.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its phase is Running.
    pub running: bool,
    /// It has ended, and has given its addresses up.
    pub finished: bool,
    /// Its condition Ready is true.
    pub ready: bool,
    /// It has the node's addresses.
    pub host_network: bool,
    /// It has the labels of an agent.
    pub is_agent: bool,
}

/// A condition in a status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Condition {
    /// `type`.
    #[serde(rename = "type", default)]
    pub name: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default)]
    pub status: String,
    /// A word for the reason.
    #[serde(default)]
    pub reason: String,
}

/// A ServiceImport, as far as it is viewed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Import {
    /// Its conditions.
    pub conditions: Vec<Condition>,
    /// Number of clusters behind it.
    pub clusters: u64,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum ViewedObject {
    /// A pod, and its labels.
    Pod(ObjectKey, ViewedPod, HashMap<String, String>),
    /// A node with its `podCIDRs`.
    Node(ObjectKey, Vec<IpNet>),
    /// A service of the type LoadBalancer; true if it has an address or a name.
    LoadBalancer(ObjectKey, bool),
    OtherService(ObjectKey),
    Export(ObjectKey, Vec<Condition>),
    Import(ObjectKey, Import),
    GatewayClass(ObjectKey),
    IngressClass(ObjectKey),
}

#[derive(Deserialize)]
struct Raw<Spec, Status> {
    metadata: RawMeta,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[derive(Deserialize)]
struct RawMeta {
    labels: Option<HashMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawPodSpec {
    node_name: Option<String>,
    host_network: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawPodStatus {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<RawIp>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

#[derive(Deserialize)]
struct RawIp {
    ip: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawNodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct RawServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawServiceStatus {
    load_balancer: Option<RawLoadBalancer>,
}

#[derive(Deserialize, Default)]
struct RawLoadBalancer {
    ingress: Option<Vec<RawIngress>>,
}

#[derive(Deserialize)]
struct RawIngress {
    ip: Option<String>,
    hostname: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawMulticlusterStatus {
    conditions: Option<Vec<Condition>>,
    clusters: Option<Vec<IgnoredAny>>,
}

/// Reads an object of a kind.
///
/// # Errors
/// The reason, if it cannot be used.
pub(crate) fn read(kind: Kind, key: ObjectKey, json: &str) -> Result<ViewedObject, String> {
    match (kind, ViewedKind::of(kind)) {
        (Kind::Pod, _) => pod(key, json),
        (Kind::Node, _) => node(key, json),
        (Kind::Service, _) => service(key, json),
        (_, Some(viewed)) => other(viewed, key, json),
        (_, None) => Err(format!("{} is not viewed", kind.name())),
    }
}

fn parse<Spec: DeserializeOwned, Status: DeserializeOwned>(json: &str) -> Result<Raw<Spec, Status>, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

fn pod(key: ObjectKey, json: &str) -> Result<ViewedObject, String> {
    let raw: Raw<RawPodSpec, RawPodStatus> = parse(json)?;
    let (spec, status) = (raw.spec.unwrap_or_default(), raw.status.unwrap_or_default());
    let listed = status.pod_ips.into_iter().flatten().filter_map(|address| address.ip);
    let mut addresses = Vec::new();
    for text in listed.chain(status.pod_ip).filter(|text| !text.is_empty()) {
        let address = text.parse().map_err(|_| format!("status.podIPs: {text:?} is not an IP address"))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let phase = status.phase.unwrap_or_default();
    let is_ready = |condition: &Condition| condition.name == "Ready" && condition.status == "True";
    let pod = ViewedPod {
        node: spec.node_name.unwrap_or_default(),
        addresses,
        running: phase == "Running",
        finished: phase == "Succeeded" || phase == "Failed",
        ready: status.conditions.iter().flatten().any(is_ready),
        host_network: spec.host_network.unwrap_or_default(),
        is_agent: false,
    };
    Ok(ViewedObject::Pod(key, pod, raw.metadata.labels.unwrap_or_default()))
}

fn node(key: ObjectKey, json: &str) -> Result<ViewedObject, String> {
    let raw: Raw<RawNodeSpec, IgnoredAny> = parse(json)?;
    let spec = raw.spec.unwrap_or_default();
    let texts = spec.pod_cidrs.filter(|cidrs| !cidrs.is_empty());
    let texts = texts.unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let networks = texts
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<IpNet>().map_err(|_| format!("spec.podCIDRs: {text:?} is not a network")));
    Ok(ViewedObject::Node(key, networks.collect::<Result<_, _>>()?))
}

fn service(key: ObjectKey, json: &str) -> Result<ViewedObject, String> {
    let raw: Raw<RawServiceSpec, RawServiceStatus> = parse(json)?;
    if raw.spec.unwrap_or_default().kind.as_deref() != Some("LoadBalancer") {
        return Ok(ViewedObject::OtherService(key));
    }
    let ingress = raw.status.unwrap_or_default().load_balancer.unwrap_or_default().ingress;
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let has_address = ingress.iter().flatten().any(|ingress| is_set(&ingress.ip) || is_set(&ingress.hostname));
    Ok(ViewedObject::LoadBalancer(key, has_address))
}

fn other(kind: ViewedKind, key: ObjectKey, json: &str) -> Result<ViewedObject, String> {
    let status = |json| -> Result<RawMulticlusterStatus, String> {
        let raw: Raw<IgnoredAny, RawMulticlusterStatus> = parse(json)?;
        Ok(raw.status.unwrap_or_default())
    };
    Ok(match kind {
        ViewedKind::ServiceExport => ViewedObject::Export(key, status(json)?.conditions.unwrap_or_default()),
        ViewedKind::ServiceImport => {
            let RawMulticlusterStatus { conditions, clusters } = status(json)?;
            let clusters = clusters.map_or(0, |clusters| clusters.len() as u64);
            ViewedObject::Import(key, Import { conditions: conditions.unwrap_or_default(), clusters })
        }
        ViewedKind::GatewayClass => ViewedObject::GatewayClass(key),
        ViewedKind::IngressClass => ViewedObject::IngressClass(key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey { namespace: "n".to_owned(), name: "o".to_owned() }
    }

    /// Objects of each kind, as servers send them.
    #[test]
    fn objects_of_each_kind() {
        let json = r#"{"metadata":{"name":"o","namespace":"n","labels":{"a":"b"}},"spec":{"nodeName":"n1"},"status":
            {"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],
             "conditions":[{"type":"Ready","status":"True"}]}}"#;
        let ViewedObject::Pod(_, pod, labels) = read(Kind::Pod, key(), json).unwrap() else { panic!() };
        assert!(pod.running && pod.ready && !pod.host_network && !pod.finished && labels["a"] == "b");
        assert_eq!((pod.addresses.len(), pod.node.as_str()), (2, "n1"));
        let service = |json: &str| read(Kind::Service, key(), json).unwrap();
        let waiting = r#"{"metadata":{},"spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{}}}"#;
        assert_eq!(service(waiting), ViewedObject::LoadBalancer(key(), false));
        for address in [r#"{"ip":"192.0.2.1"}"#, r#"{"hostname":"lb.example.com"}"#] {
            let json = waiting.replace("\"loadBalancer\":{}", &format!("\"loadBalancer\":{{\"ingress\":[{address}]}}"));
            assert_eq!(service(&json), ViewedObject::LoadBalancer(key(), true));
        }
        assert_eq!(service(r#"{"metadata":{},"spec":null}"#), ViewedObject::OtherService(key()));
        let import = r#"{"metadata":{},"spec":{"ports":[]},"status":{"clusters":[{"cluster":"a"},{"cluster":"b"}],
            "conditions":[{"type":"Ready","status":"False","reason":"Conflict","message":"m"}]}}"#;
        let ViewedObject::Import(_, import) = read(ViewedKind::ServiceImport.kind(), key(), import).unwrap() else {
            panic!()
        };
        assert_eq!((import.clusters, import.conditions[0].reason.as_str()), (2, "Conflict"));
        let node = read(Kind::Node, key(), r#"{"metadata":{},"spec":{"podCIDR":"10.1.0.0/24"}}"#).unwrap();
        assert_eq!(node, ViewedObject::Node(key(), vec!["10.1.0.0/24".parse().unwrap()]));
    }

    /// A wrong field is named.
    #[test]
    fn wrong_fields_are_named() {
        for (kind, json, expected) in [
            (Kind::Pod, r#"{"metadata":{},"status":{"podIP":"10.0.0.256"}}"#, "not an IP address"),
            (Kind::Node, r#"{"metadata":{},"spec":{"podCIDRs":["10.0.0.0/33"]}}"#, "spec.podCIDRs"),
            (Kind::Service, r#"{"metadata":{},"spec":{"type":7}}"#, "invalid type"),
            (Kind::Namespace, "{}", "is not viewed"),
        ] {
            let why = read(kind, key(), json).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
