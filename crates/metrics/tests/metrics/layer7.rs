//! Exposition of flows with layer 7, names and raw numbers (hubble-contract §1.1, §1.4 to §1.6,
//! §1.9, §1.11 and §2.4).

use std::sync::Arc;

use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record};
use webb_flow::sym::Sym;
use webb_flow::{Extra, ExtraId, Family, Flow, L4, Reply, SctpChunk, TcpFlags};
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_index::{DnsNameCache, Flows, Index, NameLimits};
use webb_metrics::expose::{Exemplar, Snapshot};

use crate::common::{
    address, aggregators, apart, every_plugin, exposed_with, exposition, feed_view, flow, index, snapshots, tcp,
};

pub(crate) const DEATHSTAR: &str = "10.0.0.2";
pub(crate) const TIEFIGHTER: &str = "10.0.0.3";
pub(crate) const WORLD: &str = "1.1.1.1";

/// FORWARDED, DROPPED; INGRESS, EGRESS.
const FORWARDED: i32 = 1;
const DROPPED: i32 = 2;
const INGRESS: i32 = 1;
const EGRESS: i32 = 2;

pub(crate) fn event(number: i32) -> Extra {
    Extra { event_type: Some(number), verdict: FORWARDED, has_ip: true, has_l4: true, ..Extra::default() }
}

fn layer7(kind: L7Kind, record: L7Record) -> Extra {
    let l7 = L7 { kind, latency_ns: 3_000_000, record };
    Extra { l7: Some(l7), traffic_direction: EGRESS, ..event(129) }
}

pub(crate) fn dns(rcode: u32, qtypes: &[&str], rrtypes: &[&str]) -> Extra {
    let texts = |texts: &[&str]| texts.iter().copied().map(String::from).collect();
    let ips = u32::try_from(rrtypes.iter().filter(|kind| **kind == "A").count()).unwrap();
    let record =
        Dns { query: "a.io.".into(), ips, rcode, qtypes: texts(qtypes), rrtypes: texts(rrtypes), ..Dns::default() };
    layer7(L7Kind::Request, L7Record::Dns(record))
}

pub(crate) fn http(kind: L7Kind, method: &str, code: u32) -> Extra {
    let record = Http { code, method: method.into(), protocol: "HTTP/1.1".into(), ..Http::default() };
    Extra { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), ..layer7(kind, L7Record::Http(record)) }
}

pub(crate) fn reply(flow: Flow) -> Flow {
    Flow {
        reply: Reply::Yes,
        source: flow.destination,
        destination: flow.source,
        source_ip: flow.destination_ip,
        destination_ip: flow.source_ip,
        ..flow
    }
}

fn story(index: &Index) -> Vec<(Flow, Extra)> {
    let udp = Flow { l4: L4::Udp, destination_port: 53, ..flow(index, TIEFIGHTER, WORLD) };
    let get = Flow { time_ns: 1_500_000_000, ..tcp(flow(index, TIEFIGHTER, DEATHSTAR), 80, 0) };
    let syn = tcp(flow(index, TIEFIGHTER, WORLD), 443, TcpFlags::SYN);
    let sctp = Flow { l4: L4::Sctp, sctp_chunk: SctpChunk::InitAck, ..flow(index, TIEFIGHTER, WORLD) };
    vec![
        (udp, dns(0, &["A"], &[])),
        (udp, dns(0, &["AAAA"], &[])),
        (reply(udp), dns(0, &["A"], &["A", "A", "CNAME"])),
        (reply(udp), dns(3, &["A", "AAAA"], &[])),
        (reply(udp), Extra { verdict: DROPPED, ..dns(77, &["A"], &["A"]) }),
        (get, http(L7Kind::Request, "GET", 0)),
        (reply(get), http(L7Kind::Response, "GET", 200)),
        (reply(get), Extra { traffic_direction: INGRESS, ..http(L7Kind::Response, "GET", 200) }),
        (reply(get), Extra { traffic_direction: 0, trace_id: String::new(), ..http(L7Kind::Response, "PUT", 403) }),
        (get, http(L7Kind::Sample, "GET", 200)),
        (syn, event(4)),
        (syn, Extra { verdict: DROPPED, drop_reason: 133, ..event(1) }),
        (syn, Extra { verdict: DROPPED, drop_reason: 181, ..event(1) }),
        (syn, Extra { verdict: DROPPED, drop_reason: 206, ..event(5) }),
        (syn, Extra { verdict: 9, traffic_direction: 7, policy_match_type: 1, ..event(5) }),
        (flow(index, "10.0.0.1", DEATHSTAR), Extra { policy_match_type: 2, ..event(5) }),
        (flow(index, TIEFIGHTER, DEATHSTAR), Extra { policy_match_type: 99, traffic_direction: INGRESS, ..event(5) }),
        (syn, event(42)),
        (syn, Extra { event_type: None, ..event(0) }),
        (Flow { family: Family::NotUsed, ..syn }, event(4)),
        (sctp, Extra { sctp_chunk: 2, ..event(4) }),
        (sctp, Extra { sctp_chunk: 99, ..event(4) }),
        (sctp, event(4)),
    ]
}

/// All plugins at their simplest.
#[test]
fn plain() {
    let index = index();
    let text = exposed_with(&every_plugin(), &story(&index), &index);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    insta::assert_snapshot!(text);
}

/// All plugins with their options and contexts.
#[test]
fn options() {
    let index = index();
    let configuration = "dns:query;ignoreAAAA;sourceContext=pod-name flows-to-world:any-drop;port;syn-only;\
        labelsContext=source_pod httpV2:exemplars=true;sourceContext=workload-name;destinationContext=pod-name";
    let text = exposed_with(configuration, &story(&index), &index);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    insta::assert_snapshot!(text);
}

/// The names a flow carries are the identifier `dns`; with them, a pair of endpoints has more than
/// one context.
#[test]
fn names_of_the_flow() {
    let index = index();
    let ping = Flow { l4: L4::IcmpV4, ..flow(&index, TIEFIGHTER, WORLD) };
    let named = |source: &str, destination: &str| {
        let (source_names, destination_names) = (Sym::new(source), Sym::new(destination));
        (ping, Extra { source_names, destination_names, ..event(4) })
    };
    let flows = [named("", "a.io,b.io"), named("", "c.io"), named("x", "c.io"), named("", "a.io,b.io")];
    let text = exposed_with("icmp:sourceContext=dns|pod-name;destinationContext=dns|reserved-identity", &flows, &index);
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [("a.io,b.io", "tiefighter", 2), ("c.io", "tiefighter", 1), ("c.io", "x", 1)];
    let expected = expected.map(|(destination, source, count)| {
        format!(
            "hubble_icmp_total{{destination=\"{destination}\",family=\"IPv4\",source=\"{source}\",\
             type=\"EchoReply\"}} {count}"
        )
    });
    assert_eq!(series, expected);
}

/// Names that pods have looked up travel with the index: the asking pod's flows with the address
/// show them in both directions, layer 7 and filters included, and those of other pods do not. A
/// name that takes the symbol of one that is gone is not taken for it.
#[test]
fn names_from_the_index() {
    let base = index();
    let mut cache = DnsNameCache::new(NameLimits { pairs_of_pod: 1, texts: 4, ..NameLimits::default() });
    let mut aggregators = aggregators("icmp:sourceContext=dns;destinationContext=dns");
    let mut run = |cache: &mut DnsNameCache, seconds: u64, flows: &[Flow]| {
        let index = Arc::new(base.with_dns_names(cache.publish(seconds * 1_000_000_000).unwrap()));
        let live = Extra { live: true, ..event(129) };
        feed_view(&mut aggregators, Flows { flows, extras: &[live], index: &index });
        index
    };
    let ping = |source: &str, destination: &str| Flow { l4: L4::IcmpV4, ..flow(&base, source, destination) };
    let learn = |cache: &mut DnsNameCache, name: &str, seconds: u64| {
        cache.learn((address(TIEFIGHTER), Sym::EMPTY), name, &[address(WORLD)], (60, seconds * 1_000_000_000));
    };
    learn(&mut cache, "symbol-0.test.", 1);
    let out = ping(TIEFIGHTER, WORLD);
    let flows = [out, reply(out), Flow { extra: ExtraId(0), ..out }, ping("10.0.0.4", WORLD)];
    let index = run(&mut cache, 1, &flows);
    let filter = |name: &str| {
        let spec = FilterSpec { destination_fqdn: vec![name.to_owned()], ..FilterSpec::default() };
        Filters { include: vec![FlowFilter::new(spec).unwrap()], exclude: Vec::new() }
    };
    let passes = |name: &str| flows.map(|flow| filter(name).pass(&flow, None, &index));
    assert_eq!(passes("symbol-*"), [true, false, true, false]);
    assert_eq!(passes("other.test"), [false; 4]);
    assert!(filter("*").layer7_reads().names);
    drop(index);
    // Each name takes the place of the one before, and its symbol once that is gone.
    for number in 1..40 {
        cache.expire(number * 100 * 1_000_000_000);
        learn(&mut cache, &format!("symbol-{number}.test."), number * 100);
        run(&mut cache, number * 100, &[out]);
    }
    let text = exposition(&mut aggregators);
    let count = |labels: &str| text.lines().filter(|line| line.contains(labels)).map(str::to_owned).collect::<Vec<_>>();
    let series = |destination: &str, source: &str, count: u32| {
        format!(
            "hubble_icmp_total{{destination=\"{destination}\",family=\"IPv4\",source=\"{source}\",type=\"EchoReply\"}} {count}"
        )
    };
    assert_eq!(count("=\"symbol-0.test\""), [series("", "symbol-0.test", 1), series("symbol-0.test", "", 2)]);
    assert_eq!(count("destination=\"\",family=\"IPv4\",source=\"\""), [series("", "", 1)]);
    for number in 1..40 {
        let name = format!("symbol-{number}.test");
        assert_eq!(count(&format!("\"{name}\"")), [series(&name, "", 1)], "{text}");
    }
}

/// A filter on names remembers what fitted by symbol, and must not take a name for one that is gone
/// and whose symbol it has.
#[test]
fn a_filter_forgets_names_that_are_gone() {
    let base = index();
    let spec = FilterSpec { destination_fqdn: vec!["filtered-0.test".to_owned()], ..FilterSpec::default() };
    let filters = Filters { include: vec![FlowFilter::new(spec).unwrap()], exclude: Vec::new() };
    let config = webb_metrics::grammar::parse("icmp").unwrap().metrics[0].clone().with_filters(filters);
    let mut aggregators = [webb_metrics::Aggregator::new(&config)];
    let mut cache = DnsNameCache::new(NameLimits { pairs_of_pod: 1, texts: 4, ..NameLimits::default() });
    let ping = Flow { l4: L4::IcmpV4, ..flow(&base, TIEFIGHTER, WORLD) };
    for number in 0..200 {
        let now_ns = (number + 1) * 100 * 1_000_000_000;
        cache.expire(now_ns);
        let name = format!("filtered-{number}.test.");
        cache.learn((address(TIEFIGHTER), Sym::EMPTY), &name, &[address(WORLD)], (60, now_ns));
        let index = Arc::new(base.with_dns_names(cache.publish(now_ns).unwrap()));
        feed_view(&mut aggregators, Flows { flows: &[ping], extras: &[], index: &index });
    }
    let text = exposition(&mut aggregators);
    assert!(text.ends_with("type=\"EchoReply\"} 1\n"), "{text}");
}

/// An address of a message that has no version is shown, one that is absent is not.
#[test]
fn addresses_without_a_version() {
    let index = index();
    let ping = Flow { l4: L4::IcmpV4, family: Family::NotUsed, ..flow(&index, TIEFIGHTER, WORLD) };
    let shown = |flow: Flow, has_ip| {
        let text = exposed_with("icmp:sourceContext=ip", &[(flow, Extra { has_ip, ..event(4) })], &index);
        let (_, rest) = text.split_once("source=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    assert_eq!(shown(ping, true), TIEFIGHTER);
    assert_eq!(shown(ping, false), "");
    let absent = Flow { source_ip: webb_flow::Address::default(), ..ping };
    assert_eq!(shown(absent, true), "");
    assert_eq!(shown(Flow { family: Family::V4, ..absent }, true), "");
    assert_eq!(shown(Flow { family: Family::V6, source_ip: address("::"), ..absent }, true), "::");
}

/// `httpV2` swaps finished strings, each worked out by its own list, and whole ends in
/// `labelsContext`; the direction stays (hubble-contract §2.4).
#[test]
fn inversion() {
    let index = index();
    let answer = reply(tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, 0));
    let extra = Extra { destination_names: Sym::new("client.io"), ..http(L7Kind::Response, "GET", 200) };
    let shown = |context: &str| {
        let text = exposed_with(&format!("httpV2:{context}"), &[(answer, extra.clone())], &index);
        let first = text.lines().find(|line| line.starts_with("hubble_http_requests_total{")).unwrap().to_owned();
        let labels = first.split_once('{').unwrap().1.trim_end_matches("} 1").trim_end_matches('"');
        let fixed = ["method", "protocol", "reporter", "status"];
        let kept = labels.split("\",").filter(|pair| !fixed.iter().any(|name| pair.starts_with(name)));
        kept.map(|pair| format!("{pair}\"")).collect::<Vec<_>>()
    };
    // The flow goes from the deathstar to the tiefighter, which is the client.
    assert_eq!(
        shown("sourceContext=workload-name;destinationContext=dns"),
        ["destination=\"deathstar\"", "source=\"client.io\""]
    );
    assert_eq!(shown("sourceContext=workload-name"), ["source=\"\""]);
    assert_eq!(
        shown("labelsContext=source_workload,source_ip,destination_workload,traffic_direction"),
        [
            "destination_workload=\"deathstar\"",
            "source_ip=\"10.0.0.3\"",
            "source_workload=\"tiefighter\"",
            "traffic_direction=\"egress\""
        ]
    );
}

fn exemplars(snapshot: &Snapshot) -> Vec<(usize, &Exemplar)> {
    snapshot
        .labels
        .rows()
        .flat_map(|(slot, _)| (0..snapshot.width()).filter_map(move |at| Some((at, snapshot.exemplar(slot, at)?))))
        .collect()
}

/// The latest trace of each counter and each bucket; none from a flow without one, none that
/// OpenMetrics forbids, and none at all unless it is asked for.
#[test]
fn exemplars_are_the_latest() {
    let index = index();
    let get = tcp(flow(&index, TIEFIGHTER, DEATHSTAR), 80, 0);
    let traced = |trace_id: &str, seconds: u64, latency_ns| {
        let mut extra = Extra { trace_id: trace_id.into(), ..http(L7Kind::Response, "GET", 200) };
        extra.l7.as_mut().unwrap().latency_ns = latency_ns;
        (Flow { time_ns: seconds * 1_000_000_000, ..get }, extra)
    };
    let too_long = "é".repeat(122);
    let flows = [
        traced("a", 1, 4_000_000),
        traced("b", 2, 6_000_000),
        traced("c", 3, 20_000_000_000),
        traced("", 4, 6_000_000),
        traced(&too_long, 5, 6_000_000),
    ];
    let run = |configuration: &str| {
        let mut aggregators = aggregators(configuration);
        let (flows, extras) = apart(&flows);
        feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index: &index });
        snapshots(&mut aggregators)
    };
    for (configuration, requests, durations) in [("httpV2:exemplars=true", 0, 1), ("http:Exemplars=true", 1, 2)] {
        let all = run(configuration);
        let exemplar = |id: &str, value, seconds| Exemplar { trace_id: id.into(), value, seconds };
        assert_eq!(exemplars(&all[requests]), [(0, &exemplar("c", 1.0, 3.0))]);
        let expected = [(0, exemplar("a", 0.004, 1.0)), (1, exemplar("b", 0.006, 2.0)), (11, exemplar("c", 20.0, 3.0))];
        let found: Vec<(usize, Exemplar)> =
            exemplars(&all[durations]).into_iter().map(|(at, exemplar)| (at, exemplar.clone())).collect();
        assert_eq!(found, expected);
    }
    for configuration in ["http", "http:exemplars", "httpV2:exemplars=True", "httpV2:exemplars=false;exemplars=true"] {
        let parsed = webb_metrics::grammar::parse(configuration).unwrap();
        let mut aggregators: Vec<_> = parsed.metrics.iter().map(webb_metrics::Aggregator::new).collect();
        let (flows, extras) = apart(&flows);
        feed_view(&mut aggregators, Flows { flows: &flows, extras: &extras, index: &index });
        assert!(snapshots(&mut aggregators).iter().all(|snapshot| exemplars(snapshot).is_empty()), "{configuration}");
    }
    assert_eq!(exemplars(&run("http:exemplars=true")[1])[0].1.value.to_bits(), 1.0_f64.to_bits());
}
