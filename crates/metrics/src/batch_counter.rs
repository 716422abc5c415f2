//! Counts a batch: collects the hits of all flows, then finds and increments their counters
//! together.
//!
//! A counter that was not used for a while is not in the CPU's cache, and a cache miss costs some
//! hundred instructions. Done flow by flow, each miss would wait for the one before it. So a flow
//! only records [`Hit`]s: its ends and fixed labels. After the last flow the cache lines of all
//! hits in the cache are prefetched together, then each hit is looked up, and last all counters are
//! incremented; the CPU overlaps the misses.

use webb_flow::{Extra, Flow};

use super::contexts::{ContextId, Contexts};
use super::limit::Refusal;
use super::owners::Owner;
use super::series::SeriesTable;
use super::slot_cache::{CacheKey, SlotCache};
use super::table::{FAMILIES, Texts};
use super::tuples::Tuples;
use webb_flow::open::OpenConnections;

/// A flow to be counted in one series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    key: CacheKey,
    /// The flow's place in its batch.
    flow: u32,
    /// The hash of the key, then the slot of its series; 0 while flows are collected.
    place: u32,
}

/// Renders the label texts behind a key of a table, when a series is created.
pub(super) type RenderTexts = fn(table: usize, key: u64, tuples: &Tuples) -> Texts;

/// The state of a metric: contexts, tables, tuples, cache and the hits of the current batch.
#[derive(Debug)]
pub(super) struct BatchCounter {
    pub(super) contexts: Contexts,
    pub(super) tables: Vec<SeriesTable>,
    pub(super) tuples: Tuples,
    pub(super) cache: SlotCache,
    pub(super) open: OpenConnections,
    hits: Vec<Hit>,
    texts: RenderTexts,
    /// Tables with a context that takes the receiver of a flow for its source: a bit for each.
    of_receiver: u16,
}

impl BatchCounter {
    pub(super) fn new(contexts: Contexts, tables: Vec<SeriesTable>, texts: RenderTexts, of_receiver: u16) -> Self {
        let (tuples, cache, open) = (Tuples::default(), SlotCache::default(), OpenConnections::default());
        Self { contexts, tables, tuples, cache, open, hits: Vec::new(), texts, of_receiver }
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self) {
        self.hits.clear();
    }

    /// Resumes a batch without the hits of one flow.
    pub(super) fn begin_again(&mut self, without: usize) {
        self.hits.retain(|hit| hit.flow as usize != without);
    }

    /// Records a hit, to be counted by [`BatchCounter::settle`].
    #[inline]
    pub(super) fn hit(&mut self, key: CacheKey, flow: u32) {
        self.hits.push(Hit { key, flow, place: 0 });
    }

    /// Counts all hits: adds the `amounts` of each flow to its series. A flow whose series must be
    /// looked up by names is recorded in `progress`: if that panics, nothing of the batch is
    /// counted yet, and without that flow's hits this can be done again.
    pub(super) fn settle(
        &mut self,
        flows: &[Flow],
        extras: &[Extra],
        amounts: impl Fn(&Flow) -> [u64; FAMILIES],
        progress: &mut usize,
    ) {
        self.cache.fetch(self.hits.iter_mut().map(|hit| {
            hit.place = self.cache.hash(hit.key);
            hit.place
        }));
        for at in 0..self.hits.len() {
            let Some(&Hit { key, flow, place }) = self.hits.get(at) else { break };
            let slot = self.cache.find(key, place).unwrap_or_else(|| {
                *progress = flow as usize;
                let Some(flow) = flows.get(flow as usize) else { return u32::MAX };
                let extra = extra(flow, extras);
                if self.is_of_receiver(key.table()) {
                    return self.look_for(key, &flow.reversed(), extra);
                }
                self.look_for(key, flow, extra)
            });
            if let Some(hit) = self.hits.get_mut(at) {
                hit.place = slot;
            }
        }
        for hit in self.hits.drain(..) {
            if let (Some(table), Some(flow)) = (self.tables.get_mut(hit.key.table()), flows.get(hit.flow as usize)) {
                table.add(hit.place, amounts(flow));
            }
        }
    }

    /// The slot of one flow's series, now.
    pub(super) fn slot(&mut self, table: usize, fixed: u64, flow: &Flow, extra: Option<&Extra>) -> u32 {
        let reversed;
        let flow = if self.is_of_receiver(table) {
            reversed = flow.reversed();
            &reversed
        } else {
            flow
        };
        let key = CacheKey::new(table, self.contexts.ends(flow, extra), fixed);
        self.cache.find(key, self.cache.hash(key)).unwrap_or_else(|| self.look_for(key, flow, extra))
    }

    #[inline]
    fn is_of_receiver(&self, table: usize) -> bool {
        self.of_receiver >> table & 1 == 1
    }

    /// Finds the series by the names of both ends, or creates it: the slow path. Nothing is kept of
    /// a flow that no series is created for.
    #[cold]
    fn look_for(&mut self, key: CacheKey, flow: &Flow, extra: Option<&Extra>) -> u32 {
        let fixed = key.fixed();
        let context = self.contexts.find(flow, extra);
        let Some(table) = self.tables.get_mut(key.table()) else { return u32::MAX };
        let own = match context.and_then(|context| table.find(context, fixed)) {
            Some(known) => Ok(known),
            None => create(table, (&mut self.contexts, context), fixed, Owner::of(flow), || {
                (self.texts)(key.table(), fixed, &self.tuples)
            }),
        };
        match own {
            Ok(slot) => {
                self.note(key, slot, flow, extra);
                slot
            }
            Err(fold) => fold,
        }
    }

    /// Caches where a flow is counted.
    fn note(&mut self, key: CacheKey, slot: u32, flow: &Flow, extra: Option<&Extra>) {
        if key.has_ends() {
            return self.cache.note(key, slot);
        }
        // Its ends get their numbers only now; another flow of the batch may have had the same.
        let key = CacheKey::new(key.table(), self.contexts.give_ends(flow, extra), key.fixed());
        if self.cache.find(key, self.cache.hash(key)).is_none() {
            self.cache.note(key, slot);
        }
    }

    /// Forgets where flows are counted: slots, or contexts, are others from now on.
    pub(super) fn clear_caches(&mut self) {
        self.cache.clear();
        self.contexts.clear_ends();
    }

    /// Drops the texts that no series has, when most are such.
    pub(super) fn sweep_tuples(&mut self, tuple: impl Fn(u64) -> Option<u64>) {
        if self.tuples.is_worth_a_sweep() {
            let used = self.tables.iter().flat_map(SeriesTable::fixed).filter_map(tuple).collect();
            self.tuples.retain(&used);
        }
    }

    /// Drops cached keys and contexts after `removed` series were removed.
    pub(super) fn drop_unused(&mut self, removed: usize) {
        if removed > 0 {
            self.contexts.retain(&self.tables.iter().flat_map(SeriesTable::contexts).collect());
            self.clear_caches();
            self.compact();
        }
    }

    /// Lowers the gauge by connections that are no longer open.
    pub(super) fn lower(&mut self, slots: &[u32]) {
        for table in self.tables.iter_mut().filter(|table| table.is_gauge()) {
            for &slot in slots {
                table.lower(slot);
            }
        }
    }

    /// Gives back the memory of removed series, if they were most.
    pub(super) fn compact(&mut self) {
        if self.tables.iter().any(SeriesTable::is_sparse) {
            let contexts = self.contexts.compact();
            for table in &mut self.tables {
                let slots = table.compact(&contexts);
                if table.is_gauge() {
                    self.open.renumber(&slots);
                }
            }
            self.clear_caches();
        }
    }
}

/// Creates the series of a flow, or finds it by its shortened names; the series that it is counted
/// in instead if that cannot be.
fn create(
    table: &mut SeriesTable,
    (contexts, context): (&mut Contexts, Option<ContextId>),
    fixed: u64,
    owner: Owner,
    texts: impl Fn() -> Texts,
) -> Result<u32, u32> {
    if let Some(why) = table.refusal(owner) {
        return Err(table.fold(fixed, (owner, why), texts));
    }
    let shown = texts();
    let context = context.unwrap_or_else(|| contexts.insert_last());
    if let Some(known) = table.find(context, fixed) {
        return Ok(known);
    }
    let created = table.create((context, fixed), owner, (&shown, contexts.values(context)));
    created.ok_or_else(|| table.fold(fixed, (owner, Refusal::Total), || shown))
}

/// Fields of a flow beyond [`Flow`].
#[inline]
pub(super) fn extra<'a>(flow: &Flow, extras: &'a [Extra]) -> Option<&'a Extra> {
    extras.get(flow.extra.0 as usize)
}
