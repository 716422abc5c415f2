//! Counts a batch: collects the hits of all flows, then finds and increments their counters
//! together.
//!
//! A counter that was not used for a while is not in the CPU's cache, and a cache miss costs some
//! hundred instructions. Done flow by flow, each miss would wait for the one before it. So a flow
//! only records [`Hit`]s: its ends and fixed labels. After the last flow the cache lines of all
//! hits in the cache are prefetched together, then each hit is looked up, and last all counters are
//! incremented; the CPU overlaps the misses.

use webb_flow::{Extra, Flow};

use super::contexts::Contexts;
use super::series::{SeriesTable, Slot};
use super::slot_cache::{CacheKey, SlotCache};
use super::table::{FAMILIES, Table, Texts};
use super::tuples::Tuples;

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
    hits: Vec<Hit>,
    texts: RenderTexts,
}

impl BatchCounter {
    pub(super) fn new(
        contexts: Contexts,
        tables: &'static [Table],
        labels: &[&'static str],
        texts: RenderTexts,
    ) -> Self {
        Self {
            contexts,
            tables: tables.iter().map(|table| SeriesTable::new(table, labels)).collect(),
            tuples: Tuples::default(),
            cache: SlotCache::default(),
            hits: Vec::new(),
            texts,
        }
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
                flows.get(flow as usize).map_or(u32::MAX, |flow| self.look_for(key, flow, extra(flow, extras)))
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
        let key = CacheKey::new(table, self.contexts.ends(flow, extra), fixed);
        self.cache.find(key, self.cache.hash(key)).unwrap_or_else(|| self.look_for(key, flow, extra))
    }

    /// Finds the series by the names of both ends: the slow path.
    #[cold]
    fn look_for(&mut self, key: CacheKey, flow: &Flow, extra: Option<&Extra>) -> u32 {
        let context = self.contexts.of(flow, extra);
        let (contexts, tuples) = (&self.contexts, &self.tuples);
        let texts = || ((self.texts)(key.table(), key.fixed(), tuples), contexts.values(context));
        match self.tables.get_mut(key.table()).map(|table| table.slot(context, key.fixed(), texts)) {
            Some(Slot::Own(slot)) => {
                self.cache.note(key, slot);
                slot
            }
            Some(Slot::Fold(slot)) => slot,
            None => u32::MAX,
        }
    }
}

/// What a flow carries beyond itself.
#[inline]
pub(super) fn extra<'a>(flow: &Flow, extras: &'a [Extra]) -> Option<&'a Extra> {
    extras.get(flow.extra.0 as usize)
}
