//! Compiled policies against a naive evaluator that reads the Kubernetes objects afresh for every flow.
//!
//! The two share no code: the naive one knows neither rows nor bitsets nor the checked form of a policy.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do, but clippy knows only functions marked as tests"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use webb::cluster::types::{
    Container, ContainerPort, IntOrString, IpBlock, LabelSelector, LabelSelectorRequirement, Namespace, NetworkPolicy,
    NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec, Node,
    NodeAddress, NodeMeta, NodeStatus, ObjectMeta, Pod, PodSpec, PodStatus,
};
use webb::cluster::{Cache, Object, Raw, Settings};
use webb::flow::{Address, Direction, Flow, L4};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NODES: [(&str, &str); 2] = [("n1", "192.168.0.1"), ("n2", "192.168.0.2")];
const STRANGERS: [&str; 3] = ["8.8.8.8", "10.0.9.9", "2001:db8::1"];
const METADATA_NAME: &str = "kubernetes.io/metadata.name";

type Map = BTreeMap<String, String>;

#[derive(Debug)]
struct Cluster {
    namespaces: Vec<Namespace>,
    pods: Vec<Pod>,
    policies: Vec<NetworkPolicy>,
}

/// A packet that opens a connection: addresses, protocol and destination port.
#[derive(Debug, Clone, Copy)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    l4: L4,
    port: u16,
}

mod naive {
    use super::*;

    pub(super) fn forbids(cluster: &Cluster, packet: &Packet) -> Option<Direction> {
        let (source, destination) = (who(cluster, packet.source), who(cluster, packet.destination));
        if source.is_some() && source == destination {
            return None;
        }
        if let Some(pod) = source
            && !allowed(cluster, pod, "Egress", packet)
        {
            return Some(Direction::Egress);
        }
        if let Some(pod) = destination
            && !(packet.source == own_node(pod) && own_node(pod).to_string() == NODES[0].1)
            && !allowed(cluster, pod, "Ingress", packet)
        {
            return Some(Direction::Ingress);
        }
        None
    }

    fn own_node(pod: &Pod) -> IpAddr {
        let name = pod.spec.as_ref().unwrap().node_name.as_ref().unwrap();
        NODES.iter().find(|(node, _)| node == name).unwrap().1.parse().unwrap()
    }

    fn who(cluster: &Cluster, address: IpAddr) -> Option<&Pod> {
        let has = |pod: &&Pod| pod.status.iter().flat_map(|status| &status.pod_ip).any(|ip| *ip == address.to_string());
        cluster.pods.iter().find(has)
    }

    fn allowed(cluster: &Cluster, pod: &Pod, direction: &str, packet: &Packet) -> bool {
        let mut isolated = false;
        for policy in &cluster.policies {
            let spec = policy.spec.as_ref().unwrap();
            let selects = policy.metadata.namespace == pod.metadata.namespace
                && spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, labels(&pod.metadata)));
            if !selects || !concerns(spec, direction) {
                continue;
            }
            isolated = true;
            if direction == "Ingress" {
                for rule in spec.ingress.iter().flatten() {
                    if peers(cluster, policy, rule.from.as_deref(), packet.source)
                        && ports(cluster, rule.ports.as_deref(), packet)
                    {
                        return true;
                    }
                }
            } else {
                for rule in spec.egress.iter().flatten() {
                    if peers(cluster, policy, rule.to.as_deref(), packet.destination)
                        && ports(cluster, rule.ports.as_deref(), packet)
                    {
                        return true;
                    }
                }
            }
        }
        !isolated
    }

    fn concerns(spec: &NetworkPolicySpec, direction: &str) -> bool {
        match spec.policy_types.as_deref() {
            None | Some([]) => direction == "Ingress" || !spec.egress.as_deref().unwrap_or_default().is_empty(),
            Some(types) => types.iter().any(|found| found == direction),
        }
    }

    fn peers(cluster: &Cluster, policy: &NetworkPolicy, peers: Option<&[NetworkPolicyPeer]>, address: IpAddr) -> bool {
        let peers = peers.unwrap_or_default();
        peers.is_empty() || peers.iter().any(|peer| is_peer(cluster, policy, peer, address))
    }

    fn is_peer(cluster: &Cluster, policy: &NetworkPolicy, peer: &NetworkPolicyPeer, address: IpAddr) -> bool {
        if let Some(block) = &peer.ip_block {
            let holds = |text: &String| text.parse::<IpNet>().unwrap().contains(&address);
            return holds(&block.cidr) && !block.except.iter().flatten().any(holds);
        }
        let Some(pod) = who(cluster, address) else { return false };
        let in_namespace = match &peer.namespace_selector {
            None => pod.metadata.namespace == policy.metadata.namespace,
            Some(selector) => {
                let name = pod.metadata.namespace.clone().unwrap();
                let object = cluster.namespaces.iter().find(|found| found.metadata.name.as_ref() == Some(&name));
                let mut labels = object.map(|found| labels(&found.metadata).clone()).unwrap_or_default();
                labels.insert(METADATA_NAME.into(), name);
                matches(selector, &labels)
            }
        };
        in_namespace && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, labels(&pod.metadata)))
    }

    fn ports(cluster: &Cluster, ports: Option<&[NetworkPolicyPort]>, packet: &Packet) -> bool {
        let ports = ports.unwrap_or_default();
        if ports.is_empty() || packet.l4 == L4::None {
            return true;
        }
        let protocol = match packet.l4 {
            L4::Tcp => "TCP",
            L4::Udp => "UDP",
            L4::Sctp => "SCTP",
            _ => return false,
        };
        ports.iter().any(|port| {
            port.protocol.as_deref().unwrap_or("TCP") == protocol
                && match &port.port {
                    None => true,
                    Some(IntOrString::Int(first)) => {
                        (*first..=port.end_port.unwrap_or(*first)).contains(&i32::from(packet.port))
                    }
                    Some(IntOrString::String(name)) => who(cluster, packet.destination).is_some_and(|pod| {
                        pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|c| c.ports.iter().flatten()).any(
                            |port| {
                                port.name.as_ref() == Some(name)
                                    && port.protocol.as_deref().unwrap_or("TCP") == protocol
                                    && port.container_port == i32::from(packet.port)
                            },
                        )
                    }),
                }
        })
    }

    fn labels(meta: &ObjectMeta) -> &Map {
        static NONE: Map = Map::new();
        meta.labels.as_ref().unwrap_or(&NONE)
    }

    fn matches(selector: &LabelSelector, labels: &Map) -> bool {
        selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
            && selector.match_expressions.iter().flatten().all(|expression| {
                let value = labels.get(&expression.key);
                let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
                match expression.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    other => panic!("{other}"),
                }
            })
    }
}

fn compiled(cluster: &Cluster, packets: &[Packet]) -> Vec<Option<Direction>> {
    let cache = Cache::new(Settings { node: NODES[0].0.into(), ..Settings::default() });
    let add = |raw: Raw| cache.upsert(Object::try_from(raw).unwrap());
    for (name, address) in NODES {
        let address = NodeAddress { type_: "InternalIP".into(), address: address.into() };
        add(Raw::Node(Box::new(Node {
            metadata: NodeMeta { name: Some(name.into()), ..NodeMeta::default() },
            spec: None,
            status: Some(NodeStatus { addresses: Some(vec![address]) }),
        })));
    }
    cluster.namespaces.iter().for_each(|object| add(Raw::Namespace(Box::new(object.clone()))));
    cluster.pods.iter().for_each(|object| add(Raw::Pod(Box::new(object.clone()))));
    cluster.policies.iter().for_each(|object| add(Raw::NetworkPolicy(Box::new(object.clone()))));
    let index = cache.index();
    let judge = |packet: &Packet| {
        let (source_ip, destination_ip) = (Address::from(packet.source), Address::from(packet.destination));
        let flow = Flow {
            source: index.find(source_ip),
            destination: index.find(destination_ip),
            source_ip,
            destination_ip,
            destination_port: packet.port,
            l4: packet.l4,
            ..Flow::default()
        };
        index.policies().forbids(&index, &flow).map(|denial| denial.direction)
    };
    packets.iter().map(judge).collect()
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

fn a_map() -> impl Strategy<Value = Map> {
    prop::collection::btree_map(text(&["k", "l"]), text(&["x", "y"]), 0..3)
}

fn a_selector() -> impl Strategy<Value = LabelSelector> {
    let expression = (text(&["k", "l", METADATA_NAME]), 0..4_usize, vec(text(&["x", "y", "a", "b"]), 1..3));
    let expression = expression.prop_map(|(key, operator, values)| LabelSelectorRequirement {
        key,
        operator: ["In", "NotIn", "Exists", "DoesNotExist"][operator].into(),
        values: (operator < 2).then_some(values),
    });
    (option::of(a_map()), option::of(vec(expression, 0..2)))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn a_peer() -> impl Strategy<Value = NetworkPolicyPeer> {
    let block = (text(&["10.0.0.0/8", "0.0.0.0/0", "10.0.1.0/24", "::/0", "192.168.0.0/24"]), any::<bool>());
    let block = block.prop_map(|(cidr, except)| NetworkPolicyPeer {
        ip_block: Some(IpBlock {
            except: (except && (cidr.starts_with("10.0.0") || cidr.starts_with('0')))
                .then(|| vec!["10.0.0.0/24".to_owned(), "10.0.9.0/25".to_owned()]),
            cidr,
        }),
        ..NetworkPolicyPeer::default()
    });
    let pods = (option::of(a_selector()), option::of(a_selector())).prop_map(|(namespaces, pods)| NetworkPolicyPeer {
        pod_selector: if namespaces.is_none() { Some(pods.unwrap_or_default()) } else { pods },
        namespace_selector: namespaces,
        ip_block: None,
    });
    prop_oneof![1 => block, 3 => pods]
}

fn a_port() -> impl Strategy<Value = NetworkPolicyPort> {
    let port = prop_oneof![
        Just(None),
        (1..6).prop_map(|number| Some(IntOrString::Int(number))),
        text(&["http", "dns"]).prop_map(|name| Some(IntOrString::String(name))),
    ];
    (port, option::of(0..3), option::of(text(&["TCP", "UDP", "SCTP"]))).prop_map(|(port, more, protocol)| {
        let end_port = match (&port, more) {
            (Some(IntOrString::Int(first)), Some(more)) => Some(first + more),
            _ => None,
        };
        NetworkPolicyPort { end_port, port, protocol }
    })
}

fn a_policy() -> impl Strategy<Value = NetworkPolicy> {
    let rule = || (option::of(vec(a_peer(), 0..3)), option::of(vec(a_port(), 0..3)));
    let incoming = rule().prop_map(|(from, ports)| NetworkPolicyIngressRule { from, ports });
    let outgoing = rule().prop_map(|(to, ports)| NetworkPolicyEgressRule { to, ports });
    let types: &'static [&'static [&'static str]] = &[&[], &["Ingress"], &["Egress"], &["Ingress", "Egress"]];
    let types = option::of(select(types).prop_map(|types| types.iter().map(|&one| one.to_owned()).collect()));
    let rules = (option::of(vec(incoming, 0..3)), option::of(vec(outgoing, 0..3)));
    (text(&NAMESPACES), option::of(a_selector()), types, rules).prop_map(
        |(namespace, pod_selector, policy_types, (ingress, egress))| NetworkPolicy {
            metadata: ObjectMeta { namespace: Some(namespace), ..ObjectMeta::default() },
            spec: Some(NetworkPolicySpec { egress, ingress, pod_selector, policy_types }),
        },
    )
}

fn a_pod() -> impl Strategy<Value = Pod> {
    let port = (text(&["http", "dns"]), 1..6, option::of(text(&["TCP", "UDP"])));
    let port =
        port.prop_map(|(name, container_port, protocol)| ContainerPort { name: Some(name), container_port, protocol });
    (text(&NAMESPACES), option::of(a_map()), vec(port, 0..3), 0..2_usize).prop_map(
        |(namespace, labels, ports, node)| {
            let container = Container { ports: Some(ports), ..Container::default() };
            Pod {
                metadata: ObjectMeta { namespace: Some(namespace), labels, ..ObjectMeta::default() },
                spec: Some(PodSpec {
                    containers: vec![container],
                    node_name: Some(NODES[node].0.into()),
                    ..PodSpec::default()
                }),
                status: None,
            }
        },
    )
}

/// Pods and policies get their names and addresses by their places: 10.0.0.0, 10.0.1.1, 10.0.0.2, ...
fn a_cluster() -> impl Strategy<Value = Cluster> {
    let namespaces = vec(option::of(a_map()), NAMESPACES.len());
    (namespaces, vec(a_pod(), 1..8), vec(a_policy(), 0..5)).prop_map(|(namespaces, mut pods, mut policies)| {
        for (at, pod) in pods.iter_mut().enumerate() {
            pod.metadata.name = Some(format!("pod-{at}"));
            pod.status = Some(PodStatus { pod_ip: Some(format!("10.0.{}.{at}", at % 2)), ..PodStatus::default() });
        }
        for (at, policy) in policies.iter_mut().enumerate() {
            policy.metadata.name = Some(format!("policy-{at}"));
        }
        // The last namespace has no object.
        let namespaces = NAMESPACES.iter().zip(namespaces).take(2).map(|(name, labels)| Namespace {
            metadata: ObjectMeta { name: Some((*name).to_owned()), labels, ..ObjectMeta::default() },
        });
        Cluster { namespaces: namespaces.collect(), pods, policies }
    })
}

/// Everyone to everyone, on every protocol, on ports around those that rules name.
fn packets(cluster: &Cluster) -> Vec<Packet> {
    let pods = cluster.pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let others = NODES.iter().map(|(_, address)| *address).chain(STRANGERS).map(str::to_owned);
    let addresses: Vec<IpAddr> = pods.chain(others).map(|text| text.parse().unwrap()).collect();
    let mut packets = Vec::new();
    for &source in &addresses {
        for &destination in &addresses {
            for l4 in [L4::Tcp, L4::Udp, L4::Sctp, L4::IcmpV4, L4::None] {
                for port in 1..8 {
                    packets.push(Packet { source, destination, l4, port });
                }
            }
        }
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any cluster and any policies, every possible packet is judged alike by both.
    #[test]
    fn compiled_equals_naive(cluster in a_cluster()) {
        let packets = packets(&cluster);
        for (packet, got) in packets.iter().zip(compiled(&cluster, &packets)) {
            let expected = naive::forbids(&cluster, packet);
            prop_assert!(got == expected, "{packet:?}: compiled says {got:?}, naive says {expected:?}");
        }
    }
}

/// The property is worth something only if the clusters it meets forbid some packets and allow others, in both
/// directions: a generator gone stale would pass silently.
#[test]
fn the_generator_reaches_every_verdict() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = [0_usize; 3];
    for _ in 0..30 {
        let cluster = a_cluster().new_tree(&mut runner).unwrap().current();
        for packet in packets(&cluster) {
            seen[naive::forbids(&cluster, &packet).map_or(0, |direction| direction as usize)] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count > 1_000), "{seen:?}");
}
