//! The rows of the open window: what is wanted of them, and what they cannot have.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use webb_otlp::LastWindow;
use webb_rollup::{Lost, Seen};

use super::figures::{Figures, RollupCounts};
use super::ledger::RollupLedger;
use super::site::{RollupSite, new_instance, uuid};
use super::wanted::WantedRollups;
use super::work::Work;
use crate::pipeline::Lane;

/// The rows of the open window, kept over the runs of the thread.
pub struct RollupState {
    pub(super) lane: Arc<Lane>,
    pub(super) site: RollupSite,
    /// Identity of the process.
    pub(super) instance: u128,
    pub(super) wanted: ArcSwap<WantedRollups>,
    /// Changes of it, and those that the thread has taken up.
    pub(super) wants: AtomicU64,
    pub(super) taken: AtomicU64,
    pub(super) work: Mutex<Work>,
    pub(super) figures: Figures,
    /// Sources of heartbeats.
    pub(super) ledger: OnceLock<RollupLedger>,
    /// Last window of a process before.
    pub(super) before: OnceLock<LastWindow>,
    /// Most connections that can be open, and what requests a listing of them.
    pub(super) following: OnceLock<(usize, RequestListing)>,
}

/// Requests a listing of all open connections.
type RequestListing = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for RollupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollupState").field("site", &self.site).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl RollupState {
    /// No rows yet, of flows that come from `lane`.
    pub fn new(lane: Arc<Lane>, site: RollupSite) -> Self {
        let instance = new_instance();
        let (wants, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let (wanted, work) = (ArcSwap::default(), Mutex::new(Work::new(instance)));
        let (figures, ledger, following) = (Figures::default(), OnceLock::new(), OnceLock::new());
        let before = OnceLock::new();
        Self { lane, site, instance, wanted, wants, taken, work, figures, ledger, before, following }
    }

    /// Identity of the process, a UUID. Rows have it until they begin anew.
    pub fn instance(&self) -> String {
        uuid(self.instance)
    }

    /// Has heartbeats say how many packets the programs saw, and how many no row has. Applies once,
    /// before rows are wanted.
    pub fn reads_seen(&self, ledger: RollupLedger) {
        let _first_stays = self.ledger.set(ledger);
    }

    /// Has the first gap begin where this last window of a process before ended, and the ledger go
    /// on from there if the programs' maps were taken over. Applies once, before rows are wanted.
    pub fn go_on_from(&self, window: LastWindow) {
        let _first_stays = self.before.set(window);
    }

    /// Has rows say how many connections are open, `most` at most; `list` requests a listing of
    /// them. Applies once.
    pub fn follows_connections(&self, most: usize, list: RequestListing) {
        let _first_stays = self.following.set((most, list));
    }

    /// Hands on the rows of windows that have ended. Where one is handed on for the first time the
    /// notes of all others are stale.
    pub(super) fn flush(&self, work: &mut Work) {
        if std::mem::take(&mut work.is_new)
            && let Some(ledger) = self.ledger.get()
        {
            work.windows_sent += 1;
            (ledger.count_windows)(ledger.windows_before() + work.windows_sent);
        }
        work.flush();
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.ledger.get()?.seen()
    }

    /// The lane that flows come from.
    pub fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Sets what is wanted from now on.
    pub fn want(&self, wanted: WantedRollups) {
        self.lane.want_rows(wanted.is_on());
        self.wanted.store(Arc::new(wanted));
        self.wants.fetch_add(1, Release);
        self.lane.waker().wake();
    }

    /// True once the thread has taken up what is wanted, and has handed the rows that were open to
    /// the outputs of before.
    pub fn has_taken_up(&self) -> bool {
        self.taken.load(Acquire) == self.wants.load(Acquire)
    }

    /// What became of the flows so far.
    pub fn counts(&self) -> RollupCounts {
        self.figures.counts()
    }

    /// Flows that never came to a row, since start: those that were skipped or lost to a panic, and
    /// packets that a killed process had read.
    pub fn lost(&self) -> Lost {
        self.lost_here() + Lost { packets: self.figures.lost_before.load(Relaxed), ..Lost::default() }
    }

    fn lost_here(&self) -> Lost {
        let of_reader = self.ledger.get().map(|ledger| (ledger.unrolled)().lost).unwrap_or_default();
        self.lane.skipped_of_rows() + self.figures.panicked() + of_reader
    }

    /// Last window of a process before, if it is known that there was none after it.
    pub(super) fn before(&self) -> Option<&LastWindow> {
        let ledger = self.ledger.get();
        self.before.get().filter(|window| ledger.is_none_or(|ledger| !ledger.is_stale(&window.note)))
    }

    /// Begins the ledger with what is wanted now. Rows of a process that has read nothing yet have
    /// all that it will read; else what went before is of no row.
    pub(super) fn begin_ledger(&self, work: &mut Work) {
        let counts = self.counts();
        let has_read = work.has_begun || counts.ignored > 0 || self.lane.skipped() > 0;
        let Some(ledger) = self.ledger.get().filter(|_| !has_read) else {
            work.start = None;
            return work.encoder.begin_from(self.lost(), self.seen());
        };
        if self.before.get().is_some_and(|window| ledger.is_stale(&window.note)) {
            tracing::warn!(
                "rows were sent after the last window that a spool directory has: it is not known when the last one ended"
            );
        }
        let note = self.before().map_or("", |window| &window.note);
        let start = ledger.start(note);
        (work.start, work.is_handed_over) = (Some(start), ledger.handed_over.is_some());
        self.figures.lost_before.store(start.lost_packets, Relaxed);
        work.encoder.begin_from(Lost::default(), Some(start.seen));
    }

    /// The window that has ended, with what the next process goes on from.
    pub(super) fn last_window(&self, work: &Work, end_ns: u64, seen: Option<Seen>) -> LastWindow {
        let note = self.ledger.get().zip(seen).map(|(ledger, seen)| {
            let of_rows = work.rollups.totals().packets + self.lost_here().packets;
            let has_all = work.start.filter(|_| self.counts().ignored == 0);
            let number = ledger.windows_before() + work.windows_sent + 1;
            ledger.note(seen, number, has_all.map(|start| start.read_packets + of_rows))
        });
        LastWindow { end_ns, note: note.unwrap_or_default() }
    }

    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
