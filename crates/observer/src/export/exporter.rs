//! An exporter: reads the history on, makes lines, writes them.
//!
//! Its thread alternates two kinds of turns: one that computes ([`Exporter::fill`]) and one that
//! may wait for a disk ([`Exporter::write`]). What belongs to the exporter outlives a panic of the
//! thread: its place in the history, its file, lines that are not written yet.

use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use webb_flow::fault::inject;

use super::config::{ExportConfig, Target};
use super::counters::{Counters, Loss};
use super::file::{Sink, WriteError, Written};
use super::groups::{Groups, Taken};
use super::lines::Lines;
use crate::encode::Encoder;
use crate::history::History;
use crate::mask::InvalidMask;
use crate::segment::{Event, Segment};
use crate::unix_ns;
use crate::walk::{Step, Walk};

/// Bytes of lines that are written at once; the last line may go beyond.
const CHUNK: usize = 64 << 10;

/// Events of a turn at most.
const EVENTS_A_TURN: usize = 4096;

/// Time until a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Interval in which a failure that goes on is logged again.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The node that exporters run on.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its name as flows have it, with its cluster's.
    pub qualified: String,
    /// The program's version.
    pub version: String,
    /// The number of this run, by which flows get their ids.
    pub run: u64,
}

/// What an exporter's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// [`Exporter::fill`] again.
    Fill,
    /// [`Exporter::write`].
    Write,
    /// Wait for events, for so long at most.
    Wait(Duration),
    /// Nothing more comes: the place at which the exporter was to stop is reached.
    End,
}

/// Writes events of a history to a file.
#[derive(Debug)]
pub struct Exporter {
    name: String,
    place: String,
    end_ns: Option<u64>,
    history: Arc<History>,
    counters: Arc<Counters>,
    /// The name of the point at which tests let a write fail.
    write_point: String,
    state: Mutex<State>,
    /// Number of the event that it reads next.
    next: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct State {
    walk: Walk,
    maker: Lines,
    groups: Option<Groups>,
    taken: Option<Taken>,
    /// Lines that are not written.
    lines: Vec<u8>,
    /// Events in each of them.
    events: Vec<u64>,
    sink: Sink,
    at: At,
    failure: Option<Failure>,
    /// The reason for which the exporter is behind.
    behind: Loss,
    /// Place in the history at which it stops.
    stop_at: Option<u64>,
}

/// What is being done with an event, to be known after a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Rest,
    Filters,
    Line,
}

/// A write that failed.
#[derive(Debug)]
struct Failure {
    reason: Loss,
    retry: Instant,
    logged: Instant,
    /// True if the exporter stops, so that it is not tried again.
    is_last: bool,
}

impl Exporter {
    /// An exporter that reads the history from event `from` on. One that takes the place of another
    /// goes on with its counters.
    ///
    /// # Errors
    /// If a path of a field leads nowhere.
    pub fn new(
        config: &ExportConfig,
        history: Arc<History>,
        node: &Node,
        (from, counters): (u64, Arc<Counters>),
    ) -> Result<Self, InvalidMask> {
        let encoder = Encoder::new(node.qualified.clone(), node.version.clone(), node.run);
        let maker = Lines::new(encoder, node.name.clone(), config.mask()?);
        let mut filters = config.filters.clone();
        filters.set_local_node(&node.qualified);
        let state = State {
            walk: Walk::follow(filters, from, node.run),
            maker,
            groups: config.aggregation.as_ref().map(|aggregation| Groups::new(aggregation.interval)),
            taken: None,
            lines: Vec::with_capacity(CHUNK),
            events: Vec::new(),
            sink: Sink::new(config),
            at: At::Rest,
            failure: None,
            behind: Loss::Overrun,
            stop_at: None,
        };
        let (next, stopping) = (AtomicU64::new(from), AtomicBool::new(false));
        let write_point = format!("{}/write", config.name);
        let (name, end_ns) = (config.name.clone(), config.end_ns);
        let place = match &config.target {
            Target::Stdout => "standard output".to_owned(),
            Target::File { path, .. } => path.display().to_string(),
        };
        Ok(Self { name, place, end_ns, history, counters, write_point, state: Mutex::new(state), next, stopping })
    }

    /// What it has written and lost.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Number of the event that it reads next.
    pub fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// True until its end time.
    pub fn is_active(&self) -> bool {
        self.end_ns.is_none_or(|end_ns| unix_ns() < end_ns)
    }

    /// Begins a run of the thread, also one after [`Exporter::close`]. An event over which the run
    /// before panicked is passed over.
    pub fn begin(&self) {
        let mut state = self.state();
        self.stopping.store(false, Relaxed);
        state.stop_at = None;
        match std::mem::replace(&mut state.at, At::Rest) {
            At::Rest => return,
            At::Filters => state.walk.skip(),
            At::Line => {}
        }
        self.counters.lose(Loss::Panicked, 1);
        let lines = whole(&state.lines);
        state.lines.truncate(lines);
    }

    /// Has the exporter stop at the newest event: [`Exporter::fill`] goes there, and then comes
    /// [`Next::End`].
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Reads events and makes lines of them.
    pub fn fill(&self) -> Next {
        let state = &mut *self.state();
        if self.stopping.load(Relaxed) && state.stop_at.is_none() {
            state.stop_at = Some(self.history.read(u64::MAX).next);
        }
        let now = Instant::now();
        let next = self.fill_state(state, now);
        self.next.store(state.walk.next(), Relaxed);
        next
    }

    fn fill_state(&self, state: &mut State, now: Instant) -> Next {
        if let Some(failure) = &state.failure {
            let wait = failure.retry.saturating_duration_since(now);
            return match (state.stop_at.is_some(), failure.is_last) {
                (true, true) => Next::End,
                (true, false) => Next::Write,
                (false, _) if wait.is_zero() => Next::Write,
                (false, _) => Next::Wait(wait),
            };
        }
        let is_active = self.is_active();
        let is_last = state.stop_at.is_some_and(|stop_at| state.walk.next() >= stop_at) || !is_active;
        if let Some(groups) = &mut state.groups
            && (groups.are_due(now) || is_last)
            && state.taken.is_none()
        {
            state.taken = Some(groups.take(now));
        }
        if state.take_groups() {
            return Next::Write;
        }
        if is_last {
            return match (state.lines.is_empty(), state.stop_at) {
                (false, _) => Next::Write,
                (true, Some(_)) => Next::End,
                (true, None) => {
                    // Its time is over: nothing is kept for it, and nothing counts as lost.
                    state.walk.let_go();
                    Next::Wait(Duration::MAX)
                }
            };
        }
        for _ in 0..EVENTS_A_TURN {
            if state.stop_at.is_some_and(|stop_at| state.walk.next() >= stop_at) {
                break;
            }
            state.at = At::Filters;
            inject::point(&self.name);
            let step = state.walk.step(&self.history);
            match step {
                Step::Event(segment, place) => {
                    state.at = At::Line;
                    self.add(state, &segment, place);
                    state.at = At::Rest;
                    if state.lines.len() >= CHUNK {
                        return Next::Write;
                    }
                }
                Step::Lost(count) => self.counters.lose(state.behind, count),
                Step::Turn => break,
                Step::Wait | Step::Never | Step::Gone(_) | Step::End => {
                    state.at = At::Rest;
                    state.behind = Loss::Overrun;
                    return if state.stop_at.is_some() { Next::Fill } else { state.pause(now) };
                }
            }
        }
        state.at = At::Rest;
        Next::Fill
    }

    /// Adds an event: to its group, or as a line.
    fn add(&self, state: &mut State, segment: &Segment, place: usize) {
        if let (Some(groups), Some(Event::Flow(_))) = (&mut state.groups, segment.events.get(place)) {
            let (masked, whole) = state.maker.flow(segment, place);
            groups.add(masked, &whole);
            return;
        }
        let before = state.lines.len();
        state.maker.event(segment, place, &mut state.lines);
        if (state.lines.len() - before) as u64 > state.sink.longest_line() {
            state.lines.truncate(before);
            self.counters.lose(Loss::TooLong, 1);
        } else {
            state.events.push(1);
        }
    }

    /// Writes the lines. May wait for the disk, or for the reader of standard output.
    pub fn write(&self) {
        let state = &mut *self.state();
        let mut written = Written::default();
        inject::point(&self.write_point);
        let mut outcome = state.sink.write(&state.lines, &mut written);
        let now = Instant::now();
        if outcome.is_ok() {
            outcome = state.sink.sync(now);
        }
        let lines = state.lines.iter().take(written.bytes).filter(|byte| **byte == b'\n').count();
        state.lines.drain(..written.bytes);
        state.events.drain(..lines.min(state.events.len()));
        self.counters.wrote(lines as u64, written.bytes as u64);
        for _ in 0..written.rotations {
            self.counters.rotated();
        }
        match outcome {
            Ok(()) => self.succeed(state),
            Err(error) => self.fail(state, &error, now),
        }
    }

    fn succeed(&self, state: &mut State) {
        if state.failure.take().is_some() {
            self.counters.set_problem("");
            tracing::info!(exporter = %self.name, "flows are written again");
        }
    }

    fn fail(&self, state: &mut State, error: &WriteError, now: Instant) {
        let reason = match error {
            WriteError::System(error) => Loss::from(error),
            WriteError::Path(_) => Loss::Denied,
        };
        let problem = format!("cannot write {}: {error}", self.place);
        let due = state.failure.as_ref().is_none_or(|failure| now.duration_since(failure.logged) >= LOG_INTERVAL);
        let is_new = self.counters.set_problem(&problem);
        if is_new || due {
            tracing::error!(exporter = %self.name, reason = reason.label(), "{problem}; it is tried again");
        }
        let logged = match &state.failure {
            Some(failure) if !(is_new || due) => failure.logged,
            _ => now,
        };
        state.behind = reason;
        state.failure = Some(Failure { reason, retry: now + RETRY, logged, is_last: state.stop_at.is_some() });
        // What waits here must not be kept from the history.
        state.walk.let_go();
    }

    /// Ends the exporter after [`Next::End`]: lines that cannot be written are lost, the file is
    /// closed.
    pub fn close(&self) {
        let state = &mut *self.state();
        if let Some(failure) = state.failure.take() {
            let (events, left) =
                (state.events.iter().sum::<u64>(), state.stop_at.unwrap_or(0).saturating_sub(state.walk.next()));
            tracing::error!(exporter = %self.name, events, left, "stopped before all was written");
            self.counters.lose(failure.reason, events);
            state.lines.clear();
            state.events.clear();
        }
        if let Err(error) = state.sink.close() {
            tracing::error!(exporter = %self.name, "the file was not closed as it should be: {error}");
        }
    }

    /// Parks this thread until there is an event to read, for `time` at most. Ends early if the
    /// thread is unparked.
    pub fn wait(&self, time: Duration) {
        let has_failed = self.state().failure.is_some();
        let (mut notices, next) = (self.history.notices(), self.next());
        let is_over = !self.is_active();
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut written = pin!(notices.wait_for(|written| !has_failed && !is_over && *written > next));
        if written.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            std::thread::park_timeout(time);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes lines of groups; true if there are enough for a write.
    fn take_groups(&mut self) -> bool {
        while let Some(taken) = &mut self.taken {
            if self.lines.len() >= CHUNK {
                return true;
            }
            match taken.write_next(&mut self.lines) {
                Some(flows) => self.events.push(flows),
                None => self.taken = None,
            }
        }
        false
    }

    /// The history has nothing new.
    fn pause(&self, now: Instant) -> Next {
        if !self.lines.is_empty() {
            return Next::Write;
        }
        let group = self.groups.as_ref().map(|groups| groups.wait(now));
        let sync = self.sink.sync_wait(now);
        if sync.is_some_and(|wait| wait.is_zero()) {
            return Next::Write;
        }
        Next::Wait(group.into_iter().chain(sync).min().unwrap_or(Duration::MAX))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn whole(lines: &[u8]) -> usize {
    lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}
