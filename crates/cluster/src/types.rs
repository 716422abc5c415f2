//! Kubernetes' objects as far as webb reads them, field by field under the API's own names.
//!
//! The full types would make the reading of a pod several times as large, in code and in memory,
//! for fields that are thrown away at once; and an object may be wrong in a field that is not read
//! without harm. What does not fit these types is passed over by `partly`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads `null` as empty: Go writes a slice that was never made so.
fn or_null<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A list. An item may be `null`, which is nothing in Kubernetes' lists: it is passed over, and its
/// neighbours keep their places in messages.
pub type List<T> = Option<Vec<Option<T>>>;

/// `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "the names are Kubernetes' own, here and below")]
pub struct ObjectMeta {
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub generate_name: Option<String>,
    pub creation_timestamp: Option<Time>,
    pub labels: Option<Labels>,
    #[serde(default, deserialize_with = "or_null")]
    pub annotations: Annotations,
    pub owner_references: List<OwnerReference>,
}

/// Labels. One whose value is no text is passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// The good ones.
    pub texts: BTreeMap<String, String>,
    /// Keys of the others.
    pub unreadable: Vec<String>,
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(texts: BTreeMap<String, String>) -> Self {
        Self { texts, unreadable: Vec::new() }
    }
}

/// The annotations that are read; all others are skipped, since some hold whole objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Those that are texts.
    pub texts: BTreeMap<String, String>,
    /// Keys of the others.
    pub unreadable: Vec<String>,
}

impl Annotations {
    /// Whether an annotation of this key is kept.
    pub(super) fn wanted(key: &str) -> bool {
        key == NETWORK_STATUS || key.ends_with(SECURITY_GROUPS) || TUNNEL_ADDRESSES.contains(&key)
    }

    /// Annotation with the interfaces and addresses of a pod, by network.
    pub fn network_status(&self) -> Option<&str> {
        self.texts.get(NETWORK_STATUS).map(String::as_str)
    }

    /// Whether Kube-OVN's security groups apply to the pod, on whichever of its networks, or may.
    pub fn security_groups(&self) -> bool {
        self.texts.iter().any(|(key, value)| key.ends_with(SECURITY_GROUPS) && !value.is_empty())
            || self.unreadable.iter().any(|key| key.ends_with(SECURITY_GROUPS))
    }
}

/// Multus' annotation, which other implementations write too.
pub(super) const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// Kube-OVN's annotation, which other networks than the first have a prefix before.
const SECURITY_GROUPS: &str = "ovn.kubernetes.io/security_groups";

/// Annotations in which a network plugin notes the address of a tunnel or bridge that the node
/// itself has: Calico, Cilium (by its old name, too), Kube-OVN.
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

/// A text, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Other(serde::de::IgnoredAny),
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<(String, Option<String>)>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a mapping of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Text>()? {
            found.push(match value {
                Text::Text(text) => (key, Some(text)),
                Text::Other(_) => (key, None),
            });
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut labels = Self::default();
        for (key, value) in from.deserialize_map(Texts)? {
            match value {
                Some(value) => _ = labels.texts.insert(key, value),
                None => labels.unreadable.push(key),
            }
        }
        Ok(labels)
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut annotations = Self::default();
        for (key, value) in from.deserialize_map(Texts)?.into_iter().filter(|(key, _)| Self::wanted(key)) {
            match value {
                Some(value) => _ = annotations.texts.insert(key, value),
                None => annotations.unreadable.push(key),
            }
        }
        Ok(annotations)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
    pub controller: Option<bool>,
}

/// A point in time, only to be compared: the digits of `2026-01-02T15:04:05Z` as one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Time(pub i64);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const SHAPE: &[u8] = b"0000-00-00T00:00:00";
        let seconds = text.as_bytes().get(..SHAPE.len());
        let fits = seconds.is_some_and(|seconds| {
            seconds.iter().zip(SHAPE).all(|(found, wanted)| match wanted {
                b'0' => found.is_ascii_digit(),
                other => found == other,
            })
        });
        if !fits || !text.ends_with('Z') {
            return Err(format!("`{text}` is not a time such as 2026-01-02T15:04:05Z"));
        }
        let digits = text.bytes().take(SHAPE.len()).filter(u8::is_ascii_digit);
        Ok(Self(digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Pod {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub spec: Option<PodSpec>,
    pub status: Option<PodStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct PodSpec {
    pub containers: List<Container>,
    pub init_containers: List<Container>,
    pub host_network: Option<bool>,
    pub node_name: Option<String>,
    pub service_account_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Container {
    #[serde(default)]
    pub name: String,
    pub ports: List<ContainerPort>,
    pub restart_policy: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct ContainerPort {
    pub name: Option<String>,
    pub container_port: i32,
    pub protocol: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct PodStatus {
    pub phase: Option<String>,
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub pod_ips: List<PodIp>,
    pub start_time: Option<Time>,
    pub conditions: List<PodCondition>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct PodCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct PodIp {
    pub ip: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Namespace {
    #[serde(default)]
    pub metadata: ObjectMeta,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Node {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub spec: Option<NodeSpec>,
    pub status: Option<NodeStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: List<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct NodeStatus {
    pub addresses: List<NodeAddress>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct NodeAddress {
    #[serde(rename = "type")]
    pub type_: String,
    pub address: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Service {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub spec: Option<ServiceSpec>,
    pub status: Option<ServiceStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: List<String>,
    #[serde(rename = "externalIPs")]
    pub external_ips: List<String>,
    pub ports: List<ServicePort>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct ServicePort {
    pub protocol: Option<String>,
    pub port: i32,
    pub node_port: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct ServiceStatus {
    pub load_balancer: Option<LoadBalancerStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct LoadBalancerStatus {
    pub ingress: List<LoadBalancerIngress>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct LoadBalancerIngress {
    pub ip: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct EndpointSlice {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub address_type: Option<String>,
    pub endpoints: List<Endpoint>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Endpoint {
    pub addresses: List<String>,
}

/// A policy, of whatever kind: what it specifies is read strictly, field by field, in `policy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Policy {
    #[serde(default)]
    pub metadata: ObjectMeta,
    pub spec: Option<serde_json::Value>,
}

/// An object of which nothing but its name matters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(expecting = "a mapping")]
#[allow(missing_docs, reason = "see above")]
pub struct Metadata {
    #[serde(default)]
    pub metadata: ObjectMeta,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times need only their order, but a text that is none must be refused.
    #[test]
    fn times_compare() {
        let time = |text: &str| Time::try_from(text.to_owned());
        assert!(time("2026-01-02T15:04:05Z").unwrap() < time("2026-01-02T15:04:06Z").unwrap());
        assert!(time("2025-12-31T23:59:59Z").unwrap() < time("2026-01-01T00:00:00.123456Z").unwrap());
        for wrong in ["", "yesterday", "2026-01-02", "2026-01-02T15:04:05+02:00", "2026-01-02 15:04:05Z"] {
            assert!(time(wrong).unwrap_err().contains("2026-01-02T15:04:05Z"), "{wrong}");
        }
    }
}
