//! The history's thread: takes batches from its lane and copies their flows into the history.
//!
//! The reader does not wait for it. What finds the lane full is skipped, counted, and reported to
//! readers of the history as lost events, in the place where the flows would have been. After a
//! panic the rest of that batch is lost, and the next run begins with the next one: the flows that
//! were written stay.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use webb_cluster::Cache;
use webb_flow::clock::{now_ns, unix_ns};
use webb_flow::fault::inject;
use webb_observer::{History, Recorder};

use super::lane::shown;
use super::{Batch, Item, Lane, Lifecycle};

/// Interval of what is done while no flow comes: losses are reported, old events let go.
const TICK: Duration = Duration::from_secs(1);

/// The history and its writer, kept over the runs of the thread.
#[derive(Debug)]
pub struct HistoryState {
    history: Arc<History>,
    lane: Arc<Lane>,
    /// Name of this node in lost events.
    node: String,
    /// Has the labels of the node of this name.
    labels: Option<(Arc<Cache>, String)>,
    keep: Option<Duration>,
    work: Mutex<Work>,
    recorded: AtomicU64,
    panicked: AtomicU64,
}

#[derive(Debug, Default)]
struct Work {
    recorder: Recorder,
    /// The batch that is being copied, and the flows that the history had before it.
    current: Option<(Arc<Batch>, u64)>,
    /// Flows that were lost to a panic and are not reported yet.
    lost: u64,
    /// Skipped flows that are reported.
    reported: u64,
    reported_at: Option<Instant>,
    /// Version of the nodes that the recorder's labels are of.
    labels_version: Option<u64>,
}

impl HistoryState {
    /// A history that is filled from `lane`. Events leave it after `keep`, if that is given.
    pub fn new(history: Arc<History>, lane: Arc<Lane>, node: String, keep: Option<Duration>) -> Self {
        let (recorded, panicked) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { history, lane, node, labels: None, keep, work: Mutex::default(), recorded, panicked }
    }

    /// The same with the labels that `cache` has of the node of this name.
    #[must_use]
    pub fn with_labels(self, cache: Arc<Cache>, node: String) -> Self {
        Self { labels: Some((cache, node)), ..self }
    }

    /// Brings the labels of this node up to date.
    fn follow_labels(&self, work: &mut Work) {
        let Some((cache, node)) = &self.labels else { return };
        let version = Some(cache.nodes_version());
        if version != work.labels_version {
            work.labels_version = version;
            work.recorder.set_node_labels(cache.node_labels(node));
        }
    }

    /// The history.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The lane that it is filled from.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Flows that were written since start.
    pub fn recorded(&self) -> u64 {
        self.recorded.load(Relaxed)
    }

    /// Flows that were lost to a panic since start.
    pub fn panicked(&self) -> u64 {
        self.panicked.load(Relaxed)
    }

    fn copy(&self, work: &mut Work, batch: &Arc<Batch>) {
        let before = self.history.totals().flows;
        let view = batch.view();
        work.current = Some((Arc::clone(batch), before));
        self.follow_labels(work);
        inject::point("observer/history");
        work.recorder.record(&self.history, view, unix_ns().saturating_sub(now_ns()), now_ns());
        work.current = None;
        self.recorded.fetch_add(self.history.totals().flows - before, Relaxed);
    }

    /// Goes on after a panic, behind the batch in which it was.
    fn recover(&self, work: &mut Work) {
        let Some((batch, before)) = work.current.take() else { return };
        // What it had begun is not to be trusted.
        (work.recorder, work.labels_version) = (Recorder::default(), None);
        let written = self.history.totals().flows - before;
        let lost = shown(&batch).saturating_sub(written);
        self.recorded.fetch_add(written, Relaxed);
        self.panicked.fetch_add(lost, Relaxed);
        work.lost += lost;
    }

    /// Reports lost flows to readers, once an interval.
    fn report_losses(&self, work: &mut Work) {
        let skipped = self.lane.skipped();
        let count = skipped - work.reported + work.lost;
        if count == 0 || work.reported_at.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        (work.reported, work.lost, work.reported_at) = (skipped, 0, Some(Instant::now()));
        work.recorder.lose(&self.history, count, &self.node, unix_ns(), now_ns());
    }

    fn expire(&self) {
        if let Some(keep) = self.keep {
            let keep_ns = u64::try_from(keep.as_nanos()).unwrap_or(u64::MAX);
            self.history.expire(unix_ns().saturating_sub(keep_ns));
        }
    }
}

/// Runs until it is stopped and woken, then empties the lane.
pub fn record(lifecycle: &Lifecycle, lane: &Receiver<Item>, state: &HistoryState) {
    let queue = lane.clone();
    lifecycle.check_work(move || !queue.is_empty());
    let mut work = state.work.lock().unwrap_or_else(PoisonError::into_inner);
    state.recover(&mut work);
    let mut expired = Instant::now();
    loop {
        lifecycle.beat();
        state.report_losses(&mut work);
        if expired.elapsed() >= TICK {
            state.expire();
            expired = Instant::now();
        }
        let item = if lifecycle.stopping() {
            let Ok(item) = lane.try_recv() else { return };
            item
        } else {
            let has_loss = work.lost > 0 || work.reported != state.lane.skipped();
            let wait = if has_loss || state.keep.is_some() { TICK } else { Duration::MAX };
            match lifecycle.while_idle(wait, || lane.recv_timeout(wait)) {
                Ok(item) => item,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        if let Item::Batch(batch) = item {
            state.copy(&mut work, &batch);
        }
    }
}
