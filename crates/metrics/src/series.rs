//! The values of one table: a number per series and family, or a histogram per series.
//!
//! A series is known by its context and the number the plugin packed its fixed labels into. Its
//! slot is the same for as long as it lives, so its values, its label text and its place in the
//! order can each be kept where they are used: values here, dense, for counting and copying; text
//! and order shared with snapshots.
//!
//! Past a limit no series is born any more. What would have been one is counted in a series with
//! the same fixed labels whose context labels are all `~other`, so that every sum stays exact; what
//! was there before stays as it is.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{HashSet, HashTable};
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;

use super::contexts::ContextId;
use super::limit::{self, Limits, Share};
use super::table::{FAMILIES, Table, Texts};
use crate::expose::{EXEMPLAR_LABEL, Exemplar, Exemplars, Labels, Snapshot, write_pair};

/// What distinguishes one series of a table from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    fixed: u64,
    context: ContextId,
}

impl Key {
    /// True if the series stands for others.
    fn is_fold(&self) -> bool {
        matches!(self.context, ContextId::OTHER | ContextId::REST)
    }
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

/// Where the values of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Its own, for as long as it lives.
    Own(u32),
    /// Of a series that stands for others, this time: there may be room for one of its own the next
    /// time.
    Fold(u32),
}

/// The series of one table.
#[derive(Debug)]
pub struct SeriesTable {
    table: &'static Table,
    /// All label names, sorted, as they are written.
    layout: Vec<(&'static str, From)>,
    slots: HashTable<u32>,
    hasher: RandomState,
    /// Whose a slot is.
    keys: Vec<Key>,
    /// How many values a slot has: one for each family, or one for each bucket.
    width: usize,
    /// By slot, then by family or bucket.
    values: Vec<u64>,
    /// Of a histogram: all observations added up, by slot.
    sums: Vec<f64>,
    /// By place in `values`.
    exemplars: Exemplars,
    labels: Labels,
    /// Slots of series that went.
    free: Vec<u32>,
    most: usize,
    share: Arc<Share>,
    /// Series that stand for others.
    folds: usize,
    folded: u64,
    /// By slot: the sum of its values at the last look, and how many looks in a row found it so.
    looks: Vec<(u64, u32)>,
}

/// Fixed labels are kept in the series that stand for others as long as these are so few; then they
/// fold too.
const FOLDS: usize = 256;

/// The one series that stands for all others, whatever their labels.
const REST: Key = Key { fixed: 0, context: ContextId::REST };

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
            slots: HashTable::new(),
            hasher: RandomState::default(),
            keys: Vec::new(),
            width: if table.bounds.is_empty() { table.families.len() } else { table.bounds.len() + 1 },
            values: Vec::new(),
            sums: Vec::new(),
            exemplars: Exemplars::default(),
            labels: Labels::default(),
            free: Vec::new(),
            most: usize::MAX,
            share: Arc::new(Share::new(Limits::default().budget)),
            folds: 0,
            folded: 0,
            looks: Vec::new(),
        }
    }

    /// Holds no more series than so many, and than there is room for in the share. Before the first
    /// series.
    pub fn limit(&mut self, most: usize, share: Arc<Share>) {
        (self.most, self.share) = (most, share);
    }

    /// Adds to the values of a slot, one amount for each family.
    ///
    /// A counter that passes 2^64 starts again at 0, which Prometheus takes for what it is.
    #[inline]
    pub fn add(&mut self, slot: u32, amounts: [u64; FAMILIES]) {
        let first = slot as usize * self.width;
        if let Some(values) = self.values.get_mut(first..first + self.width) {
            for (value, amount) in values.iter_mut().zip(amounts) {
                *value = value.wrapping_add(amount);
            }
        }
    }

    /// Adds one to the only family of the table; the series' exemplar is now `trace`, if there is
    /// one.
    pub fn count_traced(&mut self, slot: u32, trace: Option<Trace<'_>>) {
        self.increase(slot as usize * self.width, 1.0, trace);
    }

    /// Adds an observation to a histogram; the exemplar of its bucket is now `trace`, if there is
    /// one.
    pub fn observe(&mut self, slot: u32, value: f64, trace: Option<Trace<'_>>) {
        let bucket = self.table.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.table.bounds.len());
        self.increase(slot as usize * self.width + bucket, value, trace);
        if let Some(sum) = self.sums.get_mut(slot as usize) {
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

    /// The slot of a series, which is born if it is not known; `texts` is called only then.
    pub fn slot<'a>(&mut self, context: ContextId, fixed: u64, texts: impl FnOnce() -> (Texts, &'a [Sym])) -> Slot {
        let key = Key { fixed, context };
        match self.find(key) {
            Some(known) if !key.is_fold() => Slot::Own(known),
            _ => self.meet(key, texts),
        }
    }

    fn find(&self, key: Key) -> Option<u32> {
        let same = |&slot: &u32| self.keys.get(slot as usize) == Some(&key);
        self.slots.find(self.hasher.hash_one(key), same).copied()
    }

    /// A series that is not known: it is born, or counted in one that stands for all that came too
    /// late.
    #[cold]
    fn meet<'a>(&mut self, key: Key, texts: impl FnOnce() -> (Texts, &'a [Sym])) -> Slot {
        let room = self.slots.len() - self.folds < self.most && key.context != ContextId::OTHER;
        if room && self.share.take(self.families()) {
            return Slot::Own(self.create(key, texts()));
        }
        self.folded += 1;
        let contexts = self.layout.len() - self.table.labels.len();
        let own = Key { context: ContextId::OTHER, ..key };
        if let Some(known) = self.find(own).filter(|_| contexts > 0) {
            return Slot::Fold(known);
        }
        let key = if contexts == 0 || self.folds >= FOLDS { REST } else { own };
        if let Some(known) = self.find(key) {
            return Slot::Fold(known);
        }
        self.folds += 1;
        let fixed = if key == REST { vec![limit::OTHER.into(); self.table.labels.len()] } else { texts().0 };
        Slot::Fold(self.create(key, (fixed, &vec![Sym::new(limit::OTHER); contexts])))
    }

    #[cold]
    fn create(&mut self, key: Key, (fixed, context): (Texts, &[Sym])) -> u32 {
        let mut text = String::new();
        for &(name, from) in &self.layout {
            match from {
                From::Fixed(at) => write_pair(&mut text, name, fixed.get(at).map_or("", |text| text)),
                From::Context(at) => {
                    write_pair(&mut text, name, &context.get(at).copied().unwrap_or(Sym::EMPTY).text());
                }
            }
        }
        let slot = match self.free.pop() {
            Some(free) => {
                self.labels.put(free, &text);
                free
            }
            None => self.labels.push(&text),
        };
        self.values.resize(self.labels.slots() * self.width, 0);
        if !self.table.bounds.is_empty() {
            self.sums.resize(self.labels.slots(), 0.0);
        }
        self.keys.resize(self.labels.slots(), key);
        if let Some(place) = self.keys.get_mut(slot as usize) {
            *place = key;
        }
        let (keys, hasher) = (&self.keys, &self.hasher);
        let hash = |&slot: &u32| keys.get(slot as usize).map_or(0, |key| hasher.hash_one(key));
        self.slots.insert_unique(hasher.hash_one(key), slot, hash);
        slot
    }

    /// Removes every series of these contexts; returns how many that were.
    pub fn forget(&mut self, contexts: &HashSet<ContextId, RandomState>) -> usize {
        self.remove(|key, _| contexts.contains(&key.context))
    }

    /// Removes every series whose values have not changed for so many looks, of which this is one;
    /// returns how many that were.
    pub fn expire(&mut self, looks: u32) -> usize {
        self.looks.resize(self.labels.slots(), (0, 0));
        let sum = |values: &[u64]| values.iter().fold(0_u64, |sum, value| sum.wrapping_add(*value));
        for ((before, unchanged), values) in self.looks.iter_mut().zip(self.values.chunks(self.width)) {
            let now = sum(values);
            *unchanged = if now == *before { unchanged.saturating_add(1) } else { 0 };
            *before = now;
        }
        let idle: Vec<bool> = self.looks.iter().map(|(_, unchanged)| *unchanged >= looks).collect();
        self.remove(|_, slot| idle.get(slot as usize).copied().unwrap_or(false))
    }

    /// The contexts that series have.
    pub fn contexts(&self) -> impl Iterator<Item = ContextId> {
        self.slots.iter().filter_map(|&slot| self.keys.get(slot as usize)).map(|key| key.context)
    }

    /// How often something was counted in a series that stands for others.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    fn remove(&mut self, mut gone: impl FnMut(&Key, u32) -> bool) -> usize {
        let key = |slot: u32| self.keys.get(slot as usize);
        let removed: Vec<u32> = self.slots.extract_if(|slot| key(*slot).is_some_and(|key| gone(key, *slot))).collect();
        let folds = removed.iter().filter(|&&slot| key(slot).is_some_and(Key::is_fold)).count();
        self.folds -= folds;
        self.share.give((removed.len() - folds) * self.families());
        for &slot in &removed {
            self.vacate(slot);
        }
        removed.len()
    }

    /// Empties a slot that no key leads to any more, for another series.
    fn vacate(&mut self, slot: u32) {
        let first = slot as usize * self.width;
        for at in first..first + self.width {
            self.exemplars.set(at, None);
            if let Some(value) = self.values.get_mut(at) {
                *value = 0;
            }
        }
        if let Some(sum) = self.sums.get_mut(slot as usize) {
            *sum = 0.0;
        }
        if let Some(look) = self.looks.get_mut(slot as usize) {
            *look = (0, 0);
        }
        self.labels.remove(slot);
        self.free.push(slot);
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

impl Drop for SeriesTable {
    fn drop(&mut self) {
        self.share.give((self.slots.len() - self.folds) * self.families());
    }
}

/// OpenMetrics allows an exemplar's labels 128 characters, names and values together.
fn is_exemplar(trace_id: &str) -> bool {
    !trace_id.is_empty() && EXEMPLAR_LABEL.len() + trace_id.chars().count() <= 128
}
