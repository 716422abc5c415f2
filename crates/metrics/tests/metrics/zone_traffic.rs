//! `zones` and `opencost`: each byte once in the cluster, whatever number of agents sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::sym::Sym;
use webb_flow::{Direction, EndpointId, Event, Family, Flow, L4, Point, Reply, Sort, Verdict};
use webb_index::{AgentNodes, CidrSpec, Draft, Endpoint, EndpointKind, Index, PodChanges, ZoneSpec, Zones};
use webb_metrics::Aggregator;

use crate::common::{address, aggregators, exposition, feed, pod};

/// Nodes, each with its zone and region, and whether an agent is there.
const NODES: [(&str, &str, &str, bool); 4] =
    [("n0", "a", "west", true), ("n1", "b", "west", true), ("n2", "a", "west", false), ("n3", "c", "east", true)];

/// Addresses: two pods of each node, the nodes themselves, and others.
const ENDS: [&str; 16] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.1.1",
    "10.0.1.2",
    "10.0.2.1",
    "10.0.2.2",
    "10.0.3.1",
    "10.0.3.2",
    "192.168.0.0",
    "192.168.0.1",
    "192.168.0.2",
    "192.168.0.3",
    "8.8.8.8",
    "10.77.0.1",
    "10.78.0.1",
    "10.96.0.1",
];

/// Ends that are pods: the first so many.
const PODS: usize = 8;

fn node_of(end: usize) -> Option<usize> {
    match end {
        0..PODS => Some(end / 2),
        8..12 => Some(end - 8),
        _ => None,
    }
}

/// What the agent of a node knows.
fn index(own: usize, overhead: u32) -> Arc<Index> {
    let mut draft = Draft::default();
    for (end, ip) in ENDS.iter().enumerate() {
        let Some(node) = node_of(end) else { continue };
        let name = Sym::new(NODES[node].0);
        let (sort, endpoint) = match (end < PODS, node == own) {
            (true, true) => (Sort::Local, pod("default", &format!("pod-{end}"), "w")),
            (true, false) => (Sort::Remote, Endpoint { local: false, ..pod("default", &format!("pod-{end}"), "w") }),
            (false, true) => (Sort::Node, Endpoint::reserved(EndpointKind::Host, 1, "reserved:host")),
            (false, false) => (Sort::Node, Endpoint::reserved(EndpointKind::RemoteNode, 6, "reserved:remote-node")),
        };
        let id = draft.add(sort, Endpoint { node: name, ..endpoint });
        draft.set(address(ip), Some(id), None);
    }
    draft.set(address(ENDS[15]), Some(EndpointId::new(Sort::Service, 1)), None);
    let nodes =
        NODES.map(|(node, zone, region, _)| ZoneSpec { node: node.into(), zone: zone.into(), region: region.into() });
    let cidr = CidrSpec {
        network: "10.77.0.0/16".parse().unwrap(),
        zone: "b".into(),
        region: "west".into(),
        name: "x".into(),
    };
    draft.set_zones(Zones::new(NODES[own].0, nodes.into(), Arc::new([cidr])).with_overhead(overhead), 0);
    draft.set_agents(AgentNodes::new(NODES.iter().filter(|node| node.3).map(|node| node.0)));
    Arc::new(draft.publish(0, PodChanges::default()))
}

/// A packet of a connection, as an agent has it at the interface of one end.
fn seen(index: &Index, (opener, called): (usize, usize), by_opener: bool, reply: bool, bytes: u64) -> Flow {
    let (from, to) = if reply { (called, opener) } else { (opener, called) };
    let (source_ip, destination_ip) = (address(ENDS[from]), address(ENDS[to]));
    Flow {
        source_ip,
        destination_ip,
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        bytes,
        packets: 2,
        family: Family::V4,
        l4: L4::Tcp,
        event: if bytes.is_multiple_of(2) { Event::Flush } else { Event::Trace },
        point: if by_opener == reply { Point::ToEndpoint } else { Point::ToStack },
        verdict: Verdict::Forwarded,
        direction: if by_opener { Direction::Egress } else { Direction::Ingress },
        reply: if reply { Reply::Yes } else { Reply::No },
        ifindex: 1,
        ..Flow::default()
    }
}

fn watched(end: usize) -> Option<usize> {
    node_of(end).filter(|node| end < PODS && NODES[*node].3)
}

/// The agents of a cluster.
struct Cluster(Vec<(Arc<Index>, Vec<Aggregator>)>);

impl Cluster {
    fn new(metrics: &str, overhead: u32) -> Self {
        Self((0..NODES.len()).map(|node| (index(node, overhead), aggregators(metrics))).collect())
    }

    /// One packet of a connection passes all interfaces that it passes.
    fn passes(&mut self, ends: (usize, usize), reply: bool, bytes: u64) {
        for (end, by_opener) in [(ends.0, true), (ends.1, false)] {
            if let Some(node) = watched(end) {
                let (index, metrics) = &mut self.0[node];
                let flow = seen(index, ends, by_opener, reply, bytes);
                feed(metrics, &[flow], index);
            }
        }
    }

    /// Sums over all agents by series.
    fn sums(&mut self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (_, metrics) in &mut self.0 {
            for line in exposition(metrics).lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                *sums.entry(series.to_owned()).or_default() += value.parse::<u64>().unwrap();
            }
        }
        sums
    }
}

fn sum(sums: &BTreeMap<String, u64>, parts: &[&str]) -> u64 {
    sums.iter().filter(|(series, _)| parts.iter().all(|part| series.contains(part))).map(|(_, value)| value).sum()
}

/// Every scope, letter by letter, with zones and pods of both ends: what two agents, or one, have
/// together.
#[test]
fn a_cluster_is_counted_once() {
    let mut cluster = Cluster::new("zones opencost", 0);
    for ends in
        [(0, 1), (0, 2), (4, 0), (0, 4), (2, 6), (1, 12), (12, 1), (0, 13), (0, 14), (0, 15), (0, 8), (0, 9), (4, 5)]
    {
        cluster.passes(ends, false, 101);
        cluster.passes(ends, true, 1000);
    }
    let text: Vec<String> = cluster.sums().iter().map(|(series, value)| format!("{series} {value}")).collect();
    insta::assert_snapshot!(text.join("\n"));
}

/// A tunnel's bytes are added to packets between pods of two nodes, in both metrics.
#[test]
fn tunnels_add_to_packets() {
    let mut cluster = Cluster::new("zones opencost", 50);
    for ends in [(0, 1), (0, 2), (0, 9), (0, 12)] {
        cluster.passes(ends, false, 1000);
    }
    let sums = cluster.sums();
    let bytes = |scope: &str| sum(&sums, &["webb_zone_traffic_bytes", scope]);
    assert_eq!([bytes("same_node"), bytes("cross_zone"), bytes("internet")], [1000, 2100, 1000]);
    assert_eq!(sum(&sums, &["webb_zone_traffic_packets"]), 8);
    assert_eq!(sum(&sums, &["egress", "pod-0"]), 4100);
    assert_eq!(sum(&sums, &["ingress", "pod-2"]), 1100);
}

/// What is no IP packet has no ends, a device of the node is passed by what an interface has
/// counted, and a dropped packet was not delivered.
#[test]
fn what_is_not_counted() {
    let index = index(0, 0);
    let flow = seen(&index, (0, 12), true, false, 99);
    let mut metrics = aggregators("zones opencost");
    let not = [
        Flow { family: Family::NotUsed, source: EndpointId::NONE, destination: EndpointId::NONE, ..flow },
        Flow { direction: Direction::Unknown, point: Point::ToNetwork, ..flow },
        Flow { event: Event::Drop, verdict: Verdict::Dropped, ..flow },
        Flow { event: Event::PolicyVerdict, ..flow },
    ];
    feed(&mut metrics, &not, &index);
    assert_eq!(exposition(&mut metrics), "");
}

/// A deleted pod takes its series along, of both ways; others keep theirs.
#[test]
fn deleted_pods_are_removed() {
    let mut cluster = Cluster::new("opencost", 0);
    cluster.passes((0, 1), false, 100);
    let gone = webb_index::ObjectKey { namespace: "default".into(), name: "pod-1".into() };
    let (_, metrics) = &mut cluster.0[0];
    metrics[0].forget(&webb_metrics::RemovedPods::new([Arc::new(gone)]));
    let text = exposition(metrics);
    assert!(text.contains("pod-0") && !text.contains("pod-1"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// For any pair of ends the sum over scopes and agents is the bytes of each packet that any
    /// agent has seen, once, and the pods' sums are what each sent and received of that.
    #[test]
    fn each_byte_once(packets in prop::collection::vec((0..ENDS.len(), 0..ENDS.len(), any::<bool>(), 1..2000_u64), 1..60)) {
        let mut cluster = Cluster::new("zones opencost", 0);
        let (mut all, mut sent, mut received) = (0, [0; PODS], [0; PODS]);
        for (opener, called, reply, bytes) in packets {
            // Nothing is sent to itself, and a Service opens nothing.
            if opener == called || opener == 15 {
                continue;
            }
            cluster.passes((opener, called), reply, bytes);
            if watched(opener).or(watched(called)).is_none() {
                continue;
            }
            let (from, to) = if reply { (called, opener) } else { (opener, called) };
            all += bytes;
            if let Some(pod) = sent.get_mut(from) {
                *pod += bytes;
            }
            if let Some(pod) = received.get_mut(to) {
                *pod += bytes;
            }
        }
        let sums = cluster.sums();
        prop_assert_eq!(sum(&sums, &["webb_zone_traffic_bytes"]), all);
        for pod in 0..PODS {
            let name = format!("\"pod-{pod}\"");
            prop_assert_eq!(sum(&sums, &["egress", &name]), sent[pod]);
            prop_assert_eq!(sum(&sums, &["ingress", &name]), received[pod]);
        }
    }
}
