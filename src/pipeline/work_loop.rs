//! An aggregator's thread: takes batches from its lane, counts them, answers snapshot requests.
//!
//! Its counters are kept in an [`AggregatorState`], which survives the thread. After a panic at a
//! flow the state still has the batch and the position in it; the next run continues behind that
//! one flow, with every counter as it was.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use webb_flow::fault::State;
use webb_flow::open::Corrections;
use webb_metrics::{Aggregator, Refusal};

use super::{Batch, Item, Lifecycle};

/// An aggregator and the batch it is in, kept over the runs of its thread.
#[derive(Debug)]
pub struct AggregatorState {
    work: Mutex<Work>,
    panicked: AtomicU64,
    counted: AtomicU64,
    series: AtomicU64,
    folded: [AtomicU64; Refusal::ALL.len()],
    forgotten: AtomicU64,
    expired: AtomicU64,
    made_room: AtomicU64,
    corrected: [AtomicU64; 3],
}

/// Intervals of an aggregator's search for series without a change; never where none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looks {
    /// Interval for series that expire after `series_ttl`.
    pub expire_every: Option<Duration>,
    /// Interval for series that make room for others.
    pub room_every: Option<Duration>,
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
            folded: Default::default(),
            forgotten: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            made_room: AtomicU64::new(0),
            corrected: Default::default(),
        }
    }

    /// Corrections of the gauge of open connections, by outcome.
    pub fn corrected(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rows = Corrections::default().rows();
        rows.into_iter().zip(&self.corrected).map(|((outcome, _), count)| (outcome, count.load(Relaxed)))
    }

    /// Flows that made the aggregator panic, since start.
    pub fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    /// Number of processed flows since start.
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

    /// Counts that went into a series that stands for those beyond a limit, by reason.
    pub fn folded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.iter().zip(&self.folded).map(|(why, count)| (why.label(), count.load(Relaxed)))
    }

    /// Series that were removed, by reason.
    pub fn removed(&self) -> [(&'static str, u64); 3] {
        [
            ("pod_deleted", self.forgotten.load(Relaxed)),
            ("idle", self.expired.load(Relaxed)),
            ("made_room", self.made_room.load(Relaxed)),
        ]
    }

    /// Publishes figures for the agent's own metrics; a few stores a batch.
    fn publish(&self, aggregator: &Aggregator) {
        self.series.store(aggregator.series() as u64, Relaxed);
        for (folded, now) in self.folded.iter().zip(aggregator.folded()) {
            folded.store(now, Relaxed);
        }
        self.made_room.store(aggregator.made_room(), Relaxed);
        for (corrected, (_, now)) in self.corrected.iter().zip(aggregator.corrections().rows()) {
            corrected.store(now, Relaxed);
        }
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

/// Sets the component degraded while series are refused, and up again once none was between two
/// looks.
#[derive(Debug, Default)]
struct Standing {
    folded: [u64; Refusal::ALL.len()],
    /// Whether any was refused since the last look.
    lately: bool,
    degraded: bool,
}

impl Standing {
    /// Records refusals after each batch.
    fn note(&mut self, lifecycle: &Lifecycle, folded: [u64; Refusal::ALL.len()]) {
        if folded == self.folded {
            return;
        }
        let more = |why: &&Refusal| folded.get(**why as usize) > self.folded.get(**why as usize);
        let why = Refusal::ALL.iter().find(more);
        self.folded = folded;
        self.lately = true;
        if let Some(why) = why.filter(|_| !self.degraded) {
            self.degraded = true;
            tracing::warn!(
                metric = lifecycle.component().name(),
                reason = why.label(),
                "series become ~other: {}",
                text(*why)
            );
            lifecycle.component().set_state(State::Degraded, text(*why));
        }
    }

    /// Checks for series to remove.
    fn look(&mut self, lifecycle: &Lifecycle) {
        if self.degraded && !std::mem::take(&mut self.lately) {
            self.degraded = false;
            lifecycle.component().set_state(State::Up, "");
        }
    }
}

fn text(why: Refusal) -> &'static str {
    match why {
        Refusal::Family => "it has max_series series; new ones are counted as ~other",
        Refusal::Total => "all metrics have max_series_total series; new ones are counted as ~other",
        Refusal::Share => {
            "an interface has its share of max_series or max_series_total; new series of it are counted as ~other"
        }
    }
}

/// A moment that comes again and again.
struct Timer(Option<(Duration, Instant)>);

impl Timer {
    fn new(every: Option<Duration>) -> Self {
        Self(every.map(|every| (every, Instant::now() + every)))
    }

    fn is_due(&mut self) -> bool {
        let Some((every, due)) = &mut self.0 else { return false };
        let now = Instant::now();
        let is_due = now >= *due;
        if is_due {
            *due = now + *every;
        }
        is_due
    }

    fn wait(&self) -> Duration {
        self.0.map_or(Duration::MAX, |(_, due)| due.saturating_duration_since(Instant::now()))
    }
}

/// Runs until it is stopped and woken, then empties the lane. One uncontended lock a batch: it
/// exists so that the next run of the thread finds the state.
pub fn work(lifecycle: &Lifecycle, lane: &Receiver<Item>, state: &AggregatorState, looks: Looks) {
    let queue = lane.clone();
    lifecycle.check_work(move || !queue.is_empty());
    let mut work = state.work.lock().unwrap_or_else(PoisonError::into_inner);
    if work.current.is_some() {
        // The life before this one died in this batch, at this flow.
        let failed = work.position;
        state.counted.fetch_add(failed.saturating_sub(work.from) as u64, Relaxed);
        state.panicked.fetch_add(1, Relaxed);
        state.count(&mut work, failed + 1);
    }
    let mut standing = Standing { folded: work.aggregator.folded(), ..Standing::default() };
    let (mut expire, mut room) = (Timer::new(looks.expire_every), Timer::new(looks.room_every));
    loop {
        lifecycle.beat();
        if expire.is_due() {
            work.aggregator.expire();
            state.publish(&work.aggregator);
        }
        if room.is_due() {
            work.aggregator.make_room();
            standing.look(lifecycle);
            state.publish(&work.aggregator);
        }
        let item = if lifecycle.stopping() {
            let Ok(item) = lane.try_recv() else { return };
            item
        } else {
            let wait = expire.wait().min(room.wait());
            match lifecycle.while_idle(wait, || lane.recv_timeout(wait)) {
                Ok(item) => item,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        match item {
            Item::Batch(batch) => {
                work.current = Some(batch);
                state.count(&mut work, 0);
                standing.note(lifecycle, work.aggregator.folded());
            }
            Item::Snapshot(request) => request.answer(work.aggregator.snapshot()),
            Item::Filters(filters) => work.aggregator.set_filters(*filters),
            Item::Forget(gone) => work.aggregator.forget(&gone),
            Item::List(step) => work.aggregator.list(step),
            Item::Wake => continue,
        }
        state.publish(&work.aggregator);
    }
}
