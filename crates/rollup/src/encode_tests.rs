//! Records as another implementation of OTLP reads them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use webb_index::policy::PolicyName;
use webb_index::policy::spec::PolicyKind;

use super::*;
use crate::key::Reporter;
use crate::sums::Connections;
use crate::{Keys, Settings};

const WINDOW: Window = Window { start: 120, seconds: 60 };

fn decode(record: Encoded<'_>) -> LogRecord {
    LogRecord::decode(record.bytes()).unwrap()
}

/// Attributes as text, sorted; lists as numbers between spaces.
fn attributes(record: &LogRecord) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(on) => on.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(list) => {
            let numbers = list.values.iter().map(|value| match value.value.as_ref().unwrap() {
                Value::IntValue(number) => number.to_string(),
                other => panic!("{other:?}"),
            });
            numbers.collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    record
        .attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap())))
        .collect()
}

fn full_row() -> (RowKey, Sums) {
    let end = |name: &str| EndKey {
        namespace: Sym::new(&format!("{name}-namespace")),
        workload: Sym::new(&format!("{name}-workload")),
        kind: Sym::new("Deployment"),
        zone: Sym::new(&format!("{name}-zone")),
        region: Sym::new("eu"),
        ..EndKey::default()
    };
    let policy = PolicyName { kind: PolicyKind::NetworkPolicy, namespace: Sym::new("shop"), name: Sym::new("deny") };
    let key = RowKey {
        source: end("a"),
        destination: EndKey { service: Sym::new("data/db"), ..end("b") },
        port: 5432,
        l4: L4::Tcp,
        verdict: Verdict::Dropped,
        reason: Sym::new("POLICY_DENIED"),
        policy: Some(policy),
        reporter: Reporter::Source,
        primary: true,
        opener_known: true,
        fold: Fold::None,
    };
    let mut histogram = Histogram { sum_us: 77, ..Histogram::default() };
    histogram.buckets[2] = 3;
    let sums = Sums {
        bytes_sent: 1000,
        packets_sent: 10,
        connections: Connections { denied: 4, ..Connections::default() },
        responses: [0, 0, 0, 9],
        handshake: Some(Box::new(histogram)),
        ..Sums::default()
    };
    (key, sums)
}

/// Every part of a row has its attribute, and what is nought or unknown has none.
#[test]
fn a_row_is_a_record() {
    let (key, sums) = full_row();
    let mut encoder = Encoder::new(7);
    let now_ns = 185_000_000_000;
    let record = decode(encoder.row(WINDOW, &key, &sums, now_ns));
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (180_000_000_000, now_ns));
    assert_eq!((record.severity_number, record.event_name.as_str(), &record.body), (13, "webb.rollup", &None));
    assert_eq!(record.dropped_attributes_count, 0);
    let mut attributes = attributes(&record);
    let uid = attributes.remove("log.record.uid").unwrap();
    assert_eq!(uid.len(), 32);
    let shown: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let expected = [
        "destination.cloud.availability_zone=b-zone",
        "destination.cloud.region=eu",
        "destination.k8s.namespace.name=b-namespace",
        "destination.k8s.owner.name=b-workload",
        "destination.k8s.owner.type=Deployment",
        "destination.k8s.service.name=data/db",
        "destination.port=5432",
        "network.flow.inter_zone=true",
        "network.transport=tcp",
        "source.cloud.availability_zone=a-zone",
        "source.cloud.region=eu",
        "source.k8s.namespace.name=a-namespace",
        "source.k8s.owner.name=a-workload",
        "source.k8s.owner.type=Deployment",
        "webb.bytes.sent=1000",
        "webb.connections.denied=4",
        "webb.drop.reason=POLICY_DENIED",
        "webb.handshake.buckets=0 0 3 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "webb.handshake.sum_us=77",
        "webb.opener_known=true",
        "webb.packets.sent=10",
        "webb.policy.kind=NetworkPolicy",
        "webb.policy.name=shop/deny",
        "webb.primary=true",
        "webb.reporter=source",
        "webb.requests.5xx=9",
        "webb.verdict=DROPPED",
        "webb.window.seconds=60",
    ];
    assert_eq!(shown, expected);
}

/// The id of a record is that of its writer, window and key: the same when it is sent again, and
/// another when any of these differs.
#[test]
fn ids_tell_records_apart() {
    let (key, sums) = full_row();
    let id = |instance, window: Window, key: &RowKey, sums: &Sums| {
        attributes(&decode(Encoder::new(instance).row(window, key, sums, 1)))["log.record.uid"].clone()
    };
    let first = id(7, WINDOW, &key, &sums);
    assert_eq!(first, id(7, WINDOW, &key, &Sums::default()), "sums are no part of it");
    let mut ids = vec![first, id(8, WINDOW, &key, &sums), id(7, Window { start: 180, ..WINDOW }, &key, &sums)];
    for other in [
        RowKey { port: 5433, ..key },
        RowKey { primary: false, ..key },
        RowKey { policy: None, ..key },
        RowKey { reporter: Reporter::Destination, ..key },
        RowKey { opener_known: false, ..key },
        RowKey { source: key.destination, destination: key.source, ..key },
        RowKey { fold: Fold::Namespaces, ..key },
        // The same letters, in other parts.
        RowKey {
            source: EndKey { namespace: Sym::new("a-namespacea-workload"), workload: Sym::EMPTY, ..key.source },
            ..key
        },
    ] {
        ids.push(id(7, WINDOW, &other, &sums));
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// A window is its rows and a heartbeat, which says how many there are and what is missing.
#[test]
fn a_window_ends_with_a_heartbeat() {
    let mut rollups = Rollups::new(Settings { keys: Keys::default(), ..Settings::default() });
    let mut encoder = Encoder::new(7);
    let seen =
        |packets, missing| Some(Seen::of([packets, missing, 60 * missing, packets / 100, 3 * missing, 5 * missing]));
    let lost = |flows| Lost { flows, packets: 2 * flows, bytes: 100 * flows };
    // The programs were there before the instance, and the thread of the rollups was.
    encoder.begin_from(lost(5), seen(1000, 10));
    let mut window = |flows, seen| {
        let mut records = Vec::new();
        encoder.window(WINDOW, &mut rollups, (lost(flows), seen), 5, |record| records.push(decode(record)));
        records
    };
    let records = window(8, seen(1500, 12));
    let [heartbeat] = &records[..] else { panic!("{records:?}") };
    assert_eq!(heartbeat.event_name, HEARTBEAT);
    let attributes = attributes(heartbeat);
    let of_rows = |attributes: &BTreeMap<String, String>| {
        ["rows", "lost_flows", "lost_packets", "lost_bytes"]
            .map(|name| attributes[&format!("webb.rollup.{name}")].clone())
    };
    assert_eq!(of_rows(&attributes), ["0", "3", "6", "300"]);
    let of_ledger = |attributes: &BTreeMap<String, String>| {
        let names = ["seen_packets", "missing_packets", "missing_bytes", "foreign_packets"];
        let more = ["missing_connection_events", "missing_retransmits"];
        [&names[..], &more]
            .concat()
            .iter()
            .map(|name| attributes[&format!("webb.ledger.{name}")].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of_ledger(&attributes), ["500", "2", "120", "5", "6", "10"]);
    // What could not be read belongs to the next window.
    let unread = self::attributes(&window(8, None)[0]);
    assert_eq!(of_rows(&unread), ["0"; 4], "a loss is said once");
    assert!(!unread.contains_key("webb.ledger.seen_packets"));
    assert_eq!(of_ledger(&self::attributes(&window(8, seen(1600, 12))[0])), ["100", "0", "0", "1", "0", "0"]);
}

/// A window that a stop cuts short ends then: no record is of a time to come. One that a step of
/// the clock ends stays within itself.
#[test]
fn a_window_that_is_cut_short_ends_then() {
    let mut encoder = Encoder::new(7);
    let mut rollups = Rollups::new(Settings::default());
    for (now_s, time_ns) in
        [(185, 180_000_000_000), (180, 180_000_000_000), (133, 133_000_000_000), (90, 120_000_000_001)]
    {
        encoder.window(WINDOW, &mut rollups, (Lost::default(), None), now_s * 1_000_000_000, |record| {
            let heartbeat = decode(record);
            assert_eq!(heartbeat.time_unix_nano, time_ns);
            assert_eq!(attributes(&heartbeat)["webb.window.seconds"], "60");
        });
    }
}

/// An instance says that nothing is known of the time before it.
#[test]
fn an_instance_begins_with_a_gap() {
    let mut encoder = Encoder::new(7);
    let record = decode(encoder.gap(None, 90_000_000_000, false));
    assert_eq!((record.event_name.as_str(), record.time_unix_nano), (GAP, 90_000_000_000));
    assert!(!attributes(&record).contains_key("webb.gap.start"));
    assert!(!attributes(&record).contains_key("webb.gap.handed_over"));
    let handed_over = attributes(&decode(encoder.gap(Some(5), 90, true)));
    assert_eq!(["start", "handed_over"].map(|name| &*handed_over[&format!("webb.gap.{name}")]), ["5", "true"]);
}
