//! The lines of both formats: headers of families, and samples (hubble-contract §3.6).
//!
//! The formats differ in little: OpenMetrics takes `_total` off a counter's name where it is
//! introduced, shows floats as floats, and has exemplars.

use std::borrow::Cow;

use super::Format;
use super::exemplar::{EXEMPLAR_LABEL, Exemplar};
use super::family::{Family, FamilyType, Histogram, Sample, Value};
use super::labels::write_pair;
use super::number::{push_count, push_digits, push_number};
use super::order::compare;
use super::pages::{Page, ROWS};
use super::snapshot::Snapshot;

/// HELP and TYPE.
pub(super) fn header(out: &mut Vec<u8>, format: Format, name: &str, help: &str, kind: FamilyType) {
    let (name, kind) = match (format, kind, name.strip_suffix("_total")) {
        (Format::OpenMetrics, FamilyType::Counter, Some(base)) => (base, kind.name()),
        // A counter's samples must end in `_total`; one that does not have it is none to
        // OpenMetrics.
        (Format::OpenMetrics, FamilyType::Counter, None) => (name, "unknown"),
        _ => (name, kind.name()),
    };
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(escaped_help(format, help).as_bytes());
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// Text escapes backslash and line feed in help, OpenMetrics quotes too.
fn escaped_help(format: Format, text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '"']) {
        return text.into();
    }
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if format == Format::OpenMetrics { text.replace('"', "\\\"").into() } else { text.into() }
}

/// The lines of one counter family on one page.
pub(super) fn counters(out: &mut Vec<u8>, format: Format, snapshot: &Snapshot, column: usize, page: &Page) {
    /// More than a number and an exemplar-free end of line take.
    const REST: usize = 32;
    let name = snapshot.families.get(column).map_or("", |spec| spec.name);
    out.reserve(page.expanded() + page.len() * (name.len() + REST));
    // What a line shares with the one before is taken from there, the name with it.
    let (mut last, mut last_end) = (out.len(), out.len());
    let mut shared = 0;
    for ((row, own), value) in page.rows().zip(values(snapshot, column, page)) {
        let start = out.len();
        if shared == 0 {
            out.extend_from_slice(name.as_bytes());
            shared = name.len();
        } else {
            out.extend_from_within(last..last + shared + row.shared as usize);
        }
        last = start;
        out.extend_from_slice(own);
        out.extend_from_within(last_end - row.shared_end as usize..last_end);
        last_end = out.len();
        push_whole(out, format, value);
        if format == Format::OpenMetrics
            && !snapshot.exemplars.is_empty()
            && let Some(exemplar) = snapshot.exemplar(row.slot, column)
        {
            push_exemplar(out, exemplar);
        }
        out.push(b'\n');
    }
}

/// The values of a page's rows in one column. All are loaded before a line is written: they lie in
/// the order of births, far apart, and loads side by side wait for the memory together, where one
/// between two lines waits alone.
fn values(snapshot: &Snapshot, column: usize, page: &Page) -> impl Iterator<Item = u64> {
    let mut values = [0; ROWS];
    for (value, (row, _)) in values.iter_mut().zip(page.rows()) {
        *value = snapshot.value(row.slot, column);
    }
    values.into_iter()
}

/// The lines of a histogram family on one page.
pub(super) fn histograms(out: &mut Vec<u8>, format: Format, snapshot: &Snapshot, page: &Page) {
    let name = snapshot.families.first().map_or("", |spec| spec.name);
    page.for_each(|slot, labels| {
        let exemplar = |bucket| snapshot.exemplar(slot, bucket);
        histogram(out, format, name, labels, &snapshot.histogram(slot), exemplar);
    });
}

/// The lines of a family that is plain data.
pub(super) fn family(out: &mut Vec<u8>, format: Format, family: &Family) {
    let mut samples: Vec<(String, &Sample)> =
        family.samples.iter().map(|sample| (label_text(&sample.labels), sample)).collect();
    samples.sort_by(|one, other| compare(one.0.as_bytes(), other.0.as_bytes()));
    for (labels, sample) in samples {
        if let Value::Histogram(buckets) = &sample.value {
            histogram(out, format, &family.name, labels.as_bytes(), buckets, |_| None);
            continue;
        }
        out.extend_from_slice(family.name.as_bytes());
        out.extend_from_slice(labels.as_bytes());
        match sample.value {
            Value::Count(count) => push_whole(out, format, count),
            Value::Number(number) => push_float(out, format, number),
            Value::Histogram(_) => {}
        }
        out.push(b'\n');
    }
}

/// Label pairs sorted by name, escaped, in the form that stands between name and value.
fn label_text(labels: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = labels.iter().collect();
    sorted.sort();
    let mut text = String::new();
    for (name, value) in sorted {
        write_pair(&mut text, name, value);
    }
    if text.is_empty() { " ".to_owned() } else { format!("{{{text}}} ") }
}

/// `labels` as they stand between name and value.
fn histogram<'a>(
    out: &mut Vec<u8>,
    format: Format,
    name: &str,
    labels: &[u8],
    histogram: &Histogram,
    exemplar: impl Fn(usize) -> Option<&'a Exemplar>,
) {
    let open = labels.strip_suffix(b"} ").unwrap_or_default();
    let infinity = (f64::INFINITY, histogram.count);
    for (at, (bound, count)) in histogram.buckets.iter().copied().chain([infinity]).enumerate() {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"_bucket");
        out.extend_from_slice(open);
        out.push(if open.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(b"le=\"");
        push_float(out, format, bound);
        out.extend_from_slice(b"\"} ");
        push_observations(out, format, count);
        if format == Format::OpenMetrics
            && let Some(exemplar) = exemplar(at)
        {
            push_exemplar(out, exemplar);
        }
        out.push(b'\n');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_sum");
    out.extend_from_slice(labels);
    push_float(out, format, histogram.sum);
    out.push(b'\n');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_count");
    out.extend_from_slice(labels);
    push_observations(out, format, histogram.count);
    out.push(b'\n');
}

/// ` # {traceID="..."} value seconds`.
fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let mut label = String::new();
    write_pair(&mut label, EXEMPLAR_LABEL, &exemplar.trace_id);
    out.extend_from_slice(b" # {");
    out.extend_from_slice(label.as_bytes());
    out.extend_from_slice(b"} ");
    push_float(out, Format::OpenMetrics, exemplar.value);
    out.push(b' ');
    push_float(out, Format::OpenMetrics, exemplar.seconds);
}

/// A sample that happens to be a whole number: `7`, to OpenMetrics `7.0`.
#[inline]
fn push_whole(out: &mut Vec<u8>, format: Format, value: u64) {
    push_count(out, value);
    // From a million on there is an exponent.
    if format == Format::OpenMetrics && value < 1_000_000 {
        out.extend_from_slice(b".0");
    }
}

/// Writes a number of observations: to OpenMetrics a whole number, in text a float like all others.
fn push_observations(out: &mut Vec<u8>, format: Format, count: u64) {
    match format {
        Format::Text => push_count(out, count),
        Format::OpenMetrics => push_digits(out, count),
    }
}

/// Any sample or bound.
fn push_float(out: &mut Vec<u8>, format: Format, value: f64) {
    let start = out.len();
    push_number(out, value);
    let written = out.get(start..).unwrap_or_default();
    if format == Format::OpenMetrics && value.is_finite() && !written.iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}
