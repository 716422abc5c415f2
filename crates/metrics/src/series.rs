//! The values of one table: a number per series and family, or a histogram per series.
//!
//! A series is known by its context and the number the plugin packed its fixed labels into. Its
//! slot is the same for as long as it lives, so its values, its label text and its place in the
//! order can each be kept where they are used: values here, dense, for counting and copying; text
//! and order shared with snapshots.
//!
//! Past a limit no series is born any more. What would have been one is counted in a series with
//! the same fixed labels whose context labels are all `~other`, so that every sum stays exact; what
//! was there before stays as it is. While series are refused, those of the same owner that have not
//! changed for some time make room ([`SeriesTable::make_room`]).

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};
use webb_flow::hash::RandomState;

use super::contexts::ContextId;
use super::idle::Idle;
use super::limit::{self, Limits, Refusal, Share};
use super::owners::{Owner, Owners};
use super::table::{FAMILIES, Table, Texts};
use super::value::OwnedValue;
use crate::expose::{EXEMPLAR_LABEL, Exemplar, Exemplars, Labels, Snapshot, write_pair};

/// Key that distinguishes one series of a table from another.
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

/// Source of a label's value.
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
    /// Time of the flow, in seconds of Unix time.
    pub seconds: f64,
}

/// The series of one table.
#[derive(Debug)]
pub struct SeriesTable {
    table: &'static Table,
    /// Upper bounds of a histogram's buckets; empty for counters.
    bounds: Cow<'static, [f64]>,
    /// All label names, sorted, as they are written.
    layout: Vec<(&'static str, From)>,
    slots: HashTable<u32>,
    hasher: RandomState,
    /// Key of each slot.
    keys: Vec<Key>,
    /// Number of values in a slot: one for each family, or one for each bucket.
    width: usize,
    /// Values by slot, then by family or bucket.
    values: Vec<u64>,
    /// Sums of a histogram's observations, by slot.
    sums: Vec<f64>,
    /// Exemplars by place in `values`.
    exemplars: Exemplars,
    labels: Labels,
    /// Slots of removed series.
    free: Vec<u32>,
    most: usize,
    share: Arc<Share>,
    /// Number of looks in a row after which an idle series makes room for others.
    room_looks: u32,
    /// Series that stand for others.
    folds: usize,
    /// Number of counts in one of them, by [`Refusal`].
    folded: [u64; Refusal::ALL.len()],
    owners: Owners,
    /// State of [`SeriesTable::expire`].
    unchanged: Idle,
    pressure: Pressure,
}

/// State of [`SeriesTable::make_room`].
#[derive(Debug, Default)]
struct Pressure {
    idle: Idle,
    /// Refusals at the last look, by this table and by the budget of all.
    seen: (u64, u64),
    /// Number of further looks at which series are removed.
    looks: u32,
}

/// Slots below which a table is not compacted.
const FEW_SLOTS: usize = 1024;

/// Fixed labels are kept in the series that stand for others as long as these are so few; then they
/// fold too.
const FOLDS: usize = 256;

/// Number of looks at which series are removed after the last refusal: so many that those of a scan
/// are idle by then.
fn room_looks(looks: u32) -> u32 {
    looks.saturating_add(2)
}

/// The one series that stands for all others, whatever their labels.
const REST: Key = Key { fixed: 0, context: ContextId::REST };

impl SeriesTable {
    /// A table without series; `bounds` are those of its histogram, `context` the names of the
    /// context's labels.
    pub fn new(table: &'static Table, bounds: Cow<'static, [f64]>, context: &[&'static str]) -> Self {
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
            width: if bounds.is_empty() { table.families.len() } else { bounds.len() + 1 },
            bounds,
            values: Vec::new(),
            sums: Vec::new(),
            exemplars: Exemplars::default(),
            labels: Labels::default(),
            free: Vec::new(),
            most: usize::MAX,
            share: Arc::new(Share::new(Limits::default().budget)),
            room_looks: 0,
            folds: 0,
            folded: [0; Refusal::ALL.len()],
            owners: Owners::default(),
            unchanged: Idle::default(),
            pressure: Pressure::default(),
        }
    }

    /// Holds no more series than so many, and than there is room for in the share. Before the first
    /// series.
    pub fn limit(&mut self, limits: &Limits, share: Arc<Share>) {
        (self.most, self.share) = (limits.per_family, share);
        self.room_looks = limits.room_looks.unwrap_or(0);
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

    /// True for a gauge.
    pub(super) fn is_gauge(&self) -> bool {
        self.table.gauge
    }

    /// Adds one to a gauge.
    pub(super) fn raise(&mut self, slot: u32) {
        self.add(slot, [1; FAMILIES]);
    }

    /// Takes one from a gauge.
    pub(super) fn lower(&mut self, slot: u32) {
        if let Some(value) = self.values.get_mut(slot as usize * self.width) {
            *value = value.saturating_sub(1);
        }
    }

    /// Values of a gauge, whose series stay while they are not 0.
    fn held(&self) -> Vec<u64> {
        if self.table.gauge { self.values.clone() } else { Vec::new() }
    }

    /// Adds one to the only family of the table; the series' exemplar is now `trace`, if there is
    /// one.
    pub fn count_traced(&mut self, slot: u32, trace: Option<Trace<'_>>) {
        self.increase(slot as usize * self.width, 1.0, trace);
    }

    /// Adds an observation to a histogram; the exemplar of its bucket is now `trace`, if there is
    /// one.
    pub fn observe(&mut self, slot: u32, value: f64, trace: Option<Trace<'_>>) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
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

    /// The slot of a series, if it is known.
    pub fn find(&self, context: ContextId, fixed: u64) -> Option<u32> {
        self.find_key(Key { fixed, context })
    }

    fn find_key(&self, key: Key) -> Option<u32> {
        let same = |&slot: &u32| self.keys.get(slot as usize) == Some(&key);
        self.slots.find(self.hasher.hash_one(key), same).copied()
    }

    /// Reason for which no series of this owner can be created now, if there is one.
    pub(super) fn refusal(&self, owner: Owner) -> Option<Refusal> {
        let family = self.most.saturating_sub(self.slots.len() - self.folds);
        let total = self.share.room() / self.families();
        match (family, total) {
            (0, _) => Some(Refusal::Family),
            (_, 0) => Some(Refusal::Total),
            (family, total) => (!self.owners.fits(owner, family.min(total))).then_some(Refusal::Share),
        }
    }

    /// Creates a series that does not exist and is not refused ([`SeriesTable::refusal`]). None if
    /// another metric was faster to take the room for it.
    pub(super) fn create(
        &mut self,
        (context, fixed): (ContextId, u64),
        owner: Owner,
        (texts, values): (&[Cow<'static, str>], &[OwnedValue]),
    ) -> Option<u32> {
        if !self.share.take(self.families()) {
            return None;
        }
        let slot = self.insert(Key { fixed, context }, texts, |at| values.get(at).map(OwnedValue::text));
        self.owners.add(slot, owner);
        Some(slot)
    }

    /// The slot of the series that stands for refused ones; `texts` is called if it must be
    /// created.
    #[cold]
    pub(super) fn fold(&mut self, fixed: u64, (owner, why): (Owner, Refusal), texts: impl FnOnce() -> Texts) -> u32 {
        if let Some(count) = self.folded.get_mut(why as usize) {
            *count += 1;
        }
        match why {
            Refusal::Share => self.owners.press(owner, room_looks(self.room_looks)),
            Refusal::Total => self.share.refuse(),
            Refusal::Family => {}
        }
        let contexts = self.layout.len() - self.table.labels.len();
        let own = Key { context: ContextId::OTHER, fixed };
        if let Some(known) = self.find_key(own).filter(|_| contexts > 0) {
            return known;
        }
        let key = if contexts == 0 || self.folds >= FOLDS { REST } else { own };
        if let Some(known) = self.find_key(key) {
            return known;
        }
        let texts = if key == REST { vec![limit::OTHER.into(); self.table.labels.len()] } else { texts() };
        self.folds += 1;
        let other: Arc<str> = limit::OTHER.into();
        self.insert(key, &texts, |_| Some(Arc::clone(&other)))
    }

    #[cold]
    fn insert(&mut self, key: Key, fixed: &[Cow<'static, str>], context: impl Fn(usize) -> Option<Arc<str>>) -> u32 {
        let mut text = String::new();
        for &(name, from) in &self.layout {
            match from {
                From::Fixed(at) => write_pair(&mut text, name, fixed.get(at).map_or("", |text| text)),
                From::Context(at) => write_pair(&mut text, name, context(at).as_deref().unwrap_or_default()),
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
        if !self.bounds.is_empty() {
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

    /// Removes every series of these contexts; returns their slots.
    pub fn forget(&mut self, contexts: &HashSet<ContextId, RandomState>) -> Vec<u32> {
        self.remove(|key, _| contexts.contains(&key.context))
    }

    /// Removes every series without a change for so many looks, this one included; returns their
    /// number.
    pub fn expire(&mut self, looks: u32) -> usize {
        self.unchanged.look(&self.values, self.width);
        let (unchanged, held) = (std::mem::take(&mut self.unchanged), self.held());
        let removed = self.remove(|_, slot| {
            unchanged.is_idle(slot, looks) && held.get(slot as usize).is_none_or(|value| *value == 0)
        });
        self.unchanged = unchanged;
        for &slot in &removed {
            self.unchanged.reset(slot);
        }
        removed.len()
    }

    /// Removes series without a change for some looks, this one included, if series were refused
    /// lately: those of the owners that were refused, and where nothing is left for any owner,
    /// those of owners that hold much. Returns their number.
    pub fn make_room(&mut self) -> usize {
        let looks = self.room_looks;
        let seen = (self.folded_for(Refusal::Family), self.share.refused());
        let is_full = seen != std::mem::replace(&mut self.pressure.seen, seen);
        let pressed = self.owners.are_pressed();
        self.pressure.looks = if is_full { room_looks(looks) } else { self.pressure.looks.saturating_sub(1) };
        if self.pressure.looks == 0 && !pressed {
            self.pressure.idle.clear();
            return 0;
        }
        let much = if self.pressure.looks > 0 { self.owners.equal_part() } else { usize::MAX };
        let mut idle = std::mem::take(&mut self.pressure.idle);
        idle.look(&self.values, self.width);
        let (owners, held) = (std::mem::take(&mut self.owners), self.held());
        let is_due = |slot| {
            idle.is_idle(slot, looks)
                && held.get(slot as usize).is_none_or(|value| *value == 0)
                && owners.gives_up(slot, much)
        };
        let goes = |key: &Key, slot| !key.is_fold() && is_due(slot);
        let due: HashSet<u32, RandomState> = self
            .slots
            .iter()
            .copied()
            .filter(|&slot| self.keys.get(slot as usize).is_some_and(|key| goes(key, slot)))
            .collect();
        self.owners = owners;
        let removed = self.remove(|_, slot| due.contains(&slot));
        for &slot in &removed {
            idle.reset(slot);
        }
        self.pressure.idle = idle;
        self.owners.looked();
        removed.len()
    }

    /// True if most slots are empty, so that giving them back is worth the work.
    pub fn is_sparse(&self) -> bool {
        self.labels.slots() > FEW_SLOTS && self.slots.len() < self.labels.slots() / 4
    }

    /// Puts all series into slots without gaps, and gives back the memory of removed ones.
    /// `contexts` has the new numbers of contexts. No slot that was returned before is valid after:
    /// the result has the old ones in the order of the new.
    pub fn compact(&mut self, contexts: &HashMap<ContextId, ContextId, RandomState>) -> Vec<u32> {
        let mut rows: Vec<(u32, String)> = self.labels.sheet().rows().collect();
        rows.sort_unstable_by_key(|(slot, _)| *slot);
        let slots: Vec<u32> = rows.iter().map(|(slot, _)| *slot).collect();
        let (mut labels, mut exemplars) = (Labels::default(), Exemplars::default());
        let mut values = Vec::with_capacity(rows.len() * self.width);
        for (slot, text) in &rows {
            let first = *slot as usize * self.width;
            for at in first..first + self.width {
                exemplars.set(values.len(), self.exemplars.get(at).cloned());
                values.push(self.values.get(at).copied().unwrap_or(0));
            }
            labels.push(text);
        }
        let key = |slot: &u32| self.keys.get(*slot as usize).copied().unwrap_or(REST);
        let moved = |key: Key| Key { context: contexts.get(&key.context).copied().unwrap_or(key.context), ..key };
        self.keys = slots.iter().map(key).map(moved).collect();
        if !self.sums.is_empty() {
            self.sums = slots.iter().map(|slot| self.sums.get(*slot as usize).copied().unwrap_or(0.0)).collect();
        }
        (self.labels, self.exemplars, self.values, self.free) = (labels, exemplars, values, Vec::new());
        self.owners.renumber(&slots);
        self.unchanged.renumber(&slots);
        self.pressure.idle.renumber(&slots);
        let (keys, hasher) = (&self.keys, &self.hasher);
        let hash = |slot: &u32| keys.get(*slot as usize).map_or(0, |key| hasher.hash_one(key));
        self.slots = HashTable::with_capacity(keys.len());
        for slot in 0..u32::try_from(keys.len()).unwrap_or(u32::MAX) {
            self.slots.insert_unique(hash(&slot), slot, hash);
        }
        slots
    }

    /// The fixed labels that series have.
    pub fn fixed(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().filter_map(|&slot| self.keys.get(slot as usize)).map(|key| key.fixed)
    }

    /// The contexts that series have.
    pub fn contexts(&self) -> impl Iterator<Item = ContextId> {
        self.slots.iter().filter_map(|&slot| self.keys.get(slot as usize)).map(|key| key.context)
    }

    /// Number of counts in series that stand for others, by [`Refusal`].
    pub fn folded(&self) -> [u64; Refusal::ALL.len()] {
        self.folded
    }

    fn folded_for(&self, why: Refusal) -> u64 {
        self.folded.get(why as usize).copied().unwrap_or(0)
    }

    /// Empties the slots of removed series, and returns them.
    fn remove(&mut self, mut gone: impl FnMut(&Key, u32) -> bool) -> Vec<u32> {
        let key = |slot: u32| self.keys.get(slot as usize);
        let removed: Vec<u32> = self.slots.extract_if(|slot| key(*slot).is_some_and(|key| gone(key, *slot))).collect();
        let folds = removed.iter().filter(|&&slot| key(slot).is_some_and(Key::is_fold)).count();
        self.folds -= folds;
        self.share.give((removed.len() - folds) * self.families());
        for &slot in &removed {
            if self.keys.get(slot as usize).is_some_and(|key| !key.is_fold()) {
                self.owners.remove(slot);
            }
            self.vacate(slot);
        }
        removed
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
        self.unchanged.reset(slot);
        self.pressure.idle.reset(slot);
        self.labels.remove(slot);
        self.free.push(slot);
    }

    /// Number of families that share the table.
    pub fn families(&self) -> usize {
        self.table.families.len()
    }

    /// Number of series in each of them.
    pub fn series(&self) -> usize {
        self.labels.len()
    }

    /// All values as they are now. Copies numbers only; label texts and exemplars are shared.
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            families: self.table.families,
            gauge: self.table.gauge,
            bounds: self.bounds.clone(),
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
