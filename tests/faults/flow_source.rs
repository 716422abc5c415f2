//! A flow source whose server restarts, loses flows, repeats them and sends what cannot be read:
//! each flow counts once, and everything else has its counter.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use webb::actors::fleet::{AggregatorFactory, Fleet, OtherLanes};
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::actors::{Directory, Finish, flow_source};
use webb::pipeline::flow_source::{FlowSource, FlowSourceState, Gap, Outcome, SourceLedger};
use webb::pipeline::{Commands, Counters, Looks};
use webb::records::Waker;
use webb_flow::fault::{Components, State, inject};
use webb_flowlog::WireFault;
use webb_metrics::Limits;
use webb_metrics::dynamic::change;
use webb_observer::History;
use webb_observer::client::{Cause, ServerAddress};

use crate::flow_server::{FlowServer, push, push_encoded, push_lost};
use crate::in_memory::{dynamic, until};
use crate::turn;

const FLOW: &str = "metrics: [{name: flow, contextOptions: [{name: sourceContext, values: [pod-name]}]}]";

/// A source and its fleet; the server is the test's.
struct Followed {
    directory: TempDir,
    ledger: Arc<SourceLedger>,
    counters: Arc<Counters>,
    components: Components,
    fleet: Arc<Fleet>,
    source: Addr<ThreadSupervisor>,
}

impl Followed {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let components = Components::default();
        let (escalations, _) = unbounded_channel();
        let policy = Arc::new(ArcSwap::from_pointee(RestartPolicy {
            max_restarts: 5,
            window: Duration::from_mins(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(100),
            stall_after: Duration::from_mins(1),
        }));
        let waker = Waker::new().unwrap();
        let (commands, requests) = Commands::new(waker.clone());
        let factory = AggregatorFactory {
            listings: Arc::default(),
            components: components.clone(),
            directory: Directory::default(),
            policy: Arc::clone(&policy),
            escalations: escalations.clone(),
            home: "default/node".to_owned(),
            limits: Limits::default(),
            looks: Looks::default(),
        };
        let (fleet, lanes) = Fleet::start(
            factory,
            dynamic(FLOW).metrics.iter().map(|listed| &listed.config),
            commands,
            OtherLanes::default(),
        );
        let (ledger, counters) = (Arc::new(SourceLedger::default()), Arc::new(Counters::default()));
        let source = FlowSource {
            server: ServerAddress::Unix(directory.path().join("hubble.sock")),
            waker,
            lanes,
            commands: requests,
            counters: Arc::clone(&counters),
            ledger: Arc::clone(&ledger),
            state: FlowSourceState::new(0),
        };
        let intensity = Intensity::new(components.component("flow_source"), policy, escalations);
        let source = flow_source::start(Arc::new(source), intensity);
        Self { directory, ledger, counters, components, fleet: Arc::new(fleet), source }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("hubble.sock")
    }

    fn serve(&self, history: &Arc<History>) -> FlowServer {
        FlowServer::start(&self.socket(), Arc::clone(history))
    }

    /// Waits until so many flows were counted, by the source and by the metric.
    async fn counted(&self, flows: u64) {
        until("every flow counted", || {
            self.ledger.outcome(Outcome::Counted) >= flows
                && self.counters.flows.load(Relaxed) >= flows
                && self.fleet.members().iter().all(|(_, member)| member.state.counted() >= flows)
        })
        .await;
        self.adds_up(flows);
    }

    fn adds_up(&self, flows: u64) {
        assert_eq!(self.ledger.outcome(Outcome::Counted), flows);
        assert_eq!(self.counters.flows.load(Relaxed), flows);
        let outcomes: u64 = Outcome::all().map(|outcome| self.ledger.outcome(outcome)).sum();
        assert_eq!(self.ledger.received(), outcomes);
    }

    async fn received(&self, responses: u64) {
        until("every response received", || {
            Outcome::all().map(|outcome| self.ledger.outcome(outcome)).sum::<u64>() >= responses
        })
        .await;
    }

    async fn connected(&self) {
        until("connected", || self.ledger.is_connected()).await;
    }

    fn gaps(&self) -> Vec<(&'static str, u64)> {
        Gap::ALL.iter().map(|gap| (gap.label(), self.ledger.gaps(*gap))).filter(|(_, count)| *count > 0).collect()
    }

    async fn finish(self) {
        self.source.send(Finish).await.unwrap();
        self.fleet.finish().await;
    }
}

/// A connection that ends is made again, and goes on behind the last flow: none is counted twice,
/// none is missing, and the state says what is going on.
#[actix::test]
async fn a_connection_that_ends() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(10_000)));
    let component = followed.components.component("flow_source");
    until("no server yet", || followed.ledger.ended(Cause::Unreachable) > 0).await;
    assert_eq!(component.state(), State::Starting, "not ready without a first connection");
    push(&history, 0..100);
    let mut server = followed.serve(&history);
    followed.counted(100).await;
    for round in 1..4 {
        drop(server);
        until("the end is seen", || !followed.ledger.is_connected()).await;
        assert_eq!(component.state(), State::Degraded);
        push(&history, round * 100..round * 100 + 50);
        server = followed.serve(&history);
        followed.counted(round * 100 + 50).await;
        assert_eq!(component.state(), State::Up);
        push(&history, round * 100 + 50..round * 100 + 100);
        followed.counted(round * 100 + 100).await;
    }
    assert!(followed.ledger.outcome(Outcome::Duplicate) > 0, "what is sent again is seen");
    // Each server of this test is a new one, with the history of the one before.
    assert!(followed.gaps().iter().all(|(reason, _)| *reason == "restarted"), "{:?}", followed.gaps());
    assert_eq!(followed.ledger.ended(Cause::Ended), 3);
    drop(server);
    followed.finish().await;
}

/// Flows that cannot be had any more are a gap: another server in the place of the first, and a
/// history that was overwritten meanwhile.
#[actix::test]
async fn gaps_are_counted() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(1_000)));
    push(&history, 0..100);
    let server = followed.serve(&history);
    followed.counted(100).await;
    drop(server);
    // Overwritten: the last flow is gone.
    push(&history, 100..2_000);
    let server = followed.serve(&history);
    until("what is left", || followed.ledger.outcome(Outcome::Counted) > 100).await;
    until("the gap", || followed.gaps() == [("overwritten", 1)]).await;
    drop(server);
    until("the end is seen", || !followed.ledger.is_connected()).await;
    // A server that has just started.
    let empty = Arc::new(History::new(1_000));
    let server = followed.serve(&empty);
    until("a restart", || followed.gaps() == [("restarted", 1), ("overwritten", 1)]).await;
    followed.connected().await;
    let before = followed.ledger.outcome(Outcome::Counted);
    push(&empty, 3_000..3_010);
    followed.counted(before + 10).await;
    assert_eq!(followed.gaps(), [("restarted", 1), ("overwritten", 1)]);
    drop(server);
    followed.finish().await;
}

/// What the server says it has lost is counted by its source, once, also when it says it again.
#[actix::test]
async fn lost_events() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(10_000)));
    let server = followed.serve(&history);
    followed.connected().await;
    push(&history, 0..10);
    push_lost(&history, vec![1 << 3, 1, 2 << 3, 0xac, 2]);
    push_lost(&history, vec![1 << 3, 2, 2 << 3, 7]);
    push(&history, 10..20);
    followed.counted(20).await;
    drop(server);
    let server = followed.serve(&history);
    push(&history, 20..30);
    followed.counted(30).await;
    assert_eq!(followed.ledger.lost(), [0, 300, 7, 0]);
    assert_eq!(followed.ledger.notices(), [0, 1, 7, 0], "as Hubble counts them");
    assert_eq!(followed.gaps(), []);
    drop(server);
    followed.finish().await;
}

/// Flows that cannot be read cost themselves alone, by reason, and are not counted again when they
/// are sent again; fields of a newer Hubble are passed over.
#[actix::test]
async fn flows_that_cannot_be_read() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(10_000)));
    let server = followed.serve(&history);
    followed.connected().await;
    push(&history, 0..10);
    push_encoded(&history, vec![0xff, 0xff]);
    push_encoded(&history, vec![2 << 3 | 2, 0]);
    push_encoded(&history, vec![11 << 3 | 2, 1, 0xff]);
    push_encoded(&history, vec![5 << 3 | 2, 5, 1 << 3 | 2, 3, b't', b'e', b'n']);
    push(&history, 10..20);
    followed.counted(20).await;
    let refused = || WireFault::ALL.map(|fault| followed.ledger.outcome(Outcome::Refused(fault)));
    assert_eq!(refused(), [1, 1, 1, 1]);
    drop(server);
    let server = followed.serve(&history);
    push(&history, 20..21);
    followed.counted(21).await;
    assert_eq!(refused(), [1, 1, 1, 1]);
    // A field that is not known, and a flow that has nothing else.
    push_encoded(&history, vec![0x82, 0xf1, 4, 2, 0xff, 0xff]);
    followed.counted(22).await;
    drop(server);
    followed.finish().await;
}

/// A response that is too large to be received is passed over, with all that the server has up to
/// it: a gap, and not a source that stands still.
#[actix::test]
async fn a_response_that_is_too_large() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(10_000)));
    let server = followed.serve(&history);
    followed.connected().await;
    push(&history, 0..10);
    followed.counted(10).await;
    push_encoded(&history, vec![0; 5 << 20]);
    until("the gap", || followed.gaps() == [("too_large", 1)]).await;
    followed.connected().await;
    push(&history, 10..20);
    followed.counted(20).await;
    assert_eq!(followed.ledger.ended(Cause::TooLarge), 1);
    assert_eq!(followed.gaps(), [("too_large", 1)]);
    drop(server);
    followed.finish().await;
}

/// A panic in the source costs the flow that it came with: the thread starts again, connects, and
/// goes on behind the last.
#[actix::test]
async fn a_panic_costs_one_flow() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(10_000)));
    let server = followed.serve(&history);
    followed.connected().await;
    push(&history, 0..10);
    followed.counted(10).await;
    inject::arm("flow_source", 1, 0);
    push(&history, 10..30);
    followed.counted(29).await;
    followed.received(30).await;
    assert_eq!(followed.ledger.outcome(Outcome::Panicked), 1);
    assert_eq!(followed.components.component("flow_source").restarts(), 1);
    push(&history, 30..40);
    followed.counted(39).await;
    assert_eq!(followed.gaps(), []);
    drop(server);
    followed.finish().await;
}

/// Metrics change while flows stream: each counts every flow since its start and none before.
#[actix::test]
async fn metrics_change_while_flows_stream() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(100_000)));
    let server = followed.serve(&history);
    followed.connected().await;
    let (old, new) = (dynamic(FLOW), dynamic(&format!("{FLOW}\n").replace("metrics: [", "metrics: [{name: tcp}, ")));
    for round in 0..20 {
        push(&history, round * 1_000..(round + 1) * 1_000);
        let (from, to) = if round % 2 == 0 { (&old, &new) } else { (&new, &old) };
        let changes = change::changes(&from.metrics, &to.metrics);
        let configs: Vec<_> = to.metrics.iter().map(|listed| &listed.config).collect();
        followed.fleet.change(&changes, &configs).await;
    }
    followed.counted(20_000).await;
    drop(server);
    followed.finish().await;
}

/// A metric that stands still holds up the source, which reads no more: the server's history runs
/// over, and what was counted and what the server says it has lost are all there was.
#[actix::test]
async fn a_full_lane_costs_an_exact_loss() {
    let _turn = turn();
    let (followed, history) = (Followed::start(), Arc::new(History::new(4_095)));
    let server = followed.serve(&history);
    followed.connected().await;
    inject::hold("aggregator/flow");
    let mut pushed = 0;
    let mut more = |flows: u64| {
        push(&history, pushed..pushed + flows);
        pushed += flows;
        pushed
    };
    // The lane has 128 batches; one stands before it, and the metric has one.
    until("the lane is full", || {
        let is_full = followed.counters.batches.load(Relaxed) >= 130;
        if !is_full {
            more(20);
        }
        is_full
    })
    .await;
    let all = (0..100).map(|_| more(1_000)).last().unwrap();
    inject::release("aggregator/flow");
    let lost = || followed.ledger.lost().iter().sum::<u64>();
    until("all are accounted for", || followed.ledger.outcome(Outcome::Counted) + lost() >= all).await;
    let (counted, lost) = (followed.ledger.outcome(Outcome::Counted), lost());
    assert_eq!(counted + lost, all);
    assert!(counted > 0 && lost > 0, "{counted} counted, {lost} lost");
    followed.counted(counted).await;
    assert_eq!(followed.gaps(), []);
    drop(server);
    followed.finish().await;
}
