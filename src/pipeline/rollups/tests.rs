//! Windows and their requests, by a clock of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use webb_decode::DecodeError;
use webb_flow::abi::{Record, VERSION};
use webb_flow::fault::Components;
use webb_flow::open::ListingStep;
use webb_flow::{Event, Flow, L4, Verdict};
use webb_index::Flows;
use webb_otlp::{BatchConfig, Environment, LastWindow, Output, OutputConfig, Stream};
use webb_rollup::{DEFAULT_SPREAD, Seen};
use zerocopy::IntoBytes as _;

use super::listings::LISTING_DELAY;
use super::site::spread;
use super::work::Work;
use super::*;
use crate::pipeline::{Batch, Consumer, Counters, Lane};

const S: u64 = 1_000_000_000;

/// An output without a receiver, with requests of so many records, and so many bytes in memory.
fn output(max_records: u32, queue_bytes: u64) -> Arc<Output> {
    let endpoint = Some("https://not.there".to_owned());
    let batch = BatchConfig { max_records, max_bytes: 64 << 10, ..BatchConfig::default() };
    let config = OutputConfig { endpoint, batch, queue_bytes, ..OutputConfig::named("main") };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

/// An output whose requests are not compressed.
fn plain_output() -> Arc<Output> {
    let config = OutputConfig {
        endpoint: Some("https://not.there".to_owned()),
        compression: Some(webb_otlp::Encoding::None),
        ..OutputConfig::named("main")
    };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

fn state(node: &str, output: &Arc<Output>) -> RollupState {
    let (lane, _) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
    let site = RollupSite { cluster: "default".to_owned(), node: node.to_owned() };
    let state = RollupState::new(Arc::new(lane), site);
    state.want(WantedRollups { outputs: vec![Arc::clone(output)], ..WantedRollups::default() });
    state
}

/// A turn of the thread without a batch.
fn turn(state: &RollupState, work: &mut Work, now_ns: u64, now: Instant) {
    state.take_up(work, now_ns, now);
    state.advance(work, now_ns, now);
}

/// Adds a row for each of these ports.
fn add(work: &mut Work, ports: std::ops::Range<u16>) {
    let of = |port| Flow {
        source_port: 50_000,
        destination_port: port,
        bytes: 60,
        packets: 1,
        l4: L4::Tcp,
        event: Event::Trace,
        verdict: Verdict::Forwarded,
        ..Flow::default()
    };
    let (flows, index): (Vec<Flow>, _) = (ports.map(of).collect(), Arc::default());
    work.rollups.observe(Flows { flows: &flows, extras: &[], index: &index }, 0, &mut 0);
}

fn offered(output: &Output) -> u64 {
    output.figures().ledger(Stream::Rollups).offered
}

/// No request of a window, and none after the start, leaves before this node's time, however many
/// records it has; then all do. Two nodes have two times.
#[test]
fn a_window_leaves_at_the_nodes_time() {
    let began = Instant::now();
    let at = |ms| began + Duration::from_millis(ms);
    let delays = ["worker-1", "worker-2"].map(|node| {
        let output = output(10, 16 << 20);
        let state = state(node, &output);
        let work = &mut *state.work();
        let delay = u64::try_from(spread(node, 60, DEFAULT_SPREAD).as_millis()).unwrap();
        turn(&state, work, 90 * S, at(0));
        turn(&state, work, 90 * S, at(delay - 1));
        assert_eq!(offered(&output), 0, "of the start");
        turn(&state, work, 91 * S, at(delay));
        assert_eq!(offered(&output), 1);
        add(work, 1..36);
        turn(&state, work, 120 * S, at(30_000));
        turn(&state, work, 121 * S, at(30_000 + delay - 1));
        assert_eq!((offered(&output), work.wait(121 * S) <= Duration::from_secs(59)), (1, true));
        assert_eq!(state.counts().held, 35 + 1);
        turn(&state, work, 121 * S, at(30_000 + delay));
        assert_eq!((offered(&output), work.flush_at, state.counts().held), (1 + 35 + 1, None, 0));
        delay
    });
    assert_ne!(delays[0], delays[1]);
}

/// What is held has a bound, the bytes of the queue: of more the oldest requests leave at once. A
/// stop and another choice of outputs wait for nothing.
#[test]
fn what_is_held_has_a_bound() {
    let (output, now) = (output(10, 64 << 10), Instant::now());
    let state = state("worker-1", &output);
    let work = &mut *state.work();
    turn(&state, work, 90 * S, now);
    add(work, 1..5000);
    turn(&state, work, 120 * S, now);
    let at_once = offered(&output);
    let held: usize = work.held.iter().map(|(_, request)| request.body.len()).sum();
    assert!((1000..5000).contains(&at_once) && held > 60_000 && held <= 64 << 10, "{at_once} {held}");
    state.want(WantedRollups::default());
    turn(&state, work, 121 * S, now);
    assert_eq!((offered(&output), work.held.len()), (1 + 4999 + 1 + 1, 0));
}

/// A listing is requested when an instance begins, and once no more flows are skipped; one of which
/// flows are missing has no end.
#[test]
fn listings_make_losses_good() {
    let (lane, items) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
    let lane = Arc::new(lane);
    let site = RollupSite { cluster: "default".to_owned(), node: "node".to_owned() };
    let (state, output, now) = (RollupState::new(Arc::clone(&lane), site), output(10, 64 << 10), Instant::now());
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    let list = move || {
        counted.fetch_add(1, Relaxed);
    };
    state.follows_connections(100, Box::new(list));
    let requested = || requests.load(Relaxed);
    let work = &mut *state.work();
    turn(&state, work, 90 * S, now);
    state.take_step(work, ListingStep::Begin);
    assert_eq!(requested(), 0, "no rows are wanted");
    state.want(WantedRollups { outputs: vec![output], ..WantedRollups::default() });
    turn(&state, work, 90 * S, now);
    assert_eq!(requested(), 1);

    let opened = |port| {
        let flow = Flow { l4: L4::Tcp, source_port: port, direction: webb_flow::Direction::Egress, ..Flow::default() };
        flow.connection(webb_flow::ConnectionEvent::Accepted, 0)
    };
    let flows = vec![opened(1), opened(2)];
    let batch = Arc::new(Batch { index: Arc::default(), flows, extras: Vec::new() });
    work.current = Some(Arc::clone(&batch));
    state.add(work, 0);
    let removed = |work: &Work| work.rollups.corrections().removed;
    state.take_step(work, ListingStep::Begin);
    // The lane is full.
    while lane.skipped() == 0 {
        lane.send(&batch, || ());
    }
    state.take_step(work, ListingStep::End);
    assert_eq!(removed(work), 0, "the listing is not whole");
    turn(&state, work, 90 * S, now);
    turn(&state, work, 90 * S, now + LISTING_DELAY / 2);
    assert_eq!((requested(), work.wait(90 * S) <= LISTING_DELAY), (1, true));
    turn(&state, work, 90 * S, now + LISTING_DELAY);
    assert_eq!(requested(), 2);
    state.take_step(work, ListingStep::Begin);
    state.take_step(work, ListingStep::End);
    assert_eq!(removed(work), 2);
    drop(items);
}

/// Packets of flows that found the lane full are in the window's heartbeat, those of the time
/// before rows were wanted are not.
#[test]
fn heartbeats_have_the_packets_of_skipped_flows() {
    let (lane, items) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
    let site = RollupSite { cluster: "default".to_owned(), node: "node".to_owned() };
    let (lane, output, now) = (Arc::new(lane), plain_output(), Instant::now());
    let state = RollupState::new(Arc::clone(&lane), site);
    let packet = Flow { event: Event::Trace, packets: 3, bytes: 180, ..Flow::default() };
    // A verdict stands beside the flow of its packet.
    let verdict = Flow { event: Event::PolicyVerdict, ..packet };
    let batch = Arc::new(Batch { index: Arc::default(), flows: vec![packet, verdict], extras: Vec::new() });
    let skip = |batches: u64| {
        let before = lane.skipped();
        while lane.skipped() < before + 2 * batches {
            lane.send(&batch, || ());
        }
    };
    skip(5);
    let work = &mut *state.work();
    state.want(WantedRollups { outputs: vec![output], ..WantedRollups::default() });
    turn(&state, work, 90 * S, now);
    skip(4);
    turn(&state, work, 120 * S, now);
    let lost = ["flows", "packets", "bytes"].map(|of| format!("webb.rollup.lost_{of}"));
    let [heartbeat] = &records(work, "webb.heartbeat")[..] else { panic!("one window has ended") };
    assert_eq!(lost.map(|key| number(heartbeat, &key)), [Some(8), Some(12), Some(720)]);
    drop(items);
}

/// Packets of records that the decoder rejected are among the lost ones of the window's heartbeat,
/// so that what was seen is in it.
#[test]
fn heartbeats_have_the_packets_of_rejected_records() {
    let (output, now, counters) = (plain_output(), Instant::now(), Arc::new(Counters::default()));
    let state = state("node", &output);
    let of_reader = Arc::clone(&counters);
    state.reads_seen(RollupLedger {
        seen: Box::new(|| Some(Seen { packets: 30, missing_packets: 5, foreign_packets: 1, ..Seen::default() })),
        unrolled: Box::new(move || of_reader.unrolled()),
        count_windows: Box::new(|_| {}),
        maps: 1,
        handed_over: None,
    });
    let work = &mut *state.work();
    turn(&state, work, 90 * S, now);
    add(work, 1..11);
    counters.foreign.fetch_add(2, Relaxed);
    for (error, version, packets) in [(DecodeError::Kind, VERSION, 9), (DecodeError::Version, VERSION + 1, 1000)] {
        counters.reject(error, Record { version, packets, ..Record::default() }.as_bytes());
    }
    counters.count_panic(3);
    turn(&state, work, 120 * S, now);
    let [heartbeat] = &records(work, "webb.heartbeat")[..] else { panic!("one window has ended") };
    let of = |key: &str| number(heartbeat, key).unwrap_or_default();
    assert_eq!((of("webb.rollup.lost_flows"), of("webb.rollup.lost_packets")), (3, 9 + 3));
    let parts = ["rollup.packets", "rollup.lost_packets", "ledger.missing_packets", "ledger.foreign_packets"];
    let accounted: i64 = parts.iter().map(|part| of(&format!("webb.{part}"))).sum();
    assert_eq!((accounted, of("webb.ledger.seen_packets")), (30, 30));
}

/// Records of this name in what an output has been sent.
fn records(work: &Work, event_name: &str) -> Vec<LogRecord> {
    let requests = work.held.iter().map(|(_, request)| ExportLogsServiceRequest::decode(&request.body[..]).unwrap());
    let logs = requests.flat_map(|request| request.resource_logs).flat_map(|logs| logs.scope_logs);
    logs.flat_map(|logs| logs.log_records).filter(|record| record.event_name == event_name).collect()
}

fn number(record: &LogRecord, key: &str) -> Option<i64> {
    let value = record.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    if let Value::IntValue(number) = value { Some(*number) } else { None }
}

/// Start and end of each gap in what an output has been sent.
fn gaps(work: &Work) -> Vec<(Option<i64>, i64)> {
    let ends = |gap: &LogRecord| (number(gap, "webb.gap.start"), number(gap, "webb.gap.end").unwrap());
    records(work, "webb.gap").iter().map(ends).collect()
}

/// The first gap begins where the last window of a process before ended, if that is known and not
/// still to come; without that it has no start.
#[test]
fn a_gap_begins_with_the_window_of_before() {
    for (before, start) in [(None, None), (Some(60), Some(60)), (Some(90), Some(90)), (Some(91), None)] {
        let (output, now) = (plain_output(), Instant::now());
        let state = state("worker-1", &output);
        if let Some(before) = before {
            state.go_on_from(LastWindow { end_ns: before * S, ..LastWindow::default() });
        }
        let work = &mut *state.work();
        turn(&state, work, 90 * S, now);
        let second = i64::try_from(S).unwrap();
        assert_eq!(gaps(work), [(start.map(|start: i64| start * second), 90 * second)], "{before:?}");
    }
}

/// The number of windows that were handed on goes to the programs' maps before the rows go, once
/// for each. So a process that finds a note of fewer knows that it is not of the last window: its
/// gap has no start, and it claims no packet as lost.
#[test]
fn a_note_of_another_window_is_ignored() {
    let counted = Arc::new(AtomicU64::new(0));
    let process = |windows: u64, before: Option<LastWindow>| {
        let (output, now) = (plain_output(), Instant::now());
        let state = state("worker-1", &output);
        let seen = Seen { packets: 1000, ..Seen::default() };
        let count = Arc::clone(&counted);
        state.reads_seen(RollupLedger {
            seen: Box::new(move || Some(seen)),
            unrolled: Box::new(Unrolled::default),
            count_windows: Box::new(move |number| count.store(number, Relaxed)),
            maps: 1,
            handed_over: Some(HandedOver { seen, read_packets: 900, windows }),
        });
        if let Some(before) = before {
            state.go_on_from(before);
        }
        let work = &mut *state.work();
        turn(&state, work, 90 * S, now);
        let (start, lost) = (gaps(work)[0].0, state.lost().packets);
        add(work, 1..11);
        turn(&state, work, 120 * S, now);
        let noted = work.last.clone().unwrap();
        assert_eq!((counted.load(Relaxed), work.windows_sent), (windows, 0), "they wait for the node's time");
        state.flush(work);
        state.flush(work);
        assert_eq!((counted.load(Relaxed), work.windows_sent), (windows + 1, 1));
        (start, lost, noted)
    };
    let (start, lost, noted) = process(0, None);
    assert_eq!((start, lost), (None, 0));
    // Ten packets are in rows; of the 900 that were read before nothing is known.
    let LastWindow { end_ns, note } = noted.clone();
    assert_eq!((end_ns, note.split(' ').next_back()), (120 * S, Some("910")));
    let of_before = LastWindow { end_ns: 80 * S, note: note.replace(" 910", " 800") };
    let end = i64::try_from(80 * S).unwrap();
    let (start, lost, _) = process(1, Some(of_before.clone()));
    assert_eq!((start, lost), (Some(end), 100), "what was read after it is in no row");
    counted.store(2, Relaxed);
    let (start, lost, _) = process(2, Some(of_before));
    assert_eq!((start, lost), (None, 0), "another window was sent after it");
}

/// A step back of the clock ends the window and begins another instance with a gap of its own,
/// which does not begin behind its end; a step forward leaves windows out and is no new instance.
#[test]
fn a_step_back_begins_an_instance_and_a_gap() {
    let (output, now, second) = (plain_output(), Instant::now(), i64::try_from(S).unwrap());
    let state = state("worker-1", &output);
    let work = &mut *state.work();
    turn(&state, work, 90 * S, now);
    let first = work.instance;
    turn(&state, work, 3605 * S, now);
    assert_eq!((work.instance, state.counts().windows), (first, 1));
    add(work, 1..3);
    turn(&state, work, 3000 * S, now);
    assert_ne!(work.instance, first);
    assert_eq!(gaps(work), [(None, 90 * second), (Some(3000 * second), 3000 * second)]);
    // A gap, a heartbeat; two rows, a heartbeat, a gap.
    assert_eq!((state.counts().windows, state.counts().held), (2, 1 + 1 + 3 + 1));
    // Where the clock is behind the last window when rows are wanted again, the start is not known.
    state.want(WantedRollups::default());
    turn(&state, work, 3030 * S, now);
    state.want(WantedRollups { outputs: vec![Arc::clone(&output)], ..WantedRollups::default() });
    turn(&state, work, 3020 * S, now);
    assert_eq!(gaps(work), [(None, 3020 * second)]);
}

/// A restart of the thread ends the window. What is counted later in it is another instance's, or
/// two records of one id would have different sums.
#[test]
fn a_restart_begins_an_instance() {
    let (output, now) = (plain_output(), Instant::now());
    let state = state("worker-1", &output);
    let work = &mut *state.work();
    turn(&state, work, 90 * S, now);
    add(work, 1..3);
    let first = work.instance;
    state.end(work, 100 * S);
    // A gap; two rows and a heartbeat.
    assert_eq!((offered(&output), state.counts().windows), (1 + 3, 1));
    turn(&state, work, 101 * S, now);
    assert_ne!(work.instance, first);
    let second = i64::try_from(S).unwrap();
    assert_eq!(gaps(work), [(Some(100 * second), 101 * second)]);
}
