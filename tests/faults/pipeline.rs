//! The pipeline of events under faults, in memory: records from a source that a test fills, through
//! reader, decoder and aggregators, to a cut. Each test kills or stalls one stage while records
//! flow and then holds the counters to the records that were sent, less exactly what the ledger
//! names.
//!
//! Needs the cargo feature `fault-injection`; `make test` sets it.
#![cfg(feature = "fault-injection")]
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use actix::Addr;
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::unbounded_channel;
use webb::actors::decoder::{DecoderActor, DecoderFault};
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::actors::thread_supervisor::ThreadSupervisor;
use webb::actors::{Finish, aggregator, reader};
use webb::pipeline::{AggregatorState, Commands, Counters, Lane, Lanes, Looks, Reader, ReaderState, SnapshotCollector};
use webb::records::Waker;
use webb_flow::Address;
use webb_flow::Reasons;
use webb_flow::fault::{Components, FaultType, State, inject};
use webb_index::{self as index, Endpoint, EndpointSpec, Index};
use webb_metrics::{Aggregator, grammar};

use crate::memory_ring::MemoryRing;
use crate::{Turn, turn};

struct Pipeline {
    ring: MemoryRing,
    index: Arc<ArcSwap<Index>>,
    components: Components,
    counters: Arc<Counters>,
    lanes: Vec<Arc<Lane>>,
    states: Vec<Arc<AggregatorState>>,
    collector: SnapshotCollector,
    /// Of the aggregators, and of the reader at last.
    supervisors: Vec<Addr<ThreadSupervisor>>,
    decoder: Addr<DecoderActor>,
    _turn: Turn,
}

fn pipeline() -> Pipeline {
    pipeline_with(Duration::from_millis(20))
}

/// A pipeline whose components wait so long before they are restarted.
fn pipeline_with(backoff: Duration) -> Pipeline {
    let turn = turn();
    let components = Components::default();
    let (escalations, _) = unbounded_channel();
    let policy = Arc::new(ArcSwap::from_pointee(RestartPolicy {
        max_restarts: 5,
        window: Duration::from_mins(1),
        backoff_min: backoff,
        backoff_max: backoff * 5,
        stall_after: Duration::from_secs(2),
    }));
    let intensity = |name: &str| Intensity::new(components.component(name), Arc::clone(&policy), escalations.clone());
    let (mut lanes, mut states, mut supervisors) = (Vec::new(), Vec::new(), Vec::new());
    for config in grammar::parse("tcp flow traffic:sourceContext=pod").unwrap().metrics {
        let name = format!("aggregator/{}", config.name());
        let (lane, items) = Lane::new(components.component(&name));
        let state = Arc::new(AggregatorState::new(Aggregator::new(&config)));
        supervisors.push(aggregator::start(
            items,
            lane.waker(),
            Arc::clone(&state),
            Looks::default(),
            intensity(&name),
        ));
        lanes.push(Arc::new(lane));
        states.push(state);
    }
    let all_lanes = Arc::new(Lanes::new(lanes.clone()));
    let waker = Waker::new().unwrap();
    let (post, commands) = Commands::new(waker.clone());
    let collector = SnapshotCollector::new(Arc::clone(&all_lanes), post);
    let decoder_slot = Arc::new(ArcSwapOption::empty());
    let decoder = DecoderActor::start(
        Reasons::new([]),
        Box::new(|| None),
        Arc::default(),
        Arc::clone(&decoder_slot),
        intensity("decoder"),
    );
    let fault_to = decoder.clone();
    let counters = Arc::new(Counters::default());
    let ring = MemoryRing::default();
    let index = Arc::new(ArcSwap::from_pointee(Index::default()));
    let reader = Reader {
        rings: Arc::new(ring.clone()),
        waker,
        lanes: all_lanes,
        commands,
        index: Arc::clone(&index),
        decoder: decoder_slot,
        decoder_fault: Box::new(move |text| fault_to.do_send(DecoderFault(text))),
        counters: Arc::clone(&counters),
        state: ReaderState::default(),
    };
    supervisors.push(reader::start(Arc::new(reader), intensity("reader")));
    Pipeline { ring, index, components, counters, lanes, states, collector, supervisors, decoder, _turn: turn }
}

/// Waits for something that must come true; the bound only ends a test that has failed.
async fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_secs(20), "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Pipeline {
    /// Waits until every aggregator runs: before, a full lane skips flows.
    async fn started(&self) {
        until("every aggregator is up", || self.lanes.iter().all(|lane| lane.component().state() == State::Up)).await;
    }

    /// Waits until everything sent has gone through.
    async fn at_rest(&self, records: u64) {
        until("every record read and counted", || {
            self.ring.is_empty()
                && self.counters.read.load(Relaxed) == records
                && self.lanes.iter().zip(&self.states).all(|(lane, state)| {
                    lane.sent() == self.counters.decoded.load(Relaxed)
                        && lane.sent() == state.counted() + state.panicked() + lane.skipped()
                })
        })
        .await;
    }

    /// The sum of a family's series, from a fresh cut.
    fn sum(&mut self, family: &str) -> u64 {
        assert_eq!(self.collector.collect(Duration::from_secs(5)), 0, "every aggregator answers");
        self.held(family)
    }

    /// The same from the last cut, behind a reader that has ended.
    fn final_sum(&mut self, family: &str) -> u64 {
        assert_eq!(self.collector.collect_last(Duration::from_secs(5)), 0, "every aggregator answers");
        self.held(family)
    }

    /// The same as it was cut last.
    fn held(&self, family: &str) -> u64 {
        let of = |snapshot: &webb_metrics::expose::Snapshot| {
            let column = snapshot.families.iter().position(|spec| spec.name == family)?;
            Some(snapshot.rows(column).map(|(_, value)| value).sum::<u64>())
        };
        self.collector.snapshots().filter_map(of).sum()
    }

    async fn finish(self) {
        for supervisor in self.supervisors.iter().rev() {
            supervisor.send(Finish).await.unwrap();
        }
    }
}

/// The undisturbed pipeline: what goes in comes out, in every metric.
#[actix::test]
async fn everything_sent_is_counted() {
    let mut pipeline = pipeline();
    pipeline.ring.push(100_000);
    pipeline.at_rest(100_000).await;
    assert_eq!(pipeline.sum("hubble_tcp_flags_total"), 100_000);
    assert_eq!(pipeline.sum("hubble_flows_processed_total"), 100_000);
    assert_eq!(pipeline.sum("webb_traffic_bytes_total"), 6_000_000);
    pipeline.finish().await;
}

/// The reader names a flow by the index that is published when its record is read, also the first
/// one after a quiet time.
#[actix::test]
async fn a_new_index_names_the_next_flow() {
    let mut pipeline = pipeline();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let spec = EndpointSpec { namespace: "default".into(), pod_name: "xwing".into(), ..EndpointSpec::default() };
    let pod = Endpoint::new(index::EndpointKind::Pod, true, &spec);
    pipeline.index.store(Arc::new(Index::new([(pod, vec![Address::default()])], index::Policies::default())));
    pipeline.ring.push(1);
    pipeline.at_rest(1).await;
    assert_eq!(pipeline.collector.collect(Duration::from_secs(5)), 0);
    let named = |snapshot: &webb_metrics::expose::Snapshot| {
        snapshot.rows(0).any(|(labels, _)| labels.contains("default/xwing"))
    };
    assert!(pipeline.collector.snapshots().any(named));
    pipeline.finish().await;
}

/// A reader that dies in a flood loses the record that killed it and nothing else.
#[actix::test]
async fn a_dead_reader_loses_one_record() {
    let mut pipeline = pipeline();
    pipeline.started().await;
    pipeline.ring.push(50_000);
    inject::arm("reader", 1, 0);
    pipeline.ring.push(50_000);
    pipeline.at_rest(100_000).await;
    let reader = pipeline.components.component("reader");
    assert_eq!((reader.faults(FaultType::Panicked), reader.restarts()), (1, 1));
    assert_eq!(pipeline.counters.panicked.load(Relaxed), 1);
    assert_eq!(pipeline.sum("hubble_tcp_flags_total"), 99_999);
    assert_eq!(pipeline.sum("webb_traffic_packets_total"), 99_999);
    pipeline.finish().await;
}

/// A decoder that panics is restarted alone: the reader lives on and the ring keeps the records
/// meanwhile.
#[actix::test]
async fn a_dead_decoder_loses_one_record() {
    let mut pipeline = pipeline();
    pipeline.ring.push(10_000);
    inject::arm("decoder", 1, 0);
    pipeline.ring.push(10_000);
    pipeline.at_rest(20_000).await;
    assert_eq!(pipeline.components.component("decoder").faults(FaultType::Panicked), 1);
    until("decoder restarted", || pipeline.components.component("decoder").restarts() == 1).await;
    assert_eq!(pipeline.components.component("reader").faults(FaultType::Panicked), 0);
    assert_eq!(pipeline.counters.panicked.load(Relaxed), 1);
    assert_eq!(pipeline.sum("hubble_tcp_flags_total"), 19_999);
    pipeline.finish().await;
}

/// Each aggregator dies alone: its neighbours count every flow, it keeps its counters and misses
/// one flow.
#[actix::test]
async fn a_dead_aggregator_keeps_its_counters() {
    for (metric, family) in [("tcp", "hubble_tcp_flags_total"), ("flow", "hubble_flows_processed_total")] {
        let mut pipeline = pipeline();
        pipeline.ring.push(5_000);
        pipeline.at_rest(5_000).await;
        let point = format!("aggregator/{metric}");
        inject::arm(&point, 1, 0);
        pipeline.ring.push(5_000);
        pipeline.at_rest(10_000).await;
        until("restarted", || pipeline.components.component(&point).restarts() == 1).await;
        assert_eq!(pipeline.components.component(&point).faults(FaultType::Panicked), 1);
        assert_eq!(pipeline.sum(family), 9_999);
        assert_eq!(pipeline.sum("webb_traffic_packets_total"), 10_000);
        pipeline.finish().await;
    }
}

/// A stalled aggregator is told of, scrapes go on with its last series, and afterwards its counters
/// are whole but for what its full lane had to skip, which is counted.
#[actix::test]
async fn a_stalled_aggregator_costs_only_what_was_skipped() {
    let mut pipeline = pipeline();
    pipeline.ring.push(50);
    pipeline.at_rest(50).await;
    assert_eq!(pipeline.sum("hubble_tcp_flags_total"), 50);
    inject::hold("aggregator/tcp");
    pipeline.ring.push(100);
    let tcp = pipeline.components.component("aggregator/tcp");
    until("stall noticed", || tcp.faults(FaultType::Stalled) == 1).await;
    assert_eq!(tcp.state(), State::Restarting);
    assert!(tcp.reason().starts_with("stalled"), "{}", tcp.reason());
    let last = pipeline.components.log().entries().pop().unwrap();
    assert_eq!(
        (last.component.as_str(), last.kind, last.text.as_str()),
        ("aggregator/tcp", "stalled", "no beat for 2 s")
    );
    assert_eq!(pipeline.collector.collect(Duration::from_millis(300)), 1, "the others answer while it stands still");
    assert_eq!((pipeline.held("hubble_tcp_flags_total"), pipeline.held("hubble_flows_processed_total")), (50, 150));
    pipeline.ring.push(100_000);
    until("its lane is full and its neighbours go on", || {
        pipeline.lanes[0].skipped() > 0 && pipeline.states[1].counted() == 100_150
    })
    .await;
    inject::release("aggregator/tcp");
    pipeline.at_rest(100_150).await;
    until("restarted", || tcp.state() == State::Up).await;
    let skipped = pipeline.lanes[0].skipped();
    assert_eq!(pipeline.sum("hubble_tcp_flags_total"), 100_150 - skipped);
    assert_eq!(pipeline.sum("hubble_flows_processed_total"), 100_150);
    assert_eq!((tcp.restarts(), tcp.faults(FaultType::Panicked), pipeline.lanes[1].skipped()), (1, 0, 0));
    pipeline.finish().await;
}

/// A reader that waits out its backoff when the agent stops drains the ring all the same: all but
/// the record that it failed on is counted.
#[actix::test]
async fn a_reader_in_backoff_drains_the_ring_at_the_end() {
    let mut pipeline = pipeline_with(Duration::from_hours(1));
    inject::arm("reader", 1, 0);
    pipeline.ring.push(10_000);
    let reader = pipeline.components.component("reader");
    until("backoff", || reader.state() == State::Restarting).await;
    assert!(!pipeline.ring.is_empty());
    pipeline.supervisors.pop().unwrap().send(Finish).await.unwrap();
    pipeline.at_rest(10_000).await;
    assert_eq!(pipeline.final_sum("hubble_flows_processed_total"), 9_999);
    let panicked = [&pipeline.counters.panicked, &pipeline.counters.panicked_packets].map(|count| count.load(Relaxed));
    assert_eq!(panicked, [1, 1]);
    pipeline.finish().await;
}

/// A decoder that waits out its backoff, or fails while the last records are drained, is there for
/// the rest of them.
#[actix::test]
async fn a_decoder_in_backoff_decodes_what_is_left() {
    let mut pipeline = pipeline_with(Duration::from_hours(1));
    inject::arm("decoder", 1, 0);
    pipeline.ring.push(10_000);
    let decoder = pipeline.components.component("decoder");
    until("backoff", || decoder.state() == State::Restarting).await;
    pipeline.decoder.send(Finish).await.unwrap();
    inject::arm("decoder", 1, 0);
    pipeline.ring.push(10_000);
    pipeline.supervisors.pop().unwrap().send(Finish).await.unwrap();
    pipeline.at_rest(20_000).await;
    assert_eq!(decoder.faults(FaultType::Panicked), 2);
    assert_eq!(pipeline.final_sum("hubble_flows_processed_total"), 19_998);
    pipeline.finish().await;
}

/// A decoder that fails on every record is given up, not restarted for ever.
#[actix::test]
async fn a_hopeless_decoder_is_given_up() {
    let pipeline = pipeline();
    inject::arm("decoder", 100, 0);
    pipeline.ring.push(100);
    until("given up", || pipeline.components.component("decoder").state() == State::GaveUp).await;
    assert_eq!(pipeline.components.component("decoder").restarts(), 5);
    inject::arm("decoder", 0, 0);
    pipeline.finish().await;
}
