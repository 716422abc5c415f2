//! The bounded channel from the reader to one aggregator, to the history or to the rollups.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use webb_flow::fault::{Component, State};
use webb_flow::open::ListingStep;
use webb_index::filters::Filters;
use webb_metrics::RemovedPods;
use webb_observer::Taken;
use webb_rollup::Lost;

use super::batch::Batch;
use super::snapshot::SnapshotRequest;

/// Maximal number of batches in a lane. At a low rate a batch is what came in 20 ms, so this is
/// what an aggregator may miss of time, two and a half seconds, before something is skipped; in a
/// flood it is 65,536 flows.
pub(super) const DEPTH: usize = 128;

/// Number of batches at which the rollups' thread is woken before its time. Many at once cost it
/// fewer wakes and cache misses, and these still fit a core's cache.
const WAKE_THRESHOLD: usize = DEPTH / 4;

/// Longest time that a batch waits for the rollups' thread.
pub(super) const MAX_BATCH_DELAY: Duration = Duration::from_millis(250);

/// An item that travels on a lane.
#[derive(Debug)]
pub enum Item {
    /// Flows to count.
    Batch(Arc<Batch>),
    /// Requests the series as they are now.
    Snapshot(SnapshotRequest),
    /// Replaces the filters from now on.
    Filters(Box<Filters>),
    /// Removes the series of deleted pods.
    Forget(Arc<RemovedPods>),
    /// A step of a listing of all open connections.
    List(ListingStep),
    /// Wakes the aggregator, so that it checks for a stop.
    Wake,
}

/// The consumer at the end of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// The aggregator of a metric. The reader waits for it while it is up.
    Metric,
    /// The history of flows. The reader never waits for it, and it takes shown flows alone.
    History,
    /// The rollups. The reader never waits for them.
    Rollups,
}

/// Number of a batch's flows that a history takes.
pub(super) fn count(takes: Taken, batch: &Batch) -> u64 {
    let batch = batch.view();
    takes.count(batch.flows, batch.extras)
}

/// Ends a consumer's wait for an item.
#[derive(Debug, Clone)]
pub struct LaneWaker {
    to: Sender<Item>,
    wakeup: Sender<()>,
}

impl LaneWaker {
    /// Has the consumer see whether it is time to stop. One whose lane is full does not wait.
    pub fn wake(&self) {
        let _full = self.to.try_send(Item::Wake);
        let _already_woken = self.wakeup.try_send(());
    }
}

/// The reader's end of the channel to one aggregator.
#[derive(Debug)]
pub struct Lane {
    id: u64,
    to: Sender<Item>,
    /// Ends [`Lane::wait_for_batches`].
    wakeup: (Sender<()>, Receiver<()>),
    /// Items that must not be skipped and found the lane full; sent before anything that comes
    /// later.
    unsent: Mutex<VecDeque<Item>>,
    has_unsent: AtomicBool,
    component: Arc<Component>,
    sent: AtomicU64,
    skipped: AtomicU64,
    consumer: Consumer,
    /// False while nothing reads what the consumer makes: it is sent no batch then.
    wanted: AtomicBool,
    /// True while attempts to connect that failed are wanted of the history.
    failures_wanted: AtomicBool,
    failures_skipped: AtomicU64,
    /// True while rows are made of what the rollups get.
    rows_wanted: AtomicBool,
    /// Packets of skipped flows that rows lack, and their bytes.
    packets_skipped: AtomicU64,
    bytes_skipped: AtomicU64,
}

impl Lane {
    /// A lane to the aggregator that `component` stands for.
    pub fn new(component: Arc<Component>) -> (Self, Receiver<Item>) {
        Self::to(Consumer::Metric, component)
    }

    /// A lane to any consumer. Of those that are not waited for the history gets batches alone.
    pub fn to(consumer: Consumer, component: Arc<Component>) -> (Self, Receiver<Item>) {
        static LANES: AtomicU64 = AtomicU64::new(0);
        let (to, from) = bounded(DEPTH);
        let lane = Self {
            id: LANES.fetch_add(1, Relaxed),
            to,
            wakeup: bounded(1),
            consumer,
            unsent: Mutex::default(),
            has_unsent: AtomicBool::new(false),
            component,
            sent: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            wanted: AtomicBool::new(true),
            failures_wanted: AtomicBool::new(false),
            failures_skipped: AtomicU64::new(0),
            rows_wanted: AtomicBool::new(false),
            packets_skipped: AtomicU64::new(0),
            bytes_skipped: AtomicU64::new(0),
        };
        (lane, from)
    }

    /// Waker of the consumer.
    pub fn waker(&self) -> LaneWaker {
        LaneWaker { to: self.to.clone(), wakeup: self.wakeup.0.clone() }
    }

    /// Waits until so many batches have come that the rollups should take them, until they are
    /// woken, or for `time`.
    pub(super) fn wait_for_batches(&self, time: Duration) {
        let _woken_or_over = self.wakeup.1.recv_timeout(time);
    }

    /// Identifies this lane; a number is given once.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The consumer at its end.
    pub(super) fn consumer(&self) -> Consumer {
        self.consumer
    }

    /// True for the lane of an aggregator: it has series, and no batch is skipped while it is up.
    pub(super) fn counts(&self) -> bool {
        self.consumer == Consumer::Metric
    }

    /// Sets whether the consumer is to get batches; that of a lane that is new is.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// True if the consumer gets batches.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Sets whether the history is to keep attempts to connect that failed, beside the flows.
    pub fn want_failures(&self, wanted: bool) {
        self.failures_wanted.store(wanted, Relaxed);
    }

    /// True if the history keeps attempts to connect that failed.
    pub(super) fn are_failures_wanted(&self) -> bool {
        self.failures_wanted.load(Relaxed)
    }

    /// Sets whether rows are made of what the rollups get.
    pub(super) fn want_rows(&self, wanted: bool) {
        self.rows_wanted.store(wanted, Relaxed);
    }

    /// True if rows are made of what the rollups get.
    pub(super) fn are_rows_wanted(&self) -> bool {
        self.rows_wanted.load(Relaxed)
    }

    /// Hands over a batch. Waits while the lane is full, which fills the ring instead of memory;
    /// `waiting` is called now and then meanwhile. An aggregator that is down is not waited
    /// for, since its neighbours must not notice: what finds its lane full is skipped and
    /// counted.
    pub(super) fn send(&self, batch: &Arc<Batch>, waiting: impl Fn()) {
        if !self.is_wanted() {
            return;
        }
        let flows =
            if self.consumer == Consumer::History { count(Taken::Shown, batch) } else { batch.flows.len() as u64 };
        self.sent.fetch_add(flows, Relaxed);
        let paid = !self.has_unsent.load(Relaxed) || self.send_unsent(|item| self.put(item, &waiting));
        if !paid || self.put(Item::Batch(Arc::clone(batch)), &waiting).is_err() {
            self.skipped.fetch_add(flows, Relaxed);
            if self.consumer == Consumer::Rollups {
                let lost = Lost::of(&batch.flows, &batch.extras);
                self.packets_skipped.fetch_add(lost.packets, Relaxed);
                self.bytes_skipped.fetch_add(lost.bytes, Relaxed);
            }
            if self.are_failures_wanted() {
                self.failures_skipped.fetch_add(count(Taken::FailedConnections, batch), Relaxed);
            }
        }
        let queued = self.to.len();
        self.component.set_queue(queued);
        if self.consumer == Consumer::Rollups && queued >= WAKE_THRESHOLD {
            let _already_woken = self.wakeup.0.try_send(());
        }
    }

    /// Waits until there is room; gives the item back if the aggregator is down or has ended and
    /// there is none.
    fn put(&self, mut item: Item, waiting: &impl Fn()) -> Result<(), Item> {
        if !self.counts() {
            return self.to.try_send(item).map_err(crossbeam_channel::TrySendError::into_inner);
        }
        if !self.is_up() && self.to.is_full() {
            return Err(item);
        }
        loop {
            match self.to.send_timeout(item, Duration::from_millis(50)) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(again)) if self.is_up() => item = again,
                Err(down_or_gone) => return Err(down_or_gone.into_inner()),
            }
            waiting();
        }
    }

    /// True while the aggregator counts, perhaps past a limit of its series.
    fn is_up(&self) -> bool {
        matches!(self.component.state(), State::Up | State::Degraded)
    }

    /// Puts an item behind everything sent so far, now or as soon as there is room. It is never
    /// skipped.
    pub(super) fn send_control(&self, item: Item) {
        self.unsent().push_back(item);
        self.flush();
    }

    /// Puts as much of what is owed as there is room for.
    pub(super) fn flush(&self) -> bool {
        self.send_unsent(|item| self.to.try_send(item).map_err(crossbeam_channel::TrySendError::into_inner))
    }

    /// Puts what is owed by `put`; false if something remains.
    fn send_unsent(&self, put: impl Fn(Item) -> Result<(), Item>) -> bool {
        let mut unsent = self.unsent();
        while let Some(item) = unsent.pop_front() {
            if let Err(item) = put(item) {
                unsent.push_front(item);
                break;
            }
        }
        self.has_unsent.store(!unsent.is_empty(), Relaxed);
        unsent.is_empty()
    }

    /// True if something waits for room.
    pub(super) fn has_unsent(&self) -> bool {
        self.has_unsent.load(Relaxed)
    }

    fn unsent(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the series behind everything sent so far. A lane that is full is passed over; the
    /// collector uses its last snapshot.
    pub(super) fn request(&self, request: SnapshotRequest) {
        if self.flush() {
            // Full or gone: the collector notices by the answer that does not come.
            let _passed_over = self.to.try_send(Item::Snapshot(request));
        }
    }

    /// Flows sent or skipped since start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Flows skipped because the lane was full: of an aggregator that was down, or of a consumer
    /// that is not waited for.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// Attempts to connect that failed and were skipped while they were wanted.
    pub fn skipped_failures(&self) -> u64 {
        self.failures_skipped.load(Relaxed)
    }

    /// What rows lack of skipped flows.
    pub(super) fn skipped_of_rows(&self) -> Lost {
        let [flows, packets, bytes] =
            [&self.skipped, &self.packets_skipped, &self.bytes_skipped].map(|figure| figure.load(Relaxed));
        Lost { flows, packets, bytes }
    }

    /// The aggregator at the other end.
    pub fn component(&self) -> &Arc<Component> {
        &self.component
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::Flow;
    use webb_flow::fault::Components;

    use super::*;

    /// The rollups' thread sleeps through a few batches, is woken by many, and by what stops it.
    #[test]
    fn many_batches_wake_the_rollups() {
        let (lane, items) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
        let batch = Arc::new(Batch { index: Arc::default(), flows: vec![Flow::default()], extras: Vec::new() });
        let is_woken = || lane.wakeup.1.try_recv().is_ok();
        for queued in 1..=DEPTH {
            lane.send(&batch, || ());
            assert_eq!(is_woken(), queued >= WAKE_THRESHOLD, "{queued}");
        }
        assert_eq!((lane.skipped(), items.try_iter().count()), (0, DEPTH));
        lane.waker().wake();
        assert!(is_woken());
    }
}
