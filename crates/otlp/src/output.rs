//! An output: requests wait here until a receiver has taken them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use webb_flow::clock::unix_ns;

use crate::config::{InvalidConfig, OutputConfig};
use crate::encoding::Encoding;
use crate::environment::Environment;
use crate::figures::{Figures, Loss};
use crate::queue::{Entry, Queue};
use crate::request::Request;
use crate::resolved::Resolved;
use crate::window::LastWindow;

/// Time that a stop leaves for sending.
pub const SHUTDOWN_BUDGET: Duration = Duration::from_secs(5);

/// Time for which a limit holds after a record alone was too large for the receiver, at least.
const LIMIT_TIME: Duration = Duration::from_mins(2);

/// The owner of a thread with the body [`Output::run`].
pub trait Owner {
    /// Records a heartbeat: at least one a second, and one after each wait.
    fn beat(&self);

    /// True once the thread is to end.
    fn stopping(&self) -> bool;

    /// Tells what stands in the way of deliveries; empty if nothing does any more. Called on each
    /// change. The text is for the person who must act.
    fn problem(&self, problem: &str);
}

/// An output, shared by those that offer requests, by the thread that sends them, and by what reads
/// its figures. It outlives runs of the thread: the next run goes on with the same queue.
#[derive(Debug)]
pub struct Output {
    pub(crate) config: OutputConfig,
    pub(crate) resolved: Resolved,
    pub(crate) environment: Environment,
    pub(crate) instance: String,
    /// The name of this node; empty if it was not given.
    pub(crate) node: String,
    pub(crate) figures: Arc<Figures>,
    queue: Mutex<State>,
    pub(crate) changed: Notify,
    /// Files written so far.
    sequence: AtomicU64,
    started: Instant,
    started_ms: u64,
}

/// The queue, and what was learned of the receiver.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: Queue,
    /// The encoding that the receiver takes.
    pub(crate) encoding: Encoding,
    /// Plain bytes that the receiver takes.
    pub(crate) max_bytes: usize,
    /// A record alone was too large for it; then this limit holds until this time only.
    limit_ends_at: Option<Instant>,
    /// The last window whose rows were all offered.
    pub(crate) last_window: Option<LastWindow>,
    /// Encodings that it does not take.
    refused: [bool; Encoding::ALL.len()],
    /// It has refused plain bytes too, so that its refusals may be about something else.
    refuses_all: bool,
    /// It has taken a request by zstd.
    pub(crate) takes_zstd: bool,
    /// Nothing is taken any more.
    closed: bool,
}

impl State {
    /// True if the receiver does not take this encoding.
    pub(crate) fn is_refused(&self, encoding: Encoding) -> bool {
        self.refused.get(encoding as usize).copied().unwrap_or(false)
    }

    /// Notes that the receiver does not take an encoding. False if that is known, or if there is no
    /// other.
    pub(crate) fn refuse(&mut self, encoding: Encoding) -> bool {
        let Some(fallback) = encoding.fallback() else { return false };
        let Some(refused) = self.refused.get_mut(encoding as usize) else { return false };
        if std::mem::replace(refused, true) {
            return false;
        }
        if self.encoding == encoding {
            self.encoding = if self.is_refused(fallback) { Encoding::None } else { fallback };
        }
        true
    }

    /// Notes that the receiver does not take plain bytes either.
    pub(crate) fn refuse_all(&mut self) {
        self.refuses_all = true;
    }

    /// Notes that the receiver has taken a request: if it had refused all encodings, that was about
    /// something else, and the one that is configured is tried again.
    pub(crate) fn forget_refusals(&mut self, configured: Encoding) {
        if std::mem::take(&mut self.refuses_all) {
            self.refused = Default::default();
            self.encoding = configured;
        }
    }

    /// Notes how many plain bytes the receiver takes.
    pub(crate) fn limit(&mut self, max_bytes: usize) {
        self.max_bytes = self.max_bytes.min(max_bytes);
    }

    /// Notes that a record alone was too large for the receiver. It may take no record at all, so
    /// that the limit says nothing; without one the next request would be halved from the top.
    /// `max_wait`: the longest time until the next such record is sent.
    pub(crate) fn doubt_limit(&mut self, max_wait: Duration, now: Instant) {
        self.limit_ends_at = Some(now + LIMIT_TIME.max(max_wait * 2));
    }

    /// Forgets a limit whose time is over.
    pub(crate) fn expire_limit(&mut self, now: Instant, configured: usize) {
        if self.limit_ends_at.is_some_and(|at| now >= at) {
            (self.limit_ends_at, self.max_bytes) = (None, configured);
        }
    }
}

impl Output {
    /// An output with an empty queue. `instance`: a name of this process that no other has, such as
    /// a UUID; files in the spool directory begin with it. Reads no file.
    ///
    /// # Errors
    /// The field of the configuration that cannot be used.
    pub fn new(config: OutputConfig, environment: &Environment, instance: &str) -> Result<Self, InvalidConfig> {
        let resolved = config.resolve(environment)?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if instance.is_empty() || instance.len() > 64 || !instance.chars().all(is_plain) {
            return Err(InvalidConfig::new("instance", "expected 1 to 64 letters, digits and `-`"));
        }
        let (encoding, max_bytes) = (resolved.encoding, config.batch.max_bytes);
        Ok(Self {
            config,
            resolved,
            environment: environment.clone(),
            instance: instance.to_owned(),
            node: String::new(),
            figures: Arc::default(),
            queue: Mutex::new(State {
                queue: Queue::default(),
                encoding,
                max_bytes,
                limit_ends_at: None,
                last_window: None,
                refused: Default::default(),
                refuses_all: false,
                takes_zstd: false,
                closed: false,
            }),
            changed: Notify::new(),
            sequence: AtomicU64::default(),
            started: Instant::now(),
            started_ms: unix_ns() / 1_000_000,
        })
    }

    /// Has the output count in the figures of one before it, of the same name.
    #[must_use]
    pub fn counting_in(self, figures: Arc<Figures>) -> Self {
        Self { figures, ..self }
    }

    /// Has the spool directory say that its last window is of the node of this name.
    #[must_use]
    pub fn on_node(self, node: &str) -> Self {
        Self { node: node.to_owned(), ..self }
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &OutputConfig {
        &self.config
    }

    /// What became of its records.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Takes a request. Never waits for a disk or a receiver: without room the oldest request of
    /// flows is dropped, then the oldest of rollups, and counted.
    pub fn offer(&self, request: Request) {
        self.offer_window([request], None);
    }

    /// Takes requests as [`Output::offer`] does. With them all rows of this window were offered; a
    /// spool directory says so once it has them ([`last_window`](crate::last_window)).
    pub fn offer_window(&self, requests: impl IntoIterator<Item = Request>, window: Option<LastWindow>) {
        let created_ms = self.now_ms();
        let mut state = self.state();
        for request in requests {
            self.figures.offered(request.stream, request.records);
            if state.closed {
                self.figures.dropped(request.stream, Loss::Shutdown, request.records);
                continue;
            }
            for dropped in state.queue.offer(request, created_ms, self.config.queue_bytes) {
                self.figures.dropped(dropped.stream, Loss::QueueFull, dropped.records);
            }
        }
        if !state.closed && window.is_some() {
            state.last_window = window;
        }
        self.figures.set_queue_bytes(state.queue.memory());
        drop(state);
        self.changed.notify_one();
    }

    /// How a request is to be compressed, and its plain bytes at most: as configured, or what the
    /// receiver was found to take.
    pub fn limits(&self) -> (Encoding, usize) {
        let state = self.state();
        // Requests of a limit that ends soon would stay small, and many, behind it.
        let max_bytes = if state.limit_ends_at.is_some() { self.config.batch.max_bytes } else { state.max_bytes };
        (state.encoding, max_bytes)
    }

    /// Ends the thread's present wait, so that it sees a stop request.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Closes the output, after its thread has ended. Requests in memory count as dropped, and the
    /// number of their records is returned; files stay for the next process.
    pub fn close(&self) -> u64 {
        let mut state = self.state();
        state.closed = true;
        let lost = state.queue.extract(|entry| entry.file.is_none());
        self.figures.set_queue_bytes(state.queue.memory());
        self.dropped(&lost, Loss::Shutdown)
    }

    /// Closes the output as [`Output::close`] does; nothing goes on in its directory. Requests
    /// there count as dropped too, and the number of their records is returned.
    pub fn abandon(&self) -> u64 {
        let mut state = self.state();
        state.closed = true;
        let orphans = state.queue.extract(|entry| entry.file.is_some());
        if !orphans.is_empty() {
            self.figures.set_spool(0, 0);
        }
        self.figures.set_queue_bytes(state.queue.memory());
        self.figures.set_problem("");
        self.dropped(&orphans, Loss::Orphaned)
    }

    fn dropped(&self, entries: &[Entry], reason: Loss) -> u64 {
        for entry in entries {
            self.figures.dropped(entry.stream, reason, entry.records);
        }
        entries.iter().map(|entry| u64::from(entry.records)).sum()
    }

    /// Takes over the waiting requests of another output, whose thread has ended and whose figures
    /// are these: requests in memory, and spooled ones if both outputs have one directory.
    pub fn take_over(&self, other: &Self) {
        let directory = |output: &Self| output.config.spool.as_ref().map(|spool| spool.directory.clone());
        let has_files = directory(self) == directory(other);
        let mut theirs = other.state();
        theirs.closed = true;
        let entries = theirs.queue.extract(|entry| has_files || entry.file.is_none());
        let last_window = theirs.last_window.take();
        drop(theirs);
        let mut state = self.state();
        if state.last_window.is_none() {
            state.last_window = last_window;
        }
        for entry in entries {
            for dropped in state.queue.adopt(entry, self.config.queue_bytes) {
                self.figures.dropped(dropped.stream, Loss::QueueFull, dropped.records);
            }
        }
        self.figures.set_queue_bytes(state.queue.memory());
        // What stood in the way of the other one is told by this one, if it does so still.
        self.figures.set_problem("");
        drop(state);
        self.changed.notify_one();
    }

    /// Shows the bytes in memory, in figures that another output has written to.
    pub fn show_queue(&self) {
        let state = self.state();
        self.figures.set_queue_bytes(state.queue.memory());
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a file, another each time.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Relaxed)
    }

    /// Goes on behind the greatest number that a file has.
    pub(crate) fn continue_sequence(&self, greatest: Option<u64>) {
        if let Some(greatest) = greatest {
            self.sequence.fetch_max(greatest.saturating_add(1), Relaxed);
        }
    }

    /// Milliseconds since 1970, by a clock that is not set.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit holds; once a record alone was too large it ends after a while, which is longer than
    /// any wait, and meanwhile new requests are not made as small.
    #[test]
    fn a_doubtful_limit_ends() {
        let config = OutputConfig { endpoint: Some("http://127.0.0.1".to_owned()), ..OutputConfig::named("main") };
        let most = config.batch.max_bytes;
        let output = Output::new(config, &Environment::default(), "one").unwrap();
        let (now, wait) = (Instant::now(), Duration::from_mins(3));
        output.state().limit(5000);
        output.state().expire_limit(now + wait * 100, most);
        assert_eq!(output.limits().1, 5000);
        output.state().doubt_limit(wait, now);
        output.state().expire_limit(now + wait, most);
        assert_eq!((output.limits().1, output.state().max_bytes), (most, 5000));
        output.state().limit(2000);
        output.state().expire_limit(now + wait * 2, most);
        assert_eq!((output.limits().1, output.state().max_bytes), (most, most));
    }
}
