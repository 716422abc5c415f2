//! A strict reader of text format 0.0.4 and of OpenMetrics 1.0.0: what it accepts is well formed
//! and in the order that Hubble's clients ask for (hubble-contract §3.6). Anything else is a panic
//! that says where.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

use std::collections::BTreeSet;

use webb_metrics::expose::Format;

/// A family, under its full name in both formats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    /// As written.
    pub(crate) labels: Pairs,
    pub(crate) value: f64,
    pub(crate) exemplar: Option<Exemplar>,
}

pub(crate) type Pairs = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) labels: Pairs,
    pub(crate) value: f64,
    pub(crate) seconds: f64,
}

pub(crate) fn parse(format: Format, text: &str) -> Vec<Parsed> {
    let open = format == Format::OpenMetrics;
    let body = if open { text.strip_suffix("# EOF\n").expect("no # EOF at the end") } else { text };
    assert!(body.is_empty() || body.ends_with('\n'), "no line feed at the end");
    let mut families: Vec<Parsed> = Vec::new();
    let mut help: Option<(String, String)> = None;
    for (number, line) in body.split_terminator('\n').enumerate() {
        let at = format!("line {}: {line}", number + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(help.is_none(), "two HELPs, {at}");
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            help = Some((name.to_owned(), unescape(text, open, &at)));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(&at);
            let (helped, help) = help.take().expect(&at);
            assert_eq!(name, helped, "TYPE of another family than HELP, {at}");
            assert!(["counter", "gauge", "histogram"].contains(&kind) || open && kind == "unknown", "kind, {at}");
            assert!(!(open && kind == "counter" && name.ends_with("_total")), "_total in a family's name, {at}");
            let name = if open && kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            if let Some(last) = families.last() {
                assert!(last.name < name, "families are not in order, {at}");
            }
            families.push(Parsed { name, help, kind: kind.to_owned(), samples: Vec::new() });
        } else {
            assert!(help.is_none(), "HELP without TYPE, {at}");
            let family = families.last_mut().expect(&at);
            let sample = sample(open, &family.kind, line, &at);
            family.samples.push(sample);
        }
    }
    assert!(help.is_none(), "HELP at the end");
    families.iter().for_each(check);
    families
}

/// A family's samples belong to it, occur once, and are in order.
fn check(family: &Parsed) {
    let name = &family.name;
    assert!(!family.samples.is_empty(), "{name} has no samples");
    let mut seen = BTreeSet::new();
    let mut series: Vec<Vec<&str>> = Vec::new();
    for Sample { name: sample, labels, .. } in &family.samples {
        let allowed: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(allowed.iter().any(|suffix| *sample == format!("{name}{suffix}")), "{sample} in {name}");
        assert!(seen.insert(format!("{sample}{labels:?}")), "{sample}{labels:?} twice");
        let (bounds, plain): (Vec<_>, Vec<_>) = labels.iter().partition(|(label, _)| label == "le");
        assert_eq!(bounds.len(), usize::from(sample.ends_with("_bucket")), "le of {sample}");
        assert!(labels.last() == bounds.first().copied().or(labels.last()), "le is not last in {sample}");
        assert!(plain.windows(2).all(|pair| pair[0].0 < pair[1].0), "labels are not in order: {labels:?}");
        let values: Vec<&str> = plain.iter().map(|(_, value)| value.as_str()).collect();
        if series.last() != Some(&values) {
            series.push(values);
        }
    }
    // Samples of one family have the same label names here, so comparing values is comparing
    // series.
    assert!(series.windows(2).all(|pair| pair[0] < pair[1]), "series of {name} are not in order: {series:?}");
    if family.kind == "histogram" {
        check_buckets(&family.samples);
    }
}

/// Buckets ascend in bound and count, end with `+Inf`, then come sum and count; an exemplar is in
/// the bucket that its value falls into.
fn check_buckets(samples: &[Sample]) {
    let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
    let mut lines = samples.iter();
    while let Some(sample) = lines.next() {
        let le = sample.labels.last().filter(|(label, _)| label == "le");
        let le = number(&le.expect("a bucket has an le").1, &sample.name);
        assert!(le > bound && sample.value >= count, "buckets do not ascend: {sample:?}");
        if let Some(exemplar) = &sample.exemplar {
            assert!(exemplar.value > bound && exemplar.value <= le, "exemplar of another bucket: {sample:?}");
        }
        (bound, count) = (le, sample.value);
        if le.is_infinite() {
            let (sum, total) = (lines.next().unwrap(), lines.next().unwrap());
            assert!(sum.name.ends_with("_sum") && total.name.ends_with("_count"), "{sum:?} {total:?}");
            assert!((total.value - count).abs() < f64::EPSILON, "count is not +Inf: {total:?}");
            (bound, count) = (f64::NEG_INFINITY, 0.0);
        }
    }
    assert!(bound.is_infinite() && bound < 0.0, "no +Inf at the end");
}

fn sample(open: bool, kind: &str, line: &str, at: &str) -> Sample {
    let end = line.find(['{', ' ']).expect(at);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "name, {at}");
    let mut pairs = Vec::new();
    if rest.starts_with('{') {
        (pairs, rest) = labels(rest, at);
        assert!(!pairs.is_empty(), "empty braces, {at}");
    }
    let rest = rest.strip_prefix(' ').expect(at);
    let (value, exemplar) = rest.split_once(" # ").map_or((rest, None), |(value, rest)| (value, Some(rest)));
    assert!(!value.contains(' '), "text behind the value, {at}");
    let whole = name.ends_with("_bucket") || name.ends_with("_count");
    if kind == "histogram" && whole && open {
        assert!(value.bytes().all(|byte| byte.is_ascii_digit()), "observations are counted, {at}");
    } else if open {
        assert!(is_float(value), "a float has a point or an exponent, {at}");
    }
    for (_, bound) in pairs.iter().filter(|(label, _)| open && label == "le") {
        assert!(is_float(bound), "le is a float, {at}");
    }
    let exemplar = exemplar.map(|text| {
        assert!(open && (kind == "counter" || name.ends_with("_bucket")), "no exemplars here, {at}");
        let (labels, rest) = labels(text, at);
        let runes = labels.iter().map(|(label, value)| label.chars().count() + value.chars().count()).sum::<usize>();
        assert!(runes <= 128, "exemplar is too long, {at}");
        let (value, seconds) = rest.strip_prefix(' ').and_then(|rest| rest.split_once(' ')).expect(at);
        assert!(is_float(value) && is_float(seconds), "floats of the exemplar, {at}");
        Exemplar { labels, value: number(value, at), seconds: number(seconds, at) }
    });
    Sample { name: name.to_owned(), labels: pairs, value: number(value, at), exemplar }
}

/// `{a="x",b="y"}` at the beginning of `text`, and what follows.
fn labels<'a>(text: &'a str, at: &str) -> (Pairs, &'a str) {
    let mut rest = text.strip_prefix('{').expect(at);
    let mut labels = Vec::new();
    while !rest.starts_with('}') {
        if !labels.is_empty() {
            rest = rest.strip_prefix(',').expect(at);
        }
        let (label, behind) = rest.split_once("=\"").expect(at);
        assert!(is_name(label) && !label.contains(':'), "label name, {at}");
        let mut end = 0;
        let bytes = behind.as_bytes();
        while bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        labels.push((label.to_owned(), unescape(&behind[..end], true, at)));
        rest = &behind[end + 1..];
    }
    (labels, &rest[1..])
}

fn is_float(text: &str) -> bool {
    matches!(text, "+Inf" | "-Inf" | "NaN") || text.contains(['.', 'e'])
}

fn number(text: &str, at: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        _ => {
            assert!(text.bytes().all(|byte| b"0123456789.e+-".contains(&byte)), "number, {at}");
            text.parse().expect(at)
        }
    }
}

/// `quotes` says whether a quote must be escaped, as everywhere but in the help of the text format.
fn unescape(text: &str, quotes: bool, at: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('\\') => '\\',
                Some('"') if quotes => '"',
                other => panic!("escape {other:?}, {at}"),
            },
            '"' if quotes => panic!("a quote that is not escaped, {at}"),
            plain => plain,
        });
    }
    out
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || b"_:".contains(&first))
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
}
