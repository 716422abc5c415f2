//! One answer of `/metrics`, read back: the text format 0.0.4 as far as a test needs it.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One sample: its labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All samples by the name that stands before the brace.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrape(BTreeMap<String, Vec<Sample>>);

impl Scrape {
    /// Panics with the line that is not exposition.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, sample) = sample(line).unwrap_or_else(|| panic!("not a sample: {line}"));
            scrape.0.entry(name).or_default().push(sample);
        }
        scrape
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The samples of `name` that carry all of `labels`.
    pub(crate) fn samples<'a>(&'a self, name: &str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.get(name).into_iter().flatten().filter(|sample| {
            labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        })
    }

    /// The sum of these samples; 0 if there are none. Counters here stay far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and not negative")]
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.samples(name, labels).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// The values that `label` takes in `name`.
    pub(crate) fn values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> =
            self.samples(name, &[]).filter_map(|sample| sample.labels.get(label).cloned()).collect();
        values.sort();
        values.dedup();
        values
    }

    /// The lines whose name begins with `prefix`, for a failure message.
    pub(crate) fn show(&self, prefix: &str) -> String {
        let mut text = String::new();
        for (name, samples) in self.0.iter().filter(|(name, _)| name.starts_with(prefix)) {
            for sample in samples {
                writeln!(text, "{name}{:?} {}", sample.labels, sample.value).unwrap();
            }
        }
        text
    }
}

fn sample(line: &str) -> Option<(String, Sample)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some((series.to_owned(), Sample { labels: BTreeMap::new(), value }));
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let mut text = String::new();
        let mut letters = quoted.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, letter) => text.push(letter),
            }
        };
        labels.insert(key.to_owned(), text);
        rest = quoted.get(end + 1..)?.trim_start_matches(',');
    }
    Some((name.to_owned(), Sample { labels, value }))
}

/// The other tests believe what this parser says: escapes, spaces in values and Go's exponents must
/// survive it.
#[test]
fn reads_what_the_format_allows() {
    let scrape = Scrape::parse(concat!(
        "# HELP a x\na 3\nb{x=\"1\"} 1.5e+06\nb{x=\"q\\\"s\\\\ ,}\\n\",y=\"\"} 2\n",
        "b{x=\"1\",y=\"z z\"} 4\n",
    ));
    assert_eq!(scrape.sum("a", &[]), 3);
    assert_eq!(scrape.sum("b", &[("x", "1")]), 1_500_004);
    assert_eq!(scrape.sum("b", &[("x", "q\"s\\ ,}\n"), ("y", "")]), 2);
    assert_eq!(scrape.sum("b", &[("y", "none")]), 0);
    assert_eq!(scrape.values("b", "y"), ["", "z z"]);
}
