//! Records as another implementation of OTLP reads them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message as _;
use webb_flow::sym::Sym;
use webb_flow::{Address, EndpointId, ExtraId, Ruling, SctpChunk, ServiceEnd, ServiceId};
use webb_otlp::{MAX_ATTRIBUTES, MAX_RECORD_BYTES};

use super::*;
use crate::observe::compact_line;
use crate::segment::Event as Kept;
use crate::stream::samples;
use crate::taken::Taken;

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => format!("{text:?}"),
        Value::BoolValue(on) => on.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let items: Vec<String> = list.values.iter().map(|value| text(value.value.as_ref().unwrap())).collect();
            format!("[{}]", items.join(", "))
        }
        other => panic!("{other:?}"),
    }
}

/// Attributes as text, sorted.
fn attributes(record: &LogRecord) -> BTreeMap<String, String> {
    let pairs = record.attributes.iter();
    let all: BTreeMap<_, _> =
        pairs.map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap()))).collect();
    assert_eq!(all.len(), record.attributes.len(), "each key is there once");
    all
}

fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        None => "",
        other => panic!("{other:?}"),
    }
}

fn writer(settings: &FlowSettings) -> Writer {
    Writer::new(settings, &samples::node()).unwrap()
}

/// The records of all flows of a segment, none as part of a sample.
fn records(segment: &Segment, settings: &FlowSettings) -> Vec<LogRecord> {
    let mut writer = writer(settings);
    let write = |(place, event): (usize, &Kept)| {
        let Kept::Flow(flow) = event else { panic!("{event:?}") };
        LogRecord::decode(writer.write((segment, place), flow, (settings.body, false), 99).bytes()).unwrap()
    };
    segment.events.iter().enumerate().map(write).collect()
}

/// One flow of each kind: every part has its attribute, and what is not known has none.
#[test]
fn flows_are_records() {
    let (index, ids) = samples::index();
    let (named, extras) = samples::kinds(ids);
    let flows: Vec<Flow> = named.iter().map(|(_, flow)| *flow).collect();
    let segment = samples::recorded(&flows, &extras, &index);
    let settings =
        FlowSettings { labels: vec!["app".into(), "app.kubernetes.io/name".into()], ..FlowSettings::default() };
    let mut shown = String::new();
    for ((name, flow), record) in named.iter().zip(records(&segment, &settings)) {
        assert_eq!((record.event_name.as_str(), record.observed_time_unix_nano), ("webb.flow", 99));
        assert_eq!(record.time_unix_nano, 1_000_000_001_000, "{name}");
        assert_eq!(record.dropped_attributes_count, 0);
        let severity = match flow.verdict {
            Verdict::Dropped | Verdict::Audit => 13,
            _ => 9,
        };
        assert_eq!(record.severity_number, severity, "{name}");
        let mut attributes = attributes(&record);
        assert_eq!(attributes.remove("log.record.uid").unwrap().len(), 38);
        writeln!(shown, "# {name}\n{}", body(&record)).unwrap();
        if !record.trace_id.is_empty() {
            writeln!(shown, "trace {:02x?}", record.trace_id).unwrap();
        }
        for (key, value) in attributes {
            writeln!(shown, "{key}={value}").unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}

/// An attempt to connect that failed is a record with its outcome, from the side that opened, and
/// with what is known of it: no verdict, which a packet has, no counts and no event of Hubble's.
/// Its text is a line of the same form; there is none in Hubble's JSON.
#[test]
fn failed_attempts_are_records() {
    let (index, ids) = samples::index();
    let attempts = samples::attempts(ids);
    let segment = samples::recorded_of(Taken::FailedConnections, &attempts, &[], &index);
    let mut shown = String::new();
    for record in records(&segment, &FlowSettings::default()) {
        assert_eq!((record.event_name.as_str(), record.severity_number), ("webb.flow", 13));
        let mut attributes = attributes(&record);
        assert_eq!(attributes.remove("log.record.uid").unwrap().len(), 38);
        writeln!(shown, "# {}", body(&record)).unwrap();
        for (key, value) in attributes {
            writeln!(shown, "{key}={value}").unwrap();
        }
    }
    insta::assert_snapshot!(shown);
    let settings = FlowSettings { body: Body::Hubble, ..FlowSettings::default() };
    assert!(records(&segment, &settings).iter().all(|record| record.body.is_none()));
}

/// A mask leaves what it names; ids, texts and labels are there only as configured.
#[test]
fn records_have_what_is_configured() {
    let (index, ids) = samples::index();
    let segment = samples::recorded(&[samples::opening(ids)], &[], &index);
    let fields = vec!["verdict".into(), "source.pod_name".into(), "destination.labels".into()];
    let labels = vec!["app.kubernetes.io/name".into()];
    let settings = FlowSettings { fields, labels, body: Body::None, ..FlowSettings::default() };
    let record = &records(&segment, &settings)[0];
    let keys: Vec<String> = attributes(record).into_keys().collect();
    let expected = [
        "destination.cloud.availability_zone",
        "destination.cloud.region",
        "destination.k8s.node.name",
        "destination.k8s.pod.label.app.kubernetes.io/name",
        "flow.io.bytes",
        "flow.io.packets",
        "network.flow.inter_zone",
        "source.cloud.availability_zone",
        "source.cloud.region",
        "source.k8s.node.name",
        "source.k8s.pod.name",
        "webb.verdict",
    ];
    assert_eq!((keys, body(record)), (expected.map(str::to_owned).to_vec(), ""));
    let settings = FlowSettings { body: Body::Hubble, uid: false, ..FlowSettings::default() };
    let record = &records(&segment, &settings)[0];
    assert!(!attributes(record).contains_key("log.record.uid"));
    let json: serde_json::Value = serde_json::from_str(body(record)).unwrap();
    assert_eq!(json["flow"]["source"]["pod_name"], "tie-1");
}

/// A flow that stands for others says for how many.
#[test]
fn a_sample_says_its_weight() {
    let (index, ids) = samples::index();
    let segment = samples::recorded(&[samples::opening(ids)], &[], &index);
    let mut writer = writer(&FlowSettings { sample_every: 100, ..FlowSettings::default() });
    let Kept::Flow(flow) = segment.events[0] else { panic!() };
    let record = LogRecord::decode(writer.write((&segment, 0), &flow, (Body::Summary, true), 1).bytes()).unwrap();
    assert_eq!(attributes(&record)["webb.sample.every"], "100");
}

/// The path of a URL is what stands between host and query.
#[test]
fn paths_of_urls() {
    for (url, path) in [
        ("http://a.b:80/c/d?e=http://f/g", "/c/d"),
        ("/c?x://y/z", "/c"),
        ("/c#d", "/c"),
        ("https://a", ""),
        ("http://a?b=/c", ""),
        ("http://a%3Fb/c%3Fd=e", "/c"),
        ("http://a%20b/c%23d%3Fe", "/c"),
        ("http://%C3%A9/c%3Fd", "/c%3Fd"),
        ("?a://b/c", ""),
        ("", ""),
        ("*", "*"),
    ] {
        assert_eq!(url_path(url), path, "{url}");
    }
}

/// Ids of traces are 16 bytes, and nothing else is one.
#[test]
fn ids_of_traces() {
    assert_eq!(trace_id("000102030405060708090a0b0c0d0e0f").map(|id| id[15]), Some(15));
    for bad in ["", "0", "00000000000000000000000000000000", "+00102030405060708090a0b0c0d0e0f"] {
        assert_eq!(trace_id(bad), None, "{bad}");
    }
}

/// Texts that others choose: quotes, NUL, much of it.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z./?#:\"\\\\\u{0}\u{202e}é]{0,40}",
        (0_usize..70_000).prop_map(|length| "é\"\u{0}".repeat(length / 4)),
    ]
}

fn flows() -> impl Strategy<Value = Flow> {
    let l4 =
        prop::sample::select(vec![L4::None, L4::Tcp, L4::Udp, L4::IcmpV4, L4::IcmpV6, L4::Sctp, L4::Vrrp, L4::Igmp]);
    let family = prop::sample::select(vec![Family::NotUsed, Family::V4, Family::V6]);
    let event = prop::sample::select(vec![
        Event::Unknown,
        Event::Drop,
        Event::Capture,
        Event::Trace,
        Event::PolicyVerdict,
        Event::Socket,
        Event::L7,
    ]);
    let reason = prop::sample::select(vec!["POLICY_DENIED", "NETFILTER_DROP", "", "SERVICE_BACKEND_NOT_FOUND"]);
    let numbers = (any::<[u16; 2]>(), any::<[u8; 4]>(), any::<[u64; 2]>(), any::<[u128; 2]>());
    (l4, family, event, reason, numbers, any::<u32>()).prop_map(|(l4, family, event, reason, numbers, salt)| {
        let ([source_port, destination_port], [verdict, point, icmp_type, icmp_code], [time_ns, bytes], addresses) =
            numbers;
        let [source_ip, destination_ip] = addresses.map(|bits| match family {
            Family::V6 => Address::from(std::net::IpAddr::from(bits.to_be_bytes())),
            _ => Address::from(std::net::IpAddr::from(u32::try_from(bits >> 96).unwrap_or(0).to_be_bytes())),
        });
        let pick = |shift: u32, count: u32| salt >> shift & count;
        Flow {
            time_ns: time_ns >> 1,
            source_ip,
            destination_ip,
            bytes,
            packets: salt,
            source: EndpointId(0),
            destination: EndpointId(0),
            ifindex: pick(0, 1),
            extra: ExtraId::NONE,
            service: if pick(1, 1) == 0 { ServiceEnd::NONE } else { ServiceEnd::source(ServiceId(1)) },
            ruling: if pick(2, 1) == 0 { Ruling::default() } else { Ruling::new(2, Some(0)) },
            reason: Reason(Sym::new(reason)),
            source_port,
            destination_port,
            tcp_flags: TcpFlags::known(source_port),
            sctp_chunk: SctpChunk::Unsupported,
            icmp_type,
            icmp_code,
            family,
            l4,
            event,
            point: Point::of(point % 15),
            verdict: Verdict::of(verdict % 8),
            direction: [Direction::Unknown, Direction::Ingress, Direction::Egress][pick(3, 3) as usize % 3],
            reply: [Reply::Unknown, Reply::No, Reply::Yes][pick(5, 3) as usize % 3],
        }
    })
}

fn extras() -> impl Strategy<Value = Option<L7>> {
    let kind = prop::sample::select(vec![L7Kind::Unknown, L7Kind::Request, L7Kind::Response, L7Kind::Sample]);
    let http = (texts(), texts(), texts(), any::<u32>()).prop_map(|(method, url, protocol, code)| {
        L7Record::Http(Http { code, method, url, protocol, headers: Vec::new() })
    });
    let dns = (texts(), prop::collection::vec(texts(), 0..4), any::<[u32; 30]>(), 0..=30_usize).prop_map(
        |(query, qtypes, addresses, count)| {
            let addresses =
                addresses.into_iter().take(count).map(|bits| Address::from(std::net::IpAddr::from(bits.to_be_bytes())));
            L7Record::Dns(Dns {
                query,
                qtypes,
                rcode: u32::try_from(count).unwrap(),
                addresses: addresses.collect(),
                ..Dns::default()
            })
        },
    );
    let record = prop_oneof![http, dns, Just(L7Record::None)];
    prop::option::of((kind, any::<u64>(), record).prop_map(|(kind, latency_ns, record)| L7 {
        kind,
        latency_ns,
        record,
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Any flow is a record that another implementation reads as it was written: each key once,
    /// nothing empty, within the bounds, and what was cut is counted. Its text is the line that
    /// `observe` prints.
    #[test]
    fn any_flow_is_a_record(flow in flows(), l7 in extras(), ends in any::<[u8; 2]>(), labels in any::<bool>()) {
        let (index, ids) = samples::index();
        let all = [EndpointId::NONE, EndpointId::WORLD, ids.tie, ids.star, ids.bare, ids.database];
        let [source, destination] = ends.map(|end| all[usize::from(end) % all.len()]);
        let (extra, extras) = match l7 {
            Some(l7) => (ExtraId(0), vec![Extra { live: true, l7: Some(l7), ..Extra::default() }]),
            None => (ExtraId::NONE, Vec::new()),
        };
        let flow = Flow { source, destination, extra, ..flow };
        let segment = samples::recorded(&[flow], &extras, &index);
        let labels = if labels { vec!["app".to_owned(), "org".to_owned()] } else { Vec::new() };
        let settings = FlowSettings { labels, ..FlowSettings::default() };
        let mut writer = writer(&settings);
        let Kept::Flow(recorded) = segment.events[0] else { panic!() };
        let bytes = writer.write((&segment, 0), &recorded, (settings.body, false), 5).bytes().to_vec();
        prop_assert!(bytes.len() <= MAX_RECORD_BYTES);
        let record = LogRecord::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(&LogRecord::decode(record.encode_to_vec().as_slice()).unwrap(), &record);
        prop_assert!(record.attributes.len() <= MAX_ATTRIBUTES as usize);
        let attributes = attributes(&record);
        prop_assert!(attributes.values().all(|value| value != "\"\"" && value != "[]"));

        let get = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        let quoted = |text: &str| if text.is_empty() { String::new() } else { format!("{text:?}") };
        let expected_port = if flow.l4.has_ports() { flow.source_port.to_string() } else { String::new() };
        prop_assert_eq!(get("source.port"), expected_port);
        let address = if flow.family == Family::NotUsed { String::new() } else { flow.source_ip.ip().to_string() };
        prop_assert_eq!(get("source.address"), quoted(&address));
        prop_assert_eq!(get("webb.verdict"), quoted(flow.verdict.name()));
        let bytes = if flow.bytes == 0 { String::new() } else { i64::try_from(flow.bytes).unwrap_or(i64::MAX).to_string() };
        prop_assert_eq!(get("flow.io.bytes"), bytes);
        let pod = if source == ids.tie { "tie-1" } else if source == ids.star { "star-1" } else if source == ids.bare { "bare" } else { "" };
        prop_assert_eq!(get("source.k8s.pod.name"), quoted(pod));
        let query = match extras.first().and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
            Some(L7Record::Dns(dns)) => dns.query.as_str(),
            _ => "",
        };
        if query.len() <= 1000 && record.dropped_attributes_count == 0 {
            prop_assert_eq!(get("dns.question.name"), quoted(query));
        }
        let long = |text: &String| text.len() > webb_otlp::MAX_VALUE_BYTES;
        let is_cut = match extras.first().and_then(|extra| extra.l7.as_ref()).map(|l7| &l7.record) {
            Some(L7Record::Dns(dns)) => long(&dns.query),
            Some(L7Record::Http(http)) => long(&http.method),
            _ => false,
        };
        prop_assert!(!is_cut || record.dropped_attributes_count > 0);

        let line = body(&record);
        let printed = compact_line(&Encoder::new("here".into(), "1".into(), 7).encoded(&segment, 0));
        let reason = flow.reason.0.text();
        let is_of_kernel = flow.verdict == Verdict::Dropped && &*reason == "NETFILTER_DROP";
        let printed = if is_of_kernel { printed.replacen("Success", &reason, 1) } else { printed };
        if printed.len() <= webb_otlp::MAX_BODY_BYTES {
            prop_assert_eq!(line, printed);
        } else {
            prop_assert!(printed.starts_with(line));
        }
    }

    /// Of any flow the attempt to connect is a record that another implementation reads: it says
    /// how the attempt ended, who opened it and to which port, and nothing that only a packet has.
    #[test]
    fn any_failed_attempt_is_a_record(flow in flows(), outcome in 0..5_usize, body in 0..3_usize) {
        let outcomes: Vec<ConnectionEvent> =
            ConnectionEvent::ALL.into_iter().filter(|event| event.is_failure()).collect();
        let outcome = outcomes[outcome];
        let (index, ids) = samples::index();
        let opened = Flow { source: ids.tie, destination: ids.star, l4: L4::Tcp, ..flow };
        let segment =
            samples::recorded_of(Taken::FailedConnections, &[opened.connection(outcome, 0)], &[], &index);
        let body = [Body::None, Body::Summary, Body::Hubble][body];
        let record = &records(&segment, &FlowSettings { body, ..FlowSettings::default() })[0];
        prop_assert_eq!(&LogRecord::decode(record.encode_to_vec().as_slice()).unwrap(), record);
        prop_assert_eq!((record.severity_number, record.dropped_attributes_count), (13, 0));
        let attributes = attributes(record);
        let get = |key: &str| attributes.get(key).map(String::as_str);
        let (name, port) = (format!("{:?}", outcome.name()), flow.destination_port.to_string());
        prop_assert_eq!(get("webb.connection.outcome"), Some(name.as_str()));
        prop_assert_eq!(get("source.k8s.pod.name"), Some("\"tie-1\""));
        prop_assert_eq!(get("destination.port"), Some(port.as_str()));
        for absent in [
            "webb.verdict",
            "webb.event.type",
            "webb.is_reply",
            "webb.tcp.flags",
            "webb.icmp.type",
            "flow.io.bytes",
            "flow.io.packets",
        ] {
            prop_assert_eq!(get(absent), None, "{}", absent);
        }
        let policy = attributes.keys().find(|key| key.starts_with("webb.policy."));
        prop_assert_eq!(policy, None, "the verdict's flow says it");
        prop_assert_eq!(get("webb.drop.reason").is_some(), matches!(outcome, ConnectionEvent::Denied | ConnectionEvent::Dropped) && !flow.reason.0.is_empty());
    }
}
