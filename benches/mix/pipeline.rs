//! The pipeline's own threads over records that lie in memory: a reader that decodes, and a thread
//! for each metric.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use webb::pipeline::{
    AggregatorState, Commands, Consumer, Counters, HistoryState, Lane, Lanes, Lifecycle, Looks, Reader, ReaderState,
    record, work,
};
use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_flow::abi::Record;
use webb_flow::fault::{Components, State};
use webb_metrics::{Aggregator, captures, grammar};
use webb_observer::History;
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
    history: Option<(Arc<HistoryState>, rustix::thread::Pid)>,
    lifecycles: Vec<Arc<Lifecycle>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    pub(crate) fn new(configuration: &str, pods: u32) -> Self {
        Self::of(configuration, pods, super::records(pods), 0)
    }

    /// Reads `records` again and again. Has a history of so many flows, unless that is 0.
    #[allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a bench may end where it is wrong")]
    pub(crate) fn of(configuration: &str, pods: u32, records: Vec<Record>, flows: usize) -> Self {
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
        let history = (flows > 0).then(|| {
            let component = components.component("history");
            component.set_state(State::Up, "");
            let (lane, items) = Lane::to(Consumer::History, Arc::clone(&component));
            let (lane, lifecycle) = (Arc::new(lane), Arc::new(Lifecycle::new(component)));
            lanes.push(Arc::clone(&lane));
            lifecycles.push(Arc::clone(&lifecycle));
            let state = Arc::new(HistoryState::new(Arc::new(History::new(flows)), lane, "here".to_owned(), None));
            let (of_thread, (thread, number)) = (Arc::clone(&state), std::sync::mpsc::sync_channel(1));
            threads.push(std::thread::spawn(move || {
                thread.send(rustix::thread::gettid()).unwrap();
                record(&lifecycle, &items, &of_thread);
            }));
            (state, number.recv().unwrap())
        });
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
        Self { asked, counters, states, history, lifecycles, threads }
    }

    /// So many records more, from the ring to every counter.
    pub(crate) fn run(&self, records: u64) {
        let all = self.asked.fetch_add(records, SeqCst) + records;
        let counted = || {
            let flows = self.counters.flows.load(SeqCst);
            flows >= all
                && self.states.iter().all(|state| state.counted() >= flows)
                && self
                    .history
                    .iter()
                    .all(|(state, _)| state.recorded() + state.lane().skipped() >= state.lane().sent())
        };
        while self.counters.read.load(SeqCst) < all || !counted() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Pipeline {
    /// CPU time of the history's thread, and the flows that it wrote and that it left out.
    pub(crate) fn history(&self) -> (Duration, u64, u64) {
        let Some((state, thread)) = &self.history else { return (Duration::ZERO, 0, 0) };
        let path = format!("/proc/self/task/{}/schedstat", thread.as_raw_nonzero());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let on_cpu_ns = text.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        (Duration::from_nanos(on_cpu_ns), state.recorded(), state.lane().skipped())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.lifecycles.iter().for_each(|lifecycle| lifecycle.stop());
        self.history.iter().for_each(|(state, _)| state.lane().waker().wake());
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}
