//! Cardinality of metrics in a Prometheus: series and bytes by family, and the share of each label.
//!
//! Worked out from the text exposition, so it is true of what a scraper gets: a bucket is a series
//! there.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::hash::BuildHasher;

/// One family.
#[derive(Debug, Default)]
struct Family {
    series: u64,
    bytes: u64,
    labels: BTreeMap<String, Label>,
}

/// One label of a family.
#[derive(Debug, Default)]
struct Label {
    bytes: u64,
    /// Hashes of its values: only their number is needed.
    values: HashSet<u64>,
}

/// The table of a text exposition.
pub fn table(exposition: &[u8]) -> String {
    let text = String::from_utf8_lossy(exposition);
    let mut families: BTreeMap<&str, Family> = BTreeMap::new();
    let hasher = webb_flow::hash::RandomState::default();
    let mut current = "";
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            current = typed.split(' ').next().unwrap_or("");
        } else if !line.starts_with('#') {
            let family = families.entry(current).or_default();
            family.series += 1;
            family.bytes += line.len() as u64 + 1;
            each_label(line, |name, pair| {
                let label = family.labels.entry(name.to_owned()).or_default();
                label.bytes += pair.len() as u64;
                label.values.insert(hasher.hash_one(pair));
            });
        }
    }
    write(&families)
}

/// Calls `each` with the name of every label of a sample, and with its pair as written.
fn each_label(line: &str, mut each: impl FnMut(&str, &str)) {
    let Some((_, mut rest)) = line.split_once('{') else { return };
    while let Some((name, behind)) = rest.split_once("=\"") {
        let Some(end) = end_of_value(behind) else { return };
        let length = name.len() + 2 + end + 1;
        each(name, rest.get(..length).unwrap_or(""));
        let Some(next) = rest.get(length..).and_then(|next| next.strip_prefix(',')) else { return };
        rest = next;
    }
}

/// Position of the closing quote.
fn end_of_value(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closing = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closing
    })
}

fn write(families: &BTreeMap<&str, Family>) -> String {
    let mut rows = vec![["FAMILY / LABEL", "SERIES", "VALUES", "BYTES"].map(str::to_owned)];
    let (mut series, mut bytes) = (0, 0);
    for (name, family) in families {
        (series, bytes) = (series + family.series, bytes + family.bytes);
        rows.push([(*name).to_owned(), family.series.to_string(), String::new(), family.bytes.to_string()]);
        let mut labels: Vec<_> = family.labels.iter().collect();
        labels.sort_by_key(|(_, label)| std::cmp::Reverse(label.values.len()));
        for (name, label) in labels {
            rows.push([format!("  {name}"), String::new(), label.values.len().to_string(), label.bytes.to_string()]);
        }
    }
    rows.push(["total".to_owned(), series.to_string(), String::new(), bytes.to_string()]);
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0));
    let mut out = String::new();
    for [name, series, values, bytes] in &rows {
        let [one, two, three, four] = widths;
        let _written = writeln!(out, "{name:one$}  {series:>two$}  {values:>three$}  {bytes:>four$}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table;

    /// Bytes add up to the exposition's samples, different values count apart, and a quote in a
    /// value does not end it.
    #[test]
    fn counts_series_values_and_bytes() {
        let text = "# HELP a help\n# TYPE a counter\na{x=\"1\",y=\"q\\\"{,\"} 1\na{x=\"2\",y=\"q\\\"{,\"} 22\n\
                    # HELP b help\n# TYPE b counter\nb 5\n";
        let expected = "\
FAMILY / LABEL  SERIES  VALUES  BYTES
a                    2             43
  x                          2     10
  y                          1     18
b                    1              4
total                3             47
";
        assert_eq!(table(text.as_bytes()), expected);
    }
}
