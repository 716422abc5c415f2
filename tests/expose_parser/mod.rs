//! A strict reader of text format 0.0.4: what it accepts is well formed and in the order that the contract asks for
//! (section 3.6). Anything else is a panic that says where.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// Name, label pairs as written, value.
pub(crate) type Sample = (String, Vec<(String, String)>, f64);

pub(crate) fn parse(text: &str) -> Vec<Parsed> {
    let mut families: Vec<Parsed> = Vec::new();
    let mut help: Option<(String, String)> = None;
    if !text.is_empty() {
        assert!(text.ends_with('\n'), "no line feed at the end");
    }
    for (number, line) in text.split_terminator('\n').enumerate() {
        let at = format!("line {}: {line}", number + 1);
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(help.is_none(), "two HELPs, {at}");
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            help = Some((name.to_owned(), unescape(text, &at)));
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(&at);
            let (helped, help) = help.take().expect(&at);
            assert_eq!(name, helped, "TYPE of another family than HELP, {at}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "kind, {at}");
            if let Some(last) = families.last() {
                assert!(last.name.as_str() < name, "families are not in order, {at}");
                assert!(!last.samples.is_empty(), "a family without samples, {at}");
            }
            families.push(Parsed { name: name.to_owned(), help, kind: kind.to_owned(), samples: Vec::new() });
        } else {
            assert!(help.is_none(), "HELP without TYPE, {at}");
            let family = families.last_mut().expect(&at);
            family.samples.push(sample(line, &at));
        }
    }
    families.iter().for_each(check);
    families
}

/// A family's samples belong to it, occur once, and are in order.
fn check(family: &Parsed) {
    let name = &family.name;
    assert!(!family.samples.is_empty(), "{name} has no samples");
    let mut seen = BTreeSet::new();
    let mut series: Vec<Vec<&str>> = Vec::new();
    for (sample, labels, _) in &family.samples {
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
    // Samples of one family have the same label names here, so comparing values is comparing series.
    assert!(series.windows(2).all(|pair| pair[0] < pair[1]), "series of {name} are not in order: {series:?}");
}

fn sample(line: &str, at: &str) -> Sample {
    let end = line.find(['{', ' ']).expect(at);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "name, {at}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
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
            labels.push((label.to_owned(), unescape(&behind[..end], at)));
            rest = &behind[end + 1..];
        }
        assert!(!labels.is_empty(), "empty braces, {at}");
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect(at);
    assert!(!value.contains(' '), "text behind the value, {at}");
    (name.to_owned(), labels, number(value, at))
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

fn unescape(text: &str, at: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        out.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some(plain @ ('\\' | '"')) => plain,
                other => panic!("escape {other:?}, {at}"),
            },
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
