//! Arbitrary flows for property tests.

use proptest::prelude::*;
use webb_flow::extra::{Dns, Grpc, GrpcStatus, Http, L7, L7Kind, L7Record, Unanswered};
use webb_flow::sym::Sym;
use webb_flow::{
    Direction, EndpointId, Event, Extra, ExtraId, Family, Flow, L4, Point, Reason, Reply, Ruling, ServiceEnd,
    ServiceId, TcpFlags, Verdict,
};

use super::{address, chunk};

pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]", 1 => "", 2 => "\\PC{0,4}", 1 => "[\"\\\\\n,\u{0}]{1,3}"]
}

fn any_layer7() -> impl Strategy<Value = L7> {
    let texts = || prop::collection::vec(prop_oneof![Just("A".to_owned()), Just("AAAA".to_owned()), any_text()], 0..3);
    let dns = (any_text(), 0_u32..3, prop::sample::select(vec![0, 12, u32::MAX]), texts(), texts()).prop_map(
        |(query, ips, rcode, qtypes, rrtypes)| {
            let latency_ns = (ips > 0).then_some(1_000_000);
            L7Record::Dns(Dns { query, ips, rcode, qtypes, rrtypes, latency_ns, ..Dns::default() })
        },
    );
    let http = (0_u32..3, any_text(), any_text())
        .prop_map(|(code, method, protocol)| L7Record::Http(Http { code, method, protocol, ..Http::default() }));
    let status = prop::sample::select(vec![GrpcStatus::Number(0), GrpcStatus::Other, GrpcStatus::Unknown]);
    let end = (any_text(), status, any::<bool>()).prop_map(|(text, status, call)| {
        if call {
            L7Record::Grpc(Grpc { status, path: text })
        } else {
            L7Record::Unanswered(Unanswered { query: text })
        }
    });
    let kind = prop::sample::select(vec![L7Kind::Unknown, L7Kind::Request, L7Kind::Response, L7Kind::Sample]);
    (
        kind,
        prop_oneof![0_u64..20_000_000_000, any::<u64>()],
        prop_oneof![2 => dns, 2 => http, 2 => end, 1 => Just(L7Record::None)],
    )
        .prop_map(|(kind, latency_ns, record)| L7 { kind, latency_ns, record })
}

/// Any fields that another program may have written beside a flow, contradictions included.
pub(crate) fn any_extra() -> impl Strategy<Value = Extra> {
    let event = vec![-1, 0, 1, 2, 3, 4, 4, 5, 5, 7, 8, 129, 129, 130, 255, 300, i32::MIN];
    let numbers = (prop::option::of(prop::sample::select(event)), -1_i32..16, -1_i32..9, -1_i32..4);
    let reason = prop::sample::select(vec![0, 130, 133, 133, 181, 206, -1, i32::MAX]);
    let more = (reason, prop_oneof![0_u32..9, Just(u32::MAX)], -1_i32..8, any::<[bool; 2]>());
    (numbers, more, prop::option::of(any_layer7()), any_text(), any_text()).prop_map(
        |(numbers, more, l7, name, trace)| {
            let (event_type, sub_type, verdict, traffic_direction) = numbers;
            let (drop_reason, policy_match_type, sctp_chunk, [has_ip, has_l4]) = more;
            Extra {
                event_type,
                sub_type,
                verdict,
                traffic_direction,
                drop_reason,
                policy_match_type,
                sctp_chunk,
                has_ip,
                has_l4,
                l7,
                source_names: Sym::new(&name),
                trace_id: trace,
                ..Extra::default()
            }
        },
    )
}

/// A flow as the kernel reports it: every field takes a few values, so that many flows differ in
/// one field alone.
pub(crate) fn any_flow() -> impl Strategy<Value = Flow> {
    let few = || 0_u32..3;
    let ends = (few(), few(), 0_u32..7, 0_u32..7, few(), few());
    let amounts = (0_u64..2, 0_u64..3, few());
    let packet =
        (0_u8..8, 0_u8..3, prop::option::of(any::<u16>()), 0_i32..8, prop::sample::select(vec![0_u8, 3, 143]), 0_u8..2);
    let ports = (prop::sample::select(vec![0_u16, 80, 53]), prop::sample::select(vec![0_u16, 80, 53, u16::MAX]));
    let event = prop::sample::select(vec![0_u8, 1, 3, 4, 4, 4, 5, 5, 7, 129, 255]);
    let verdict =
        (event, 0_u8..16, 0_u8..9, 0_u8..4, few(), (prop::option::of(0_u8..16), prop::option::of(few())), few());
    (ends, amounts, packet, ports, verdict).prop_map(|(ends, amounts, packet, ports, verdict)| {
        let (source_ip, destination_ip, source, destination, service, ifindex) = ends;
        let (time_ns, bytes, packets) = amounts;
        let (l4, family, flags, sctp, icmp_type, icmp_code) = packet;
        let (event, point, verdict, direction, reply, (matched, policy), reason) = verdict;
        let of = |last: u32| address(&format!("10.0.0.{}", last + 2));
        // Without `..`: a field that is new must be given its values here.
        Flow {
            time_ns,
            source_ip: of(source_ip),
            destination_ip: of(destination_ip),
            bytes,
            packets,
            source: EndpointId(source),
            destination: EndpointId(destination),
            ifindex,
            extra: ExtraId::NONE,
            service: ServiceEnd::destination(ServiceId(service)),
            ruling: matched.map_or_else(Ruling::default, |matched| Ruling::new(matched, policy)),
            reason: if reason == 0 { Reason::NONE } else { Reason(Sym::new(&format!("R{reason}"))) },
            source_port: ports.0,
            destination_port: ports.1,
            tcp_flags: flags.map(TcpFlags::known).unwrap_or_default(),
            sctp_chunk: chunk(sctp),
            icmp_type,
            icmp_code,
            family: Family::of(family),
            l4: L4::of(l4),
            event: Event::of(event),
            point: Point::of(point),
            verdict: Verdict::of(verdict),
            direction: Direction::of(direction),
            reply: [Reply::Unknown, Reply::No, Reply::Yes][reply as usize],
        }
    })
}
