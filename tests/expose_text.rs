//! The text format, from data to bytes and back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod expose_parser;

use expose_parser::{Parsed, parse};
use proptest::prelude::*;
use webb::expose::{Family, Histogram, Kind, Labels, Order, Sample, Snapshot, Spec, Value, server, text, write_pair};

fn rendered(snapshots: &[Snapshot], families: &[Family]) -> String {
    let mut out = Vec::new();
    text::render(snapshots, families, &mut out);
    String::from_utf8(out).unwrap()
}

fn snapshot(families: &'static [Spec], rows: &[(&str, u64)]) -> Snapshot {
    let mut labels = Labels::default();
    for (value, _) in rows {
        let mut text = String::new();
        write_pair(&mut text, "source", value);
        labels.push(&text);
    }
    let values = rows.iter().flat_map(|&(_, value)| (0..families.len() as u64).map(move |column| value + column));
    Snapshot { families, values: values.collect(), labels, order: Order::default().into(), ..Snapshot::default() }
}

/// All sources are merged in name order, series in value order, empty families are not there at all, families of one
/// name stand under one header.
#[test]
fn sources_are_merged() {
    let b = snapshot(
        &[Spec { name: "b_total", help: "B" }, Spec { name: "d_total", help: "D with \\ and\nmore" }],
        &[("z", 1), ("a b", 1_000_000), ("a", 3)],
    );
    let nothing = snapshot(&[Spec { name: "nothing_total", help: "" }], &[]);
    let families = [
        Family::new("c", "C", Kind::Gauge).with(&[], -0.5),
        Family::new("empty", "", Kind::Gauge),
        Family::new("a_total", "A", Kind::Counter).with(&[("y", "2"), ("x", "\"\\\n")], 7_u64),
        Family::new("b_total", "other help", Kind::Counter).with(&[("source", "zz")], 9_u64),
    ];
    let expected = r#"# HELP a_total A
# TYPE a_total counter
a_total{x="\"\\\n",y="2"} 7
# HELP b_total B
# TYPE b_total counter
b_total{source="a"} 3
b_total{source="a b"} 1e+06
b_total{source="z"} 1
b_total{source="zz"} 9
# HELP c C
# TYPE c gauge
c -0.5
# HELP d_total D with \\ and\nmore
# TYPE d_total counter
d_total{source="a"} 4
d_total{source="a b"} 1.000001e+06
d_total{source="z"} 2
"#;
    let text = rendered(&[b, nothing], &families);
    assert_eq!(text, expected);
    assert_eq!(parse(&text).len(), 4);
}

/// The metrics server's own families look as Hubble's do (contract, sections 3.1 and 3.2).
#[test]
fn server_families() {
    let mut durations = Histogram::default();
    durations.observe(0.004);
    durations.observe(0.25);
    durations.observe(11.0);
    let families = [
        server::lost_events(0, 0),
        server::handler_requests([("200", 3)]),
        server::handler_durations([("200", durations)]),
    ];
    insta::assert_snapshot!(rendered(&[], &families));
}

/// What the `prometheus` crate gathers comes out as the crate's own encoder writes it, up to the spelling of numbers.
#[test]
fn gathered_families() {
    let registry = prometheus::Registry::new();
    let opts = prometheus::Opts::new("webb_things_total", "Things, by \"kind\"");
    let counters = prometheus::IntCounterVec::new(opts, &["kind", "at"]).unwrap();
    counters.with_label_values(&["x\\y", ""]).inc_by(12);
    counters.with_label_values(&["\"", "1"]).inc();
    let gauge = prometheus::Gauge::new("webb_level", "Level").unwrap();
    gauge.set(-1.5);
    let histogram = prometheus::Histogram::with_opts(prometheus::HistogramOpts::new("webb_seconds", "Time")).unwrap();
    histogram.observe(0.3);
    registry.register(Box::new(counters)).unwrap();
    registry.register(Box::new(gauge)).unwrap();
    registry.register(Box::new(histogram)).unwrap();
    let gathered = registry.gather();
    let families: Vec<Family> = gathered.iter().map(Family::from).collect();
    let theirs = prometheus::TextEncoder::new().encode_to_string(&gathered).unwrap();
    assert_eq!(parse(&rendered(&[], &families)), parse(&theirs));
}

fn value() -> impl Strategy<Value = String> {
    "([ -~]|[\"\\\\\n]|\\PC){0,6}"
}

fn family() -> impl Strategy<Value = Family> {
    let samples = prop::collection::hash_map((value(), value()), any::<u64>(), 0..8);
    ("[a-z_:]{1,5}", value(), samples).prop_map(|(name, help, samples)| {
        let sample = |((source, zone), count)| Sample {
            labels: vec![("zone".into(), zone), ("source".into(), source)],
            value: Value::Count(count),
        };
        Family { name, help, kind: Kind::Counter, samples: samples.into_iter().map(sample).collect() }
    })
}

proptest! {
    /// Whatever labels hold, the text reads back as what was rendered.
    #[test]
    fn reads_back(families in prop::collection::vec(family(), 0..4)) {
        let mut families = families;
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families.dedup_by(|one, other| one.name == other.name);
        let parsed = parse(&rendered(&[], &families));
        let expected: Vec<Parsed> = families.iter().filter(|family| !family.samples.is_empty()).map(expected).collect();
        prop_assert_eq!(parsed, expected);
    }

    /// A table's text is the same as that of the same series as plain data.
    #[test]
    fn tables_are_families(rows in prop::collection::hash_map(value(), any::<u64>(), 0..40)) {
        let rows: Vec<(&str, u64)> = rows.iter().map(|(value, count)| (value.as_str(), *count)).collect();
        let mut plain = Family::new("t_total", "T", Kind::Counter);
        for &(value, count) in &rows {
            plain.push(&[("source", value)], count);
        }
        let table = snapshot(&[Spec { name: "t_total", help: "T" }], &rows);
        prop_assert_eq!(rendered(&[table], &[]), rendered(&[], &[plain]));
    }
}

fn expected(family: &Family) -> Parsed {
    let mut samples: Vec<_> = family
        .samples
        .iter()
        .map(|sample| {
            let mut labels = sample.labels.clone();
            labels.sort();
            let Value::Count(count) = sample.value else { unreachable!("only counts are generated") };
            #[allow(clippy::cast_precision_loss, reason = "a sample is a float")]
            let count = count as f64;
            (family.name.clone(), labels, count)
        })
        .collect();
    samples.sort_by(|one, other| one.1.cmp(&other.1));
    Parsed { name: family.name.clone(), help: family.help.clone(), kind: "counter".into(), samples }
}

/// A histogram's buckets are kept apart and written one on top of the other, with the sum and the count behind them.
#[test]
fn histogram_tables() {
    let mut table = snapshot(&[Spec { name: "h_seconds", help: "H" }], &[("b", 0), ("a", 0)]);
    table.bounds = &[0.1, 2.5];
    table.values = vec![1, 0, 2, 0, 3, 0];
    table.sums = vec![20.25, 0.5];
    let expected = r#"# HELP h_seconds H
# TYPE h_seconds histogram
h_seconds_bucket{source="a",le="0.1"} 0
h_seconds_bucket{source="a",le="2.5"} 3
h_seconds_bucket{source="a",le="+Inf"} 3
h_seconds_sum{source="a"} 0.5
h_seconds_count{source="a"} 3
h_seconds_bucket{source="b",le="0.1"} 1
h_seconds_bucket{source="b",le="2.5"} 1
h_seconds_bucket{source="b",le="+Inf"} 3
h_seconds_sum{source="b"} 20.25
h_seconds_count{source="b"} 3
"#;
    assert_eq!(rendered(&[table], &[]), expected);
}
