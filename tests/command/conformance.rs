//! Hubble's own answers to 58 configurations: `webb replay` must give the same, in both formats.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Meaning of an exposition, whatever its order and its format.
#[derive(Debug, Default)]
pub(crate) struct Meaning {
    /// By family, without `_total`.
    types: BTreeMap<String, String>,
    series: BTreeMap<Series, (f64, Option<Exemplar>)>,
}

/// Name of the sample, labels sorted by name.
type Series = (String, Vec<(String, String)>);

/// Labels and value.
type Exemplar = (Vec<(String, String)>, f64);

/// Families of the server and of webb itself, which the expected files lack.
fn is_ours(name: &str) -> bool {
    ["hubble_metrics_http_handler_", "hubble_lost_events", "webb_", "process_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

pub(crate) fn parse(text: &str, openmetrics: bool) -> Meaning {
    let mut meaning = Meaning::default();
    let body = if openmetrics { text.strip_suffix("# EOF\n").expect("OpenMetrics ends with # EOF") } else { text };
    assert!(body.is_empty() || body.ends_with('\n'), "the last line does not end");
    for line in body.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect(line);
            assert!(!(openmetrics && kind == "counter" && name.ends_with("_total")), "_total in {line}");
            let family = name.strip_suffix("_total").unwrap_or(name).to_owned();
            if !is_ours(&family) {
                assert!(meaning.types.insert(family, kind.to_owned()).is_none(), "twice: {line}");
            }
        } else if !line.starts_with("# HELP ") {
            let (series, value, exemplar) = sample(line);
            assert!(openmetrics || exemplar.is_none(), "exemplar in text format: {line}");
            if !is_ours(&series.0) {
                assert!(meaning.series.insert(series, (value, exemplar)).is_none(), "twice: {line}");
            }
        }
    }
    meaning
}

fn sample(line: &str) -> (Series, f64, Option<Exemplar>) {
    let end = line.find(['{', ' ']).expect(line);
    let (labels, rest) = labels(&line[end..]);
    let (value, rest) = number(rest);
    let exemplar = rest.strip_prefix(" # ").map(|rest| {
        let (labels, rest) = self::labels(rest);
        let (value, rest) = number(rest);
        let (_time, rest) = number(rest);
        assert!(rest.is_empty(), "{line}");
        (labels, value)
    });
    assert!(exemplar.is_some() || rest.is_empty(), "{line}");
    ((line[..end].to_owned(), labels), value, exemplar)
}

/// The number behind a space, and what follows it.
fn number(text: &str) -> (f64, &str) {
    let text = text.strip_prefix(' ').expect(text);
    let end = text.find(' ').unwrap_or(text.len());
    (text[..end].parse().expect(text), &text[end..])
}

/// The labels that `text` begins with, sorted, and what follows them. Bounds are spelled as
/// numbers.
fn labels(text: &str) -> (Vec<(String, String)>, &str) {
    let Some(mut rest) = text.strip_prefix('{') else { return (Vec::new(), text) };
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        let (name, behind) = rest.trim_start_matches(',').split_once("=\"").expect(text);
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters.next().expect(text) {
                (at, '"') => break at,
                (_, '\\') => value.push(match characters.next().expect(text).1 {
                    'n' => '\n',
                    plain => plain,
                }),
                (_, plain) => value.push(plain),
            }
        };
        if name == "le" {
            value = value.parse::<f64>().expect(text).to_string();
        }
        labels.push((name.to_owned(), value));
        rest = &behind[end + 1..];
    }
    labels.sort();
    (labels, &rest[1..])
}

fn same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(1.0)
}

/// Differences in words; empty if there are none.
pub(crate) fn differences(expected: &Meaning, actual: &Meaning) -> String {
    let mut out = String::new();
    if expected.types != actual.types {
        writeln!(out, "types: expected {:?}, got {:?}", expected.types, actual.types).unwrap();
    }
    for (series, (value, exemplar)) in &expected.series {
        match actual.series.get(series) {
            None => writeln!(out, "missing: {series:?} {value}").unwrap(),
            Some((other, _)) if !same(*value, *other) => {
                writeln!(out, "{series:?}: expected {value}, got {other}").unwrap();
            }
            Some((_, other)) => {
                let equal = match (exemplar, other) {
                    (Some((labels, value)), Some((others, other))) => labels == others && same(*value, *other),
                    (one, other) => one.is_none() && other.is_none(),
                };
                if !equal {
                    writeln!(out, "exemplar of {series:?}: expected {exemplar:?}, got {other:?}").unwrap();
                }
            }
        }
    }
    for series in actual.series.keys().filter(|series| !expected.series.contains_key(series)) {
        writeln!(out, "not expected: {series:?}").unwrap();
    }
    out
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

/// Every case of a folder, told apart by what its configuration file is called.
fn cases(folder: &str, configuration: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(root().join(folder).join("cases")).unwrap();
    let mut cases: Vec<_> = folders.map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| case.join(configuration).exists());
    cases.sort();
    cases
}

fn replay(case: &Path, format: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
    command.args(["replay", "--format", format]);
    match std::fs::read_to_string(case.join("metrics.txt")) {
        Ok(metrics) => command.arg("--metrics").arg(metrics),
        Err(_) => command.arg("--metrics-config").arg(case.join("metrics.yaml")),
    };
    let output = command.arg(case.join("../../flows.jsonl")).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", case.display());
    String::from_utf8(output.stdout).unwrap()
}

fn check(cases: &[PathBuf], format: &str, expected: &str) {
    let mut wrong = String::new();
    for case in cases {
        let text = std::fs::read_to_string(case.join(expected)).unwrap();
        let openmetrics = format == "openmetrics";
        let differences = differences(&parse(&text, openmetrics), &parse(&replay(case, format), openmetrics));
        if !differences.is_empty() {
            let first: Vec<&str> = differences.lines().take(5).collect();
            writeln!(wrong, "{}, {format}:\n  {}", case.display(), first.join("\n  ")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "not as Hubble has it:\n{wrong}");
}

pub(crate) fn of_both(configuration: &str, count: usize) -> Vec<PathBuf> {
    let cases = [cases("", configuration), cases("edge", configuration)].concat();
    assert_eq!(cases.len(), count, "a case is gone");
    cases
}

/// Static configurations, as Hubble's flag takes them: the same series with the same values.
#[test]
fn static_configurations_in_text() {
    check(&of_both("metrics.txt", 26), "text", "expected.prom");
}

/// The same as OpenMetrics, exemplars included.
#[test]
fn static_configurations_in_openmetrics() {
    check(&of_both("metrics.txt", 26), "openmetrics", "expected.openmetrics");
}

/// Dynamic configurations, with filters.
#[test]
fn dynamic_configurations_in_text() {
    check(&of_both("metrics.yaml", 32), "text", "expected.prom");
}

/// The same as OpenMetrics, exemplars included.
#[test]
fn dynamic_configurations_in_openmetrics() {
    check(&of_both("metrics.yaml", 32), "openmetrics", "expected.openmetrics");
}

/// A comparison that sees no difference would let everything pass.
#[test]
fn differences_are_seen() {
    let text = "# HELP a_total x\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\n\"} 1\n";
    let meaning = parse(text, false);
    assert_eq!(differences(&meaning, &parse(text, false)), "");
    for other in [
        text.replace("} 1", "} 2"),
        text.replace("x=\"1\"", "x=\"2\""),
        text.replace("counter", "gauge"),
        text.replace("a_total{x=\"1\",y=\"\\n\"} 1\n", ""),
    ] {
        assert_ne!(differences(&meaning, &parse(&other, false)), "", "{other}");
    }
    let with = |value: &str| {
        format!("# TYPE a counter\na_total{{x=\"1\",y=\"\\n\"}} 1.0 # {{traceID=\"{value}\"}} 1.0 1.5\n# EOF\n")
    };
    let exemplar = parse(&with("f"), true);
    assert_eq!(differences(&exemplar, &parse(&with("f"), true)), "");
    assert_ne!(differences(&exemplar, &parse(&with("e"), true)), "");
    assert_ne!(differences(&meaning, &exemplar), "");
}
