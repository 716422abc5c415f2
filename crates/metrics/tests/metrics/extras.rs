//! Any flows with anything beside them, through every plugin: counted exactly as a plain reading of
//! the rules counts them (hubble-contract §1), and whatever the options and contexts, no count is
//! lost or doubled.

use std::collections::BTreeMap;

use proptest::prelude::*;
use webb_flow::extra::{L7Kind, L7Record};
use webb_flow::{Address, EndpointId, Extra, ExtraId, Family, Flow, L4, Reply, TcpFlags};
use webb_index::Flows;
use webb_index::Index;

use crate::common::any::any_extra;
use crate::common::{address, aggregators, exposed_with, exposition, feed_view, index, written};

type Counts = BTreeMap<(String, Vec<(String, String)>), f64>;

/// The samples of an exposition; buckets are left out, for the counts of all are in the last.
fn read(text: &str) -> Counts {
    let families = crate::parser::parse(webb_metrics::expose::Format::Text, text);
    let samples = families.into_iter().flat_map(|family| family.samples);
    samples
        .filter(|sample| !sample.name.ends_with("_bucket"))
        .map(|sample| ((sample.name, sample.labels), sample.value))
        .collect()
}

/// A number as Hubble prints an enum: its name, or the number.
fn named(names: &[(i32, &str)], number: i32) -> String {
    names.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

const VERDICTS: [(i32, &str); 8] = [
    (0, "VERDICT_UNKNOWN"),
    (1, "FORWARDED"),
    (2, "DROPPED"),
    (3, "ERROR"),
    (4, "AUDIT"),
    (5, "REDIRECTED"),
    (6, "TRACED"),
    (7, "TRANSLATED"),
];
const DIRECTIONS: [(i32, &str); 3] = [(0, "traffic_direction_unknown"), (1, "ingress"), (2, "egress")];
const POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];
const REASONS: [(i32, &str); 4] =
    [(0, "DROP_REASON_UNKNOWN"), (130, "INVALID_SOURCE_MAC"), (133, "POLICY_DENIED"), (181, "POLICY_DENY")];
const CHUNKS: [(i32, &str); 6] =
    [(1, "INIT"), (2, "INIT_ACK"), (3, "SHUTDOWN"), (4, "SHUTDOWN_ACK"), (5, "SHUTDOWN_COMPLETE"), (6, "ABORT")];
const MATCHES: [&str; 7] = ["none", "l3-only", "l3-l4", "l4-only", "all", "l3-proto", "proto-only"];

fn add(counts: &mut Counts, family: &str, labels: &[(&str, &str)], increment: f64) {
    let mut labels: Vec<_> = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.sort();
    *counts.entry((format!("hubble_{family}"), labels)).or_insert(0.0) += increment;
}

/// Adds the counts of one flow under the plugins at their simplest, but for `dns` and `http`.
fn count(flow: &Flow, extra: &Extra, index: &Index, counts: &mut Counts) {
    let mut add = |family: &str, labels: &[(&str, &str)], increment: f64| add(counts, family, labels, increment);
    let event = extra.event_type.unwrap_or(0);
    let verdict = named(&VERDICTS, extra.verdict);
    let record = extra.l7.as_ref().map_or("", |l7| match l7.record {
        L7Record::Dns(_) => "DNS",
        L7Record::Http(_) => "HTTP",
        L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_) => "",
    });
    let protocol = match event {
        129 if record.is_empty() => "Unknown L7",
        129 => record,
        1 | 3 | 4 | 5 => flow.l4.name(),
        _ => "Unknown flow",
    };
    let decimal = event.to_string();
    let point = usize::try_from(extra.sub_type).ok().and_then(|at| POINTS.get(at)).copied().unwrap_or_default();
    let (kind, subtype) = match event {
        129 => ("L7", record),
        1 => ("Drop", ""),
        3 => ("Capture", ""),
        4 => ("Trace", point),
        5 => ("PolicyVerdict", ""),
        _ => ("Unknown", decimal.as_str()),
    };
    let labels = [("protocol", protocol), ("type", kind), ("subtype", subtype), ("verdict", &verdict)];
    add("flows_processed_total", &labels, 1.0);
    if extra.verdict == 2 {
        add("drop_total", &[("reason", &named(&REASONS, extra.drop_reason)), ("protocol", protocol)], 1.0);
    }
    let world = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];
    let labels = index.endpoint(flow.destination).identity.text();
    let to_world = labels.split(',').any(|label| world.contains(&label));
    let leaves = if extra.verdict == 2 { extra.drop_reason == 133 } else { flow.reply != Reply::Yes };
    if to_world && extra.has_l4 && extra.event_type.is_some() && leaves {
        add("flows_to_world_total", &[("protocol", protocol), ("verdict", &verdict)], 1.0);
    }
    let passed = extra.verdict == 1 || extra.verdict == 5;
    let family = flow.family.name();
    if passed && flow.l4 == L4::Sctp && extra.has_ip && extra.sctp_chunk != 0 {
        let labels = [("chunk_type", named(&CHUNKS, extra.sctp_chunk)), ("family", family.to_owned())];
        add("sctp_chunk_types_total", &labels.each_ref().map(|(name, value)| (*name, value.as_str())), 1.0);
    }
    if passed && flow.l4 == L4::Tcp && extra.has_ip {
        let syn = if flow.tcp_flags.has(TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
        for (flag, name) in [(TcpFlags::FIN, "FIN"), (TcpFlags::SYN, syn), (TcpFlags::RST, "RST")] {
            if flow.tcp_flags.has(flag) {
                add("tcp_flags_total", &[("flag", name), ("family", family)], 1.0);
            }
        }
    }
    if passed && flow.l4 != L4::None && flow.reply == Reply::No {
        let port = if matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp) { flow.destination_port } else { 0 };
        add("port_distribution_total", &[("protocol", flow.l4.name()), ("port", &port.to_string())], 1.0);
    }
    match flow.l4 {
        L4::IcmpV4 => add("icmp_total", &[("family", "IPv4"), ("type", "EchoReply")], 1.0),
        L4::IcmpV6 => add("icmp_total", &[("family", "IPv6"), ("type", "0(0)")], 1.0),
        _ => {}
    }
    let host = index.endpoint(flow.source).identity_number == 1;
    if event == 129 || event == 5 && !host {
        let at = usize::try_from(extra.policy_match_type).unwrap();
        let layer7 = format!("l7/{}", record.to_lowercase());
        let matched = if event == 129 { &layer7 } else { MATCHES.get(at).copied().unwrap_or("unknown") };
        let direction = named(&DIRECTIONS, extra.traffic_direction);
        let labels = [("direction", direction.as_str()), ("match", matched), ("action", &verdict.to_lowercase())];
        add("policy_verdicts_total", &labels, 1.0);
    }
}

/// Adds the counts of its layer 7.
fn count_layer7(flow: &Flow, extra: &Extra, inverted: bool, counts: &mut Counts) {
    let mut add = |family: &str, labels: &[(&str, &str)], increment: f64| add(counts, family, labels, increment);
    let reporter = match extra.traffic_direction {
        1 => "server",
        2 => "client",
        _ => "unknown",
    };
    match extra.l7.as_ref().map(|l7| (l7, &l7.record)) {
        Some((_, L7Record::Dns(dns))) => {
            let (qtypes, ips) = (dns.qtypes.join(","), dns.ips.to_string());
            let reply = flow.reply == Reply::Yes;
            let (family, rcode) = match (extra.verdict == 2, reply) {
                (true, _) => ("dns_queries_total", "Policy denied"),
                (false, false) => ("dns_queries_total", ""),
                (false, true) => ("dns_responses_total", if dns.rcode == 0 { "No Error" } else { "" }),
            };
            add(family, &[("rcode", rcode), ("qtypes", &qtypes), ("ips_returned", &ips)], 1.0);
            for kind in dns.rrtypes.iter().filter(|_| family == "dns_responses_total") {
                add("dns_response_types_total", &[("type", kind), ("qtypes", &qtypes)], 1.0);
            }
        }
        Some((l7, L7Record::Http(http))) => {
            let code = http.code.to_string();
            let shared = [("method", http.method.as_str()), ("protocol", &http.protocol), ("reporter", reporter)];
            let with_code = [&shared[..], &[("status", code.as_str())]].concat();
            if l7.kind == L7Kind::Request && !inverted {
                add("http_requests_total", &shared, 1.0);
            }
            if l7.kind == L7Kind::Response {
                add(if inverted { "http_requests_total" } else { "http_responses_total" }, &with_code, 1.0);
                let labels = [("method", http.method.as_str()), ("reporter", reporter)];
                add("http_request_duration_seconds_count", &labels, 1.0);
                #[allow(clippy::cast_precision_loss, reason = "a sample is a float")]
                add("http_request_duration_seconds_sum", &labels, l7.latency_ns as f64 / 1e9);
            }
        }
        Some((_, L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_))) | None => {}
    }
}

fn any_flow() -> impl Strategy<Value = (Flow, Extra)> {
    let ends = (0_u32..7, 0_u32..7);
    let packet = (0_u8..8, 0_u8..3, prop::option::of(any::<u16>()), 0_u8..3, 79_u16..82);
    (ends, packet, any_extra()).prop_map(|((source, destination), (l4, family, flags, reply, port), extra)| {
        let l4 = if extra.has_l4 { L4::of(l4) } else { L4::None };
        let flow = Flow {
            source_ip: address("10.0.0.3"),
            destination_ip: if port == 80 { Address::default() } else { address("1.1.1.1") },
            source: EndpointId(source),
            destination: EndpointId(destination),
            tcp_flags: flags.map(TcpFlags::known).unwrap_or_default(),
            family: if extra.has_ip { Family::of(family) } else { Family::NotUsed },
            reply: [Reply::Unknown, Reply::No, Reply::Yes][usize::from(reply)],
            destination_port: port,
            l4,
            sctp_chunk: crate::common::chunk(extra.sctp_chunk),
            ..Flow::default()
        };
        (written(flow, &extra), extra)
    })
}

const OPTIONS: [&str; 3] = [
    "dns:query;sourceContext=dns|pod drop:sourceContext=ip flow:labelsContext=source_ip,destination_pod,traffic_direction \
     http:sourceContext=dns;destinationContext=ip policy:sourceContext=dns sctp:destinationContext=pod tcp:sourceContext=ip",
    "dns:sourceEgressContext=ip;destinationContext=dns drop:sourceContext=identity flow:sourceContext=dns;destinationContext=dns|ip \
     http:exemplars=true policy:labelsContext=traffic_direction sctp tcp",
    "dns drop flow http:labelsContext=destination_ip policy sctp:sourceContext=dns tcp:destinationIngressContext=pod|ip",
];

/// Sums over all labels.
fn sums(counts: &Counts) -> BTreeMap<&str, f64> {
    let mut sums = BTreeMap::new();
    for ((name, _), value) in counts.iter().filter(|((name, _), _)| !name.ends_with("_sum")) {
        *sums.entry(name.as_str()).or_insert(0.0) += value;
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Every label and every value of every family, sums of durations included.
    #[test]
    fn counts_are_right(flows in prop::collection::vec(any_flow(), 0..100), inverted in any::<bool>()) {
        let index = index();
        let http = if inverted { "httpV2" } else { "http" };
        let text = exposed_with(&format!("dns drop flow flows-to-world {http} icmp policy port-distribution sctp tcp"), &flows, &index);
        let mut counts = Counts::new();
        for (flow, extra) in &flows {
            count(flow, extra, &index, &mut counts);
            count_layer7(flow, extra, inverted, &mut counts);
        }
        prop_assert_eq!(read(&text), counts);
    }

    /// Contexts and labels that options add divide a family's count and change nothing of its sum.
    #[test]
    fn contexts_divide(
        flows in prop::collection::vec(any_flow(), 1..60),
        configuration in prop::sample::select(OPTIONS.to_vec()),
    ) {
        let index = index();
        let divided = read(&exposed_with(configuration, &flows, &index));
        let plain = read(&exposed_with("dns drop flow http policy sctp tcp", &flows, &index));
        prop_assert_eq!(sums(&divided), sums(&plain));
    }

    /// Whatever a flow and its extra say of each other, even if one contradicts the other or is
    /// missing: no panic, and no series twice.
    #[test]
    fn contradictions_are_harmless(
        flows in prop::collection::vec((any_flow(), any_flow(), 0_u32..40), 1..40),
        configuration in prop::sample::select(OPTIONS.to_vec()),
    ) {
        let index = index();
        let extras: Vec<Extra> = flows.iter().map(|((_, extra), ..)| extra.clone()).collect();
        let flows: Vec<Flow> =
            flows.iter().map(|(_, (flow, _), extra)| Flow { extra: ExtraId(*extra), ..*flow }).collect();
        let configuration = format!("{configuration} flows-to-world:port icmp port-distribution traffic");
        let mut aggregators = aggregators(&configuration);
        feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index: &index });
        let counts = read(&exposition(&mut aggregators));
        let total = f64::from(u32::try_from(flows.len()).unwrap());
        let sums = sums(&counts);
        prop_assert_eq!(sums.get("hubble_flows_processed_total"), Some(&total));
    }
}
