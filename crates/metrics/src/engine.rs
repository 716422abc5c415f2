//! A plugin with its counters: runs a batch of flows through filters and plugin.

use std::marker::PhantomData;
use std::sync::Arc;

use webb_flow::{Event, ExtraId};
use webb_index::Flows;
use webb_index::filters::Filters;

use super::batch_counter::{BatchCounter, extra};
use super::context::ContextSpec;
use super::contexts::Contexts;
use super::limit::{Limits, Refusal, Share};
use super::options::Options;
use super::plugin::{Emit, Plugin};
use super::removed_pods::{PodLabels, RemovedPods};
use super::series::SeriesTable;
use super::slot_cache::TABLES;
use super::table::Table;
use crate::expose::Snapshot;
use webb_flow::open::{Corrections, ListingStep};

/// A plugin with its tables. Dynamic once a batch, so that everything per flow is compiled for the
/// plugin.
pub(super) trait Engine: Send {
    fn observe(&mut self, filters: &Filters, batch: Flows<'_>, from: usize, progress: &mut usize);
    fn forget(&mut self, gone: &RemovedPods) -> usize;
    fn limit(&mut self, limits: &Limits, share: &Arc<Share>);
    fn expire(&mut self, looks: u32) -> usize;
    fn make_room(&mut self) -> usize;
    fn folded(&self) -> [u64; Refusal::ALL.len()];
    fn list(&mut self, step: ListingStep);
    fn corrections(&self) -> Corrections;
    fn snapshot(&mut self) -> Vec<Snapshot>;
    fn series(&self) -> usize;
}

struct Counting<P> {
    plugin: P,
    counter: BatchCounter,
    /// Number of flows of the batch that the plugin has processed, while their hits are being
    /// added.
    seen: usize,
    #[cfg(feature = "fault-injection")]
    point: String,
}

/// An engine for a plugin.
pub(super) fn engine<P: Plugin>(spec: ContextSpec, options: &Options) -> Box<dyn Engine> {
    const { assert!(P::TABLES.len() <= TABLES, "the cache has room for the number of so many tables") };
    let (names, pods) = (spec.label_names(), PodLabels::new(&spec));
    let spec = if P::INVERTED { spec.inverted() } else { spec };
    let spec = if P::EXCHANGED { spec.exchanged() } else { spec };
    Box::new(Counting {
        plugin: P::new(options),
        counter: BatchCounter::new(
            Contexts::new(spec).with_pods(pods),
            tables(P::tables(options), |table| P::bounds(options, table), &names),
            P::texts,
            receiver_tables(P::tables(options)),
        ),
        seen: 0,
        #[cfg(feature = "fault-injection")]
        point: format!("aggregator/{}", P::NAME),
    })
}

/// The tables about the receivers of flows, a bit for each.
fn receiver_tables(tables: &[Table]) -> u16 {
    tables.iter().enumerate().filter(|(_, table)| table.of_receiver).fold(0, |bits, (at, _)| bits | 1 << at)
}

fn tables(
    tables: &'static [Table],
    own: impl Fn(usize) -> Option<Vec<f64>>,
    labels: &[&'static str],
) -> Vec<SeriesTable> {
    let bounds = |at, table: &'static Table| match own(at) {
        Some(bounds) if !table.bounds.is_empty() => bounds.into(),
        _ => table.bounds.into(),
    };
    tables.iter().enumerate().map(|(at, table)| SeriesTable::new(table, bounds(at, table), labels)).collect()
}

impl<P: Plugin> Engine for Counting<P> {
    fn observe(&mut self, filters: &Filters, batch: Flows<'_>, from: usize, progress: &mut usize) {
        if let Some(failed) = from.checked_sub(1) {
            self.counter.begin_again(failed);
        } else {
            if self.counter.contexts.has_other_names(batch.index) {
                filters.clear_caches();
            }
            if self.counter.contexts.follow(batch.index) {
                self.counter.cache.clear();
                filters.clear_caches();
            }
            self.counter.sweep_tuples(P::tuple);
            self.counter.begin();
            self.seen = 0;
        }
        if P::NEEDS_EXTRA && batch.extras.is_empty() && !cfg!(feature = "fault-injection") {
            *progress = batch.flows.len();
            return;
        }
        for (at, flow) in batch.flows.iter().enumerate().skip(from.max(self.seen)) {
            *progress = at;
            #[cfg(feature = "fault-injection")]
            webb_flow::fault::inject::point(&self.point);
            if P::CONNECTIONS != (flow.event == Event::Connection) {
                continue;
            }
            if flow.event == Event::Flush {
                let wanted = if flow.extra == ExtraId::NONE { P::FLUSHES } else { P::ENDS };
                if !wanted {
                    continue;
                }
            }
            if flow.ruling.is_given() && !P::VERDICTS {
                continue;
            }
            if !filters.pass(flow, extra(flow, batch.extras), batch.index) {
                continue;
            }
            let mut emit = Emit {
                flow,
                at: u32::try_from(at).unwrap_or(u32::MAX),
                extras: batch.extras,
                index: batch.index,
                counter: &mut self.counter,
                ends: None,
                plugin: PhantomData,
            };
            self.plugin.observe(flow, &mut emit);
        }
        self.seen = batch.flows.len();
        self.counter.settle(batch.flows, batch.extras, P::amounts, progress);
        self.seen = 0;
        *progress = batch.flows.len();
    }

    fn forget(&mut self, gone: &RemovedPods) -> usize {
        let contexts = self.counter.contexts.forget(gone);
        if contexts.is_empty() {
            return 0;
        }
        let BatchCounter { tables, open, .. } = &mut self.counter;
        let forgotten = tables.iter_mut().map(|table| {
            let slots = table.forget(&contexts);
            if table.is_gauge() {
                open.forget(&slots);
            }
            slots.len() * table.families()
        });
        let forgotten = forgotten.sum();
        self.counter.clear_caches();
        self.counter.compact();
        forgotten
    }

    fn limit(&mut self, limits: &Limits, share: &Arc<Share>) {
        self.counter.open.limit(limits.open_connections);
        for table in &mut self.counter.tables {
            table.limit(limits, Arc::clone(share));
        }
    }

    fn expire(&mut self, looks: u32) -> usize {
        let expired = self.counter.tables.iter_mut().map(|table| table.expire(looks) * table.families()).sum();
        self.counter.drop_unused(expired);
        expired
    }

    fn make_room(&mut self) -> usize {
        let removed = self.counter.tables.iter_mut().map(|table| table.make_room() * table.families()).sum();
        self.counter.drop_unused(removed);
        removed
    }

    fn folded(&self) -> [u64; Refusal::ALL.len()] {
        let mut folded = [0; Refusal::ALL.len()];
        for table in &self.counter.tables {
            folded.iter_mut().zip(table.folded()).for_each(|(sum, count)| *sum += count);
        }
        folded
    }

    fn list(&mut self, step: ListingStep) {
        match step {
            ListingStep::Begin => self.counter.open.begin_listing(),
            ListingStep::End => {
                let gone = self.counter.open.end_listing();
                self.counter.lower(&gone);
            }
            ListingStep::Reset => {
                let gone = self.counter.open.clear();
                self.counter.lower(&gone);
            }
        }
    }

    fn corrections(&self) -> Corrections {
        self.counter.open.corrections()
    }

    fn snapshot(&mut self) -> Vec<Snapshot> {
        self.counter.tables.iter_mut().map(SeriesTable::snapshot).collect()
    }

    fn series(&self) -> usize {
        self.counter.tables.iter().map(|table| table.series() * table.families()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use proptest::prelude::*;
    use webb_flow::Flow;
    use webb_index::{Index, Policies};

    use super::super::plugin::{Table, Texts};
    use super::super::tuples::Tuples;
    use super::*;
    use crate::expose::Spec;

    /// Cannot bear some flows, and cannot name some series.
    struct Fussy;

    const UNBEARABLE: u32 = 100;
    const NAMELESS: u32 = 101;

    impl Plugin for Fussy {
        const NAME: &'static str = "fussy";
        const TABLES: &'static [Table] = &[Table::counters(&[Spec { name: "fussy_total", help: "" }], &["port"])];

        fn new(_options: &Options) -> Self {
            Self
        }

        fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
            emit.count(0, flow.ifindex.into());
            assert_ne!(flow.ifindex, UNBEARABLE);
        }

        fn texts(_table: usize, key: u64, _tuples: &Tuples) -> Texts {
            assert_ne!(key, u64::from(NAMELESS));
            vec![key.to_string().into()]
        }
    }

    proptest! {
        /// A flow that panics, while the metric looks at it or when its series is born, costs
        /// itself and no other.
        #[test]
        fn a_panic_costs_one_flow(numbers in prop::collection::vec(prop_oneof![8 => 0..9_u32, 2 => 100..102_u32], 0..60)) {
            let index = Arc::new(Index::new([], Policies::default()));
            let flows: Vec<Flow> =
                numbers.iter().map(|&ifindex| Flow { ifindex, event: Event::Trace, ..Flow::default() }).collect();
            let mut engine = engine::<Fussy>(ContextSpec::default(), &Options::default());
            let filters = Filters::default();
            for batch in flows.chunks(20) {
                let (mut from, mut killed) = (0, Vec::new());
                loop {
                    let mut progress = 0;
                    let flows = Flows { flows: batch, extras: &[], index: &index };
                    let call = || engine.observe(&filters, flows, from, &mut progress);
                    if catch_unwind(AssertUnwindSafe(call)).is_ok() {
                        prop_assert_eq!(progress, batch.len());
                        break;
                    }
                    killed.push(batch[progress].ifindex);
                    from = progress + 1;
                }
                let deadly = batch.iter().map(|flow| flow.ifindex).filter(|number| *number >= UNBEARABLE).count();
                prop_assert_eq!(killed.len(), deadly, "{:?}", killed);
            }
            for number in 0..9 {
                let expected = numbers.iter().filter(|other| **other == number).count() as u64;
                let rows: Vec<(String, u64)> = engine.snapshot()[0].rows(0).collect();
                let found = rows.iter().find(|(text, _)| *text == format!("port=\"{number}\""));
                prop_assert_eq!(found.map_or(0, |(_, count)| *count), expected);
            }
        }
    }
}
