//! The pipeline from a ring in memory to the aggregators, with a fleet whose metrics can be
//! changed; for tests and benches.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where it is wrong")]
#![allow(dead_code, reason = "each uses its part of it")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::unbounded_channel;
use webb::actors::fleet::{AggregatorFactory, Fleet, OtherLanes};
use webb::actors::observer::start_history;
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::actors::{Directory, Finish, flows, reader, rollups};
use webb::pipeline::{
    Commands, Consumer, Counters, HistoryState, Lane, Looks, Reader, ReaderState, RollupLedger, RollupSite,
    RollupState, SnapshotCollector, WantedRollups,
};
use webb::records::Waker;
use webb_decode::Decoder;
use webb_flow::fault::Components;
use webb_flow::{Address, Reasons};
use webb_index::filters::{FilterSpec, Filters, FlowFilter};
use webb_index::{self as index, Endpoint, EndpointSpec, Index, Policies};
use webb_metrics::Limits;
use webb_metrics::dynamic::{self, Dynamic, change};
use webb_observer::export::Node;
use webb_observer::stream::{FlowOutput, FlowSettings, FlowStream, WantedFlows};
use webb_observer::{History, MAX_EVENTS};
use webb_otlp::{Attributes, Environment, Output, OutputConfig};
use webb_settings::SourceFile;

use crate::memory_ring::MemoryRing;

pub(crate) struct InMemoryPipeline {
    pub(crate) ring: MemoryRing,
    pub(crate) components: Components,
    pub(crate) counters: Arc<Counters>,
    pub(crate) commands: Commands,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) collector: Option<SnapshotCollector>,
    pub(crate) intensity: Box<dyn Fn(&str) -> Intensity>,
    pub(crate) reader: Addr<ThreadSupervisor>,
    pub(crate) current: Dynamic,
}

pub(crate) fn dynamic(text: &str) -> Dynamic {
    dynamic::read(SourceFile { name: "metrics.yaml".to_owned(), text: text.to_owned() }).unwrap()
}

/// A pipeline with these metrics; every record is of the pod default/xwing, by both ends.
pub(crate) fn pipeline(metrics: &str) -> InMemoryPipeline {
    limited(metrics, Limits::default())
}

/// The same with limits on its series.
pub(crate) fn limited(metrics: &str, limits: Limits) -> InMemoryPipeline {
    built(metrics, limits, OtherLanes::default())
}

/// The same with a history of all flows, on the node `node`.
pub(crate) fn recorded(metrics: &str) -> (InMemoryPipeline, Arc<HistoryState>, Addr<ThreadSupervisor>) {
    let component = Components::default().component("unused");
    let (lane, items) = Lane::to(Consumer::History, component);
    let lane = Arc::new(lane);
    let others = OtherLanes { history: Some(Arc::clone(&lane)), rollups: None };
    let pipeline = built(metrics, Limits::default(), others);
    let history = Arc::new(History::new(MAX_EVENTS));
    let state = Arc::new(HistoryState::new(history, lane, "node".to_owned(), None));
    let supervisor = start_history(items, Arc::clone(&state), (pipeline.intensity)("observer/history"));
    (pipeline, state, supervisor)
}

/// The same with a small history, all flows of which are sent to an output that keeps them.
pub(crate) struct Streamed {
    pub(crate) pipeline: InMemoryPipeline,
    pub(crate) history: Arc<HistoryState>,
    pub(crate) stream: Arc<FlowStream>,
    pub(crate) output: Arc<Output>,
    recorder: Addr<ThreadSupervisor>,
    flows: Addr<ThreadSupervisor>,
}

pub(crate) async fn streamed(metrics: &str) -> Streamed {
    let (lane, items) = Lane::to(Consumer::History, Components::default().component("unused"));
    let lane = Arc::new(lane);
    let others = OtherLanes { history: Some(Arc::clone(&lane)), rollups: None };
    let pipeline = built(metrics, Limits::default(), others);
    let history = Arc::new(History::new(4095));
    let state = Arc::new(HistoryState::new(Arc::clone(&history), lane, "node".to_owned(), None));
    let recorder = start_history(items, Arc::clone(&state), (pipeline.intensity)("observer/history"));
    let output = kept_output();
    let (stream, flows) = all_flows(&state, &output, (pipeline.intensity)("flows")).await;
    Streamed { pipeline, history: state, stream, output, recorder, flows }
}

/// Sends all flows of a history to an output, and failed attempts to connect, from now on.
pub(crate) async fn all_flows(
    history: &HistoryState,
    output: &Arc<Output>,
    intensity: Intensity,
) -> (Arc<FlowStream>, Addr<ThreadSupervisor>) {
    history.lane().want_failures(true);
    let [flows, failures] = [history.history(), history.failures()].map(Arc::clone);
    let node = Node { name: "node".to_owned(), qualified: "node".to_owned(), version: "test".to_owned(), run: 1 };
    let stream = Arc::new(FlowStream::new(flows, failures, node, Box::new(|_| Attributes::new())));
    let filters = Filters { include: vec![FlowFilter::new(FilterSpec::default()).unwrap()], exclude: Vec::new() };
    let settings = FlowSettings { filters, max_per_second: u32::MAX, ..FlowSettings::default() };
    stream.want(Some(WantedFlows { settings, outputs: vec![FlowOutput { output: Arc::clone(output), body: None }] }));
    let flows = flows::start(Arc::clone(&stream), intensity);
    // What is recorded before that is not sent.
    until("the flows are taken up", || stream.has_taken_up()).await;
    (stream, flows)
}

impl Streamed {
    /// Ends all, in the order of the agent.
    pub(crate) async fn finish(self) {
        self.pipeline.finish().await;
        self.recorder.send(Finish).await.unwrap();
        self.flows.send(Finish).await.unwrap();
    }
}

/// An output whose receiver is not there.
fn kept_output() -> Arc<Output> {
    let config = OutputConfig { endpoint: Some("https://not.there".to_owned()), ..OutputConfig::named("kept") };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

/// The same with rows, which this output takes and keeps.
pub(crate) fn summed(metrics: &str) -> (InMemoryPipeline, Arc<RollupState>, Arc<Output>, Addr<ThreadSupervisor>) {
    let (lane, items) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
    let lane = Arc::new(lane);
    let others = OtherLanes { history: None, rollups: Some(Arc::clone(&lane)) };
    let pipeline = built(metrics, Limits::default(), others);
    let site = RollupSite { cluster: "default".to_owned(), node: "node".to_owned() };
    let state = Arc::new(RollupState::new(lane, site));
    let (output, counters) = (kept_output(), Arc::clone(&pipeline.counters));
    state.reads_seen(RollupLedger {
        seen: Box::new(|| None),
        unrolled: Box::new(move || counters.unrolled()),
        count_windows: Box::new(|_| {}),
        maps: 1,
        handed_over: None,
    });
    state.want(WantedRollups { outputs: vec![Arc::clone(&output)], ..WantedRollups::default() });
    let supervisor = rollups::start(items, Arc::clone(&state), (pipeline.intensity)("rollups"));
    (pipeline, state, output, supervisor)
}

/// The same with lanes to others than metrics.
pub(crate) fn built(metrics: &str, limits: Limits, others: OtherLanes) -> InMemoryPipeline {
    let components = Components::default();
    let (escalations, _) = unbounded_channel();
    let policy = Arc::new(ArcSwap::from_pointee(RestartPolicy {
        max_restarts: 5,
        window: Duration::from_mins(1),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
        stall_after: Duration::from_secs(10),
    }));
    let intensity = {
        let (components, policy, escalations) = (components.clone(), Arc::clone(&policy), escalations.clone());
        move |name: &str| Intensity::new(components.component(name), Arc::clone(&policy), escalations.clone())
    };
    let waker = Waker::new().unwrap();
    let (commands, requests) = Commands::new(waker.clone());
    let factory = AggregatorFactory {
        listings: std::sync::Arc::default(),
        components: components.clone(),
        directory: Directory::default(),
        policy,
        escalations,
        home: "default/node".to_owned(),
        limits,
        looks: Looks::default(),
    };
    let current = dynamic(metrics);
    let (fleet, lanes) =
        Fleet::start(factory, current.metrics.iter().map(|listed| &listed.config), commands.clone(), others);
    let collector = SnapshotCollector::new(Arc::clone(&lanes), commands.clone());
    let spec = EndpointSpec { namespace: "default".into(), pod_name: "xwing".into(), ..EndpointSpec::default() };
    let pod = Endpoint::new(index::EndpointKind::Pod, true, &spec);
    let (counters, ring) = (Arc::new(Counters::default()), MemoryRing::default());
    let reader = Reader {
        rings: Arc::new(ring.clone()),
        waker,
        lanes,
        commands: requests,
        index: Arc::new(ArcSwap::from_pointee(Index::new([(pod, vec![Address::default()])], Policies::default()))),
        decoder: Arc::new(ArcSwapOption::from_pointee(Decoder::new(Reasons::new([])))),
        decoder_fault: Box::new(|text| panic!("{text}")),
        counters: Arc::clone(&counters),
        state: ReaderState::default(),
    };
    let reader = reader::start(Arc::new(reader), intensity("reader"));
    InMemoryPipeline {
        ring,
        components,
        counters,
        commands,
        fleet: Arc::new(fleet),
        collector: Some(collector),
        intensity: Box::new(intensity),
        reader,
        current,
    }
}

/// Waits for something that must come true; the bound only ends a test that has failed.
pub(crate) async fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_mins(1), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl InMemoryPipeline {
    pub(crate) async fn becomes(&mut self, text: &str) {
        let new = dynamic(text);
        let changes = change::changes(&self.current.metrics, &new.metrics);
        let configs: Vec<_> = new.metrics.iter().map(|listed| &listed.config).collect();
        self.fleet.change(&changes, &configs).await;
        self.current = new;
    }

    pub(crate) async fn at_rest(&self, records: u64) {
        until("every record read and counted", || {
            self.ring.is_empty()
                && self.counters.read.load(Relaxed) == records
                && self.counters.flows.load(Relaxed) == records
                && self.fleet.members().iter().all(|(_, member)| {
                    member.lane.sent() == member.state.counted() + member.state.panicked() + member.lane.skipped()
                })
        })
        .await;
    }

    pub(crate) async fn finish(self) {
        self.reader.send(Finish).await.unwrap();
        self.fleet.finish().await;
    }
}
