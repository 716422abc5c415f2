//! An output: requests wait here until a receiver has taken them.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use webb_flow::clock::unix_ns;

use crate::config::{InvalidConfig, OutputConfig};
use crate::encoding::Encoding;
use crate::environment::Environment;
use crate::figures::{Figures, Loss};
use crate::queue::Queue;
use crate::request::Request;
use crate::resolved::Resolved;

/// Time that a stop leaves for sending.
pub const SHUTDOWN_BUDGET: Duration = Duration::from_secs(5);

/// The owner of the thread that [`Output::run`] is the body of.
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
    pub(crate) figures: Figures,
    queue: Mutex<State>,
    pub(crate) changed: Notify,
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
    /// Nothing is taken any more.
    closed: bool,
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
            figures: Figures::default(),
            queue: Mutex::new(State { queue: Queue::default(), encoding, max_bytes, closed: false }),
            changed: Notify::new(),
            started: Instant::now(),
            started_ms: unix_ns() / 1_000_000,
        })
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &OutputConfig {
        &self.config
    }

    /// What became of its records.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Takes a request. Never waits for a disk or a receiver: without room the oldest request of
    /// flows is dropped, then the oldest of rollups, and counted.
    pub fn offer(&self, request: Request) {
        let created_ms = self.now_ms();
        let mut state = self.state();
        self.figures.offered(request.stream, request.records);
        if state.closed {
            self.figures.dropped(request.stream, Loss::Shutdown, request.records);
            return;
        }
        for dropped in state.queue.offer(request, created_ms, self.config.queue_bytes) {
            self.figures.dropped(dropped.stream, Loss::QueueFull, dropped.records);
        }
        self.figures.set_queue_bytes(state.queue.memory());
        drop(state);
        self.changed.notify_one();
    }

    /// How a request is to be compressed, and its plain bytes at most: as configured, or what the
    /// receiver was found to take.
    pub fn limits(&self) -> (Encoding, usize) {
        let state = self.state();
        (state.encoding, state.max_bytes)
    }

    /// The body of a thread: sends requests until its owner is stopping, then for at most
    /// [`SHUTDOWN_BUDGET`]. What is left stays in the queue. There is one run at a time; after a
    /// panic the next one goes on with what waited and with what was under way.
    ///
    /// # Errors
    /// If the system has no descriptors for the runtime.
    pub fn run(&self, owner: &dyn Owner) -> io::Result<()> {
        owner.beat();
        Err(io::Error::other("requests of OTLP are not sent yet"))
    }

    /// Sends one request once, beside the queue and the ledger, and says in words what the receiver
    /// answered. For a command that checks a configuration; blocks for at most the timeout.
    ///
    /// # Errors
    /// What stands in the way, or the receiver's refusal.
    pub fn send_once(&self, request: &Request) -> Result<String, String> {
        Err(format!("{} records of OTLP are not sent yet", request.records))
    }

    /// Ends the thread's present wait, so that it sees a stop request.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Closes the output for good, after its thread has ended. Requests in memory count as dropped;
    /// files stay for the next process.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let in_memory: Vec<_> = state.queue.iter().filter(|entry| entry.file.is_none()).map(|entry| entry.id).collect();
        for id in in_memory {
            if let Some(entry) = state.queue.remove(id) {
                self.figures.dropped(entry.stream, Loss::Shutdown, entry.records);
            }
        }
        self.figures.set_queue_bytes(state.queue.memory());
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970, by a clock that is not set.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0)
    }
}
