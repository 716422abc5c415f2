//! Compiled policies against a naive evaluator that reads the Kubernetes objects afresh for every
//! flow.
//!
//! The two share no code. The naive one knows neither rows nor bitsets nor the checked form of a
//! policy, and it has no three-valued answers: where something is unknown it tries every way it may
//! turn out, one after the other, and collects what each comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};
use webb_cluster::{Cache, CacheSettings, Object, Raw, Reference, types};
use webb_flow::{Address, Direction, Flow, L4};
use webb_index::Index;
use webb_index::policy::Decision;
use webb_index::policy::spec::PolicyKind;

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NODES: [(&str, &str); 2] = [("n1", "192.168.0.1"), ("n2", "192.168.0.2")];
const STRANGERS: [&str; 3] = ["8.8.8.8", "10.0.9.9", "2001:db8::1"];
const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// The name of unreadable parts.
const ODD: &str = "odd";

type Map = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq)]
struct Pod {
    namespace: String,
    labels: Map,
    /// Name, protocol, number.
    ports: Vec<(String, String, u16)>,
    node: usize,
    address: String,
}

#[derive(Debug, Clone)]
struct Cluster {
    /// Labels; the last namespace has no object.
    namespaces: Vec<Map>,
    pods: Vec<Pod>,
    /// Each with its kind.
    policies: Vec<(PolicyKind, Value)>,
}

/// A packet that opens a connection: addresses, protocol and destination port.
#[derive(Debug, Clone, Copy)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    l4: L4,
    port: u16,
}

mod clusters;
mod naive;
mod steps;

use clusters::a_cluster;

fn node_labels(at: usize) -> Map {
    [[("k", "x")], [("l", "y")]][at].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read<T: serde::de::DeserializeOwned, B: From<T>>(object: Value) -> B {
    serde_json::from_value::<T>(object).unwrap().into()
}

/// The compiled policies' answers: of the source's end, of the destination's, and who is said to
/// have dropped it.
type Told = ([Option<Decision>; 2], Option<Direction>);

fn compiled(cluster: &Cluster, packets: &[Packet]) -> Vec<Told> {
    let cache = Cache::new(CacheSettings { node: NODES[0].0.into(), ..CacheSettings::default() });
    for object in objects(cluster).into_values() {
        cache.upsert(object);
    }
    judge(&cache.index(), packets)
}

/// The objects of a cluster.
fn objects(cluster: &Cluster) -> BTreeMap<Name, Object> {
    let mut raw = Vec::new();
    for (at, (name, address)) in NODES.into_iter().enumerate() {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        let metadata = json!({"name": name, "labels": node_labels(at)});
        raw.push(Raw::Node(read::<types::Node, _>(json!({"metadata": metadata, "status": {"addresses": addresses}}))));
    }
    for (name, labels) in NAMESPACES.iter().zip(&cluster.namespaces) {
        raw.push(Raw::Namespace(read::<types::Namespace, _>(json!({"metadata": {"name": name, "labels": labels}}))));
    }
    for (at, pod) in cluster.pods.iter().enumerate() {
        let ports = pod.ports.iter();
        let ports =
            ports.map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "containerPort": port}));
        raw.push(Raw::Pod(read::<types::Pod, _>(json!({
            "metadata": {"name": format!("pod-{at}"), "namespace": pod.namespace, "labels": pod.labels},
            "spec": {"nodeName": NODES[pod.node].0, "containers": [{"ports": ports.collect::<Vec<_>>()}]},
            "status": {"podIP": pod.address},
        }))));
    }
    for (kind, policy) in &cluster.policies {
        let policy: Box<_> = read::<types::Policy, _>(policy.clone());
        raw.push(match kind {
            PolicyKind::NetworkPolicy => Raw::NetworkPolicy(policy),
            kind => Raw::Tiered(*kind, policy),
        });
    }
    let objects = raw.into_iter().map(|raw| Object::try_from(raw).unwrap());
    objects.map(|object| (name(&object.reference()), object)).collect()
}

/// Kind, namespace and name of an object.
type Name = (String, String, String);

fn name(Reference { kind, key }: &Reference) -> Name {
    (format!("{kind:?}"), key.namespace.clone(), key.name.clone())
}

fn judge(index: &Index, packets: &[Packet]) -> Vec<Told> {
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
        let evaluation = index.policies().evaluate(index, &flow);
        let answers =
            [evaluation.egress, evaluation.ingress].map(|evaluation| evaluation.map(|evaluation| evaluation.decision));
        (answers, index.policies().forbids(index, &flow).map(|denial| denial.direction))
    };
    packets.iter().map(judge).collect()
}

/// The same from the naive evaluator; none for a packet with too many ways.
fn expected(cluster: &Cluster, packet: &Packet) -> Option<Told> {
    let sides = [Direction::Egress, Direction::Ingress];
    let [egress, ingress] = sides.map(|direction| naive::says(cluster, packet, direction));
    let says = [egress?, ingress?];
    let answer = |says: &BTreeSet<naive::Says>| match says.iter().collect::<Vec<_>>()[..] {
        [] => None,
        [naive::Says::Allow] => Some(Decision::Allow),
        [naive::Says::Deny] => Some(Decision::Deny),
        _ => Some(Decision::Undecided),
    };
    let denies = |says: &BTreeSet<naive::Says>| !says.is_empty() && !says.contains(&naive::Says::Allow);
    let dropped = says.iter().position(denies).map(|at| sides[at]);
    Some(([answer(&says[0]), answer(&says[1])], dropped))
}

/// Everyone to everyone, on every protocol, on ports around those that rules name.
fn packets(cluster: &Cluster) -> Vec<Packet> {
    let pods = cluster.pods.iter().map(|pod| pod.address.clone());
    let others = NODES.iter().map(|(_, address)| *address).chain(STRANGERS).map(str::to_owned);
    let addresses: Vec<IpAddr> = pods.chain(others).map(|text| text.parse().unwrap()).collect();
    let mut packets = Vec::new();
    for &source in &addresses {
        for &destination in &addresses {
            for l4 in [L4::Tcp, L4::Udp, L4::Sctp, L4::IcmpV4, L4::None] {
                let ports = if matches!(l4, L4::IcmpV4 | L4::None) { 1..2 } else { 1..8 };
                packets.extend(ports.map(|port| Packet { source, destination, l4, port }));
            }
        }
    }
    packets
}

fn compare(cluster: &Cluster) -> Result<(), TestCaseError> {
    let packets = packets(cluster);
    agree(cluster, &packets, &compiled(cluster, &packets))
}

fn agree(cluster: &Cluster, packets: &[Packet], told: &[Told]) -> Result<(), TestCaseError> {
    for (packet, got) in packets.iter().zip(told) {
        let Some(expected) = expected(cluster, packet) else { continue };
        prop_assert!(*got == expected, "{packet:?}: compiled says {got:?}, naive says {expected:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any cluster and any NetworkPolicies, every possible packet is judged alike by both.
    #[test]
    fn network_policies_alone(cluster in a_cluster(0)) {
        compare(&cluster)?;
    }

    /// The same with policies of all kinds, versions, actions and tiers.
    #[test]
    fn every_kind(cluster in a_cluster(6)) {
        compare(&cluster)?;
    }
}

/// The property is worth something only if the clusters it meets come to every answer at both ends,
/// and only few packets have too many ways to be told.
#[test]
fn the_property_sees_all_answers() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut seen, mut dropped, mut lost, mut packets_seen) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
    for _ in 0..40 {
        let cluster = a_cluster(6).new_tree(&mut runner).unwrap().current();
        for packet in packets(&cluster) {
            packets_seen += 1;
            match expected(&cluster, &packet) {
                None => lost += 1,
                Some((answers, denial)) => {
                    for (side, answer) in answers.into_iter().enumerate() {
                        *seen.entry((side, answer.map(|answer| format!("{answer:?}")))).or_insert(0) += 1;
                    }
                    *dropped.entry(denial.map(|direction| direction as u8)).or_insert(0) += 1;
                }
            }
        }
    }
    println!("{seen:?}\n{dropped:?}\n{lost} of {packets_seen} packets have too many ways");
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(seen.values().all(|count| *count > 500), "{seen:?}");
    assert_eq!(dropped.len(), 3, "{dropped:?}");
    assert!(lost * 20 < packets_seen, "{lost} of {packets_seen}");
}
