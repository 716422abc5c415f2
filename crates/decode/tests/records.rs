//! Records to flows: the mapping, the checks, and that no bytes at all can harm.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do, but clippy knows only functions marked as tests"
)]

use std::net::IpAddr;

use proptest::prelude::*;
use webb_decode::{DecodeError, Decoded, Decoder};
use webb_flow::abi::{Record, VERSION, flag, kind};
use webb_flow::{
    Address, Direction, EndpointId, Event, Family, Flow, L4, Point, Reasons, Reply, SctpChunk, Sort, TcpFlags, Verdict,
};
use webb_index::policy::Compiler;
use webb_index::policy::spec::{PeerSpec, PolicySpec, RuleSpec, Selector, Subject};
use webb_index::{Draft, Endpoint, EndpointKind, EndpointSpec, Index, PodChanges, Policies};
use zerocopy::IntoBytes;

const NETFILTER: u32 = 8;
const NO_ROUTE: u32 = 30;
const LOCAL: &str = "10.0.0.1";
const GUARDED: &str = "10.0.0.2";
const REMOTE: &str = "10.0.1.1";

fn decoder() -> Decoder {
    Decoder::new(Reasons::new([(NETFILTER, "NETFILTER_DROP"), (NO_ROUTE, "IP_OUTNOROUTES")]))
}

fn ip(text: &str) -> [u8; 16] {
    Address::from(text.parse::<IpAddr>().unwrap()).0
}

/// Three pods: two here, of which one lets only the other namespace's in, and one elsewhere.
fn index() -> Index {
    let mut compiler = Compiler::default();
    let mut pod = |name: &str, namespace: &str, local: bool, address: &str| {
        let spec =
            EndpointSpec { namespace: namespace.into(), pod_name: name.into(), identity: 300, ..Default::default() };
        let subject = Subject { namespace: namespace.into(), labels: [].into(), ports: vec![], vendor: false };
        let policy_subject = compiler.subject(subject);
        (Endpoint { policy_subject, ..Endpoint::new(EndpointKind::Pod, local, &spec) }, vec![Address(ip(address))])
    };
    let pods = vec![pod("a", "one", true, LOCAL), pod("b", "guarded", true, GUARDED), pod("c", "two", false, REMOTE)];
    let no_pod = RuleSpec { peers: vec![PeerSpec::Pods { namespaces: None, pods: None }], ..RuleSpec::default() };
    let policy = PolicySpec {
        namespace: "guarded".into(),
        name: "own-only".into(),
        pods: Selector::default(),
        ingress: Some(vec![no_pod]),
        egress: None,
    };
    Index::new(pods, compiler.compile([&policy]))
}

fn record() -> Record {
    Record {
        version: VERSION,
        kind: kind::NEW,
        length: 80,
        ifindex: 7,
        time_ns: 123_456,
        source: ip(LOCAL),
        destination: ip("93.184.216.34"),
        source_port: 40_000,
        destination_port: 443,
        family: 4,
        protocol: 6,
        tcp_flags: 0x02,
        flags: flag::EGRESS,
        hook: 0,
        packets: 3,
        bytes: 1_234,
        ..Record::default()
    }
}

fn drop_of(source: &str, destination: &str, reason: u32) -> Record {
    Record { kind: kind::DROP, hook: 4, source: ip(source), destination: ip(destination), reason, ..record() }
}

fn decode(record: &Record) -> Result<(Flow, Decoded), DecodeError> {
    let mut flow = Flow::default();
    decoder().decode(record.as_bytes(), &index(), &mut flow).map(|decoded| (flow, decoded))
}

fn flow(record: &Record) -> Flow {
    flow_by(&index(), record)
}

fn flow_by(index: &Index, record: &Record) -> Flow {
    let mut flow = Flow::default();
    assert!(decoder().decode(record.as_bytes(), index, &mut flow).unwrap().is_flow());
    flow
}

/// Every field of a plain record must arrive, or a metric silently counts nothing.
#[test]
fn fields_arrive() {
    let flow = flow(&record());
    assert_eq!((flow.time_ns, flow.ifindex, flow.packets, flow.bytes), (123_456, 7, 3, 1_234));
    assert_eq!((flow.source_ip.0, flow.destination_ip.0), (ip(LOCAL), ip("93.184.216.34")));
    assert_eq!((flow.source_port, flow.destination_port), (40_000, 443));
    assert_eq!((flow.family, flow.l4), (Family::V4, L4::Tcp));
    assert!(flow.tcp_flags.has(TcpFlags::SYN) && !flow.tcp_flags.has(TcpFlags::ACK));
    assert_eq!((flow.event, flow.point, flow.verdict), (Event::Trace, Point::ToStack, Verdict::Forwarded));
    assert_eq!((flow.direction, flow.reply), (Direction::Egress, Reply::No));
    assert_eq!(&*index().endpoint(flow.source).pod.text(), "one/a");
    assert_eq!(flow.destination, EndpointId::WORLD);
    assert!(flow.reason.0.is_empty());
}

/// The observation point of each hook, and that a node's own device tells no direction.
#[test]
fn hooks() {
    let at = |hook, flags| {
        let flow = flow(&Record { hook, flags, ..record() });
        (flow.point, flow.direction)
    };
    assert_eq!(at(0, flag::EGRESS), (Point::ToStack, Direction::Egress));
    assert_eq!(at(0, 0), (Point::ToStack, Direction::Ingress));
    assert_eq!(at(1, flag::EGRESS), (Point::ToEndpoint, Direction::Egress));
    assert_eq!(at(1, 0), (Point::ToEndpoint, Direction::Ingress));
    assert_eq!(at(2, flag::EGRESS), (Point::FromNetwork, Direction::Unknown));
    assert_eq!(at(3, 0), (Point::ToNetwork, Direction::Unknown));
}

/// Each kind's event; a flush is a trace in everything else.
#[test]
fn kinds() {
    for trace in [kind::NEW, kind::FLAGS, kind::INTERVAL, kind::PACKET] {
        assert_eq!(flow(&Record { kind: trace, ..record() }).event, Event::Trace);
    }
    let flush = flow(&Record { kind: kind::FLUSH, flags: flag::REPLY, ..record() });
    assert_eq!(flush.event, Event::Flush);
    assert_eq!((flush.verdict, flush.reply, flush.point), (Verdict::Forwarded, Reply::Yes, Point::ToStack));
}

/// Layer 4 is told only where it was read, but for the two protocols that their number tells.
#[test]
fn layer_4() {
    let of = |protocol, flags| flow(&Record { protocol, flags, icmp_type: 1, ..record() });
    assert_eq!(of(17, 0).l4, L4::Udp);
    assert!(!of(17, 0).tcp_flags.is_known(), "UDP has no TCP flags");
    assert_eq!(of(1, 0).l4, L4::IcmpV4);
    assert_eq!(of(1, 0).icmp_type, 1);
    assert_eq!(of(58, 0).l4, L4::IcmpV6);
    assert_eq!((of(132, 0).l4, of(132, 0).sctp_chunk), (L4::Sctp, SctpChunk::Init));
    assert_eq!(of(6, flag::NO_L4).l4, L4::None);
    assert!(!of(6, flag::NO_L4).tcp_flags.is_known());
    assert_eq!(of(112, flag::NO_L4).l4, L4::Vrrp);
    assert_eq!(of(2, flag::NO_L4).l4, L4::Igmp);
    assert_eq!(of(2, flag::NO_L4 | flag::FRAGMENT).l4, L4::None);
    assert_eq!(of(47, flag::NO_L4).l4, L4::None);
}

/// A frame that is not IP has no ends, not even the world.
#[test]
fn not_ip() {
    let flow = flow(&Record { family: 0, protocol: 6, source: [0; 16], destination: [0; 16], ..record() });
    assert_eq!((flow.family, flow.l4), (Family::NotUsed, L4::None));
    assert_eq!((flow.source, flow.destination), (EndpointId::NONE, EndpointId::NONE));
    assert_eq!(flow.bytes, 1_234);
}

/// A drop is named `POLICY_DENIED` exactly where the kernel's reason is an enforcer's and a policy
/// forbids the flow.
#[test]
fn drops() {
    let told = |record: &Record| {
        let flow = flow(record);
        assert_eq!((flow.event, flow.point), (Event::Drop, Point::Other));
        assert_eq!((flow.verdict, flow.reply), (Verdict::Dropped, Reply::Unknown));
        (flow.reason.0.text().to_string(), flow.direction)
    };
    let is = |text: &str, direction| (text.to_owned(), direction);
    assert_eq!(told(&drop_of(LOCAL, GUARDED, NETFILTER)), is("POLICY_DENIED", Direction::Ingress));
    assert_eq!(told(&drop_of(REMOTE, GUARDED, NETFILTER)), is("POLICY_DENIED", Direction::Ingress));
    assert_eq!(told(&drop_of(LOCAL, GUARDED, NO_ROUTE)), is("FIB_LOOKUP_FAILED", Direction::Egress));
    assert_eq!(told(&drop_of(GUARDED, LOCAL, NETFILTER)), is("NETFILTER_DROP", Direction::Egress));
    assert_eq!(told(&drop_of("8.8.8.8", LOCAL, NO_ROUTE)), is("FIB_LOOKUP_FAILED", Direction::Ingress));
    assert_eq!(told(&drop_of("8.8.8.8", REMOTE, 77)), is("DROP_REASON_UNKNOWN", Direction::Unknown));
}

/// Policies forbid connections: a packet that is not the first of one, and answers what they allow,
/// was dropped for something else. What the packet does not tell waits for connection tracking.
#[test]
fn replies_are_not_denied() {
    let told = |protocol: u8, change: fn(&mut Record)| {
        let mut record = Record { protocol, ..drop_of(LOCAL, GUARDED, NETFILTER) };
        change(&mut record);
        flow(&record).reason.0.text().to_string()
    };
    let ports = |source_port, destination_port| {
        let record = Record { protocol: 17, source_port, destination_port, ..drop_of(LOCAL, GUARDED, NETFILTER) };
        let (flow, decoded) = decode(&record).unwrap();
        assert_ne!(decoded, Decoded::Foreign);
        let may_be_policy = matches!(decoded, Decoded::NeedsLookup(why) if why.suspect.is_some());
        (flow.reason.0.text().to_string(), may_be_policy)
    };
    assert_eq!(told(6, |syn| syn.tcp_flags = 0x02), "POLICY_DENIED");
    assert_eq!(told(6, |ack| ack.tcp_flags = 0x10), "NETFILTER_DROP");
    assert_eq!(told(6, |syn_ack| syn_ack.tcp_flags = 0x12), "NETFILTER_DROP");
    assert_eq!(told(132, |init| init.icmp_type = 1), "POLICY_DENIED");
    assert_eq!(told(132, |data| data.icmp_type = 0), "NETFILTER_DROP");
    assert_eq!(told(1, |echo| echo.icmp_type = 8), "POLICY_DENIED");
    assert_eq!(told(1, |reply| reply.icmp_type = 0), "NETFILTER_DROP");
    assert_eq!(told(1, |unreachable| unreachable.icmp_type = 3), "NETFILTER_DROP");
    assert_eq!(ports(40_000, 53), ("POLICY_DENIED".to_owned(), true));
    assert_eq!(ports(53, 40_000), ("NETFILTER_DROP".to_owned(), false));
    assert_eq!(ports(40_000, 5683), ("NETFILTER_DROP".to_owned(), true), "it depends");
}

/// The machine drops packets of its own all day; those that touch no pod must not become series.
#[test]
fn foreign_drops() {
    let decoded = |record: &Record| decode(record).map(|(_, decoded)| decoded);
    assert_eq!(decoded(&drop_of("8.8.8.8", "9.9.9.9", NETFILTER)), Ok(Decoded::Foreign));
    let not_ip = Record { family: 0, ..drop_of(LOCAL, GUARDED, NETFILTER) };
    assert_eq!(decoded(&not_ip), Ok(Decoded::Foreign));
}

/// Each check, by the error that counts it.
#[test]
fn checks() {
    let good = record();
    let refused = |record: &Record| decode(record).unwrap_err();
    assert_eq!(refused(&Record { version: VERSION + 1, ..good }), DecodeError::Version);
    assert_eq!(refused(&Record { length: 79, ..good }), DecodeError::Length);
    assert_eq!(refused(&Record { kind: 0, ..good }), DecodeError::Kind);
    assert_eq!(refused(&Record { kind: 8, ..good }), DecodeError::Kind);
    assert_eq!(refused(&Record { hook: 5, ..good }), DecodeError::Hook);
    assert_eq!(refused(&Record { hook: 4, ..good }), DecodeError::Hook, "only drops come from the drop point");
    assert_eq!(refused(&Record { hook: 0, ..drop_of(LOCAL, REMOTE, 0) }), DecodeError::Hook);
    assert_eq!(refused(&Record { family: 10, ..good }), DecodeError::Family);
    let index = index();
    let bytes = |bytes: &[u8]| decoder().decode(bytes, &index, &mut Flow::default()).unwrap_err();
    assert_eq!(bytes(&[]), DecodeError::Short);
    assert_eq!(bytes(good.as_bytes().get(..79).unwrap()), DecodeError::Short);
    assert_eq!(bytes(&[good.as_bytes(), &[0; 8]].concat()), DecodeError::Length);
}

/// Labels and numbers of the errors index the caller's counters.
#[test]
fn errors_are_numbered_in_order() {
    for (at, error) in DecodeError::ALL.into_iter().enumerate() {
        assert_eq!(error as usize, at);
    }
    let mut labels = DecodeError::ALL.map(DecodeError::label).to_vec();
    labels.dedup();
    assert_eq!(labels, ["short", "version", "length", "kind", "hook", "family", "event"]);
}

proptest! {
    // Integration tests have no source file beside which proptest would keep its failures.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a ring holds, decoding ends with a flow or an error.
    #[test]
    fn no_bytes_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        webb_decode::fuzz(&bytes);
    }

    /// As above, past the checks: a record whose header is right and whose rest is anything.
    #[test]
    fn no_content_harms(mut bytes in prop::collection::vec(any::<u8>(), 80), kind in 0_u8..8, hook in 0_u8..6) {
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[2..4].copy_from_slice(&80_u16.to_ne_bytes());
        bytes[56] = hook;
        bytes[52] = [0, 4, 6][usize::from(kind) % 3];
        let _decoded = decoder().decode(&bytes, &index(), &mut Flow::default());
    }

    /// A valid record's fields come through, wherever in memory it lies.
    #[test]
    fn valid_records_come_through(
        numbers in (any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u16>(), any::<u16>()),
        source in any::<[u8; 16]>(), destination in any::<[u8; 16]>(),
        kind in prop_oneof![1_u8..=5, Just(kind::EVENT)], hook in 0_u8..=3, v6 in any::<bool>(), tcp_flags in any::<u8>(), flags in 0_u8..32,
        shift in 0_usize..8,
    ) {
        let (ifindex, time_ns, packets, bytes, source_port, destination_port) = numbers;
        let record = Record {
            kind, hook, flags, tcp_flags, ifindex, time_ns, packets, bytes, source_port, destination_port, source,
            destination, family: if v6 { 6 } else { 4 }, ..record()
        };
        let moved = [&vec![0; shift], record.as_bytes()].concat();
        let mut flow = Flow::default();
        prop_assert!(decoder().decode(&moved[shift..], &index(), &mut flow).unwrap().is_flow());
        prop_assert_eq!((flow.ifindex, flow.time_ns, flow.packets, flow.bytes), (ifindex, time_ns, packets, bytes));
        prop_assert_eq!((flow.source_port, flow.destination_port), (source_port, destination_port));
        prop_assert_eq!((flow.source_ip.0, flow.destination_ip.0), (source, destination));
        prop_assert_eq!(flow.family, if v6 { Family::V6 } else { Family::V4 });
        prop_assert_eq!(flow.reply == Reply::Yes, flags & flag::REPLY != 0);
        prop_assert_eq!(flow.l4 == L4::Tcp, flags & (flag::FRAGMENT | flag::NO_L4) == 0);
        if flow.l4 == L4::Tcp {
            prop_assert_eq!(flow.tcp_flags, TcpFlags::known(u16::from(tcp_flags)));
        }
        prop_assert_eq!(flow.event == Event::Flush, [kind::FLUSH, kind::EVENT].contains(&kind));
    }
}

/// An empty index is what the agent starts with.
#[test]
fn nothing_known_is_the_world() {
    let empty = Index::new([], Policies::default());
    let flow = flow_by(&empty, &record());
    assert_eq!((flow.source, flow.destination), (EndpointId::WORLD, EndpointId::WORLD));
}

/// At a pod's own interface an address without an owner is that pod's; a known owner stays,
/// multicast has none, and at other interfaces, and at the far end, nothing changes.
#[test]
fn interfaces_name_their_pods() {
    let mut draft = Draft::default();
    let mut pod = |name: &str| {
        let spec = EndpointSpec { namespace: "one".into(), pod_name: name.into(), ..Default::default() };
        draft.add(Sort::Local, Endpoint::new(EndpointKind::Pod, true, &spec))
    };
    let (inside, known) = (pod("inside"), pod("known"));
    draft.set(Address(ip(LOCAL)), Some(known), None);
    draft.set_interfaces([(7, inside)]);
    let index = draft.publish(0, PodChanges::default());
    let ends = |record: Record| {
        let flow = flow_by(&index, &record);
        (flow.source, flow.destination)
    };
    let strange = ip("fe80::1");
    let from = Record { source: strange, family: 6, ..record() };
    assert_eq!(ends(from), (inside, EndpointId::WORLD));
    assert_eq!(ends(Record { ifindex: 8, ..from }), (EndpointId::WORLD, EndpointId::WORLD));
    assert_eq!(ends(record()), (known, EndpointId::WORLD));
    let to = |destination: [u8; 16]| ends(Record { hook: 1, source: ip(LOCAL), destination, ..from });
    assert_eq!(to(strange), (known, inside));
    assert_eq!(to(ip("ff02::1")), (known, EndpointId::WORLD));
    assert_eq!(to(ip("224.0.0.1")), (known, EndpointId::WORLD));
    assert_eq!(to(ip("255.255.255.255")), (known, EndpointId::WORLD));
    assert_eq!(ends(Record { hook: 2, ..from }), (EndpointId::WORLD, EndpointId::WORLD));
}
