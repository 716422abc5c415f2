//! The series that a store knows: which ends and labels each has, and where its values are.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::measure::{Form, LabelText, Labels, Measure};
use super::search_path::{AskedNames, NO_SUCH_NAME};

/// Two ends: who calls, and who is called.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) from: Arc<str>,
    pub(super) to: Arc<str>,
}

/// What the ends of pairs are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum By {
    /// What the labels name.
    #[default]
    Label,
    /// Namespaces; an end without one is itself.
    Namespace,
}

/// The namespace of an end; the end itself if it has none.
pub(super) fn namespace_of(end: &str) -> &str {
    end.split_once('/').map_or(end, |(namespace, _)| namespace)
}

impl Pair {
    /// The same two ends the other way.
    pub(super) fn reversed(&self) -> Self {
        Self { from: Arc::clone(&self.to), to: Arc::clone(&self.from) }
    }

    /// The namespaces of both ends.
    pub(super) fn of_namespaces(&self) -> Self {
        Self { from: namespace_of(&self.from).into(), to: namespace_of(&self.to).into() }
    }
}

/// One series.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) measure: Measure,
    /// None where the metric does not name both ends.
    pub(super) pair: Option<Arc<Pair>>,
    /// Labels beside those of the ends.
    pub(super) labels: Arc<Labels>,
    /// Place of the first value in a sample.
    pub(super) offset: usize,
    /// Number of values.
    pub(super) width: usize,
    /// Unix time of the first sample with it, in seconds; 0 for the store's first sample.
    pub(super) first: u64,
    /// Unix time of the last sample in which a value had grown, in seconds; 0 for none.
    pub(super) last: u64,
    /// Number of the last sample that had it.
    pub(super) seen: u64,
    /// True for a name that was not found, and is a try in a search path.
    pub(super) is_try: bool,
}

impl Series {
    pub(super) fn is_histogram(&self) -> bool {
        matches!(self.measure, Measure::Handshake | Measure::RoundTrip | Measure::HttpTime)
    }

    /// True for an answer of DNS with an error, one without the name included; not for a try in a
    /// search path.
    pub(super) fn is_answer_error(&self) -> bool {
        !self.is_try && !matches!(self.labels.get("rcode"), "No Error" | "")
    }

    /// The name that it counts answers to, and the two ends.
    fn asked(&self) -> Option<(*const Pair, &str)> {
        let name = self.labels.get("query");
        let pair = self.pair.as_ref().filter(|_| self.measure == Measure::DnsAnswer && !name.is_empty())?;
        Some((Arc::as_ptr(pair), name))
    }

    /// True if its responses are counted by status.
    pub(super) fn has_status(&self) -> bool {
        !self.labels.get("status").is_empty()
    }
}

/// All of them. Texts are parsed once, when a series is new; afterwards it is found by a hash of
/// its text, which is seeded: two of 100,000 texts have the same with one chance in some billion.
#[derive(Debug, Default)]
pub(super) struct Known {
    hasher: RandomState,
    by_hash: HashMap<u64, Series, RandomState>,
    shared: Shared,
}

/// Removed pairs that are remembered: 0.1 MB.
const MAX_FORMER_PAIRS: usize = 8192;

/// What series share.
#[derive(Debug, Default)]
struct Shared {
    hasher: RandomState,
    ends: HashSet<Arc<str>, RandomState>,
    pairs: HashSet<Arc<Pair>, RandomState>,
    /// Labels that name no end, by their text.
    labels: HashMap<Box<str>, Arc<Labels>, RandomState>,
    /// Room for such a text.
    rest: String,
    /// Places of removed series, by width.
    free: HashMap<usize, Vec<usize>, RandomState>,
    /// Values in a sample.
    words: usize,
    /// The mark of Hubble's `httpV2`.
    requests_have_status: bool,
    forms: HashMap<Measure, Option<Form>, RandomState>,
    /// A name was asked for that was not known yet.
    has_new_names: bool,
    /// Pairs that are new since they were taken last.
    new_pairs: Vec<Arc<Pair>>,
    /// Hashes of removed pairs: one that is back is not new.
    former: HashSet<u64, RandomState>,
}

impl Known {
    /// The series with this text.
    pub(super) fn series(&mut self, measure: Measure, text: &str, width: usize) -> &mut Series {
        let shared = &mut self.shared;
        let hash = self.hasher.hash_one((measure, text, width));
        self.by_hash.entry(hash).or_insert_with(|| shared.read(measure, text, width))
    }

    /// Makes room for so many series.
    pub(super) fn reserve(&mut self, series: usize) {
        self.by_hash.reserve(series.saturating_sub(self.by_hash.len()));
    }

    /// Removes the series that no sample since the one of this number had.
    pub(super) fn forget(&mut self, before: u64) {
        let (known, free) = (self.by_hash.len(), &mut self.shared.free);
        self.by_hash.retain(|_, series| {
            let stays = series.seen >= before;
            if !stays {
                free.entry(series.width).or_default().push(series.offset);
            }
            stays
        });
        if self.by_hash.len() < known {
            self.shared.forget_pairs();
            self.shared.ends.retain(|end| Arc::strong_count(end) > 1);
            self.shared.labels.retain(|_, labels| Arc::strong_count(labels) > 1);
        }
    }

    /// The pairs that have become known since the last call, in no order; each in one direction.
    pub(super) fn take_new_pairs(&mut self) -> Vec<Arc<Pair>> {
        std::mem::take(&mut self.shared.new_pairs)
    }

    /// Finds out which names were tries in a search path, if there are new ones.
    pub(super) fn mark_tries(&mut self) {
        if !std::mem::take(&mut self.shared.has_new_names) {
            return;
        }
        let mut asked: HashMap<*const Pair, AskedNames<'_>, RandomState> = HashMap::default();
        for series in self.by_hash.values() {
            if let Some((pair, name)) = series.asked() {
                asked.entry(pair).or_default().add(name, series.labels.get("rcode") == "No Error");
            }
        }
        let is_try = |series: &Series| {
            let asked = series.asked().and_then(|(pair, name)| Some((asked.get(&pair)?, name)));
            series.labels.get("rcode") == NO_SUCH_NAME && asked.is_some_and(|(asked, name)| asked.is_try(name))
        };
        let tries = self.by_hash.iter().filter(|(_, series)| is_try(series)).map(|(hash, _)| *hash);
        let tries: HashSet<u64, RandomState> = tries.collect();
        for (hash, series) in &mut self.by_hash {
            series.is_try = tries.contains(hash);
        }
    }

    /// Their number.
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Series> {
        self.by_hash.values()
    }

    /// Values in a sample.
    pub(super) fn words(&self) -> usize {
        self.shared.words
    }

    /// The labels that name the ends, if they do.
    pub(super) fn form(&self, measure: Measure) -> Option<Form> {
        self.shared.forms.get(&measure).copied().flatten()
    }

    /// True if the measure has had series.
    pub(super) fn has(&self, measure: Measure) -> bool {
        self.shared.forms.contains_key(&measure)
    }

    /// True if `httpV2` is what counts requests.
    pub(super) fn requests_have_status(&self) -> bool {
        self.shared.requests_have_status
    }
}

impl Shared {
    #[cold]
    fn read(&mut self, measure: Measure, text: &str, width: usize) -> Series {
        let labels = LabelText::split(text);
        if measure == Measure::HttpRequest {
            self.requests_have_status = labels.has_value("status");
        }
        let form = labels.form();
        self.forms.insert(measure, form);
        let pair = form.map(|form| {
            let from = interned(&mut self.ends, &labels.end(form, "source"));
            let to = interned(&mut self.ends, &labels.end(form, "destination"));
            let is_turned = measure.is_turned(self.requests_have_status);
            let pair = if is_turned { Pair { from: to, to: from } } else { Pair { from, to } };
            self.pair(pair)
        });
        let labels = self.without_ends(&labels);
        let offset = self.free.get_mut(&width).and_then(Vec::pop).unwrap_or_else(|| {
            self.words += width;
            self.words - width
        });
        self.has_new_names |= measure == Measure::DnsAnswer && !labels.get("query").is_empty();
        Series { measure, pair, labels, offset, width, first: 0, last: 0, seen: 0, is_try: false }
    }
}

impl Shared {
    /// The labels that name no end, parsed once for all series that have the same.
    fn without_ends(&mut self, labels: &LabelText<'_>) -> Arc<Labels> {
        self.rest.clear();
        labels.write_without_ends(&mut self.rest);
        if let Some(known) = self.labels.get(self.rest.as_str()) {
            return Arc::clone(known);
        }
        let labels = Arc::new(Labels::parse(&self.rest));
        self.labels.insert(self.rest.as_str().into(), Arc::clone(&labels));
        labels
    }

    fn pair(&mut self, pair: Pair) -> Arc<Pair> {
        if let Some(known) = self.pairs.get(&pair) {
            return Arc::clone(known);
        }
        let pair = Arc::new(pair);
        let is_known = self.pairs.contains(&pair.reversed()) || self.former.contains(&self.hash(&pair));
        if !is_known {
            self.new_pairs.push(Arc::clone(&pair));
        }
        self.pairs.insert(Arc::clone(&pair));
        pair
    }

    /// A hash of both ends, whatever their order.
    fn hash(&self, pair: &Pair) -> u64 {
        let mut ends = [&pair.from, &pair.to];
        ends.sort_unstable();
        self.hasher.hash_one(ends)
    }

    /// Removes pairs that no series has, and remembers as many of them as fit: any others go.
    fn forget_pairs(&mut self) {
        let gone: Vec<_> = self.pairs.iter().filter(|pair| Arc::strong_count(pair) == 1).cloned().collect();
        for pair in &gone {
            self.pairs.remove(pair);
            if self.former.len() >= MAX_FORMER_PAIRS
                && let Some(other) = self.former.iter().next().copied()
            {
                self.former.remove(&other);
            }
            self.former.insert(self.hash(pair));
        }
    }
}

fn interned(all: &mut HashSet<Arc<str>, RandomState>, text: &str) -> Arc<str> {
    if let Some(known) = all.get(text) {
        return Arc::clone(known);
    }
    let text: Arc<str> = text.into();
    all.insert(Arc::clone(&text));
    text
}
