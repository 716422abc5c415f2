//! The counting of one metric: what the pipeline feeds flows to and takes snapshots from.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::config::MetricConfig;
use super::context::ContextSpec;
use super::contexts::Contexts;
use super::filters::Filters;
use super::gone::{Gone, PodLabels};
use super::limit::Limits;
use super::options::Options;
use super::plugin::{Emit, Plugin};
use super::series::SeriesTable;
use super::tuples::Tuples;
use crate::expose::Snapshot;
use crate::flow::{Event, Extra, Flow};
use crate::index::Index;

/// A batch as metrics read it: flows, what a few of them carry beyond that, and who their ends are.
#[derive(Debug, Clone, Copy)]
pub struct Flows<'a> {
    /// The flows, oldest first.
    pub flows: &'a [Flow],
    /// What the flows' [`crate::flow::ExtraId`]s mean; empty where no flow has one.
    pub extras: &'a [Extra],
    /// What the flows' endpoint ids mean.
    pub index: &'a Arc<Index>,
}

/// One metric's counters. Owned by one thread at a time; no lock inside.
pub struct Aggregator {
    name: &'static str,
    filters: Filters,
    forgotten: u64,
    expired: u64,
    idle_looks: Option<u32>,
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
            idle_looks: None,
            engine: (config.registration.make)(config.context.clone(), &config.options),
        }
    }

    /// The metric's configuration name; the component is `aggregator/` and this.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Counts the batch's flows from number `from` on.
    ///
    /// `progress` is always the flow being counted, and the number of flows at the end. After a caught panic it is the flow
    /// that killed the call: counters stay usable, and counting goes on with `from` one behind it. With the feature
    /// `fault-injection` every flow passes the point `aggregator/NAME` first, so an injected panic costs just that flow.
    pub fn observe(&mut self, batch: Flows<'_>, from: usize, progress: &mut usize) {
        self.engine.observe(&self.filters, batch, from, progress);
    }

    /// Looks at other flows from now on; counters go on.
    pub fn set_filters(&mut self, filters: Filters) {
        self.filters = filters;
    }

    /// Removes the series of pods that are gone. They begin anew should such a pod come back.
    pub fn forget(&mut self, gone: &Gone) {
        self.forgotten += self.engine.forget(gone) as u64;
    }

    /// How many series went with their pods, over all families.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Holds to these limits from now on.
    #[must_use]
    pub fn with_limits(mut self, limits: &Limits) -> Self {
        self.idle_looks = limits.idle_looks;
        self.engine.limit(limits);
        self
    }

    /// Looks which series have not changed since the last look, and removes those that have not for as many looks as
    /// the limits say. Whoever owns the aggregator calls this at regular intervals.
    pub fn expire(&mut self) {
        if let Some(looks) = self.idle_looks {
            self.expired += self.engine.expire(looks) as u64;
        }
    }

    /// How many series went because nothing was counted in them, over all families.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// How often something was counted in a series that stands for those beyond a limit.
    pub fn folded(&self) -> u64 {
        self.engine.folded()
    }

    /// All counters as they are now, one snapshot per table.
    pub fn snapshot(&mut self) -> Vec<Snapshot> {
        self.engine.snapshot()
    }

    /// How many series there are, over all families.
    pub fn series(&self) -> usize {
        self.engine.series()
    }
}

impl fmt::Debug for Aggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregator").field("name", &self.name).field("series", &self.series()).finish_non_exhaustive()
    }
}

/// A plugin with its tables. Dynamic once a batch, so that everything per flow is compiled for the plugin.
pub(super) trait Engine: Send {
    fn observe(&mut self, filters: &Filters, batch: Flows<'_>, from: usize, progress: &mut usize);
    fn forget(&mut self, gone: &Gone) -> usize;
    fn limit(&mut self, limits: &Limits);
    fn expire(&mut self, looks: u32) -> usize;
    fn folded(&self) -> u64;
    fn snapshot(&mut self) -> Vec<Snapshot>;
    fn series(&self) -> usize;
}

struct Counting<P> {
    plugin: P,
    contexts: Contexts,
    tables: Vec<SeriesTable>,
    tuples: Tuples,
    #[cfg(feature = "fault-injection")]
    point: String,
}

/// The engine of a plugin, for the registry.
pub(super) fn engine<P: Plugin>(spec: ContextSpec, options: &Options) -> Box<dyn Engine> {
    let (names, pods) = (spec.label_names(), PodLabels::new(&spec));
    let spec = if P::INVERTED { spec.inverted() } else { spec };
    Box::new(Counting {
        plugin: P::new(options),
        contexts: Contexts::new(spec).with_pods(pods),
        tables: P::tables(options).iter().map(|table| SeriesTable::new(table, &names)).collect(),
        tuples: Tuples::default(),
        #[cfg(feature = "fault-injection")]
        point: format!("aggregator/{}", P::NAME),
    })
}

impl<P: Plugin> Engine for Counting<P> {
    fn observe(&mut self, filters: &Filters, batch: Flows<'_>, from: usize, progress: &mut usize) {
        self.contexts.follow(batch.index);
        for (at, flow) in batch.flows.iter().enumerate().skip(from) {
            *progress = at;
            #[cfg(feature = "fault-injection")]
            crate::fault::inject::point(&self.point);
            if flow.event == Event::Flush && !P::FLUSHES {
                continue;
            }
            if flow.ruling.is_given() && !P::VERDICTS {
                continue;
            }
            if !filters.pass(flow, batch.extras.get(flow.extra.0 as usize), batch.index) {
                continue;
            }
            let mut emit = Emit {
                flow,
                extras: batch.extras,
                index: batch.index,
                contexts: &mut self.contexts,
                tables: &mut self.tables,
                tuples: &mut self.tuples,
                context: None,
                plugin: PhantomData,
            };
            self.plugin.observe(flow, &mut emit);
        }
        *progress = batch.flows.len();
    }

    fn forget(&mut self, gone: &Gone) -> usize {
        let contexts = self.contexts.forget(gone);
        if contexts.is_empty() {
            return 0;
        }
        self.tables.iter_mut().map(|table| table.forget(&contexts) * table.families()).sum()
    }

    fn limit(&mut self, limits: &Limits) {
        // A tuple of names without a series stays until its turn to be forgotten: leave room for some.
        self.contexts.limit(limits.per_family.saturating_mul(self.tables.len()).saturating_add(1 << 16));
        for table in &mut self.tables {
            table.limit(limits.clone());
        }
    }

    fn expire(&mut self, looks: u32) -> usize {
        let expired = self.tables.iter_mut().map(|table| table.expire(looks) * table.families()).sum();
        if expired > 0 {
            self.contexts.retain(&self.tables.iter().flat_map(SeriesTable::contexts).collect());
        }
        expired
    }

    fn folded(&self) -> u64 {
        self.tables.iter().map(SeriesTable::folded).sum()
    }

    fn snapshot(&mut self) -> Vec<Snapshot> {
        self.tables.iter_mut().map(SeriesTable::snapshot).collect()
    }

    fn series(&self) -> usize {
        self.tables.iter().map(|table| table.series() * table.families()).sum()
    }
}
