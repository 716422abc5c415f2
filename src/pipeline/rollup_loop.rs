//! The rollups' thread: adds batches to the open window, and sends the rows of each window that
//! ends.
//!
//! The reader does not wait for it. What finds the lane full is skipped and counted, and each
//! window's heartbeat says how many flows are missing. After a panic the next run goes on behind
//! the flow that caused it.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use webb_flow::clock::unix_ns;
use webb_flow::open::ListingStep;
use webb_index::{Index, Place};
use webb_otlp::{Encoded, Feed, LastWindow, Output, Request, Stream};
use webb_rollup::{DEFAULT_SPREAD, Encoder, Lost, Rollups, Seen, Settings, Totals, Window, Windows};

use super::lane::{DEPTH, GATHER};
use super::rollup_figures::{Figures, RollupCounts};
use super::rollup_ledger::{RollupLedger, Start};
use super::rollup_site::{ROLLUPS_SCOPE, RollupSite, new_instance, resource, spread, uuid};
use super::{Batch, Item, Lane, Lifecycle};

/// Time without further losses after which a listing follows: it would be lost as well.
const QUIET: Duration = Duration::from_secs(5);

/// Rows that are wanted, and those that take them.
#[derive(Debug, Clone)]
pub struct WantedRollups {
    /// The rows. A change applies from the next window on.
    pub settings: Settings,
    /// Share of a window, in percent, over which the agents of a cluster spread their requests.
    pub spread: u8,
    /// Outputs that take them; without one no rows are made.
    pub outputs: Vec<Arc<Output>>,
}

impl Default for WantedRollups {
    fn default() -> Self {
        Self { settings: Settings::default(), spread: DEFAULT_SPREAD, outputs: Vec::new() }
    }
}

impl WantedRollups {
    fn is_on(&self) -> bool {
        !self.settings.window.is_zero() && !self.outputs.is_empty()
    }
}

/// The rows of the open window, kept over the runs of the thread.
pub struct RollupState {
    lane: Arc<Lane>,
    site: RollupSite,
    /// Identity of the process.
    instance: u128,
    wanted: ArcSwap<WantedRollups>,
    /// Changes of it, and those that the thread has taken up.
    wants: AtomicU64,
    taken: AtomicU64,
    work: Mutex<Work>,
    figures: Figures,
    /// Sources of heartbeats.
    ledger: OnceLock<RollupLedger>,
    /// Last window of a process before.
    before: OnceLock<LastWindow>,
    /// Most connections that can be open, and what requests a listing of them.
    following: OnceLock<(usize, RequestListing)>,
}

/// Requests a listing of all open connections.
type RequestListing = Box<dyn Fn() + Send + Sync>;

impl fmt::Debug for RollupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollupState").field("site", &self.site).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Work {
    instance: u128,
    /// An instance has begun: the next one has another number.
    has_begun: bool,
    encoder: Encoder,
    rollups: Rollups,
    /// The window that is open; none while no rows are wanted.
    windows: Option<Windows>,
    /// What `rollups` and `windows` were made with.
    settings: Settings,
    feeds: Vec<Feed>,
    /// Requests of windows that have ended, which are offered at `flush_at`.
    held: Vec<(Arc<Output>, Request)>,
    wanted: Arc<WantedRollups>,
    /// Place of this node in the requests.
    place: Place,
    index: Arc<Index>,
    /// The last window that has ended.
    last: Option<LastWindow>,
    /// What the ledger began with; none while it is not known what was read before.
    start: Option<Start>,
    /// The next instance has what was counted before it.
    is_handed_over: bool,
    /// Time at which the rows of the last window are sent.
    flush_at: Option<Instant>,
    /// Losses of flows that are known, and when a listing makes them good.
    skipped: u64,
    list_at: Option<Instant>,
    /// Losses when the listing that is under way began.
    skipped_before: u64,
    current: Option<Arc<Batch>>,
    /// The flow of `current` that is being added: the one that did it, if the thread died.
    position: usize,
}

impl RollupState {
    /// No rows yet, of flows that come from `lane`.
    pub fn new(lane: Arc<Lane>, site: RollupSite) -> Self {
        let instance = new_instance();
        let work = Work {
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
            start: None,
            is_handed_over: false,
            flush_at: None,
            skipped: 0,
            list_at: None,
            skipped_before: 0,
            current: None,
            position: 0,
        };
        let (wants, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        let (wanted, work) = (ArcSwap::default(), Mutex::new(work));
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

    fn seen(&self) -> Option<Seen> {
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
        let of_reader = self.ledger.get().map(|ledger| (ledger.unrolled)().panicked).unwrap_or_default();
        self.lane.skipped_of_rows() + self.figures.panicked() + of_reader
    }

    /// Begins the ledger with what is wanted now. Rows of a process that has read nothing yet have
    /// all that it will read; else what went before is of no row.
    fn begin_ledger(&self, work: &mut Work) {
        let counts = self.counts();
        let has_read = work.has_begun || counts.ignored > 0 || self.lane.skipped() > 0;
        let Some(ledger) = self.ledger.get().filter(|_| !has_read) else {
            work.start = None;
            return work.encoder.begin_from(self.lost(), self.seen());
        };
        let note = self.before.get().map_or("", |window| &window.note);
        let start = ledger.start(note);
        (work.start, work.is_handed_over) = (Some(start), ledger.handed_over.is_some());
        self.figures.lost_before.store(start.lost_packets, Relaxed);
        work.encoder.begin_from(Lost::default(), Some(start.seen));
    }

    /// The window that has ended, with what the next process goes on from.
    fn last_window(&self, work: &Work, end_ns: u64, seen: Option<Seen>) -> LastWindow {
        let note = self.ledger.get().zip(seen).map(|(ledger, seen)| {
            let of_rows = work.rollups.totals().packets + self.lost_here().packets;
            let has_all = work.start.filter(|_| self.counts().ignored == 0);
            ledger.note(seen, has_all.map(|start| start.read_packets + of_rows))
        });
        LastWindow { end_ns, note: note.unwrap_or_default() }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, work: &mut Work, from: usize) {
        let Some(batch) = work.current.clone() else { return };
        work.position = from;
        if work.windows.is_some() {
            work.rollups.observe(batch.view(), from, &mut work.position);
        } else {
            self.figures.ignored.fetch_add(batch.flows.len().saturating_sub(from) as u64, Relaxed);
        }
        work.index = Arc::clone(&batch.index);
        work.current = None;
    }

    fn publish(&self, work: &Work) {
        let (totals, figures): (Totals, _) = (work.rollups.totals(), &self.figures);
        figures.rows.store(work.rollups.rows() as u64, Relaxed);
        figures.flows.store(totals.flows, Relaxed);
        figures.passed_over.store(totals.passed_over, Relaxed);
        figures.folded.store(totals.folded, Relaxed);
        for (figure, (_, count)) in figures.corrected.iter().zip(work.rollups.corrections().rows()) {
            figure.store(count, Relaxed);
        }
        figures.held.store(work.held.iter().map(|(_, request)| u64::from(request.records)).sum(), Relaxed);
    }

    /// Takes up a change of what is wanted, ends a window that is over, and sends what is due.
    fn turn(&self, work: &mut Work, now_ns: u64, now: Instant) {
        if let Some((most, _)) = self.following.get() {
            work.rollups.limit_open(*most);
        }
        let wants = self.wants.load(Acquire);
        let wanted = self.wanted.load_full();
        if !Arc::ptr_eq(&wanted, &work.wanted) {
            if !wanted.is_on() {
                self.end(work, now_ns);
                work.rollups.list(ListingStep::Reset);
            } else if !work.wanted.is_on() {
                self.begin_ledger(work);
            }
            work.flush();
            work.wanted = wanted;
            self.make_feeds(work);
        }
        if work.wanted.is_on() && work.windows.is_none() {
            self.begin_instance(work, now_ns);
            self.spread(work, work.settings.window.as_secs(), now);
        }
        self.taken.store(wants, Release);
        let closing = work.windows.as_mut().and_then(|windows| windows.advance(now_ns));
        if let Some(closing) = closing {
            self.close(work, closing.window, now_ns);
            if closing.is_last_of_instance || work.settings != work.wanted.settings {
                self.begin_instance(work, now_ns);
            }
            self.spread(work, closing.window.seconds, now);
        }
        if work.flush_at.is_some_and(|at| now >= at) {
            work.flush();
        }
        self.make_good(work, now);
        self.publish(work);
    }

    /// Has what is held be offered at this node's time: all agents of a cluster end their windows
    /// at once.
    fn spread(&self, work: &mut Work, window: u64, now: Instant) {
        let percent = work.wanted.spread;
        work.flush_at.get_or_insert_with(|| now + spread(&self.site.node, window, percent));
    }

    /// Begins a window with the wanted settings as another instance: its start may be that of a
    /// window that was sent, and two rows of one key must not become one. No row is open.
    fn begin_instance(&self, work: &mut Work, now_ns: u64) {
        if std::mem::replace(&mut work.has_begun, true) {
            work.instance = new_instance();
        }
        work.encoder.set_instance(work.instance);
        self.make_feeds(work);
        work.settings = work.wanted.settings;
        work.rollups.apply(work.settings);
        self.list();
        work.windows = Some(Windows::new(work.settings.window, now_ns));
        let last_ns = work.last.as_ref().or_else(|| self.before.get()).map(|window| window.end_ns);
        // The clock may have gone back while no rows were wanted.
        let last_ns = last_ns.filter(|last_ns| *last_ns <= now_ns);
        let Work { encoder, feeds, held, is_handed_over, .. } = work;
        add_to_all(feeds, held, encoder.gap(last_ns, now_ns, std::mem::take(is_handed_over)));
        work.hold();
    }

    /// Sends the rows of the window that is open, which is not over. What goes on in it is another
    /// instance's: its rows must not have the ids of these.
    fn end(&self, work: &mut Work, now_ns: u64) {
        if let Some(windows) = work.windows.take() {
            self.close(work, windows.open(), now_ns);
        }
        work.flush();
        self.publish(work);
    }

    /// Requests a listing some time after flows were skipped, and no more are.
    fn make_good(&self, work: &mut Work, now: Instant) {
        let skipped = self.lane.skipped();
        if skipped != work.skipped {
            (work.skipped, work.list_at) = (skipped, Some(now + QUIET));
        }
        if work.list_at.is_some_and(|at| now >= at) {
            work.list_at = None;
            self.list();
        }
    }

    /// Takes a step of a listing. One that flows are missing of has no end: what it did not name
    /// may be open.
    fn take_step(&self, work: &mut Work, step: ListingStep) {
        let skipped = self.lane.skipped();
        if step == ListingStep::Begin {
            work.skipped_before = skipped;
        }
        let is_whole = skipped == work.skipped_before;
        if work.windows.is_some() && (is_whole || step != ListingStep::End) {
            work.rollups.list(step);
        }
    }

    /// Requests a listing, where connections are followed.
    fn list(&self) {
        if let Some((_, list)) = self.following.get() {
            list();
        }
    }

    fn close(&self, work: &mut Work, window: Window, now_ns: u64) {
        let place = work.index.zones().own();
        if place != work.place {
            work.place = place;
            self.make_feeds(work);
        }
        let Work { rollups, encoder, feeds, held, .. } = work;
        let seen = self.seen();
        encoder.window(window, rollups, (self.lost(), seen), now_ns, |record| add_to_all(feeds, held, record));
        work.hold();
        work.last = Some(self.last_window(work, now_ns.min(window.end_ns()), seen));
        self.figures.windows.fetch_add(1, Relaxed);
        self.publish(work);
    }

    /// A feed for each output, of this instance at its place. What those before have is held.
    fn make_feeds(&self, work: &mut Work) {
        work.hold();
        let resource = resource(&self.site, &uuid(work.instance), work.place);
        let feed = |output: &Arc<Output>| {
            Feed::new(Arc::clone(output), Stream::Rollups, &resource, ROLLUPS_SCOPE.0, ROLLUPS_SCOPE.1)
        };
        work.feeds = work.wanted.outputs.iter().map(feed).collect();
    }
}

impl Work {
    /// Takes the records that there are as requests, for [`Work::flush`].
    fn hold(&mut self) {
        let Self { feeds, held, .. } = self;
        for feed in feeds {
            if let Some(request) = feed.take() {
                hold(held, feed.output(), request);
            }
        }
    }

    /// Offers the requests that are held: an output then has all rows of the last window.
    fn flush(&mut self) {
        self.flush_at = None;
        while let Some(output) = self.held.first().map(|(output, _)| Arc::clone(output)) {
            let held = std::mem::take(&mut self.held).into_iter();
            let (of_it, rest): (Vec<_>, Vec<_>) = held.partition(|(other, _)| Arc::ptr_eq(other, &output));
            self.held = rest;
            output.offer_window(of_it.into_iter().map(|(_, request)| request), self.last.clone());
        }
    }

    /// Longest wait for the next batch.
    fn wait(&self, now_ns: u64) -> Duration {
        let window = self.windows.as_ref().map(|windows| windows.remaining(now_ns));
        let flush = self.flush_at.map(|at| at.saturating_duration_since(Instant::now()));
        let list = self.list_at.map(|at| at.saturating_duration_since(Instant::now()));
        window.into_iter().chain(flush).chain(list).min().unwrap_or(Duration::MAX)
    }
}

fn add_to_all(feeds: &mut [Feed], held: &mut Vec<(Arc<Output>, Request)>, record: Encoded<'_>) {
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

/// Runs until it is stopped and woken, then empties the lane and sends the rows of the open window.
pub fn roll_up(lifecycle: &Lifecycle, lane: &Receiver<Item>, state: &RollupState) {
    let queue = lane.clone();
    lifecycle.check_work(move || !queue.is_empty());
    let mut work = state.work();
    if let Some(batch) = work.current.clone() {
        // The previous run panicked at a flow of this batch.
        let position = work.position;
        state.figures.add_panicked(work.rollups.pass_over(batch.view(), position));
        state.list();
        let next = work.position + 1;
        state.add(&mut work, next);
    }
    loop {
        for item in lane.try_iter().take(DEPTH) {
            match item {
                Item::Batch(batch) => {
                    work.current = Some(batch);
                    state.add(&mut work, 0);
                }
                Item::List(step) => state.take_step(&mut work, step),
                _ => {}
            }
            lifecycle.beat();
        }
        lifecycle.beat();
        state.turn(&mut work, unix_ns(), Instant::now());
        if !lane.is_empty() {
            continue;
        }
        if lifecycle.stopping() {
            return state.end(&mut work, unix_ns());
        }
        let wait = work.wait(unix_ns()).min(GATHER);
        lifecycle.while_idle(wait, || state.lane.gather(wait));
    }
}

#[cfg(test)]
#[path = "rollup_loop_tests.rs"]
mod tests;
