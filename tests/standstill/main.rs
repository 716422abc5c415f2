//! An output whose receiver has stopped, under more flows than it can take: what it costs the
//! metrics, and what it takes of memory. Memory is the process' own, so this test has one to
//! itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may end where it is wrong, and this one prints its figures"
)]

#[path = "../faults/in_memory/mod.rs"]
mod in_memory;
#[path = "../faults/memory_ring/mod.rs"]
mod memory_ring;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use webb::actors::fleet::OtherLanes;
use webb::actors::observer::start_history;
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::actors::{Finish, output, rollups};
use webb::pipeline::{Consumer, HistoryState, Lane, RollupSite, RollupState, WantedRollups};
use webb_flow::abi::Record;
use webb_flow::fault::Components;
use webb_metrics::Limits;
use webb_observer::History;
use webb_observer::stream::{FlowCounts, FlowStream};
use webb_otlp::{BatchConfig, Environment, Ledger, Loss, Output, OutputConfig, Protocol, Stream};
use webb_rollup::Settings;

use in_memory::{InMemoryPipeline, all_flows, built, until};

const METRICS: &str = "metrics:\n- name: flow\n- name: tcp\n- name: port-distribution\n- name: traffic\n";

/// Flows that come while the output's queue is full.
const FLOWS: u32 = 500_000;

/// Flows that are put into the ring at once.
const CHUNK: u32 = 65_536;

/// Ports that are called, so rows of a window.
const PORTS: u32 = 1000;

/// Bytes of the output's queue.
const QUEUE: u64 = 2 << 20;

/// What may be resident beside a full queue: a history of 65,535 flows (11 MB), rows, a request of
/// each stream in the making (1 MiB, and its compressed form), and free places of the allocator.
const SLACK: u64 = 28 << 20;

/// What may become resident once the queue has been full: 25 bytes for each of [`FLOWS`].
const GROWTH: u64 = 12 << 20;

/// A first packet from a port of its own.
fn record(number: u32) -> Record {
    let port = |number: u32| u16::try_from(number).unwrap();
    Record {
        source_port: port(32_768 + number % 28_000),
        destination_port: port(1 + number % PORTS),
        ..memory_ring::syn()
    }
}

fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Time that the threads which count have run: the reader's, and those of metrics.
fn counting_time() -> Duration {
    let mut nanoseconds = 0;
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.starts_with("reader") || name.starts_with("aggregator") {
            let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(nanoseconds)
}

/// All that is sent, to a receiver that takes connections and reads nothing.
struct Outputs {
    history: Arc<HistoryState>,
    rows: Arc<RollupState>,
    stream: Arc<FlowStream>,
    output: Arc<Output>,
    _receiver: TcpListener,
    supervisors: Vec<Addr<ThreadSupervisor>>,
}

impl Outputs {
    async fn start() -> (InMemoryPipeline, Self) {
        let lane = |consumer| {
            let (lane, items) = Lane::to(consumer, Components::default().component("unused"));
            (Arc::new(lane), items)
        };
        let ((flows_lane, flows), (rows_lane, rows)) = (lane(Consumer::History), lane(Consumer::Rollups));
        let others = OtherLanes { history: Some(Arc::clone(&flows_lane)), rollups: Some(Arc::clone(&rows_lane)) };
        let pipeline = built(METRICS, Limits::default(), others);
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = OutputConfig {
            endpoint: Some(format!("http://{}", receiver.local_addr().unwrap())),
            protocol: Some(Protocol::HttpProtobuf),
            batch: BatchConfig { max_bytes: 1 << 20, ..BatchConfig::default() },
            queue_bytes: QUEUE,
            ..OutputConfig::named("stopped")
        };
        let sent_to = Arc::new(Output::new(config, &Environment::default(), "test").unwrap());
        let site = RollupSite { cluster: "default".to_owned(), node: "node".to_owned() };
        let state = Arc::new(RollupState::new(rows_lane, site));
        let settings = Settings { window: Duration::from_secs(1), ..Settings::default() };
        state.want(WantedRollups { settings, outputs: vec![Arc::clone(&sent_to)], ..WantedRollups::default() });
        let of = &pipeline.intensity;
        let history = Arc::new(History::new(65_535));
        let recorded = Arc::new(HistoryState::new(history, flows_lane, "node".to_owned(), None));
        let recorder = start_history(flows, Arc::clone(&recorded), of("observer/history"));
        let adder = rollups::start(rows, Arc::clone(&state), of("rollups"));
        let (stream, sender) = all_flows(&recorded, &sent_to, of("flows")).await;
        until("the rows are taken up", || state.has_taken_up()).await;
        let supervisors = vec![recorder, sender, adder, output::start(Arc::clone(&sent_to), of("output/stopped"))];
        let outputs =
            Self { history: recorded, rows: state, stream, output: sent_to, _receiver: receiver, supervisors };
        (pipeline, outputs)
    }

    fn ledger(&self, stream: Stream) -> Ledger {
        self.output.figures().ledger(stream)
    }

    /// What the queue had no room for.
    fn dropped(&self) -> u64 {
        self.ledger(Stream::Flows).dropped(Loss::QueueFull)
    }

    /// Holds what is true of the output at any time.
    fn check(&self) {
        assert!(self.output.figures().queue_bytes() <= QUEUE, "{}", self.output.figures().queue_bytes());
        for stream in Stream::ALL {
            let ledger = self.ledger(stream);
            assert!(ledger.is_closed() && ledger.delivered == 0 && ledger.rejected == 0, "{ledger:?}");
        }
    }

    /// Waits until each flow is in a row and in the queue, or lost by name.
    async fn settled(&self, records: u64) {
        until("each flow is in a row or lost", || {
            let (counts, lane) = (self.rows.counts(), self.rows.lane());
            lane.sent() == records && counts.flows + lane.skipped() == records
        })
        .await;
        until("each flow is sent or lost", || {
            let FlowCounts { included, sampled, passed_over, limited, overrun, panicked } = self.stream.counts();
            assert_eq!((sampled, passed_over, limited, panicked), (0, 0, 0, 0));
            let skipped = self.history.lane().skipped();
            self.history.recorded() + skipped == records && included + overrun == self.history.recorded()
        })
        .await;
    }
}

/// A pipeline that is fed as fast as its reader reads.
struct Feed {
    pipeline: InMemoryPipeline,
    sent: u32,
}

impl Feed {
    async fn run(&mut self, flows: u32) {
        let end = self.sent + flows;
        while self.sent < end {
            let chunk = CHUNK.min(end - self.sent);
            self.pipeline.ring.push_all((self.sent..self.sent + chunk).map(record));
            self.sent += chunk;
            until("the ring is read", || self.pipeline.ring.is_empty()).await;
        }
    }

    /// Sends flows until all are counted, and prints how many that were in a second; returns the
    /// values of all series.
    async fn timed(&mut self, what: &str, flows: u32) -> BTreeMap<String, u64> {
        let (began, before) = (Instant::now(), counting_time());
        self.run(flows).await;
        let values = self.counted().await;
        let (time, of) = (began.elapsed(), counting_time().saturating_sub(before));
        let nanoseconds = of.as_secs_f64() * 1e9 / f64::from(flows);
        println!("{what}: {:.0} flows/s, {nanoseconds:.1} ns each of counting", f64::from(flows) / time.as_secs_f64());
        values
    }

    /// Waits until all is counted; returns the values of all series.
    async fn counted(&mut self) -> BTreeMap<String, u64> {
        self.pipeline.at_rest(u64::from(self.sent)).await;
        let skipped: u64 = self.pipeline.fleet.members().iter().map(|(_, member)| member.lane.skipped()).sum();
        assert_eq!(skipped, 0, "flows that a metric has not");
        let collector = self.pipeline.collector.as_mut().unwrap();
        assert_eq!(collector.collect(Duration::from_mins(1)), 0);
        let mut values = BTreeMap::new();
        for snapshot in collector.snapshots() {
            for (column, family) in snapshot.families.iter().enumerate() {
                for (labels, value) in snapshot.rows(column) {
                    values.insert(format!("{}{{{labels}}}", family.name), value);
                }
            }
        }
        values
    }
}

/// A receiver that has stopped costs no metric a flow, and the agent no more memory than the queue
/// may have. All is counted while nothing was delivered, so nothing waits for the receiver; what it
/// does not get is in the ledger.
#[actix::test]
async fn a_receiver_that_stands_still_holds_up_nothing() {
    let (pipeline, outputs) = Outputs::start().await;
    let mut feed = Feed { pipeline, sent: 0 };
    feed.run(CHUNK).await;
    let at_first = resident();
    while outputs.dropped() == 0 {
        assert!(feed.sent < FLOWS * 20, "the queue never drops");
        feed.run(CHUNK).await;
        outputs.settled(u64::from(feed.sent)).await;
        outputs.check();
    }
    let (when_full, before) = (resident(), feed.sent);
    let with = feed.timed("with outputs", FLOWS).await;
    outputs.settled(u64::from(feed.sent)).await;
    let in_the_end = resident();
    outputs.check();
    let [at_first, when_full, in_the_end] = [at_first, when_full, in_the_end].map(|bytes| bytes >> 10);
    println!("resident: {at_first} kB at first, {when_full} kB with a full queue, {in_the_end} kB in the end");
    assert!(when_full - at_first.min(when_full) <= (QUEUE + SLACK) >> 10);
    assert!(in_the_end - when_full.min(in_the_end) <= GROWTH >> 10);
    feed.pipeline.finish().await;
    for supervisor in &outputs.supervisors {
        supervisor.send(Finish).await.unwrap();
    }
    let (flows, rows) = (outputs.ledger(Stream::Flows), outputs.ledger(Stream::Rollups));
    println!("{flows:?}\n{rows:?}");
    assert_eq!(flows.offered, outputs.stream.counts().included);
    assert!(rows.offered > u64::from(PORTS) && rows.dropped(Loss::QueueFull) == 0, "flows go before rows");
    assert_eq!(outputs.output.close(), flows.waiting + rows.waiting);
    outputs.check();

    let mut feed = Feed { pipeline: in_memory::pipeline(METRICS), sent: 0 };
    feed.run(before).await;
    feed.counted().await;
    let without = feed.timed("without", FLOWS).await;
    assert!(with.len() > 1000 && with == without, "{with:?}\n{without:?}");
    feed.pipeline.finish().await;
}
