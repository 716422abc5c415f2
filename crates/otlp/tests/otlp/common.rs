//! Outputs, requests and threads for tests.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes as SpanAttributes, Id, Record as SpanRecord};
use tracing::{Event, Metadata, Subscriber};
use webb_otlp::{
    Attributes, Encoding, Environment, Head, Ledger, Output, OutputConfig, Owner, Protocol, Record, Request,
    RequestBuilder, RetryConfig, Severity, SpoolConfig, Stream,
};

use crate::receiver::Receiver;

/// Time that anything may take on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// The owner of a thread.
#[derive(Debug, Default)]
pub(crate) struct TestOwner {
    pub(crate) stop: AtomicBool,
    pub(crate) beats: AtomicU64,
    /// The next heartbeat panics.
    pub(crate) panics: AtomicBool,
    pub(crate) problems: Mutex<Vec<String>>,
    /// Lines that the thread has logged.
    pub(crate) logged: Mutex<Vec<String>>,
}

impl Owner for TestOwner {
    fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
        assert!(!self.panics.swap(false, Relaxed), "as told");
    }

    fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    fn problem(&self, problem: &str) {
        self.problems.lock().unwrap().push(problem.to_owned());
    }
}

/// Collects the log lines of a thread.
struct Lines(Arc<TestOwner>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("webb_otlp")
    }

    fn new_span(&self, _: &SpanAttributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.logged.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An output with a thread.
pub(crate) struct Running {
    pub(crate) output: Arc<Output>,
    pub(crate) owner: Arc<TestOwner>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(output: Output) -> Self {
        Self::again(Arc::new(output))
    }

    pub(crate) fn again(output: Arc<Output>) -> Self {
        let owner = Arc::new(TestOwner::default());
        let (for_thread, its_owner) = (Arc::clone(&output), Arc::clone(&owner));
        let lines = Lines(Arc::clone(&owner));
        let body = move || tracing::subscriber::with_default(lines, || for_thread.run(&*its_owner).unwrap());
        let thread = std::thread::Builder::new().name("output".to_owned()).spawn(body).unwrap();
        Self { output, owner, thread: Some(thread) }
    }

    pub(crate) fn offer(&self, requests: impl IntoIterator<Item = Request>) {
        requests.into_iter().for_each(|request| self.output.offer(request));
    }

    pub(crate) fn ledger(&self) -> Ledger {
        closed(&self.output)
    }

    /// Waits until nothing waits.
    pub(crate) fn settled(&self) -> Ledger {
        wait_for("all records are settled", || {
            (self.ledger().waiting == 0).then_some(()).ok_or_else(|| {
                format!("{:?}; {}; {:?}", self.ledger(), self.output.figures().problem(), self.output.figures())
            })
        });
        self.ledger()
    }

    /// The lines with this text that the thread has logged.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        self.owner.logged.lock().unwrap().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits for a problem with this text.
    pub(crate) fn has_problem(&self, text: &str) {
        wait_for(text, || {
            let problem = self.output.figures().problem();
            if problem.contains(text) { Ok(()) } else { Err(problem) }
        });
    }

    /// Stops the thread, and returns whether it has ended well.
    pub(crate) fn stop(&mut self) -> bool {
        self.owner.stop.store(true, Relaxed);
        self.output.wake();
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.stop();
        assert!(ended || std::thread::panicking());
    }
}

/// The ledger of both streams together, which must be closed.
pub(crate) fn closed(output: &Output) -> Ledger {
    let mut sum = Ledger::default();
    for stream in Stream::ALL {
        let ledger = output.figures().ledger(stream);
        assert!(ledger.is_closed(), "{ledger:?}");
        sum.offered += ledger.offered;
        sum.delivered += ledger.delivered;
        sum.rejected += ledger.rejected;
        sum.waiting += ledger.waiting;
        for (sum, count) in sum.dropped.iter_mut().zip(ledger.dropped) {
            *sum += count;
        }
    }
    sum
}

/// Waits until a condition holds; otherwise it says what it sees.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(seen) = condition() {
        assert!(Instant::now() < deadline, "{what}: {seen}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An output for a receiver, with short waits.
pub(crate) fn config(receiver: &Receiver) -> OutputConfig {
    let protocol = if receiver.is_grpc() { Protocol::Grpc } else { Protocol::HttpProtobuf };
    OutputConfig { endpoint: Some(receiver.url()), protocol: Some(protocol), ..quick() }
}

/// An output with short waits.
pub(crate) fn quick() -> OutputConfig {
    OutputConfig {
        retry: RetryConfig { min: Duration::from_millis(1), max: Duration::from_millis(50) },
        ..OutputConfig::named("main")
    }
}

pub(crate) fn spool(directory: &Path) -> SpoolConfig {
    let max_age = Duration::from_hours(24);
    SpoolConfig { directory: directory.to_owned(), max_bytes: 64 << 20, max_age, fsync: false }
}

pub(crate) fn output(config: OutputConfig) -> Output {
    Output::new(config, &Environment::default(), "one").unwrap()
}

/// A request with records of these numbers.
pub(crate) fn request(stream: Stream, encoding: Encoding, numbers: std::ops::Range<i64>) -> Request {
    sized(stream, encoding, numbers, 10)
}

/// A request with records of these numbers, each with a text of so many random letters.
pub(crate) fn sized(stream: Stream, encoding: Encoding, numbers: std::ops::Range<i64>, letters: usize) -> Request {
    let mut resource = Attributes::new();
    resource.string("service.name", "webb");
    resource.string("service.instance.id", "instance-1");
    resource.string("k8s.node.name", "node-1");
    let mut builder = RequestBuilder::new(stream, &resource, "webb.test", "1");
    let mut record = Record::new();
    for number in numbers {
        let head = Head {
            time_ns: 1_700_000_000_000_000_000,
            observed_ns: 1_700_000_000_000_000_000,
            severity: Severity::Info,
            event_name: "webb.flow",
            trace_id: None,
            body: "",
        };
        let attributes = record.begin(&head);
        attributes.int("number", number);
        let mut state = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut letter = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + u8::try_from(state % 26).unwrap())
        };
        let text: String = (0..letters).map(&mut letter).collect();
        attributes.string("text", &text);
        builder.push(record.finish());
    }
    builder.take(encoding).unwrap().unwrap()
}

/// All numbers, as a receiver has them.
pub(crate) fn sorted(mut numbers: Vec<i64>) -> Vec<i64> {
    numbers.sort_unstable();
    numbers
}
