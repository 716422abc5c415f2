//! The history's thread: takes batches from its lane and copies their flows into the history.
//!
//! The reader does not wait for it. What finds the lane full is skipped, counted, and reported to
//! readers of the history as lost events, in the place where the flows would have been. After a
//! panic the rest of that batch is lost, and the next run begins with the next one: the flows that
//! were written stay.
//!
//! Attempts to connect that failed are no flows of Hubble's, so they have a history of their own,
//! as long as an output wants them: neither evicts the other, and readers of the flows do not
//! get them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use webb_cluster::Cache;
use webb_flow::clock::{now_ns, unix_ns};
use webb_flow::fault::inject;
use webb_observer::{History, Recorder, Taken};

use super::lane::count;
use super::{Batch, Item, Lane, Lifecycle};

/// Interval of what is done while no flow comes: losses are reported, old events let go.
const TICK: Duration = Duration::from_secs(1);

/// Attempts to connect that failed which are kept until an output's thread has read them.
const MAX_FAILURES: usize = 4096;

/// The history and its writer, kept over the runs of the thread.
#[derive(Debug)]
pub struct HistoryState {
    history: Arc<History>,
    /// Attempts to connect that failed.
    failures: Arc<History>,
    lane: Arc<Lane>,
    /// Name of this node in lost events.
    node: String,
    /// Has the labels of the node of this name.
    labels: Option<(Arc<Cache>, String)>,
    keep: Option<Duration>,
    work: Mutex<Work>,
    recorded: AtomicU64,
    panicked: AtomicU64,
    recorded_failures: AtomicU64,
    panicked_failures: AtomicU64,
}

#[derive(Debug)]
struct Work {
    recorder: Recorder,
    failure_recorder: Recorder,
    /// Failures were wanted of the last batch.
    records_failures: bool,
    current: Option<Current>,
    /// Flows that were lost to a panic and are not reported yet.
    lost: u64,
    /// Skipped flows that are reported.
    reported: u64,
    reported_at: Option<Instant>,
    /// Version of the nodes that the recorder's labels are of.
    labels_version: Option<u64>,
}

/// The batch that is being copied.
#[derive(Debug)]
struct Current {
    batch: Arc<Batch>,
    /// Flows that the history had before it.
    flows: u64,
    /// Attempts that failed which the history of these had before it, if they are wanted.
    failures: Option<u64>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            recorder: Recorder::default(),
            failure_recorder: Recorder::of(Taken::FailedConnections),
            records_failures: false,
            current: None,
            lost: 0,
            reported: 0,
            reported_at: None,
            labels_version: None,
        }
    }
}

impl HistoryState {
    /// A history that is filled from `lane`. Events leave it after `keep`, if that is given.
    pub fn new(history: Arc<History>, lane: Arc<Lane>, node: String, keep: Option<Duration>) -> Self {
        Self {
            history,
            failures: Arc::new(History::new(MAX_FAILURES)),
            lane,
            node,
            labels: None,
            keep,
            work: Mutex::default(),
            recorded: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            recorded_failures: AtomicU64::new(0),
            panicked_failures: AtomicU64::new(0),
        }
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
            let labels = cache.node_labels(node);
            work.failure_recorder.set_node_labels(labels.clone());
            work.recorder.set_node_labels(labels);
        }
    }

    /// The history.
    pub fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The history of attempts to connect that failed.
    pub fn failures(&self) -> &Arc<History> {
        &self.failures
    }

    /// The lane that both are filled from.
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

    /// Attempts to connect that failed which were written since start.
    pub fn recorded_failures(&self) -> u64 {
        self.recorded_failures.load(Relaxed)
    }

    /// Attempts to connect that failed which were lost to a panic since start.
    pub fn panicked_failures(&self) -> u64 {
        self.panicked_failures.load(Relaxed)
    }

    fn copy(&self, work: &mut Work, batch: &Arc<Batch>) {
        let flows = self.history.totals().flows;
        let failures = self.lane.are_failures_wanted().then(|| self.failures.totals().flows);
        let view = batch.view();
        work.current = Some(Current { batch: Arc::clone(batch), flows, failures });
        self.follow_labels(work);
        inject::point("observer/history");
        let (offset_ns, now_ns) = (unix_ns().saturating_sub(now_ns()), now_ns());
        work.recorder.record(&self.history, view, offset_ns, now_ns);
        match failures {
            Some(_) => work.failure_recorder.record(&self.failures, view, offset_ns, now_ns),
            // It owns the index of its last batch.
            None if work.records_failures => {
                (work.failure_recorder, work.labels_version) = (Recorder::of(Taken::FailedConnections), None);
            }
            None => {}
        }
        work.records_failures = failures.is_some();
        if let Some(current) = work.current.take() {
            self.count_written(&current);
        }
    }

    /// Counts what of a batch was written; returns how many flows and how many failed attempts.
    fn count_written(&self, current: &Current) -> [u64; 2] {
        let flows = self.history.totals().flows - current.flows;
        let failures = current.failures.map_or(0, |before| self.failures.totals().flows - before);
        self.recorded.fetch_add(flows, Relaxed);
        self.recorded_failures.fetch_add(failures, Relaxed);
        [flows, failures]
    }

    /// Goes on after a panic, behind the batch in which it was.
    fn recover(&self, work: &mut Work) {
        let Some(current) = work.current.take() else { return };
        // What it had begun is not to be trusted.
        (work.recorder, work.labels_version) = (Recorder::default(), None);
        work.failure_recorder = Recorder::of(Taken::FailedConnections);
        let [flows, failures] = self.count_written(&current);
        let lost = count(Taken::Shown, &current.batch).saturating_sub(flows);
        self.panicked.fetch_add(lost, Relaxed);
        work.lost += lost;
        if current.failures.is_some() {
            let lost = count(Taken::FailedConnections, &current.batch).saturating_sub(failures);
            self.panicked_failures.fetch_add(lost, Relaxed);
        }
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
            let oldest_ns = unix_ns().saturating_sub(keep_ns);
            self.history.expire(oldest_ns);
            self.failures.expire(oldest_ns);
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

#[cfg(test)]
#[path = "record_loop_tests.rs"]
mod tests;
