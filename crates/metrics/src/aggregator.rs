//! The counting of one metric: what the pipeline feeds flows to and takes snapshots from.

use std::fmt;
use std::sync::Arc;

use webb_index::Flows;
use webb_index::filters::Filters;

use super::config::MetricConfig;
use super::engine::Engine;
use super::limit::{Limits, Refusal, Share};
use super::removed_pods::RemovedPods;
use crate::expose::Snapshot;
use webb_flow::open::{Corrections, ListingStep};

/// One metric's counters. Owned by one thread at a time; no lock inside.
pub struct Aggregator {
    name: &'static str,
    filters: Filters,
    forgotten: u64,
    expired: u64,
    made_room: u64,
    idle_looks: Option<u32>,
    room_looks: Option<u32>,
    share: Arc<Share>,
    engine: Box<dyn Engine>,
}

impl Aggregator {
    /// An aggregator without series.
    pub fn new(config: &MetricConfig) -> Self {
        Self {
            name: config.name(),
            filters: config.filters.clone(),
            forgotten: 0,
            expired: 0,
            made_room: 0,
            idle_looks: None,
            room_looks: None,
            share: Arc::new(Share::new(Limits::default().budget)),
            engine: (config.registration.make)(config.context.clone(), &config.options),
        }
    }

    /// The metric's configuration name; the component is `aggregator/` and this.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts the batch's flows from number `from` on.
    ///
    /// `progress` is always the flow being counted, and the number of flows at the end. After a
    /// caught panic it is the flow that killed the call: go on with the same batch and `from`
    /// one behind it, even if that is the end. All other flows of the batch are counted then,
    /// also those that only waited for the end of the batch. With the feature `fault-injection`
    /// every flow passes the point `aggregator/NAME` first, so an injected panic costs just that
    /// flow.
    pub fn observe(&mut self, batch: Flows<'_>, from: usize, progress: &mut usize) {
        self.engine.observe(&self.filters, batch, from, progress);
    }

    /// Looks at other flows from now on; counters go on. Open connections are not known until the
    /// next listing: which of them pass the filters is another set.
    pub fn set_filters(&mut self, filters: Filters) {
        self.filters = filters;
        self.engine.list(ListingStep::Reset);
    }

    /// Takes a step of a listing of all open connections.
    pub fn list(&mut self, step: ListingStep) {
        self.engine.list(step);
    }

    /// Corrections of the gauge of open connections.
    pub fn corrections(&self) -> Corrections {
        self.engine.corrections()
    }

    /// Removes the series of deleted pods. They begin anew should such a pod come back.
    pub fn forget(&mut self, gone: &RemovedPods) {
        self.forgotten += self.engine.forget(gone) as u64;
    }

    /// Number of series that were removed with their pods, over all families.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Holds to these limits from now on.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.idle_looks = limits.idle_looks;
        self.share = Arc::new(Share::new(Arc::clone(&limits.budget)));
        self.room_looks = limits.room_looks;
        self.engine.limit(limits, &self.share);
        self
    }

    /// Its share of the budget that all metrics have in common.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// Looks which series have not changed since the last look, and removes those that have not for
    /// as many looks as the limits say. The owner of the aggregator calls this at regular
    /// intervals.
    pub fn expire(&mut self) {
        if let Some(looks) = self.idle_looks {
            self.expired += self.engine.expire(looks) as u64;
        }
    }

    /// Number of series that were removed because nothing was counted in them, over all families.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Removes series that have not changed for as many looks as the limits allow, if series were
    /// refused lately: those of the interfaces with refused series, and where nothing is left,
    /// those of interfaces that hold much. The owner of the aggregator calls this at regular
    /// intervals; while nothing is refused it costs nothing.
    pub fn make_room(&mut self) {
        if self.room_looks.is_some() {
            self.made_room += self.engine.make_room() as u64;
        }
    }

    /// Number of series that were removed to make room for others, over all families.
    pub fn made_room(&self) -> u64 {
        self.made_room
    }

    /// Number of counts in series that stand for those beyond a limit, by [`Refusal`].
    pub fn folded(&self) -> [u64; Refusal::ALL.len()] {
        self.engine.folded()
    }

    /// All counters as they are now, one snapshot per table.
    pub fn snapshot(&mut self) -> Vec<Snapshot> {
        self.engine.snapshot()
    }

    /// Number of series, over all families.
    pub fn series(&self) -> usize {
        self.engine.series()
    }
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregator").field("name", &self.name).field("series", &self.series()).finish_non_exhaustive()
    }
}
