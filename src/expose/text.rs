//! Prometheus text format 0.0.4 (contract, section 3.6).

use std::borrow::Cow;

use super::family::{Family, Histogram, Kind, Sample, Value};
use super::labels::{compare, write_pair};
use super::number::{push_count, push_number};
use super::snapshot::Snapshot;

/// Appends the exposition of all sources to `out`: families sorted by name, series by label values, families without
/// a series left out. Families of one name are written together, under the help and type of the first.
pub fn render<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    families: impl IntoIterator<Item = &'a Family>,
    out: &mut Vec<u8>,
) {
    let mut sources: Vec<Source<'a>> = Vec::new();
    for snapshot in snapshots {
        sources.extend((0..snapshot.families.len()).map(|column| Source::Column { snapshot, column }));
    }
    sources.extend(families.into_iter().map(Source::Plain));
    sources.retain(|source| !source.is_empty());
    sources.sort_by_key(Source::name);
    let mut last = None;
    for source in &sources {
        if last != Some(source.name()) {
            header(out, source);
            last = Some(source.name());
        }
        source.samples(out);
    }
}

/// Where one family's samples come from.
enum Source<'a> {
    Column { snapshot: &'a Snapshot, column: usize },
    Plain(&'a Family),
}

impl<'a> Source<'a> {
    fn name(&self) -> &'a str {
        match *self {
            Self::Column { snapshot, column } => snapshot.families.get(column).map_or("", |spec| spec.name),
            Self::Plain(family) => &family.name,
        }
    }

    fn help(&self) -> &'a str {
        match *self {
            Self::Column { snapshot, column } => snapshot.families.get(column).map_or("", |spec| spec.help),
            Self::Plain(family) => &family.help,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Column { snapshot, .. } => snapshot.kind(),
            Self::Plain(family) => family.kind,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Column { snapshot, .. } => snapshot.series() == 0,
            Self::Plain(family) => family.samples.is_empty(),
        }
    }

    fn samples(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Column { snapshot, .. } if snapshot.kind() == Kind::Histogram => {
                for &slot in snapshot.slots() {
                    histogram(out, self.name(), snapshot.labels.get(slot), &snapshot.histogram(slot));
                }
            }
            Self::Column { snapshot, column } => {
                for (labels, value) in snapshot.rows(column) {
                    name_and_labels(out, self.name(), "", labels);
                    push_count(out, value);
                    out.push(b'\n');
                }
            }
            Self::Plain(family) => plain(out, family),
        }
    }
}

fn header(out: &mut Vec<u8>, source: &Source<'_>) {
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(source.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(help(source.help()).as_bytes());
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(source.name().as_bytes());
    out.push(b' ');
    out.extend_from_slice(source.kind().name().as_bytes());
    out.push(b'\n');
}

/// In help, only backslash and line feed are escaped.
fn help(text: &str) -> Cow<'_, str> {
    if text.contains(['\\', '\n']) { text.replace('\\', "\\\\").replace('\n', "\\n").into() } else { text.into() }
}

/// `name_suffix{labels} `, or `name_suffix ` without labels.
#[inline]
fn name_and_labels(out: &mut Vec<u8>, name: &str, suffix: &str, labels: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if labels.is_empty() {
        out.push(b' ');
    } else {
        out.push(b'{');
        out.extend_from_slice(labels.as_bytes());
        out.extend_from_slice(b"} ");
    }
}

fn plain(out: &mut Vec<u8>, family: &Family) {
    let mut samples: Vec<(String, &Sample)> =
        family.samples.iter().map(|sample| (label_text(&sample.labels), sample)).collect();
    samples.sort_by(|one, other| compare(&one.0, &other.0));
    for (labels, sample) in samples {
        match &sample.value {
            Value::Count(count) => {
                name_and_labels(out, &family.name, "", &labels);
                push_count(out, *count);
                out.push(b'\n');
            }
            Value::Number(number) => {
                name_and_labels(out, &family.name, "", &labels);
                push_number(out, *number);
                out.push(b'\n');
            }
            Value::Histogram(buckets) => histogram(out, &family.name, &labels, buckets),
        }
    }
}

/// Label pairs sorted by name, escaped, without braces.
fn label_text(labels: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = labels.iter().collect();
    sorted.sort();
    let mut text = String::new();
    for (name, value) in sorted {
        write_pair(&mut text, name, value);
    }
    text
}

fn histogram(out: &mut Vec<u8>, name: &str, labels: &str, histogram: &Histogram) {
    let infinity = (f64::INFINITY, histogram.count);
    for (bound, count) in histogram.buckets.iter().copied().chain([infinity]) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"_bucket{");
        out.extend_from_slice(labels.as_bytes());
        if !labels.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"le=\"");
        push_number(out, bound);
        out.extend_from_slice(b"\"} ");
        push_count(out, count);
        out.push(b'\n');
    }
    name_and_labels(out, name, "_sum", labels);
    push_number(out, histogram.sum);
    out.push(b'\n');
    name_and_labels(out, name, "_count", labels);
    push_count(out, histogram.count);
    out.push(b'\n');
}
