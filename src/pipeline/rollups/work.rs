//! What the rollups' thread keeps over its runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_index::{Index, Place};
use webb_otlp::{Encoded, Feed, LastWindow, Output, Request};
use webb_rollup::{Encoder, Rollups, Settings, Windows};

use super::ledger::Start;
use super::wanted::WantedRollups;
use crate::pipeline::Batch;

/// The rows of the open window, and requests of those that have ended.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) instance: u128,
    /// An instance has begun: the next one has another number.
    pub(super) has_begun: bool,
    pub(super) encoder: Encoder,
    pub(super) rollups: Rollups,
    /// The window that is open; none while no rows are wanted.
    pub(super) windows: Option<Windows>,
    /// What `rollups` and `windows` were made with.
    pub(super) settings: Settings,
    pub(super) feeds: Vec<Feed>,
    /// Requests of windows that have ended, which are offered at `flush_at`.
    pub(super) held: Vec<(Arc<Output>, Request)>,
    pub(super) wanted: Arc<WantedRollups>,
    /// Place of this node in the requests.
    pub(super) place: Place,
    pub(super) index: Arc<Index>,
    /// The last window that has ended.
    pub(super) last: Option<LastWindow>,
    /// Its rows were not handed on yet.
    pub(super) is_new: bool,
    /// Windows that this process has handed on.
    pub(super) windows_sent: u64,
    /// What the ledger began with; none while it is not known what was read before.
    pub(super) start: Option<Start>,
    /// The next instance has what was counted before it.
    pub(super) is_handed_over: bool,
    /// Time at which the rows of the last window are sent.
    pub(super) flush_at: Option<Instant>,
    /// Losses of flows that are known, and when a listing makes them good.
    pub(super) skipped: u64,
    pub(super) list_at: Option<Instant>,
    /// Losses when the listing that is under way began.
    pub(super) skipped_before: u64,
    pub(super) current: Option<Arc<Batch>>,
    /// The flow of `current` that is being added: the one that did it, if the thread died.
    pub(super) position: usize,
}

impl Work {
    /// No rows yet, of the first instance of a process.
    pub(super) fn new(instance: u128) -> Self {
        Self {
            instance,
            has_begun: false,
            encoder: Encoder::new(instance),
            rollups: Rollups::new(Settings::default()),
            windows: None,
            settings: Settings::default(),
            feeds: Vec::new(),
            held: Vec::new(),
            wanted: Arc::default(),
            place: Place::default(),
            index: Arc::default(),
            last: None,
            is_new: false,
            windows_sent: 0,
            start: None,
            is_handed_over: false,
            flush_at: None,
            skipped: 0,
            list_at: None,
            skipped_before: 0,
            current: None,
            position: 0,
        }
    }

    /// Takes the records that there are as requests, for [`Work::flush`].
    pub(super) fn hold(&mut self) {
        let Self { feeds, held, .. } = self;
        for feed in feeds {
            if let Some(request) = feed.take() {
                hold(held, feed.output(), request);
            }
        }
    }

    /// Offers the requests that are held: an output then has all rows of the last window.
    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        while let Some(output) = self.held.first().map(|(output, _)| Arc::clone(output)) {
            let held = std::mem::take(&mut self.held).into_iter();
            let (of_it, rest): (Vec<_>, Vec<_>) = held.partition(|(other, _)| Arc::ptr_eq(other, &output));
            self.held = rest;
            output.offer_window(of_it.into_iter().map(|(_, request)| request), self.last.clone());
        }
    }

    /// Longest wait for the next batch.
    pub(super) fn wait(&self, now_ns: u64) -> Duration {
        let window = self.windows.as_ref().map(|windows| windows.remaining(now_ns));
        let flush = self.flush_at.map(|at| at.saturating_duration_since(Instant::now()));
        let list = self.list_at.map(|at| at.saturating_duration_since(Instant::now()));
        window.into_iter().chain(flush).chain(list).min().unwrap_or(Duration::MAX)
    }
}

/// Adds a record to every feed, and holds the requests that it fills.
pub(super) fn add_to_all(feeds: &mut [Feed], held: &mut Vec<(Arc<Output>, Request)>, record: Encoded<'_>) {
    for feed in feeds {
        if let Some(full) = feed.collect(record) {
            hold(held, feed.output(), full);
        }
    }
}

/// Holds a request, within the bytes that its output may have in memory: of more the oldest is
/// offered at once.
fn hold(held: &mut Vec<(Arc<Output>, Request)>, output: &Arc<Output>, request: Request) {
    let is_of = |(other, _): &(Arc<Output>, Request)| Arc::ptr_eq(other, output);
    let mut bytes: usize = held.iter().filter(|held| is_of(held)).map(|(_, request)| request.body.len()).sum();
    bytes += request.body.len();
    held.push((Arc::clone(output), request));
    while bytes as u64 > output.config().queue_bytes
        && let Some(oldest) = held.iter().position(is_of)
    {
        let (output, request) = held.remove(oldest);
        bytes -= request.body.len();
        output.offer(request);
    }
}
