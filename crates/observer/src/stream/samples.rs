//! A node's flows of every kind, in a history, for tests.

use std::sync::Arc;

use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record};
use webb_flow::sym::Sym;
use webb_flow::{
    Address, ConnectionEvent, Direction, EndpointId, Event as FlowEvent, Extra, ExtraId, Family, Flow, L4, Point,
    Reason, Reply, Ruling, ServiceEnd, ServiceId, Sort, TcpFlags, Verdict,
};
use webb_index::policy::PolicyName;
use webb_index::policy::spec::PolicyKind;
use webb_index::{
    CidrSpec, Draft, Endpoint, EndpointKind, EndpointSpec, Flows, Index, PodChanges, ServiceSpec, Services, Workload,
    ZoneSpec, Zones,
};

use crate::export::Node;
use crate::history::History;
use crate::record::Recorder;
use crate::segment::Segment;
use crate::taken::{Taken, without_verdict};

/// This node.
pub(crate) fn node() -> Node {
    Node { name: "here".into(), qualified: "empire/here".into(), version: "webb v0".into(), run: 7 }
}

/// An address.
pub(crate) fn ip(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

/// The endpoints that flows are between.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) tie: EndpointId,
    pub(crate) star: EndpointId,
    pub(crate) bare: EndpointId,
    pub(crate) database: EndpointId,
}

/// A pod with an owner here, one on another node, one without an owner, and an entry of
/// `zones.cidrs`.
pub(crate) fn index() -> (Arc<Index>, Ids) {
    let mut draft = Draft::default();
    let pod = |name: &str, owner: &str, node: &str, labels: &[&str]| {
        let kind = "Deployment".to_owned();
        let workloads = (!owner.is_empty()).then(|| Workload { name: owner.into(), kind });
        let spec = EndpointSpec {
            identity: 4711,
            cluster: "empire".into(),
            namespace: "default".into(),
            pod_name: name.into(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            workloads: workloads.into_iter().collect(),
        };
        Endpoint { node: Sym::new(node), ..Endpoint::new(EndpointKind::Pod, node == "here", &spec) }
    };
    let zone = |node: &str, zone: &str| ZoneSpec { node: node.into(), zone: zone.into(), region: "rim".into() };
    let cidr = CidrSpec {
        network: "203.0.113.0/24".parse().unwrap(),
        zone: "rim-b".into(),
        region: "rim".into(),
        name: "database".into(),
    };
    let ids = Ids {
        tie: draft.add(Sort::Local, pod("tie-1", "tie", "here", &["k8s:app=tie", "k8s:org=empire"])),
        star: draft.add(Sort::Remote, pod("star-1", "star", "there", &["k8s:app.kubernetes.io/name=star"])),
        bare: draft.add(Sort::Local, pod("bare", "", "here", &[])),
        database: draft.add(Sort::World, Endpoint { cidr: 1, ..Endpoint::world() }),
    };
    let service = ServiceSpec { name: "star".into(), namespace: "default".into(), ..ServiceSpec::default() };
    draft.set_services(Services::new(&[service]));
    draft.set_zones(Zones::new("here", vec![zone("here", "rim-a"), zone("there", "rim-b")], [cidr].into()), 0);
    (Arc::new(draft.publish(0, PodChanges::default())), ids)
}

/// A packet that opens a connection.
pub(crate) fn opening(ids: Ids) -> Flow {
    Flow {
        time_ns: 1000,
        source_ip: ip("10.244.0.7"),
        destination_ip: ip("10.244.1.9"),
        source: ids.tie,
        destination: ids.star,
        source_port: 40_000,
        destination_port: 80,
        bytes: 74,
        packets: 1,
        ifindex: 1,
        tcp_flags: TcpFlags::known(TcpFlags::SYN),
        family: Family::V4,
        l4: L4::Tcp,
        event: FlowEvent::Trace,
        point: Point::ToNetwork,
        verdict: Verdict::Forwarded,
        direction: Direction::Egress,
        reply: Reply::No,
        ..Flow::default()
    }
}

fn layer_7(kind: L7Kind, latency_ns: u64, record: L7Record) -> Extra {
    let trace_id = if latency_ns > 0 { "4bf92f3577b34da6a3ce929d0e0e4736" } else { "" };
    Extra { live: true, trace_id: trace_id.into(), l7: Some(L7 { kind, latency_ns, record }), ..Extra::default() }
}

/// A SYN that a policy forbids, where it was dropped: which policy that was is known of the verdict
/// alone.
fn denied(ids: Ids) -> Flow {
    Flow {
        event: FlowEvent::Drop,
        point: Point::Other,
        verdict: Verdict::Dropped,
        reason: Reason(Sym::new("POLICY_DENIED")),
        direction: Direction::Egress,
        reply: Reply::Unknown,
        ..opening(ids)
    }
}

/// The verdict of the policy on a packet, which counts nothing.
fn ruled(flow: Flow, verdict: Verdict) -> Flow {
    Flow {
        event: FlowEvent::PolicyVerdict,
        point: Point::Other,
        verdict,
        ruling: Ruling::new(2, Some(0)),
        bytes: 0,
        packets: 0,
        ifindex: 0,
        ..flow
    }
}

/// One flow of each kind, with its name.
pub(crate) fn kinds(ids: Ids) -> (Vec<(&'static str, Flow)>, Vec<Extra>) {
    let opening = opening(ids);
    let dropped = denied(ids);
    let of_kernel = Flow { reason: Reason(Sym::new("SKB_OF_A_NEW_KERNEL")), ..dropped };
    let ping = Flow { l4: L4::IcmpV4, icmp_type: 8, source_port: 0, destination_port: 0, ..opening };
    let service = Flow {
        service: ServiceEnd::destination(ServiceId(1)),
        destination_ip: ip("10.96.0.1"),
        direction: Direction::Egress,
        ..opening
    };
    let world = Flow {
        destination: ids.database,
        destination_ip: ip("203.0.113.9"),
        destination_port: 5432,
        tcp_flags: TcpFlags::known(TcpFlags::ACK | TcpFlags::PSH),
        ..opening
    };
    let of_v6 = Flow {
        source: ids.bare,
        source_ip: ip("fd00::7"),
        destination: EndpointId::WORLD,
        destination_ip: ip("2001:db8::1"),
        family: Family::V6,
        l4: L4::Udp,
        tcp_flags: TcpFlags::default(),
        ..opening
    };
    let l7 = |extra| Flow {
        // Of layer 7 a batch has Unix time.
        time_ns: 1_000_000_001_000,
        event: FlowEvent::L7,
        extra: ExtraId(extra),
        bytes: 0,
        packets: 0,
        point: Point::Other,
        tcp_flags: TcpFlags::default(),
        ..opening
    };
    let dns = |flow: Flow| Flow { l4: L4::Udp, destination_port: 53, ..flow };
    let question = Dns { query: "star.default.svc.".into(), qtypes: vec!["A".into()], ..Dns::default() };
    let addresses = vec![ip("10.96.0.1"), ip("10.96.0.2")];
    let answer = Dns { addresses, ips: 2, rrtypes: vec!["A".into()], ..question.clone() };
    let refused = Dns { rcode: 3, ..question.clone() };
    let http = |code| Http {
        code,
        method: "PUT".into(),
        url: "http://star.default:80/v1/exhaust-port?force=1".into(),
        protocol: "HTTP/1.1".into(),
        headers: vec![("User-Agent".into(), "xwing".into())],
    };
    let extras = vec![
        layer_7(L7Kind::Request, 0, L7Record::Dns(question)),
        layer_7(L7Kind::Response, 900_000, L7Record::Dns(answer)),
        layer_7(L7Kind::Response, 800_000, L7Record::Dns(refused)),
        layer_7(L7Kind::Request, 0, L7Record::Http(http(0))),
        layer_7(L7Kind::Response, 3_000_000, L7Record::Http(http(503))),
    ];
    let reply = |flow: Flow| Flow { reply: Reply::Yes, ..flow.reversed() };
    let flows = vec![
        ("opening", opening),
        ("reply", Flow { tcp_flags: TcpFlags::known(TcpFlags::SYN | TcpFlags::ACK), ..reply(opening) }),
        ("dropped by a policy", dropped),
        ("dropped by the kernel", of_kernel),
        ("verdict of a policy", ruled(dropped, Verdict::Dropped)),
        ("verdict that allows", ruled(opening, Verdict::Forwarded)),
        ("audit", ruled(opening, Verdict::Audit)),
        ("ping", ping),
        ("through a Service", service),
        ("world", world),
        ("IPv6", of_v6),
        ("not IP", Flow { event: FlowEvent::Trace, verdict: Verdict::Forwarded, time_ns: 1000, ..Flow::default() }),
        ("socket", Flow { event: FlowEvent::Socket, verdict: Verdict::Translated, ..opening }),
        ("DNS question", dns(l7(0))),
        ("DNS answer", reply(dns(l7(1)))),
        ("DNS without the name", reply(dns(l7(2)))),
        ("HTTP request", l7(3)),
        ("HTTP response", reply(l7(4))),
    ];
    (flows, extras)
}

/// An attempt to connect for each way in which it can fail, at the opener's interface, and one
/// through a Service at the called pod's.
pub(crate) fn attempts(ids: Ids) -> Vec<Flow> {
    let opening = opening(ids);
    let at_called = Flow { direction: Direction::Ingress, service: ServiceEnd::destination(ServiceId(1)), ..opening };
    let world = Flow { destination: ids.database, destination_ip: ip("203.0.113.9"), ..opening };
    vec![
        opening.connection(ConnectionEvent::Refused, 0),
        at_called.connection(ConnectionEvent::Refused, 0),
        world.connection(ConnectionEvent::TimedOut, 0),
        world.connection(ConnectionEvent::Unreachable, 0),
        opening.connection(ConnectionEvent::Dropped, 0),
        Flow { reply: Reply::No, ..denied(ids) }.connection(ConnectionEvent::Denied, 0),
    ]
}

/// The policy that denies.
pub(crate) fn policy() -> PolicyName {
    PolicyName { kind: PolicyKind::NetworkPolicy, namespace: Sym::new("default"), name: Sym::new("empire-only") }
}

/// These flows in a segment, as a history has them.
pub(crate) fn recorded(flows: &[Flow], extras: &[Extra], index: &Arc<Index>) -> Segment {
    recorded_of(Taken::Shown, flows, extras, index)
}

/// The same of a history that takes these flows.
pub(crate) fn recorded_of(takes: Taken, flows: &[Flow], extras: &[Extra], index: &Arc<Index>) -> Segment {
    let (history, mut recorder) = (History::new(4095), Recorder::of(takes));
    recorder.record(&history, Flows { flows, extras, index }, 1_000_000_000_000, 0);
    let segment = history.all().segments.pop().map(|(_, segment)| segment);
    let mut segment = segment.map(|segment| (*segment).clone()).unwrap_or_default();
    // The index of these tests has no policies of its own.
    segment.policies = vec![policy()];
    for (event, flow) in segment.events.iter_mut().zip(flows) {
        if let crate::segment::Event::Flow(recorded) = event {
            let known = if takes == Taken::Shown { *flow } else { without_verdict(flow) };
            recorded.ruling = known.ruling;
        }
    }
    segment
}
