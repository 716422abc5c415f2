//! The values of one table: a number per series and family, or a histogram per series, found by one hash probe.
//!
//! A series is known by its context and the number the plugin packed its fixed labels into. Its slot is the same for
//! as long as it lives, so its values, its label text and its place in the order can each be kept where they are used:
//! values here, dense, for counting and copying; text and order shared with snapshots.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::contexts::ContextId;
use super::plugin::{Table, Texts};
use crate::expose::{EXEMPLAR_LABEL, Exemplar, Exemplars, Labels, Snapshot, write_pair};
use crate::sym::Sym;

/// What tells one series of a table from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    fixed: u64,
    context: ContextId,
}

/// Where the value of a label comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Fixed(usize),
    Context(usize),
}

/// The trace that a flow is part of.
#[derive(Debug, Clone, Copy)]
pub struct Trace<'a> {
    /// Empty for none.
    pub id: &'a str,
    /// When the flow was seen, in seconds of Unix time.
    pub seconds: f64,
}

/// The series of one table.
#[derive(Debug)]
pub struct SeriesTable {
    table: &'static Table,
    /// All label names, sorted, as they are written.
    layout: Vec<(&'static str, From)>,
    slots: HashMap<Key, u32, RandomState>,
    /// How many values a slot has: one for each family, or one for each bucket.
    width: usize,
    /// By slot, then by family or bucket.
    values: Vec<u64>,
    /// Of a histogram: all observations added up, by slot.
    sums: Vec<f64>,
    /// By place in `values`.
    exemplars: Exemplars,
    labels: Labels,
}

impl SeriesTable {
    /// A table without series; `context` are the names of the context's labels.
    pub fn new(table: &'static Table, context: &[&'static str]) -> Self {
        let fixed = table.labels.iter().enumerate().map(|(at, &name)| (name, From::Fixed(at)));
        let mut layout: Vec<(&'static str, From)> =
            fixed.chain(context.iter().enumerate().map(|(at, &name)| (name, From::Context(at)))).collect();
        layout.sort_unstable_by_key(|&(name, _)| name);
        Self {
            table,
            layout,
            slots: HashMap::default(),
            width: if table.bounds.is_empty() { table.families.len() } else { table.bounds.len() + 1 },
            values: Vec::new(),
            sums: Vec::new(),
            exemplars: Exemplars::default(),
            labels: Labels::default(),
        }
    }

    /// Adds to the values of a series. `texts` is called only if it is not known yet.
    ///
    /// A counter that passes 2^64 starts again at 0, which Prometheus takes for what it is.
    #[inline]
    pub fn add<'a, const N: usize>(
        &mut self,
        context: ContextId,
        fixed: u64,
        increments: [u64; N],
        texts: impl FnOnce() -> (Texts, &'a [Sym]),
    ) {
        debug_assert_eq!(N, self.width, "one increment for each family of the table");
        let first = self.slot(Key { fixed, context }, texts) as usize * N;
        if let Some(values) = self.values.get_mut(first..first + N) {
            for (value, increment) in values.iter_mut().zip(increments) {
                *value = value.wrapping_add(increment);
            }
        }
    }

    /// Adds one to the only family of the table; the series' exemplar is now `trace`, if there is one.
    pub fn count_traced<'a>(
        &mut self,
        context: ContextId,
        fixed: u64,
        trace: Option<Trace<'_>>,
        texts: impl FnOnce() -> (Texts, &'a [Sym]),
    ) {
        let at = self.slot(Key { fixed, context }, texts) as usize * self.width;
        self.increase(at, 1.0, trace);
    }

    /// Adds an observation to a histogram; the exemplar of its bucket is now `trace`, if there is one.
    pub fn observe<'a>(
        &mut self,
        context: ContextId,
        fixed: u64,
        value: f64,
        trace: Option<Trace<'_>>,
        texts: impl FnOnce() -> (Texts, &'a [Sym]),
    ) {
        let slot = self.slot(Key { fixed, context }, texts) as usize;
        let bucket = self.table.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.table.bounds.len());
        self.increase(slot * self.width + bucket, value, trace);
        if let Some(sum) = self.sums.get_mut(slot) {
            *sum += value;
        }
    }

    fn increase(&mut self, at: usize, value: f64, trace: Option<Trace<'_>>) {
        if let Some(count) = self.values.get_mut(at) {
            *count = count.wrapping_add(1);
        }
        if let Some(trace) = trace.filter(|trace| is_exemplar(trace.id)) {
            self.exemplars.set(at, Some(Exemplar { trace_id: trace.id.into(), value, seconds: trace.seconds }));
        }
    }

    #[inline]
    fn slot<'a>(&mut self, key: Key, texts: impl FnOnce() -> (Texts, &'a [Sym])) -> u32 {
        match self.slots.get(&key) {
            Some(&known) => known,
            None => self.give_birth(key, texts()),
        }
    }

    #[cold]
    fn give_birth(&mut self, key: Key, (fixed, context): (Texts, &[Sym])) -> u32 {
        let mut text = String::new();
        for &(name, from) in &self.layout {
            match from {
                From::Fixed(at) => write_pair(&mut text, name, fixed.get(at).map_or("", |text| text)),
                From::Context(at) => {
                    write_pair(&mut text, name, &context.get(at).copied().unwrap_or(Sym::EMPTY).text());
                }
            }
        }
        let slot = self.labels.push(&text);
        self.values.resize(self.labels.slots() * self.width, 0);
        if !self.table.bounds.is_empty() {
            self.sums.resize(self.labels.slots(), 0.0);
        }
        self.slots.insert(key, slot);
        slot
    }

    /// How many families share the table.
    pub fn families(&self) -> usize {
        self.table.families.len()
    }

    /// How many series each of them has.
    pub fn series(&self) -> usize {
        self.labels.len()
    }

    /// All values as they are now. Copies numbers only; label texts and exemplars are shared.
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            families: self.table.families,
            bounds: self.table.bounds,
            values: self.values.clone(),
            sums: self.sums.clone(),
            exemplars: self.exemplars.clone(),
            labels: self.labels.sheet(),
        }
    }
}

/// OpenMetrics allows an exemplar's labels 128 characters, names and values together.
fn is_exemplar(trace_id: &str) -> bool {
    !trace_id.is_empty() && EXEMPLAR_LABEL.len() + trace_id.chars().count() <= 128
}
