//! Events of connections: out of records, and failed attempts each counted once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do, but clippy knows only functions marked as tests"
)]

use std::net::IpAddr;

use proptest::prelude::*;
use webb_decode::attempts::Attempts;
use webb_decode::connections::{Openers, carried};
use webb_decode::{DecodeError, Decoder, name};
use webb_flow::abi::{EVENTS, Record, VALUE_RESENT, VALUE_UNKNOWN, VERSION, event, flag, kind};
use webb_flow::sym::Sym;
use webb_flow::{
    Address, ConnectionEvent as E, Direction, EndpointId, Event, Flow, L4, NO_TIME, Point, Reason, Reasons, ServiceEnd,
    ServiceId, Sort, TcpFlags, Verdict,
};
use webb_index::{Draft, Endpoint, EndpointKind, EndpointSpec, Index, PodChanges, Policies};
use zerocopy::IntoBytes;

const OPENER: &str = "10.0.0.1";
const ACCEPTOR: &str = "10.0.0.2";
const SECOND: u64 = 1_000_000_000;

fn ip(text: &str) -> [u8; 16] {
    Address::from(text.parse::<IpAddr>().unwrap()).0
}

/// A record of the opener's packet at the opener's interface.
fn record(event: u8, value: u32) -> Record {
    Record {
        version: VERSION,
        kind: kind::FLAGS,
        length: 80,
        ifindex: 7,
        time_ns: SECOND,
        source: ip(OPENER),
        destination: ip(ACCEPTOR),
        source_port: 40_000,
        destination_port: 80,
        family: 4,
        protocol: 6,
        flags: flag::EGRESS,
        packets: 1,
        bytes: 60,
        event,
        value,
        ..Record::default()
    }
}

/// The same of the acceptor's packet.
fn answer(event: u8, value: u32) -> Record {
    let record = record(event, value);
    Record {
        source: record.destination,
        destination: record.source,
        source_port: record.destination_port,
        destination_port: record.source_port,
        flags: record.flags | flag::REPLY,
        hook: 1,
        ..record
    }
}

/// The flow of the record, and that of its event.
fn decode(record: &Record) -> (Flow, Option<Flow>) {
    let mut flow = Flow::default();
    let index = Index::new([], Policies::default());
    Decoder::new(Reasons::new([])).decode(record.as_bytes(), &index, &mut flow).unwrap();
    (flow, carried(record.as_bytes()).map(|event| event.flow(&flow)))
}

/// Whatever direction the packet has, the source of the event is the opener, and the flow of the
/// packet is what it would be without the event.
#[test]
fn the_opener_is_the_source() {
    for record in [record(event::CLOSED, 12), answer(event::CLOSED, 12)] {
        let (packet, closed) = decode(&record);
        let (plain, none) = decode(&Record { event: 0, value: 0, ..record });
        assert_eq!((packet, none), (plain, None));
        let closed = closed.unwrap();
        assert_eq!(closed.connection_event(), Some((E::Closed, 12)));
        assert_eq!((closed.source_ip.0, closed.destination_ip.0), (ip(OPENER), ip(ACCEPTOR)));
        assert_eq!((closed.source_port, closed.destination_port), (40_000, 80));
        assert_eq!(closed.is_reported_by_opener(), Some(true));
    }
}

/// A refusal is named again when it has waited: the pod's end is the opener's, though the packet
/// was the acceptor's, and an address outside of the cluster stays what it is.
#[test]
fn a_refusal_is_named_again() {
    let mut draft = Draft::default();
    let spec = EndpointSpec { namespace: "one".into(), pod_name: "pod".into(), ..Default::default() };
    let pod = draft.add(Sort::Local, Endpoint::new(EndpointKind::Pod, true, &spec));
    draft.set(Address(ip(OPENER)), Some(pod), None);
    draft.set_interfaces([(7, pod)]);
    let index = draft.publish(0, PodChanges::default());
    for (event, record) in [(event::REFUSED, answer(event::REFUSED, 0)), (event::CLOSED, record(event::CLOSED, 1))] {
        let mut packet = Flow::default();
        Decoder::new(Reasons::new([])).decode(record.as_bytes(), &index, &mut packet).unwrap();
        let mut flow = carried(record.as_bytes()).unwrap().flow(&packet);
        assert_eq!((flow.source, flow.destination), (pod, EndpointId::WORLD), "{event}");
        name(&mut flow, &index);
        assert_eq!((flow.source, flow.destination), (pod, EndpointId::WORLD), "{event}, again");
        // The acceptor's own interface.
        flow = Flow { direction: Direction::Ingress, ..flow.reversed() };
        name(&mut flow, &index);
        assert_eq!((flow.source, flow.destination), (EndpointId::WORLD, pod), "{event}, at the acceptor");
    }
}

/// Each value has its meaning, and each interface its reporter.
#[test]
fn values_are_read() {
    let value = |record: &Record| decode(record).1.unwrap().connection_event().unwrap().1;
    assert_eq!(value(&answer(event::ACCEPTED, 0x46 | VALUE_RESENT)), 0x46);
    assert_eq!(value(&record(event::CLOSED, VALUE_UNKNOWN)), NO_TIME);
    assert_eq!(value(&record(event::SAMPLE, VALUE_UNKNOWN)), VALUE_UNKNOWN.into());
    assert_eq!(value(&record(event::UNREACHABLE, 3)), 0);
    assert_eq!([value(&record(event::ZERO_WINDOW, 0)), value(&answer(event::ZERO_WINDOW, 0))], [0, 1]);
    assert_eq!([value(&record(event::RETRANSMIT_DATA, 0)), value(&record(event::RETRANSMIT_DATA, 3))], [1, 3]);
    let reporter = |record: &Record| decode(record).1.unwrap().is_reported_by_opener();
    assert_eq!(reporter(&answer(event::SAMPLE, 1)), Some(true), "at the opener's interface");
    assert_eq!(reporter(&Record { flags: flag::REPLY, hook: 0, ..answer(event::SAMPLE, 1) }), Some(false));
    assert_eq!(reporter(&Record { hook: 2, ..answer(event::ACCEPTED, 1) }), None, "a device of the node");
    assert_eq!(reporter(&Record { hook: 3, ..answer(event::RETRANSMIT_SYN_ACK, 1) }), Some(false), "a node's socket");
}

/// A record of an event alone has no flow of a packet, unless deltas ride on it.
#[test]
fn an_event_may_be_alone() {
    let alone = |packets| carried(Record { kind: kind::EVENT, packets, ..record(event::OPEN, 1) }.as_bytes());
    assert_eq!([alone(0).unwrap().is_alone, alone(2).unwrap().is_alone], [true, false]);
    assert!(!carried(Record { packets: 0, ..record(event::IDLE, 1) }.as_bytes()).unwrap().is_alone);
    let (deltas, _) = decode(&Record { kind: kind::EVENT, ..record(event::OPEN, 1) });
    assert_eq!((deltas.event, deltas.packets, deltas.bytes), (Event::Flush, 1, 60));
}

/// Numbers that no program writes are refused.
#[test]
fn unknown_events_are_refused() {
    for number in [event::DROPPED, u8::try_from(EVENTS).unwrap(), 32, 255] {
        let index = Index::new([], Policies::default());
        let decoded = Decoder::new(Reasons::new([])).decode(record(number, 0).as_bytes(), &index, &mut Flow::default());
        assert_eq!(decoded.err(), Some(DecodeError::Event), "{number}");
    }
}

/// Data that was sent again belongs to the connection as it was opened, whatever its ports suggest.
#[test]
fn the_opener_of_sent_again_data_is_known() {
    let mut openers = Openers::new(2);
    let ports = |record: Record, server: u16| {
        let (source_port, destination_port) =
            if record.flags & flag::REPLY == 0 { (40_000, server) } else { (server, 40_000) };
        Record { source_port, destination_port, ..record }
    };
    let mut follow = |record: &Record| {
        let mut flow = decode(record).1.unwrap();
        openers.follow(&mut flow);
        (flow.source_ip.0 == ip(OPENER), flow.is_reported_by_opener().unwrap())
    };
    // The acceptor's socket sends from 8080: by the ports alone it would be the opener.
    let acceptors = Record { flags: flag::EGRESS, hook: 0, ..ports(answer(event::RETRANSMIT_DATA, 1), 8080) };
    assert_eq!(follow(&acceptors), (false, true), "not known yet");
    follow(&ports(answer(event::ACCEPTED, 1), 8080));
    assert_eq!(follow(&acceptors), (true, false));
    assert_eq!(follow(&ports(record(event::RETRANSMIT_DATA, 1), 8080)), (true, true));
    follow(&ports(record(event::CLOSED, 1), 8080));
    assert_eq!(follow(&acceptors), (true, false), "its FIN may be sent again");
    let later = |record: Record| Record { time_ns: 62 * SECOND, source_port: 1, ..record };
    follow(&later(record(event::CLOSED, 1)));
    assert_eq!(follow(&acceptors), (false, true), "it has ended long ago");
}

fn local(row: u32) -> EndpointId {
    EndpointId::new(Sort::Local, row)
}

/// The event of an attempt of the pod behind port `port`, at the opener's interface.
fn event_of(event: E, port: u16, at: u64) -> Flow {
    let flow = decode(&record(1, 0)).0;
    Flow { source: local(1), time_ns: at, source_port: port, ..flow }.connection(event, 0)
}

/// The drop of its SYN.
fn dropped(reason: &str, port: u16, at: u64) -> Flow {
    Flow {
        event: Event::Drop,
        verdict: Verdict::Dropped,
        reason: Reason(Sym::new(reason)),
        direction: Direction::Ingress,
        l4: L4::Tcp,
        tcp_flags: TcpFlags::known(TcpFlags::SYN),
        ifindex: 0,
        ..event_of(E::Accepted, port, at)
    }
}

/// The outcomes that are left of a batch, with who reports.
fn settle(attempts: &mut Attempts, flows: &[Flow]) -> Vec<(E, Direction)> {
    let mut flows = flows.to_vec();
    let events = attempts.settle(&mut flows);
    let left: Vec<_> = flows.iter().filter_map(|flow| Some((flow.connection_event()?.0, flow.direction))).collect();
    assert_eq!(events, left.len() as u64);
    left
}

const CLIENT: Direction = Direction::Egress;
const SERVER: Direction = Direction::Ingress;

/// A SYN that a policy forbids is denied at once, and neither its repetitions nor the time-out that
/// follows count again.
#[test]
fn a_denied_attempt_counts_once() {
    let mut attempts = Attempts::default();
    let mut at = |seconds: u64, flow: Flow| {
        attempts.turn(seconds * SECOND);
        settle(&mut attempts, &[flow])
    };
    assert_eq!(at(1, dropped("POLICY_DENIED", 1, SECOND)), [(E::Denied, CLIENT)]);
    assert_eq!(at(3, dropped("POLICY_DENIED", 1, 3 * SECOND)), []);
    assert_eq!(at(64, dropped("POLICY_DENY", 1, 64 * SECOND)), []);
    assert_eq!(at(125, event_of(E::TimedOut, 1, 124 * SECOND)), []);
    assert_eq!(at(126, dropped("POLICY_DENY", 2, 126 * SECOND)), [(E::Denied, CLIENT)], "another port");
    assert_eq!(at(182, dropped("POLICY_DENIED", 1, 182 * SECOND)), [(E::Denied, CLIENT)], "180 s later");
    assert_eq!(attempts.counts().repeated, 3);
}

/// A SYN of the same ports with another sequence number is another attempt; the time-out of the
/// entry, which is that of all of them, counts no more.
#[test]
fn another_syn_is_another_attempt() {
    let mut attempts = Attempts::default();
    let mut at = |seconds: u64, flow: Flow| {
        attempts.turn(seconds * SECOND);
        settle(&mut attempts, &[flow])
    };
    let syn = |sequence: u32, at: u64| dropped("POLICY_DENIED", 1, at * SECOND).with_sequence(sequence);
    assert_eq!(at(1, syn(70_000, 1)), [(E::Denied, CLIENT)]);
    assert_eq!(at(2, syn(70_000, 2)), []);
    assert_eq!(at(3, syn(80_000, 3)), [(E::Denied, CLIENT)]);
    assert_eq!(at(4, syn(80_000, 4)), []);
    assert_eq!(at(64, event_of(E::TimedOut, 1, 64 * SECOND)), []);
    let other = Flow { reason: Reason(Sym::new("NETFILTER_DROP")), ..syn(90_000, 65) };
    assert_eq!(at(65, other), []);
    assert_eq!(at(125, event_of(E::TimedOut, 1, 125 * SECOND)), [(E::Dropped, CLIENT)]);
    assert_eq!(attempts.counts().repeated, 3);
}

/// The record of a dropped SYN has its sequence number.
#[test]
fn dropped_syns_are_told_apart() {
    let mark = |value: u32, tcp_flags: u8| {
        decode(&Record { kind: kind::DROP, hook: 4, tcp_flags, ..record(0, value) }).0.sequence_mark()
    };
    assert_ne!(mark(1, 2), mark(2, 2));
    assert_ne!(mark(1, 2), mark(1 << 24, 2));
    assert_eq!(mark(1, 16), 0, "no SYN");
}

/// A drop of a SYN counts at each end that is a pod of this node.
#[test]
fn both_pods_report_a_denial() {
    let mut attempts = Attempts::default();
    attempts.turn(SECOND);
    let both = Flow { destination: local(2), ..dropped("POLICY_DENIED", 1, SECOND) };
    assert_eq!(settle(&mut attempts, &[both]), [(E::Denied, CLIENT), (E::Denied, SERVER)]);
    let from_outside = Flow { source: EndpointId::WORLD, ..Flow { source_port: 2, ..both } };
    assert_eq!(settle(&mut attempts, &[from_outside]), [(E::Denied, SERVER)]);
    let data = Flow { tcp_flags: TcpFlags::known(TcpFlags::ACK), source_port: 3, ..both };
    assert_eq!(settle(&mut attempts, &[data]), [], "no SYN");
}

/// A SYN that was dropped otherwise may be repeated and succeed; if nothing answers, the attempt
/// was dropped.
#[test]
fn a_dropped_attempt_counts_when_it_is_over() {
    let mut attempts = Attempts::default();
    attempts.turn(SECOND);
    let ports = [1, 2, 3].map(|port| dropped("NETFILTER_DROP", port, SECOND));
    assert_eq!(settle(&mut attempts, &ports), []);
    let over = [event_of(E::Accepted, 1, 2 * SECOND), event_of(E::TimedOut, 2, 60 * SECOND)];
    assert_eq!(settle(&mut attempts, &over), [(E::Accepted, CLIENT), (E::Dropped, CLIENT)]);
    assert_eq!(settle(&mut attempts, &[event_of(E::Refused, 3, 2 * SECOND)]), [(E::Refused, CLIENT)]);
    let again = [event_of(E::TimedOut, 1, 70 * SECOND), event_of(E::TimedOut, 4, 70 * SECOND)];
    assert_eq!(settle(&mut attempts, &again), [(E::TimedOut, CLIENT); 2], "the drop was another connection's");
}

/// An attempt that was dropped has the reason of its last drop, so that its row is that of the
/// packets; one that timed out has none.
#[test]
fn a_dropped_attempt_has_the_reason_of_the_drop() {
    let mut attempts = Attempts::default();
    attempts.turn(SECOND);
    settle(&mut attempts, &[dropped("NETFILTER_DROP", 2, SECOND), dropped("TC_INGRESS", 2, 2 * SECOND)]);
    let mut over = vec![event_of(E::TimedOut, 2, 60 * SECOND), event_of(E::TimedOut, 3, 60 * SECOND)];
    attempts.settle(&mut over);
    let found: Vec<_> = over.iter().map(|flow| (flow.connection_event().unwrap().0, flow.reason)).collect();
    assert_eq!(found, [(E::Dropped, Reason(Sym::new("TC_INGRESS"))), (E::TimedOut, Reason::NONE)]);
}

/// The time-out of an attempt counts once, also if a SYN came after the entry was gone.
#[test]
fn a_time_out_counts_once() {
    let mut attempts = Attempts::default();
    let mut at = |seconds: u64| {
        attempts.turn(seconds * SECOND);
        settle(&mut attempts, &[event_of(E::TimedOut, 1, seconds * SECOND)]).len()
    };
    assert_eq!([at(60), at(130), at(239), at(241)], [1, 0, 0, 1]);
}

/// A policy's rejection is seen twice, the RST first: it is a denial. One without a drop stays what
/// it is, and the next attempt of the port counts anew.
#[test]
fn a_rejection_is_a_denial() {
    for event in [E::Refused, E::Unreachable] {
        let mut attempts = Attempts::default();
        attempts.turn(SECOND);
        assert_eq!(attempts.hold(event_of(event, 1, SECOND)), None);
        assert_eq!(attempts.next(false), None);
        assert!(!attempts.is_idle());
        assert_eq!(settle(&mut attempts, &[dropped("POLICY_DENIED", 1, SECOND)]), [(E::Denied, CLIENT)]);
        attempts.turn(SECOND + 70_000_000);
        let released = attempts.next(false).unwrap();
        assert!(attempts.is_idle());
        assert_eq!(settle(&mut attempts, &[released]), []);
        let later = [event_of(event, 1, 3 * SECOND), event_of(event, 2, 3 * SECOND)];
        let counted: &[_] = if event == E::Refused { &[(event, CLIENT); 2] } else { &[(event, CLIENT)] };
        assert_eq!(settle(&mut attempts, &later), counted, "after a RST a SYN is another attempt");
        let other = event_of(E::Accepted, 1, 2 * SECOND);
        assert_eq!(attempts.hold(other), Some(other), "waits for nothing");
    }
}

/// A socket that sends again is a pod's or the node's; others on this machine are none of ours.
#[test]
fn foreign_sockets_do_not_count() {
    let mut attempts = Attempts::default();
    let again = event_of(E::RetransmitData, 1, SECOND);
    let by_acceptor = Flow { direction: SERVER, ..again };
    let node = EndpointId::new(Sort::Node, 3);
    assert_eq!(settle(&mut attempts, &[again, by_acceptor]), [(E::RetransmitData, CLIENT)]);
    let of_node = Flow { destination: node, point: Point::ToNetwork, ..by_acceptor };
    assert_eq!(settle(&mut attempts, &[of_node]), [(E::RetransmitData, SERVER)]);
    let strange = [Flow { point: Point::ToStack, ..of_node }, Flow { source: EndpointId::WORLD, ..again }];
    assert_eq!(settle(&mut attempts, &strange), [], "a pod's socket with an address of the node, or of the world");
    let unnamed = Flow { source: EndpointId::new(Sort::Unnamed, 4), ..again };
    assert_eq!(settle(&mut attempts, &[unnamed]), [], "loopback, or a namespace that is no pod's");
    assert_eq!(attempts.counts().foreign, 4);
}

/// An event counts at the interface of the pod that is its end. At a gateway's, or where the
/// addresses are forged, it does not.
#[test]
fn an_event_counts_at_its_own_pod() {
    let mut attempts = Attempts::default();
    let event = Flow { destination: local(2), ..event_of(E::TimedOut, 1, SECOND) };
    let by_acceptor = Flow { direction: SERVER, ..event };
    for (flow, behind, passes) in [
        (event, Some(local(1)), false),
        (event, Some(local(2)), true),
        (by_acceptor, Some(local(2)), false),
        (by_acceptor, Some(local(1)), true),
        (event, None, false),
        (Flow { source: EndpointId::new(Sort::Node, 3), ..event }, Some(local(1)), true),
        (Flow { source: EndpointId::WORLD, ..event }, Some(local(1)), false),
        (Flow { source: EndpointId::new(Sort::Unnamed, 4), ..event }, Some(local(1)), false),
        (Flow { destination: EndpointId::new(Sort::Service, 5), ..by_acceptor }, Some(local(1)), false),
    ] {
        assert_eq!(attempts.passes(&flow, behind), passes, "{flow:?} at {behind:?}");
    }
    assert_eq!(attempts.counts().transit, 3);
}

/// An attempt at a service whose backend is not known is that which the drop behind the translation
/// is of.
#[test]
fn a_service_stands_for_its_backends() {
    let mut attempts = Attempts::default();
    attempts.turn(SECOND);
    assert_eq!(settle(&mut attempts, &[dropped("POLICY_DENIED", 1, SECOND)]), [(E::Denied, CLIENT)]);
    let front = Address(ip("10.96.0.1"));
    let over = Flow { destination_ip: front, ..event_of(E::TimedOut, 1, 60 * SECOND) };
    let of_service = Flow { service: ServiceEnd::destination(ServiceId(1)), ..over };
    assert_eq!(settle(&mut attempts, &[of_service]), []);
    assert_eq!(settle(&mut attempts, &[over]), [(E::TimedOut, CLIENT)], "another destination");
}

proptest! {
    /// Whatever is seen of attempts, each port has one outcome at most for each reporter, and
    /// memory is bounded by what is remembered.
    #[test]
    fn an_attempt_has_one_outcome(
        steps in prop::collection::vec((0_u16..6, 0_u8..4, 0_u64..20), 1..200)
    ) {
        let mut attempts = Attempts::default();
        let (mut now, mut outcomes) = (SECOND, std::collections::HashMap::<u16, u32>::new());
        for (port, what, passed) in steps {
            now = (now + passed * 100_000_000).min(179 * SECOND);
            attempts.turn(now);
            let flow = match what {
                0 => dropped("POLICY_DENIED", port, now),
                1 => dropped("NETFILTER_DROP", port, now),
                2 => event_of(E::Unreachable, port, now),
                _ => event_of(E::TimedOut, port, now),
            };
            *outcomes.entry(port).or_default() += u32::try_from(settle(&mut attempts, &[flow]).len()).unwrap();
        }
        prop_assert!(outcomes.values().all(|count| *count <= 1), "{outcomes:?}");
    }
}
