//! A stream: reads two histories on, that of flows and that of attempts to connect that failed,
//! writes records, hands them to outputs.

use std::future::Future as _;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use webb_flow::fault::inject;
use webb_index::Place;
use webb_otlp::{Attributes, Feed, Output, Stream};

use super::counts::{Counters, FlowCounts, add};
use super::limit::Limit;
use super::settings::{Body, FlowSettings};
use super::writer::Writer;
use crate::choice::Choice;
use crate::export::Node;
use crate::history::History;
use crate::segment::{Event, Segment};
use crate::unix_ns;
use crate::walk::{Step, Walk};

/// Scope of the records, and the version of their attributes.
pub const SCOPE: (&str, &str) = ("webb.flows", "1");

/// Records of a turn at most.
const EVENTS_A_TURN: usize = 4096;

/// Flows that are wanted, and those that take them.
#[derive(Debug, Clone)]
pub struct WantedFlows {
    /// The flows.
    pub settings: FlowSettings,
    /// Outputs that take them; without one none are read.
    pub outputs: Vec<FlowOutput>,
}

/// An output that takes flows.
#[derive(Debug, Clone)]
pub struct FlowOutput {
    /// The output.
    pub output: Arc<Output>,
    /// The text of its records; without one that of the settings.
    pub body: Option<Body>,
}

/// What the thread of a stream does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// [`FlowStream::turn`] again.
    Turn,
    /// [`FlowStream::wait`], for so long at most.
    Wait(Duration),
    /// Nothing more comes: the place at which the stream was to stop is reached.
    End,
}

/// Attributes of the agent at a place, for each request.
pub type Resource = Box<dyn Fn(Place) -> Attributes + Send + Sync>;

/// Sends flows of two histories to outputs.
pub struct FlowStream {
    /// Flows, and attempts to connect that failed.
    histories: [Arc<History>; 2],
    node: Node,
    resource: Resource,
    counters: Counters,
    wanted: Mutex<Option<WantedFlows>>,
    /// Changes of it, and those that the thread has taken up.
    wants: AtomicU64,
    taken: AtomicU64,
    /// The thread, while it waits.
    waiting: Mutex<Option<Thread>>,
    stopping: AtomicBool,
    state: Mutex<State>,
}

/// What is kept over the runs of the thread.
#[derive(Debug, Default)]
struct State {
    work: Option<Work>,
    /// Changes that `work` is of.
    wants: u64,
}

/// What there is while flows are wanted.
#[derive(Debug)]
struct Work {
    /// One for each history.
    readers: [Reader; 2],
    sender: Sender,
}

/// A history that is read, and the place in it.
#[derive(Debug)]
struct Reader {
    history: Arc<History>,
    walk: Walk,
    /// What one history has too much of keeps nothing of the other.
    limit: Limit,
    /// Number of the first event that is not counted.
    uncounted: u64,
    at: At,
    /// Place in the history at which the stream stops.
    stop_at: Option<u64>,
}

/// What the flows of both histories have in common on their way.
#[derive(Debug)]
struct Sender {
    wanted: WantedFlows,
    writer: Writer,
    /// Feeds of the outputs; those of records with one text lie side by side.
    feeds: Vec<(Body, Feed)>,
    /// Place of this node in the requests.
    place: Place,
}

/// What is being done with an event, to be known after a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    #[default]
    Rest,
    Filters,
    Record,
}

impl std::fmt::Debug for FlowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowStream").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

impl FlowStream {
    /// A stream of which nothing is wanted yet. `failures`: attempts to connect that failed.
    /// `resource`: attributes of this agent.
    pub fn new(history: Arc<History>, failures: Arc<History>, node: Node, resource: Resource) -> Self {
        Self {
            histories: [history, failures],
            node,
            resource,
            counters: Counters::default(),
            wanted: Mutex::default(),
            wants: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            waiting: Mutex::default(),
            stopping: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Sets what is wanted from now on; none sends nothing.
    pub fn want(&self, wanted: Option<WantedFlows>) {
        let wanted = wanted.filter(|wanted| !wanted.outputs.is_empty());
        *lock(&self.wanted) = wanted;
        self.wants.fetch_add(1, Release);
        self.wake();
    }

    /// True once the thread has taken up what is wanted, and has handed what it had written to the
    /// outputs of before.
    pub fn has_taken_up(&self) -> bool {
        self.taken.load(Acquire) == self.wants.load(Acquire)
    }

    /// What became of the events so far.
    pub fn counts(&self) -> FlowCounts {
        self.counters.now()
    }

    /// Begins a run of the thread. An event over which the run before panicked is passed over.
    pub fn begin(&self) {
        let state = &mut *self.state();
        self.stopping.store(false, Relaxed);
        let Some(work) = &mut state.work else { return };
        let mut has_panicked = false;
        for reader in &mut work.readers {
            reader.stop_at = None;
            let at = std::mem::replace(&mut reader.at, At::Rest);
            if at == At::Filters {
                add(&self.counters.passed_over, reader.passed());
                reader.walk.skip();
                reader.passed();
            }
            if at != At::Rest {
                add(&self.counters.panicked, 1);
                has_panicked = true;
            }
        }
        if has_panicked {
            // What it had begun is not to be trusted.
            work.renew(&self.node);
        }
    }

    /// Has the stream stop at the newest event: [`FlowStream::turn`] goes there, and then comes
    /// [`Next::End`].
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    /// Takes up changes, reads events, and offers what is due.
    pub fn turn(&self) -> Next {
        let state = &mut *self.state();
        self.take_up(state);
        let is_stopping = self.stopping.load(Relaxed);
        let Some(Work { readers, sender }) = &mut state.work else {
            return if is_stopping { Next::End } else { Next::Wait(Duration::MAX) };
        };
        let mut has_more = false;
        for reader in &mut *readers {
            reader.limit.fill(Instant::now());
            if is_stopping && reader.stop_at.is_none() {
                reader.stop_at = Some(reader.history.read(u64::MAX).next);
            }
            has_more |= self.read(reader, sender);
        }
        if readers.iter().all(Reader::is_at_its_end) {
            sender.flush();
            return Next::End;
        }
        let due = sender.flush_due();
        if has_more { Next::Turn } else { Next::Wait(due.unwrap_or(Duration::MAX)) }
    }

    /// Reads events of a history for a turn. False once there are no more.
    fn read(&self, reader: &mut Reader, sender: &mut Sender) -> bool {
        let now_ns = unix_ns();
        for _ in 0..EVENTS_A_TURN {
            if reader.is_at_its_end() {
                break;
            }
            reader.at = At::Filters;
            inject::point("flows");
            let step = reader.walk.step(&reader.history);
            let (passed, counters) = (reader.passed(), &self.counters);
            match step {
                Step::Event(segment, place) => {
                    reader.at = At::Record;
                    add(&counters.passed_over, passed.saturating_sub(1));
                    if reader.limit.take() {
                        let is_sampled = reader.walk.is_sampled();
                        self.send(sender, (&segment, place), is_sampled, now_ns);
                        add(if is_sampled { &counters.sampled } else { &counters.included }, 1);
                    } else {
                        add(&counters.limited, 1);
                    }
                }
                Step::Lost(count) => {
                    add(&counters.passed_over, passed.saturating_sub(count));
                    add(&counters.overrun, count);
                }
                Step::Turn => {
                    add(&counters.passed_over, passed);
                    reader.at = At::Rest;
                    return true;
                }
                Step::Wait | Step::Never | Step::Gone(_) | Step::End => {
                    add(&counters.passed_over, passed);
                    reader.at = At::Rest;
                    return false;
                }
            }
            reader.at = At::Rest;
        }
        true
    }

    fn send(&self, sender: &mut Sender, (segment, place): (&Segment, usize), is_sampled: bool, now_ns: u64) {
        let Some(Event::Flow(flow)) = segment.events.get(place) else { return };
        let own = segment.zones.own();
        if own != sender.place {
            sender.flush();
            sender.place = own;
            self.make_feeds(sender);
        }
        for of_one_text in sender.feeds.chunk_by_mut(|(one, _), (other, _)| one == other) {
            let Some((body, _)) = of_one_text.first() else { continue };
            let record = sender.writer.write((segment, place), flow, (*body, is_sampled), now_ns);
            for (_, feed) in of_one_text {
                feed.add(record);
            }
        }
    }

    /// Takes up a change of what is wanted.
    fn take_up(&self, state: &mut State) {
        let wants = self.wants.load(Acquire);
        if wants == state.wants {
            return;
        }
        let wanted = lock(&self.wanted).clone();
        let mut before = state.work.take();
        if let Some(before) = &mut before {
            before.sender.flush();
        }
        state.work = wanted.and_then(|wanted| self.work(wanted, before));
        state.wants = wants;
        self.taken.store(wants, Release);
    }

    fn work(&self, wanted: WantedFlows, before: Option<Work>) -> Option<Work> {
        let place = before.as_ref().map_or_else(Place::default, |before| before.sender.place);
        let mut work = match before {
            Some(before) if before.sender.wanted.settings == wanted.settings => {
                Work { sender: Sender { wanted, ..before.sender }, ..before }
            }
            Some(before) => Work::new(wanted, &self.node, before.readers.map(Reader::place))?,
            None => {
                // What was there before it was wanted is not sent.
                let newest = |history: &Arc<History>| (Arc::clone(history), history.read(u64::MAX).next);
                Work::new(wanted, &self.node, self.histories.each_ref().map(newest))?
            }
        };
        work.sender.place = place;
        self.make_feeds(&mut work.sender);
        Some(work)
    }

    /// A feed for each output, of this agent at its place.
    fn make_feeds(&self, sender: &mut Sender) {
        let resource = (self.resource)(sender.place);
        let WantedFlows { settings, outputs } = &sender.wanted;
        let feed = |wanted: &FlowOutput| {
            let feed = Feed::new(Arc::clone(&wanted.output), Stream::Flows, &resource, SCOPE.0, SCOPE.1);
            (wanted.body.unwrap_or(settings.body), feed)
        };
        sender.feeds = outputs.iter().map(feed).collect();
        sender.feeds.sort_by_key(|(body, _)| *body);
    }

    /// Parks this thread until there is an event to read or a change to take up, for `time` at
    /// most.
    pub fn wait(&self, time: Duration) {
        *lock(&self.waiting) = Some(std::thread::current());
        let next = self.state().work.as_ref().map(|work| work.readers.each_ref().map(|reader| reader.walk.next()));
        let is_over = || self.stopping.load(Relaxed) || !self.has_taken_up();
        let [flows, failures] = &self.histories;
        let mut flows = pin!(grown(flows, next.map(|[next, _]| next)));
        let mut failures = pin!(grown(failures, next.map(|[_, next]| next)));
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        let has_grown = flows.as_mut().poll(&mut context).is_ready() || failures.as_mut().poll(&mut context).is_ready();
        if !is_over() && !has_grown {
            std::thread::park_timeout(time);
        }
        *lock(&self.waiting) = None;
    }

    fn wake(&self) {
        if let Some(thread) = &*lock(&self.waiting) {
            thread.unpark();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Work {
    /// None if a path of a field leads nowhere, which a file's check has refused. `places`: the
    /// histories, each with the number of the event that is read next.
    fn new(wanted: WantedFlows, node: &Node, places: [(Arc<History>, u64); 2]) -> Option<Self> {
        let settings = &wanted.settings;
        let mut filters = settings.filters.clone();
        filters.set_local_node(&node.qualified);
        let choice = Choice { every: settings.sample_every };
        let reader = |(history, next)| Reader {
            history,
            walk: Walk::choose(filters.clone(), choice, next, node.run),
            limit: Limit::new(settings.max_per_second, Instant::now()),
            uncounted: next,
            at: At::Rest,
            stop_at: None,
        };
        let readers = places.map(reader);
        let sender =
            Sender { writer: Writer::new(settings, node).ok()?, feeds: Vec::new(), place: Place::default(), wanted };
        Some(Self { readers, sender })
    }

    /// Replaces what a panic may have left half done; records that wait stay.
    fn renew(&mut self, node: &Node) {
        let places = self.readers.each_ref().map(|reader| (Arc::clone(&reader.history), reader.walk.next()));
        if let Some(Self { readers, sender }) = Self::new(self.sender.wanted.clone(), node, places) {
            (self.readers, self.sender.writer) = (readers, sender.writer);
        }
    }
}

impl Reader {
    /// Its history, and the number of the event that is read next.
    fn place(self) -> (Arc<History>, u64) {
        let next = self.walk.next();
        (self.history, next)
    }

    /// True once it has come to the place at which the stream stops.
    fn is_at_its_end(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| self.walk.next() >= stop_at)
    }

    /// Events that the walk has passed since the last call.
    fn passed(&mut self) -> u64 {
        let next = self.walk.next();
        next - std::mem::replace(&mut self.uncounted, next)
    }
}

impl Sender {
    /// Offers the records that there are.
    fn flush(&mut self) {
        for (_, feed) in &mut self.feeds {
            feed.flush();
        }
    }

    /// Offers the records that have waited for long enough; returns when the next ones have.
    fn flush_due(&mut self) -> Option<Duration> {
        let mut next = None;
        for (_, feed) in &mut self.feeds {
            match feed.due() {
                Some(due) if due.is_zero() => feed.flush(),
                due => next = next.into_iter().chain(due).min(),
            }
        }
        next
    }
}

/// Ends once a history has event `next`; never without one.
async fn grown(history: &History, next: Option<u64>) {
    let mut notices = history.notices();
    match next {
        Some(next) => _ = notices.wait_for(|written| *written > next).await,
        None => std::future::pending().await,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
