//! Any flows, in any batches, over changing indexes: counted exactly as a plain reading of the
//! rules counts them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::sym::Sym;
use webb_flow::{Direction, EndpointId, Event, Family, Flow, L4, Point, Reason, Reply, TcpFlags, Verdict};
use webb_index::{Endpoint, EndpointKind, Flows, Index, Policies};
use webb_metrics::Aggregator;

use crate::common::{address, aggregators, exposition, feed, pod};

const CONFIGURATIONS: [&str; 4] = [
    "drop flow icmp port-distribution tcp traffic",
    "drop:sourceContext=pod;destinationContext=pod flow:sourceContext=pod icmp:destinationContext=workload|dns|ip \
     port-distribution:labelsContext=destination_pod,traffic_direction \
     tcp:labelsContext=source_ip,source_pod,destination_pod traffic:sourceContext=ip;destinationContext=pod",
    "drop:sourceContext=ip flow:sourceContext=namespace;sourceEgressContext=pod;sourceIngressContext=ip \
     icmp:labelsContext=traffic_direction port-distribution:destinationEgressContext=reserved-identity|pod \
     tcp:sourceContext=dns;destinationContext=pod traffic:labelsContext=source_pod,destination_ip",
    "drop:labelsContext=source_pod,source_ip,destination_pod,destination_ip,traffic_direction \
     flow:labelsContext=source_pod,destination_pod;sourceContext=ip;destinationIngressContext=ip|pod icmp:sourceContext=pod \
     port-distribution:sourceContext=pod tcp:sourceIngressContext=pod;destinationContext=ip traffic:destinationContext=pod|ip",
];

/// A value of each kind of context, by the rules of the hubble-contract §2.
fn context(metric: &str, configuration: &str, flow: &Flow, index: &Index) -> Vec<(String, String)> {
    let options = configuration
        .split_whitespace()
        .find_map(|one| {
            one.strip_prefix(metric).and_then(|rest| rest.strip_prefix(':').or(rest.is_empty().then_some("")))
        })
        .unwrap();
    let options: BTreeMap<&str, Vec<&str>> = options
        .split(';')
        .filter_map(|option| option.split_once('='))
        .map(|(name, values)| (name, values.split(['|', ',']).collect()))
        .collect();
    let ip = |address: webb_flow::Address| match flow.family {
        Family::NotUsed => String::new(),
        _ => address.ip().to_string(),
    };
    let name = |end: &str, identifier: &str| {
        let (id, address) =
            if end == "source" { (flow.source, flow.source_ip) } else { (flow.destination, flow.destination_ip) };
        let endpoint = index.endpoint(id);
        match identifier {
            "ip" => ip(address),
            "dns" => String::new(),
            "pod" => endpoint.pod.text().to_string(),
            "pod-name" => endpoint.pod_name.text().to_string(),
            "namespace" => endpoint.namespace.text().to_string(),
            "workload" => endpoint.workload.text().to_string(),
            "reserved-identity" => endpoint.reserved_identity.text().to_string(),
            other => unreachable!("{other}"),
        }
    };
    let mut labels = Vec::new();
    for label in options.get("labelsContext").into_iter().flatten() {
        let value = match label.split_once('_') {
            Some(("traffic", _)) => flow.direction.label().to_owned(),
            Some((end, "pod")) => name(end, "pod-name"),
            Some((end, field)) => name(end, field),
            None => unreachable!("{label}"),
        };
        labels.push(((*label).to_owned(), value));
    }
    for (end, cased) in [("source", "source"), ("destination", "destination")] {
        let plain = options.get(format!("{cased}Context").as_str());
        let ingress = options.get(format!("{cased}IngressContext").as_str());
        let egress = options.get(format!("{cased}EgressContext").as_str());
        if plain.or(ingress).or(egress).is_none() {
            continue;
        }
        let list = match flow.direction {
            Direction::Ingress => ingress.or(plain),
            Direction::Egress => egress.or(plain),
            Direction::Unknown => plain,
        };
        let values = list.into_iter().flatten().map(|identifier| name(end, identifier));
        labels.push((end.to_owned(), values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()));
    }
    labels
}

type Counts = BTreeMap<(String, Vec<(String, String)>), u64>;

/// Adds the counts of one flow, read off the tables of hubble-contract §1.
fn count(flow: &Flow, index: &Index, configuration: &str, counts: &mut Counts) {
    let mut add = |metric: &str, family: &str, fixed: &[(&str, &str)], increment: u64| {
        let mut labels = context(metric, configuration, flow, index);
        labels.extend(fixed.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        labels.sort();
        let value = counts.entry((family.to_owned(), labels)).or_default();
        *value = value.wrapping_add(increment);
    };
    if matches!(flow.event, Event::Trace | Event::Flush) {
        let fixed = [("protocol", flow.l4.name()), ("traffic_direction", flow.direction.label())];
        add("traffic", "webb_traffic_bytes_total", &fixed, flow.bytes);
        add("traffic", "webb_traffic_packets_total", &fixed, u64::from(flow.packets));
    }
    if flow.event == Event::Flush {
        return;
    }
    let protocol = match flow.event as u8 {
        129 => "Unknown L7",
        1 | 3 | 4 | 5 => flow.l4.name(),
        _ => "Unknown flow",
    };
    let number = (flow.event as u8).to_string();
    let (kind, subtype) = match flow.event as u8 {
        129 => ("L7", ""),
        1 => ("Drop", ""),
        3 => ("Capture", ""),
        4 => ("Trace", flow.point.name()),
        5 => ("PolicyVerdict", ""),
        _ => ("Unknown", number.as_str()),
    };
    let verdict = flow.verdict.name();
    let fixed = [("protocol", protocol), ("type", kind), ("subtype", subtype), ("verdict", verdict)];
    add("flow", "hubble_flows_processed_total", &fixed, 1);
    if verdict == "DROPPED" {
        let reason = flow.reason.0.text();
        let reason = if reason.is_empty() { "DROP_REASON_UNKNOWN" } else { &reason };
        add("drop", "hubble_drop_total", &[("reason", reason), ("protocol", protocol)], 1);
    }
    if matches!(flow.l4, L4::IcmpV4 | L4::IcmpV6) {
        let family = if flow.l4 == L4::IcmpV4 { "IPv4" } else { "IPv6" };
        // The generator makes only types without a name, with code 0 or 1.
        let kind = format!("{}({})", flow.icmp_type, flow.icmp_code);
        add("icmp", "hubble_icmp_total", &[("family", family), ("type", &kind)], 1);
    }
    let passed = verdict == "FORWARDED" || verdict == "REDIRECTED";
    if passed && flow.reply == Reply::No && flow.l4 != L4::None {
        let ports = matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp);
        let port = if ports { flow.destination_port.to_string() } else { "0".to_owned() };
        let fixed = [("protocol", flow.l4.name()), ("port", port.as_str())];
        add("port-distribution", "hubble_port_distribution_total", &fixed, 1);
    }
    if passed && flow.l4 == L4::Tcp && flow.family != Family::NotUsed {
        let syn = if flow.tcp_flags.has(TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
        for (flag, name) in [(TcpFlags::FIN, "FIN"), (TcpFlags::SYN, syn), (TcpFlags::RST, "RST")] {
            if flow.tcp_flags.has(flag) {
                add("tcp", "hubble_tcp_flags_total", &[("flag", name), ("family", flow.family.name())], 1);
            }
        }
    }
}

const LAST: [u8; 4] = [1, 2, 3, 4];

/// The same addresses under two indexes: ids differ, and one pod has a new name in the second.
fn indexes() -> [Arc<Index>; 2] {
    let at = |last: u8| vec![address(&format!("10.0.0.{last}"))];
    let host = || (Endpoint::reserved(EndpointKind::Host, 1, "reserved:host"), at(1));
    let first = [host(), (pod("a", "one", "w"), at(2)), (pod("a", "two", "w"), at(3))];
    let second = [(pod("a", "two", "w"), at(3)), (pod("b", "one", "v"), at(2)), host()];
    [first, second].map(|endpoints| Arc::new(Index::new(endpoints, Policies::default())))
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let ends = (prop::sample::select(LAST.to_vec()), prop::sample::select(LAST.to_vec()), 0_u8..4);
    let kind = (any::<u8>(), 0_u8..9, 0_u8..4, any::<bool>());
    let kind = (kind, prop::sample::select(vec![0_u8, 1, 3, 4, 4, 4, 5, 7, 129, 255]), 0_u8..16);
    let packet = (0_u8..8, 0_u8..3, prop::option::of(any::<u16>()), 130_u8..133, 0_u8..2, 79_u16..82);
    let amounts = (prop_oneof![0..10_000_u64, any::<u64>()], any::<u32>());
    (ends, kind, packet, amounts).prop_map(|(ends, kind, packet, (bytes, packets))| {
        let (source, destination, world) = ends;
        let ((reason, verdict, direction, reason_known), event, point) = kind;
        let (l4, family, flags, icmp_type, icmp_code, port) = packet;
        let of = |last: u8| address(&format!("10.0.0.{last}"));
        Flow {
            source_ip: if world == 1 { address("1.1.1.1") } else { of(source) },
            destination_ip: if world == 2 { address("fd00::9") } else { of(destination) },
            bytes,
            packets,
            reason: if reason_known { Reason(Sym::new(&format!("R{}", reason % 3))) } else { Reason::NONE },
            source_port: port,
            destination_port: port,
            tcp_flags: flags.map(TcpFlags::known).unwrap_or_default(),
            icmp_type,
            icmp_code,
            family: Family::of(family),
            l4: L4::of(l4),
            event: Event::of(event),
            point: Point::of(point),
            verdict: Verdict::of(verdict),
            direction: Direction::of(direction),
            reply: [Reply::Unknown, Reply::No, Reply::Yes][usize::from(reason) % 3],
            ..Flow::default()
        }
    })
}

/// Names the ends, as the reader does; now and then with an id that the index never gave.
fn named(flow: &Flow, index: &Index) -> Flow {
    let source = if flow.bytes % 17 == 3 { EndpointId(u32::MAX) } else { index.find(flow.source_ip) };
    Flow { source, destination: index.find(flow.destination_ip), ..*flow }
}

fn read(text: &str) -> BTreeMap<(String, Vec<(String, String)>), String> {
    let families = crate::parser::parse(webb_metrics::expose::Format::Text, text);
    let samples = families.into_iter().flat_map(|family| family.samples);
    samples.map(|sample| ((sample.name, sample.labels), sample.value.to_string())).collect()
}

fn expected(counts: &Counts) -> BTreeMap<(String, Vec<(String, String)>), String> {
    #[allow(clippy::cast_precision_loss, reason = "a sample is a float")]
    counts.iter().map(|(series, &count)| (series.clone(), (count as f64).to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The counters are those of the plain reading, over any mix of flows, with the index changing
    /// between batches: no count is lost, doubled, or put into a series of its own.
    #[test]
    fn counts_are_right(
        flows in prop::collection::vec((any_flow(), any::<bool>()), 0..120),
        configuration in prop::sample::select(CONFIGURATIONS.to_vec()),
        size in 1_usize..9,
    ) {
        let indexes = indexes();
        let mut aggregators = aggregators(configuration);
        let mut counts = Counts::new();
        for batch in flows.chunks(size) {
            let index = &indexes[usize::from(batch[0].1)];
            let batch: Vec<Flow> = batch.iter().map(|(flow, _)| named(flow, index)).collect();
            feed(&mut aggregators, &batch, index);
            for flow in &batch {
                count(flow, index, configuration, &mut counts);
            }
        }
        prop_assert_eq!(read(&exposition(&mut aggregators)), expected(&counts));
        let series: usize = aggregators.iter().map(Aggregator::series).sum();
        prop_assert_eq!(series, counts.len());
    }

    /// One batch or many, with or without snapshots in between: the same exposition, letter by
    /// letter.
    #[test]
    fn batches_and_snapshots_do_not_matter(
        flows in prop::collection::vec(any_flow(), 1..80),
        configuration in prop::sample::select(CONFIGURATIONS.to_vec()),
        size in 1_usize..9,
    ) {
        let index = &indexes()[0];
        let flows: Vec<Flow> = flows.iter().map(|flow| named(flow, index)).collect();
        let (mut whole, mut parts) = (aggregators(configuration), aggregators(configuration));
        feed(&mut whole, &flows, index);
        let mut kept = Vec::new();
        for batch in flows.chunks(size) {
            feed(&mut parts, batch, index);
            kept.push((crate::common::snapshots(&mut parts), exposition(&mut parts)));
        }
        prop_assert_eq!(exposition(&mut whole), exposition(&mut parts));
        // What came later must not show in an old snapshot.
        for (snapshots, text) in kept {
            let mut again = Vec::new();
            webb_metrics::expose::text::render(&snapshots, [], &mut again);
            prop_assert_eq!(String::from_utf8(again).unwrap(), text);
        }
    }
}

fn of<'a>(flows: &'a [Flow], index: &'a Arc<Index>) -> Flows<'a> {
    Flows { flows, extras: &[], index }
}

/// Counting starts at `from`, so that a caller can leave out the flow that killed the last call.
#[test]
fn counting_goes_on_behind_a_flow() {
    let index = &indexes()[0];
    let flows = [Flow { event: Event::Trace, ..Flow::default() }; 10];
    let mut aggregators = aggregators("flow");
    let mut progress = 0;
    aggregators[0].observe(of(&flows[..4], index), 0, &mut progress);
    assert_eq!(progress, 4);
    aggregators[0].observe(of(&flows, index), 5, &mut progress);
    assert_eq!(progress, 10);
    assert!(exposition(&mut aggregators).contains("} 9\n"));
}
