//! The pipeline's own threads over records that lie in memory: a reader that decodes, and a thread
//! for each metric.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Receiver;
use rustix::thread::{Pid, gettid};
use webb::pipeline::{
    AggregatorState, Commands, Consumer, Counters, HistoryState, Item, Lane, Lanes, Lifecycle, Looks, Reader,
    ReaderState, RollupSite, RollupState, WantedRollups, new_uuid, record, roll_up, work,
};
use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_flow::abi::Record;
use webb_flow::fault::{Components, State};
use webb_metrics::{Aggregator, captures, grammar};
use webb_observer::History;
use webb_otlp::{Environment, Output, OutputConfig, Owner, Protocol};
use webb_rollup::Settings;
use zerocopy::IntoBytes;

/// Hands out as many records as were asked for.
struct Tap {
    asked: Arc<AtomicU64>,
    given: u64,
    records: Arc<Vec<Record>>,
}

impl RecordSource for Tap {
    fn wait(&mut self, _: Duration) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        let (before, asked) = (self.given, self.asked.load(SeqCst));
        while self.given < asked {
            let record = &self.records[usize::try_from(self.given).unwrap_or(0) % self.records.len()];
            self.given += 1;
            if take(Signal::Flow, record.as_bytes()).is_break() {
                break;
            }
        }
        usize::try_from(self.given - before).unwrap_or(0)
    }
}

struct Source(Arc<AtomicU64>, Arc<Vec<Record>>);

impl Rings for Source {
    fn open(&self, _: &Waker) -> std::io::Result<Box<dyn RecordSource>> {
        Ok(Box::new(Tap { asked: Arc::clone(&self.0), given: 0, records: Arc::clone(&self.1) }))
    }
}

/// Threads that run until this is dropped.
pub(crate) struct Pipeline {
    asked: Arc<AtomicU64>,
    counters: Arc<Counters>,
    states: Vec<Arc<AggregatorState>>,
    beside: Option<Running>,
    lifecycles: Vec<Arc<Lifecycle>>,
    threads: Vec<JoinHandle<()>>,
}

/// What takes the flows beside the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A history of so many flows.
    History(usize),
    /// Rows with windows of a second, for a receiver that has stopped.
    Rows,
}

/// The threads of it.
struct Running {
    lane: Arc<Lane>,
    /// Flows that it has taken.
    taken: Box<dyn Fn() -> u64>,
    numbers: Vec<Pid>,
    wake: Box<dyn Fn()>,
    /// Takes connections, and nothing from them.
    _receiver: Option<TcpListener>,
}

/// The run of an output's thread.
struct Sender(Arc<Lifecycle>);

impl Owner for Sender {
    fn beat(&self) {}

    fn stopping(&self) -> bool {
        self.0.stopping()
    }

    fn problem(&self, _: &str) {}
}

impl Pipeline {
    pub(crate) fn new(configuration: &str, pods: u32) -> Self {
        Self::of(configuration, pods, super::records(pods), Beside::Nothing)
    }

    /// Reads `records` again and again.
    #[allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench may end where it is wrong")]
    pub(crate) fn of(configuration: &str, pods: u32, records: Vec<Record>, beside: Beside) -> Self {
        let components = Components::default();
        let (mut lanes, mut threads, mut lifecycles, mut states) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let metrics = grammar::parse(configuration).unwrap_or_default().metrics;
        let connections = metrics.iter().any(|config| config.name() == captures::NAME);
        for config in metrics {
            let component = components.component(config.name());
            component.set_state(State::Up, "");
            let (lane, items) = Lane::new(Arc::clone(&component));
            let (state, lifecycle) =
                (Arc::new(AggregatorState::new(Aggregator::new(&config))), Arc::new(Lifecycle::new(component)));
            lanes.push(Arc::new(lane));
            states.push(Arc::clone(&state));
            lifecycles.push(Arc::clone(&lifecycle));
            threads.push(std::thread::spawn(move || work(&lifecycle, &items, &state, Looks::default())));
        }
        let beside = match beside {
            Beside::Nothing => None,
            Beside::History(flows) => {
                let (lane, items, lifecycle) = lane_to(Consumer::History, "history", &components);
                let history = Arc::new(History::new(flows));
                let state = Arc::new(HistoryState::new(history, Arc::clone(&lane), "here".to_owned(), None));
                let (of_thread, its) = (Arc::clone(&state), Arc::clone(&lifecycle));
                let number = start(&mut threads, move || record(&its, &items, &of_thread));
                lifecycles.push(lifecycle);
                let wake = Arc::clone(&lane);
                Some(Running {
                    lane,
                    taken: Box::new(move || state.recorded()),
                    numbers: vec![number],
                    wake: Box::new(move || wake.waker().wake()),
                    _receiver: None,
                })
            }
            Beside::Rows => {
                let (lane, items, lifecycle) = lane_to(Consumer::Rollups, "rollups", &components);
                let receiver = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let config = OutputConfig {
                    endpoint: Some(format!("http://{}", receiver.local_addr().unwrap())),
                    protocol: Some(Protocol::HttpProtobuf),
                    ..OutputConfig::named("stopped")
                };
                let output = Arc::new(Output::new(config, &Environment::default(), &new_uuid()).unwrap());
                let site = RollupSite { cluster: String::new(), node: "here".to_owned() };
                let state = Arc::new(RollupState::new(Arc::clone(&lane), site));
                let settings = Settings { window: Duration::from_secs(1), ..Settings::default() };
                state.want(WantedRollups { settings, outputs: vec![Arc::clone(&output)], ..WantedRollups::default() });
                let (of_thread, its) = (Arc::clone(&state), Arc::clone(&lifecycle));
                let rows = start(&mut threads, move || roll_up(&its, &items, &of_thread));
                let (sending, sender) = (Arc::clone(&output), Sender(Arc::clone(&lifecycle)));
                let sends = start(&mut threads, move || sending.run(&sender).unwrap());
                lifecycles.push(lifecycle);
                let wake = Arc::clone(&lane);
                Some(Running {
                    lane,
                    taken: Box::new(move || {
                        let counts = state.counts();
                        counts.flows + counts.passed_over + counts.panicked + counts.ignored
                    }),
                    numbers: vec![rows, sends],
                    wake: Box::new(move || {
                        wake.waker().wake();
                        output.wake();
                    }),
                    _receiver: Some(receiver),
                })
            }
        };
        lanes.extend(beside.iter().map(|running| Arc::clone(&running.lane)));
        let lanes = Lanes::new(lanes);
        lanes.want_connections(connections);
        let counters = Arc::new(Counters::default());
        let waker = Waker::new().unwrap();
        let (_post, commands) = Commands::new(waker.clone());
        let asked = Arc::new(AtomicU64::new(0));
        let reader = Reader {
            rings: Arc::new(Source(Arc::clone(&asked), Arc::new(records))),
            waker,
            lanes: Arc::new(lanes),
            commands,
            index: Arc::new(ArcSwap::new(super::index(pods))),
            decoder: Arc::new(ArcSwapOption::from_pointee(super::decoder())),
            decoder_fault: Box::new(|text| unreachable!("{text}")),
            counters: Arc::clone(&counters),
            state: ReaderState::default().with_connections(connections.then_some(1 << 20)),
        };
        let lifecycle = Arc::new(Lifecycle::new(components.component("reader")));
        lifecycles.push(Arc::clone(&lifecycle));
        threads.push(std::thread::spawn(move || assert!(reader.run(&lifecycle).is_ok())));
        Self { asked, counters, states, beside, lifecycles, threads }
    }

    /// So many records more, from the ring to every counter.
    pub(crate) fn run(&self, records: u64) {
        let all = self.asked.fetch_add(records, SeqCst) + records;
        let counted = || {
            let flows = self.counters.flows.load(SeqCst);
            flows >= all
                && self.states.iter().all(|state| state.counted() >= flows)
                && self.beside.iter().all(|of| (of.taken)() + of.lane.skipped() >= of.lane.sent())
        };
        while self.counters.read.load(SeqCst) < all || !counted() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Pipeline {
    /// CPU time of the threads beside the counters, and the flows that they took and that they left
    /// out.
    pub(crate) fn beside(&self) -> (Duration, u64, u64) {
        let Some(beside) = &self.beside else { return (Duration::ZERO, 0, 0) };
        let on_cpu_ns = |number: &Pid| {
            let path = format!("/proc/self/task/{}/schedstat", number.as_raw_nonzero());
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
        };
        let time = Duration::from_nanos(beside.numbers.iter().map(on_cpu_ns).sum());
        (time, (beside.taken)(), beside.lane.skipped())
    }
}

/// A lane to a consumer, and the life of its thread.
fn lane_to(
    consumer: Consumer,
    name: &'static str,
    components: &Components,
) -> (Arc<Lane>, Receiver<Item>, Arc<Lifecycle>) {
    let component = components.component(name);
    component.set_state(State::Up, "");
    let (lane, items) = Lane::to(consumer, Arc::clone(&component));
    (Arc::new(lane), items, Arc::new(Lifecycle::new(component)))
}

/// Starts a thread, and returns its number.
#[allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench may end where it is wrong")]
fn start(threads: &mut Vec<JoinHandle<()>>, body: impl FnOnce() + Send + 'static) -> Pid {
    let (thread, number) = std::sync::mpsc::sync_channel(1);
    threads.push(std::thread::spawn(move || {
        thread.send(gettid()).unwrap();
        body();
    }));
    number.recv().unwrap()
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.lifecycles.iter().for_each(|lifecycle| lifecycle.stop());
        self.beside.iter().for_each(|of| (of.wake)());
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}
