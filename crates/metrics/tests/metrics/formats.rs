//! Both formats, from data to bytes and back.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use webb_metrics::expose::{
    DEFAULT_BOUNDS, Exemplar, Family, FamilyType, Format, Histogram, Labels, Sample, Snapshot, Spec, Value,
    openmetrics, server, text, write_pair,
};

use crate::parser::{Parsed, parse};

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

fn rendered(format: Format, snapshots: &[Snapshot], families: &[Family]) -> String {
    let mut out = Vec::new();
    match format {
        Format::Text => text::render(snapshots, families, &mut out),
        Format::OpenMetrics => openmetrics::render(snapshots, families, &mut out),
    }
    String::from_utf8(out).unwrap()
}

fn labels<'a>(values: impl IntoIterator<Item = &'a str>) -> Labels {
    let mut labels = Labels::default();
    for value in values {
        let mut text = String::new();
        write_pair(&mut text, "source", value);
        labels.push(&text);
    }
    labels
}

fn snapshot(families: &'static [Spec], rows: &[(&str, u64)]) -> Snapshot {
    let values = rows.iter().flat_map(|&(_, value)| (0..families.len() as u64).map(move |column| value + column));
    let labels = labels(rows.iter().map(|row| row.0)).sheet();
    Snapshot { families, values: values.collect(), labels, ..Snapshot::default() }
}

/// All sources are merged in name order, series in value order, empty families are not there at
/// all, families of one name stand under one header.
#[test]
fn sources_are_merged() {
    let b = snapshot(
        &[Spec { name: "b_total", help: "B" }, Spec { name: "d_total", help: "D with \\ and\nmore" }],
        &[("z", 1), ("a b", 1_000_000), ("a", 3)],
    );
    let nothing = snapshot(&[Spec { name: "nothing_total", help: "" }], &[]);
    let families = [
        Family::new("c", "C", FamilyType::Gauge).with(&[], -0.5),
        Family::new("empty", "", FamilyType::Gauge),
        Family::new("a_total", "A", FamilyType::Counter).with(&[("y", "2"), ("x", "\"\\\n")], 7_u64),
        Family::new("b_total", "other help", FamilyType::Counter).with(&[("source", "zz")], 9_u64),
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
    let sources = [b, nothing];
    let text = rendered(Format::Text, &sources, &families);
    assert_eq!(text, expected);
    assert_eq!(parse(Format::Text, &text).len(), 4);
    let expected = r#"# HELP a A
# TYPE a counter
a_total{x="\"\\\n",y="2"} 7.0
# HELP b B
# TYPE b counter
b_total{source="a"} 3.0
b_total{source="a b"} 1e+06
b_total{source="z"} 1.0
b_total{source="zz"} 9.0
# HELP c C
# TYPE c gauge
c -0.5
# HELP d D with \\ and\nmore
# TYPE d counter
d_total{source="a"} 4.0
d_total{source="a b"} 1.000001e+06
d_total{source="z"} 2.0
# EOF
"#;
    let text = rendered(Format::OpenMetrics, &sources, &families);
    assert_eq!(text, expected);
    assert_eq!(parse(Format::OpenMetrics, &text).len(), 4);
}

/// A counter whose name lacks `_total` is `unknown` to OpenMetrics, as the Go client has it; no
/// family is still an answer; help is escaped as each format wants it.
#[test]
fn where_the_formats_differ() {
    let families = [
        Family::new("a", "say \"a\"", FamilyType::Counter).with(&[], 1_u64),
        Family::new("b_total", "", FamilyType::Gauge).with(&[], 1_u64),
    ];
    let text = "# HELP a say \"a\"\n# TYPE a counter\na 1\n# HELP b_total \n# TYPE b_total gauge\nb_total 1\n";
    assert_eq!(rendered(Format::Text, &[], &families), text);
    let open = "# HELP a say \\\"a\\\"\n# TYPE a unknown\na 1.0\n\
        # HELP b_total \n# TYPE b_total gauge\nb_total 1.0\n# EOF\n";
    assert_eq!(rendered(Format::OpenMetrics, &[], &families), open);
    assert_eq!(
        (rendered(Format::Text, &[], &[]).as_str(), rendered(Format::OpenMetrics, &[], &[]).as_str()),
        ("", "# EOF\n")
    );
}

/// The metrics server's own families look as Hubble's do (hubble-contract §3.1 and §3.2).
#[test]
fn server_families() {
    let mut durations = Histogram::default();
    durations.observe(0.004);
    durations.observe(0.25);
    durations.observe(11.0);
    let families = [
        server::lost_events([0; 4]),
        server::handler_requests([("200", 3)]),
        server::handler_durations([("200", durations)]),
    ];
    insta::assert_snapshot!(rendered(Format::Text, &[], &families));
    insta::assert_snapshot!("server_families_open_metrics", rendered(Format::OpenMetrics, &[], &families));
}

/// Families that the `prometheus` crate gathers come out as the crate's own encoder writes them, up
/// to the spelling of numbers.
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
    assert_eq!(parse(Format::Text, &rendered(Format::Text, &[], &families)), parse(Format::Text, &theirs));
}

/// The exemplars of a counter stand behind its value, those of a histogram behind the bucket they
/// fall into; the text format has none (hubble-contract §6.2).
#[test]
fn exemplars() {
    let exemplar = |value: f64| Exemplar { trace_id: "0af7".into(), value, seconds: 1_795_406_003.896_391 };
    let mut requests = snapshot(&[Spec { name: "requests_total", help: "R" }], &[("b", 2), ("a", 1)]);
    requests.exemplars.set(0, Some(exemplar(1.0)));
    let mut times = snapshot(&[Spec { name: "times_seconds", help: "T" }], &[("a", 0)]);
    times.bounds = [0.025, 1.0, 10.0].to_vec().into();
    times.values = vec![1, 0, 0, 3];
    times.sums = vec![1e6];
    times.exemplars.set(0, Some(exemplar(0.012)));
    times.exemplars.set(3, Some(exemplar(11.0)));
    let sources = [times, requests];
    let expected = r#"# HELP requests R
# TYPE requests counter
requests_total{source="a"} 1.0
requests_total{source="b"} 2.0 # {traceID="0af7"} 1.0 1.795406003896391e+09
# HELP times_seconds T
# TYPE times_seconds histogram
times_seconds_bucket{source="a",le="0.025"} 1 # {traceID="0af7"} 0.012 1.795406003896391e+09
times_seconds_bucket{source="a",le="1.0"} 1
times_seconds_bucket{source="a",le="10.0"} 1
times_seconds_bucket{source="a",le="+Inf"} 4 # {traceID="0af7"} 11.0 1.795406003896391e+09
times_seconds_sum{source="a"} 1e+06
times_seconds_count{source="a"} 4
# EOF
"#;
    assert_eq!(rendered(Format::OpenMetrics, &sources, &[]), expected);
    assert!(!rendered(Format::Text, &sources, &[]).contains(" # {"));
}

/// A histogram's buckets are kept apart and written one on top of the other, with the sum and the
/// count behind them.
#[test]
fn histogram_tables() {
    let mut table = snapshot(&[Spec { name: "h_seconds", help: "H" }], &[("b", 0), ("a", 0)]);
    table.bounds = [0.1, 2.5].to_vec().into();
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
    assert_eq!(rendered(Format::Text, &[table], &[]), expected);
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
        let name = format!("{name}_total");
        Family { name, help, kind: FamilyType::Counter, samples: samples.into_iter().map(sample).collect() }
    })
}

/// A histogram table by label value: the observations in each bucket, and which of them have an
/// exemplar.
fn observations() -> impl Strategy<Value = HashMap<String, Vec<(u64, bool)>>> {
    let buckets = prop::collection::vec((0..1_u64 << 40, any::<bool>()), DEFAULT_BOUNDS.len() + 1);
    prop::collection::hash_map(value(), buckets, 1..20)
}

proptest! {
    /// Whatever labels hold, both formats read back as what was rendered.
    #[test]
    fn reads_back(families in prop::collection::vec(family(), 0..4)) {
        let mut families = families;
        families.sort_by(|one, other| one.name.cmp(&other.name));
        families.dedup_by(|one, other| one.name == other.name);
        let expected: Vec<Parsed> = families.iter().filter(|family| !family.samples.is_empty()).map(expected).collect();
        for format in FORMATS {
            prop_assert_eq!(&parse(format, &rendered(format, &[], &families)), &expected);
        }
    }
}

proptest! {
    // Tables of several pages take their time.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A table's text is the same as that of the same series as plain data.
    #[test]
    fn tables_are_families(rows in prop::collection::hash_map(value(), any::<u64>(), 0..600)) {
        let rows: Vec<(&str, u64)> = rows.iter().map(|(value, count)| (value.as_str(), *count)).collect();
        let mut plain = Family::new("t_total", "T", FamilyType::Counter);
        for &(value, count) in &rows {
            plain.push(&[("source", value)], count);
        }
        let table = [snapshot(&[Spec { name: "t_total", help: "T" }], &rows)];
        let plain = [plain];
        for format in FORMATS {
            prop_assert_eq!(rendered(format, &table, &[]), rendered(format, &[], &plain));
        }
    }

    /// A histogram reads back bucket by bucket, each exemplar where it was put.
    #[test]
    fn histograms_read_back(series in observations()) {
        let series: BTreeMap<String, Vec<(u64, bool)>> = series.into_iter().collect();
        let mut table = snapshot(&[Spec { name: "h", help: "" }], &[]);
        table.labels = labels(series.keys().map(String::as_str)).sheet();
        table.bounds = DEFAULT_BOUNDS.to_vec().into();
        table.values = series.values().flatten().map(|bucket| bucket.0).collect();
        table.sums = vec![0.1; series.len()];
        let above = DEFAULT_BOUNDS.iter().copied().chain([99.0]).cycle();
        for (at, (&(_, traced), value)) in series.values().flatten().zip(above).enumerate() {
            let exemplar = Exemplar { trace_id: at.to_string().into(), value, seconds: 1.5 };
            table.exemplars.set(at, traced.then_some(exemplar));
        }
        let table = [table];
        for format in FORMATS {
            let parsed = parse(format, &rendered(format, &table, &[]));
            let buckets = parsed[0].samples.iter().filter(|sample| sample.name == "h_bucket");
            let mut count = 0;
            for ((at, &(observed, traced)), sample) in series.values().flatten().enumerate().zip(buckets) {
                count = if at % (DEFAULT_BOUNDS.len() + 1) == 0 { observed } else { count + observed };
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, whole, not negative")]
                let value = sample.value as u64;
                prop_assert_eq!(value, count);
                let trace = sample.exemplar.as_ref().map(|exemplar| exemplar.labels[0].1.clone());
                prop_assert_eq!(trace, (traced && format == Format::OpenMetrics).then(|| at.to_string()));
            }
            prop_assert_eq!(parsed[0].samples.len(), series.len() * (DEFAULT_BOUNDS.len() + 3));
        }
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
            let value = count as f64;
            crate::parser::Sample { name: family.name.clone(), labels, value, exemplar: None }
        })
        .collect();
    samples.sort_by(|one, other| one.labels.cmp(&other.labels));
    Parsed { name: family.name.clone(), help: family.help.clone(), kind: "counter".into(), samples }
}
