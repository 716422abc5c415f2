//! Windows and their requests, by a clock of the test.

use webb_flow::fault::Components;
use webb_flow::{Event, Flow, L4, Verdict};
use webb_index::Flows;
use webb_otlp::{BatchConfig, Environment, OutputConfig};

use super::*;
use crate::pipeline::Consumer;

const S: u64 = 1_000_000_000;

/// A receiver that checks the form of an id finds that of a random UUID.
#[test]
fn instances_are_uuids() {
    assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_ne!(new_instance(), new_instance());
}

/// Nodes send at different times, within a fifth of the window.
#[test]
fn requests_are_spread() {
    let delays: Vec<Duration> = (0..200).map(|node| spread(&format!("worker-{node}"), 60)).collect();
    assert!(delays.iter().all(|delay| *delay < Duration::from_secs(12)));
    let early = delays.iter().filter(|delay| **delay < Duration::from_secs(6)).count();
    assert!((40..160).contains(&early), "{early} of 200");
}

/// An output without a receiver, with requests of so many records, and so many bytes in memory.
fn output(max_records: u32, queue_bytes: u64) -> Arc<Output> {
    let endpoint = Some("https://not.there".to_owned());
    let batch = BatchConfig { max_records, max_bytes: 64 << 10, ..BatchConfig::default() };
    let config = OutputConfig { endpoint, batch, queue_bytes, ..OutputConfig::named("main") };
    Arc::new(Output::new(config, &Environment::default(), "test").unwrap())
}

fn state(node: &str, output: &Arc<Output>) -> RollupState {
    let (lane, _) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
    let site = RollupSite { cluster: "default".to_owned(), node: node.to_owned() };
    let state = RollupState::new(Arc::new(lane), site);
    state.want(WantedRollups { settings: Settings::default(), outputs: vec![Arc::clone(output)] });
    state
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
        let delay = u64::try_from(spread(node, 60).as_millis()).unwrap();
        state.turn(work, 90 * S, at(0));
        state.turn(work, 90 * S, at(delay - 1));
        assert_eq!(offered(&output), 0, "of the start");
        state.turn(work, 91 * S, at(delay));
        assert_eq!(offered(&output), 1);
        add(work, 1..36);
        state.turn(work, 120 * S, at(30_000));
        state.turn(work, 121 * S, at(30_000 + delay - 1));
        assert_eq!((offered(&output), work.wait(121 * S) <= Duration::from_secs(59)), (1, true));
        assert_eq!(state.counts().held, 35 + 1);
        state.turn(work, 121 * S, at(30_000 + delay));
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
    state.turn(work, 90 * S, now);
    add(work, 1..5000);
    state.turn(work, 120 * S, now);
    let at_once = offered(&output);
    let held: usize = work.held.iter().map(|(_, request)| request.body.len()).sum();
    assert!((1000..5000).contains(&at_once) && held > 60_000 && held <= 64 << 10, "{at_once} {held}");
    state.want(WantedRollups::default());
    state.turn(work, 121 * S, now);
    assert_eq!((offered(&output), work.held.len()), (1 + 4999 + 1 + 1, 0));
}
