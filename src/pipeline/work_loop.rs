//! An aggregator's thread: takes batches from its lane, counts them, answers cuts.
//!
//! What it counts lives in a [`AggregatorState`] that outlives the thread. When a flow makes the
//! metric panic, the state still knows the batch and how far it was; the next run goes on behind
//! that one flow, with every counter as it was.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use webb_metrics::Aggregator;

use super::{Batch, Item, Lifecycle};

/// An aggregator and the batch it is in, kept over the runs of its thread.
#[derive(Debug)]
pub struct AggregatorState {
    work: Mutex<Work>,
    panicked: AtomicU64,
    counted: AtomicU64,
    series: AtomicU64,
    folded: AtomicU64,
    forgotten: AtomicU64,
    expired: AtomicU64,
}

#[derive(Debug)]
struct Work {
    aggregator: Aggregator,
    current: Option<Arc<Batch>>,
    /// The flow of `current` that is being counted: the one that did it, if the thread died.
    position: usize,
    /// The first flow of `current` that this run counted.
    from: usize,
}

impl AggregatorState {
    /// Seats an aggregator.
    pub fn new(aggregator: Aggregator) -> Self {
        let work = Work { aggregator, current: None, position: 0, from: 0 };
        Self {
            work: Mutex::new(work),
            panicked: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            series: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            expired: AtomicU64::new(0),
        }
    }

    /// Flows that made the aggregator panic, since start.
    pub fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    /// Flows it has looked at, since start.
    pub fn counted(&self) -> u64 {
        self.counted.load(Relaxed)
    }

    fn count(&self, work: &mut Work, from: usize) {
        let counted = work.finish(from);
        self.counted.fetch_add(counted, Relaxed);
    }

    /// Series it holds.
    pub fn series(&self) -> u64 {
        self.series.load(Relaxed)
    }

    /// Counts that went into a series that stands for those beyond a limit.
    pub fn folded(&self) -> u64 {
        self.folded.load(Relaxed)
    }

    /// Series that were removed, by why.
    pub fn removed(&self) -> [(&'static str, u64); 2] {
        [("pod_deleted", self.forgotten.load(Relaxed)), ("idle", self.expired.load(Relaxed))]
    }

    /// For the agent's own metrics; a few stores a batch.
    fn publish(&self, aggregator: &Aggregator) {
        self.series.store(aggregator.series() as u64, Relaxed);
        self.folded.store(aggregator.folded(), Relaxed);
        self.forgotten.store(aggregator.forgotten(), Relaxed);
        self.expired.store(aggregator.expired(), Relaxed);
    }
}

impl Work {
    /// Counts the current batch from flow `from` on; returns how many flows that were.
    fn finish(&mut self, from: usize) -> u64 {
        let Some(batch) = &self.current else { return 0 };
        (self.from, self.position) = (from, from);
        self.aggregator.observe(batch.view(), from, &mut self.position);
        let counted = batch.flows.len().saturating_sub(from) as u64;
        self.current = None;
        counted
    }
}

/// Runs until it is stopped and woken, then empties the lane. One uncontended lock a batch: it
/// exists so that the next run of the thread finds the state.
/// Series without a change are looked for every `idle_check_interval`, if that is set.
pub fn work(
    lifecycle: &Lifecycle,
    lane: &Receiver<Item>,
    state: &AggregatorState,
    idle_check_interval: Option<Duration>,
) {
    let mut work = state.work.lock().unwrap_or_else(PoisonError::into_inner);
    if work.current.is_some() {
        // The life before this one died in this batch, at this flow.
        let failed = work.position;
        state.counted.fetch_add(failed.saturating_sub(work.from) as u64, Relaxed);
        state.panicked.fetch_add(1, Relaxed);
        state.count(&mut work, failed + 1);
    }
    let mut next_idle_check = idle_check_interval.map(|every| Instant::now() + every);
    loop {
        lifecycle.beat();
        if let (Some(every), Some(due)) = (idle_check_interval, next_idle_check)
            && Instant::now() >= due
        {
            next_idle_check = Some(Instant::now() + every);
            work.aggregator.expire();
            state.publish(&work.aggregator);
        }
        let item = if lifecycle.stopping() {
            let Ok(item) = lane.try_recv() else { return };
            item
        } else {
            let wait = next_idle_check.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            match lifecycle.while_idle(|| lane.recv_timeout(wait)) {
                Ok(item) => item,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        match item {
            Item::Batch(batch) => {
                work.current = Some(batch);
                state.count(&mut work, 0);
            }
            Item::Snapshot(request) => request.answer(work.aggregator.snapshot()),
            Item::Filters(filters) => work.aggregator.set_filters(*filters),
            Item::Forget(gone) => work.aggregator.forget(&gone),
            Item::Wake => continue,
        }
        state.publish(&work.aggregator);
    }
}
