//! The metric of TCP connections: its families letter by letter, and a gauge that stays right
//! through whatever happens to its series.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::open::{Corrections, ListingStep};
use webb_flow::{ConnectionEvent as E, Direction, Flow, NO_TIME};
use webb_index::filters::Filters;
use webb_index::{Index, ObjectKey, Policies};
use webb_metrics::{Aggregator, Limits, RemovedPods, grammar};

use crate::common::{address, aggregators, every_plugin, exposed, exposition, feed, flow, index, pod, snapshots, tcp};

const DEATHSTAR: &str = "10.0.0.2";
const TIEFIGHTER: &str = "10.0.0.3";
const XWING: &str = "10.0.0.4";

/// An event of a connection of `source`, at the interface of the opener or of the acceptor.
fn event(index: &Index, ends: (&str, &str), direction: Direction, event: E, value: u64) -> Flow {
    Flow { direction, ..tcp(flow(index, ends.0, ends.1), 443, 0) }.connection(event, value)
}

/// Each event once, and those of some twice: at both interfaces, or with another value.
fn story(index: &Index) -> Vec<Flow> {
    let ends = (TIEFIGHTER, DEATHSTAR);
    let (client, server) = (Direction::Egress, Direction::Ingress);
    let mut flows: Vec<Flow> = E::ALL.iter().map(|kind| event(index, ends, client, *kind, 0)).collect();
    flows.push(event(index, ends, server, E::Accepted, 120));
    flows.push(event(index, ends, client, E::Accepted, 40_300));
    flows.push(event(index, ends, client, E::Accepted, 1_003_000));
    flows.push(event(index, ends, server, E::Sample, 70));
    flows.push(event(index, ends, client, E::Sample, 9_000_000));
    flows.push(event(index, ends, server, E::Closed, 1_500));
    flows.push(event(index, ends, client, E::Closed, NO_TIME));
    flows.push(event(index, ends, client, E::RetransmitData, 5));
    flows.push(event(index, ends, server, E::ZeroWindow, 1));
    flows.push(event(index, (XWING, DEATHSTAR), server, E::Denied, 0));
    flows.push(event(index, ends, Direction::Unknown, E::Refused, 0));
    flows
}

/// Every family, label, value and bound of the inventory.
#[test]
fn plain() {
    let index = index();
    let text = exposed("connections:sourceContext=pod;destinationContext=workload-name", &story(&index), &index);
    crate::parser::parse(webb_metrics::expose::Format::Text, &text);
    insta::assert_snapshot!(text);
}

/// The option replaces the bounds of handshakes and round trips, and not those of lifetimes.
#[test]
fn bounds_are_replaced() {
    let index = index();
    let text = exposed("connections:buckets=0.01|0.05", &story(&index), &index);
    let bounds = |family: &str| {
        let of = text.lines().filter(|line| line.starts_with(&format!("{family}_bucket{{")));
        let mut bounds: Vec<&str> = of.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()).collect();
        bounds.dedup();
        bounds.truncate(3);
        bounds.join(" ")
    };
    assert_eq!(bounds("webb_tcp_handshake_seconds"), "0.01 0.05 +Inf");
    assert_eq!(bounds("webb_tcp_rtt_seconds"), "0.01 0.05 +Inf");
    assert_eq!(bounds("webb_tcp_connection_seconds"), "0.001 0.01 0.1");
}

/// No other metric counts an event of a connection: its packet has a flow of its own.
#[test]
fn no_other_metric_counts_them() {
    let index = index();
    let text = exposed(&every_plugin(), &story(&index), &index);
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(families.len(), 7, "{families:?}");
    assert!(families.iter().all(|family| family.starts_with("webb_tcp_")), "{families:?}");
    assert_eq!(exposed("connections", &[tcp(flow(&index, XWING, DEATHSTAR), 80, 2)], &index), "");
}

fn gauge(aggregator: &mut Aggregator) -> BTreeMap<String, u64> {
    let all = snapshots(std::slice::from_mut(aggregator));
    let rows = all.iter().filter(|snapshot| snapshot.gauge).flat_map(|snapshot| snapshot.rows(0).collect::<Vec<_>>());
    rows.filter(|(_, count)| *count > 0).collect()
}

fn of_pods() -> Aggregator {
    aggregators("connections:sourceContext=pod|ip;destinationContext=pod|ip").pop().unwrap()
}

fn series(source: &str, destination: &str) -> String {
    format!("destination=\"{destination}\",reporter=\"client\",source=\"{source}\"")
}

/// The connection ends in the series in which it began, though its pod has another name by then.
#[test]
fn the_end_finds_the_begin() {
    let (early, late) = (Arc::new(Index::new([], Policies::default())), index());
    let mut aggregator = of_pods();
    let of = |index: &Arc<Index>, kind, port| Flow {
        source_port: port,
        ..event(index, (TIEFIGHTER, DEATHSTAR), Direction::Egress, kind, 0)
    };
    let feed = |aggregator: &mut Aggregator, index: &Arc<Index>, kind, port| {
        feed(std::slice::from_mut(aggregator), &[of(index, kind, port)], index);
    };
    feed(&mut aggregator, &early, E::Accepted, 1);
    feed(&mut aggregator, &early, E::Accepted, 2);
    feed(&mut aggregator, &late, E::Accepted, 3);
    let (unnamed, named) =
        (series(TIEFIGHTER, DEATHSTAR), series("default/tiefighter", "default/deathstar-6c94dcc57b-7pr8c"));
    assert_eq!(gauge(&mut aggregator), BTreeMap::from([(unnamed.clone(), 2), (named.clone(), 1)]));
    feed(&mut aggregator, &late, E::ResetByOpener, 1);
    feed(&mut aggregator, &late, E::Closed, 7);
    assert_eq!(gauge(&mut aggregator), BTreeMap::from([(unnamed.clone(), 1), (named.clone(), 1)]), "7 never began");
    feed(&mut aggregator, &late, E::Accepted, 3);
    assert_eq!(gauge(&mut aggregator), BTreeMap::from([(unnamed, 1), (named, 1)]), "an end was lost");
}

/// A listing adds what is open and removes what is not; new filters begin anew.
#[test]
fn a_listing_corrects() {
    let index = index();
    let mut aggregator = of_pods();
    let flows = |kind, ports: std::ops::Range<u16>| -> Vec<Flow> {
        ports
            .map(|source_port| Flow { source_port, ..event(&index, (XWING, DEATHSTAR), Direction::Egress, kind, 0) })
            .collect()
    };
    let mut run = |step: Option<ListingStep>, flows: &[Flow]| {
        if let Some(step) = step {
            aggregator.list(step);
        }
        feed(std::slice::from_mut(&mut aggregator), flows, &index);
        (gauge(&mut aggregator).values().sum::<u64>(), aggregator.corrections())
    };
    let none = Corrections::default();
    assert_eq!(run(None, &flows(E::Accepted, 0..10)), (10, none));
    assert_eq!(run(Some(ListingStep::Begin), &flows(E::Open, 5..12)), (12, Corrections { added: 2, ..none }));
    assert_eq!(run(None, &flows(E::Accepted, 20..21)), (13, Corrections { added: 2, ..none }), "during the listing");
    let corrected = Corrections { added: 2, removed: 5, refused: 0 };
    assert_eq!(run(Some(ListingStep::End), &[]), (8, corrected));
    assert_eq!(run(Some(ListingStep::Begin), &flows(E::Open, 5..12)), (8, corrected));
    assert_eq!(run(Some(ListingStep::Begin), &flows(E::Open, 5..12)), (8, corrected), "a listing without an end");
    let without_20 = Corrections { removed: 6, ..corrected };
    assert_eq!(run(Some(ListingStep::End), &[]), (7, without_20));

    aggregator.set_filters(Filters::default());
    assert_eq!(gauge(&mut aggregator), BTreeMap::new());
    feed(std::slice::from_mut(&mut aggregator), &flows(E::Open, 5..12), &index);
    assert_eq!(gauge(&mut aggregator).values().sum::<u64>(), 7);
}

/// More connections than the table holds are not counted, and that is counted.
#[test]
fn the_registry_is_bounded() {
    let index = index();
    let limits = Limits { open_connections: 3, ..Limits::default() };
    let parsed = grammar::parse("connections").unwrap();
    let mut aggregator = Aggregator::new(&parsed.metrics[0]).with_limits(&limits);
    let flows: Vec<Flow> = (0..5)
        .map(|source_port| Flow { source_port, ..event(&index, (XWING, DEATHSTAR), Direction::Egress, E::Accepted, 0) })
        .collect();
    feed(std::slice::from_mut(&mut aggregator), &flows, &index);
    assert_eq!(gauge(&mut aggregator).values().sum::<u64>(), 3);
    assert_eq!(aggregator.corrections().refused, 2);
}

/// Connections keep their series when these move to other places, and a series of open connections
/// does not expire.
#[test]
fn series_move_and_stay() {
    const CLIENTS: u16 = 3000;
    let index = Arc::new(Index::new([], Policies::default()));
    let limits = Limits { idle_looks: Some(1), room_looks: Some(1), ..Limits::default() };
    let parsed = grammar::parse("connections:sourceContext=ip").unwrap();
    let mut aggregator = Aggregator::new(&parsed.metrics[0]).with_limits(&limits);
    let of = |client: u16, kind| {
        let [high, low] = client.to_be_bytes();
        event(&index, (&format!("10.1.{high}.{low}"), DEATHSTAR), Direction::Egress, kind, 0)
    };
    let mut run = |flows: Vec<Flow>| {
        for batch in flows.chunks(500) {
            feed(std::slice::from_mut(&mut aggregator), batch, &index);
        }
        (0..4).for_each(|_| aggregator.expire());
        gauge(&mut aggregator)
    };
    assert_eq!(run((0..CLIENTS).map(|client| of(client, E::Accepted)).collect()).len(), usize::from(CLIENTS));
    let stay = |client: &u16| client % 10 == 9;
    let left = run((0..CLIENTS).filter(|client| !stay(client)).map(|client| of(client, E::Closed)).collect());
    assert_eq!((left.len(), left.values().sum::<u64>()), (300, 300));
    let text = exposition(std::slice::from_mut(&mut aggregator));
    assert_eq!(text.lines().filter(|line| line.starts_with("webb_tcp_open_connections{")).count(), 300);
    let mut run = |flows: Vec<Flow>| {
        feed(std::slice::from_mut(&mut aggregator), &flows, &index);
        gauge(&mut aggregator)
    };
    let left = run((0..CLIENTS).filter(|client| client % 20 == 9).map(|client| of(client, E::Closed)).collect());
    assert!(left.len() == 150 && left.keys().all(|series| !series.contains("10.1.0.9\"")), "{left:?}");
}

const PODS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Step {
    Event { source: usize, destination: usize, port: u16, kind: E },
    Forget(usize),
    Look,
    Room,
    List(Vec<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    let kinds = vec![E::Accepted, E::Accepted, E::Open, E::Closed, E::Idle, E::Interrupted, E::Sample];
    prop_oneof![
        20 => (0..PODS.len(), 0..PODS.len(), 0_u16..3, prop::sample::select(kinds))
            .prop_map(|(source, destination, port, kind)| Step::Event { source, destination, port, kind }),
        2 => (0..PODS.len()).prop_map(Step::Forget),
        2 => Just(Step::Look),
        1 => Just(Step::Room),
        1 => prop::collection::vec(any::<bool>(), 48).prop_map(Step::List),
    ]
}

proptest! {
    /// Whatever happens in whatever order, each series shows the number of its open connections.
    #[test]
    fn the_gauge_is_the_number_of_open_connections(steps in prop::collection::vec(step(), 1..120)) {
        let named = |(at, name): (usize, &&str)| (pod("default", name, "w"), vec![address(&ip(at))]);
        let index = Arc::new(Index::new(PODS.iter().enumerate().map(named), Policies::default()));
        let limits = Limits { idle_looks: Some(2), room_looks: Some(2), ..Limits::default() };
        let parsed = grammar::parse("connections:sourceContext=pod;destinationContext=pod").unwrap();
        let mut aggregator = Aggregator::new(&parsed.metrics[0]).with_limits(&limits);
        let mut open = std::collections::BTreeSet::new();
        let flow_of = |(source, destination, port): (usize, usize, u16), kind| Flow {
            source_port: port,
            ..event(&index, (&ip(source), &ip(destination)), Direction::Egress, kind, 1)
        };
        for step in steps {
            match step {
                Step::Event { source, destination, port, kind } => {
                    let connection = (source, destination, port);
                    match kind {
                        E::Accepted | E::Open => { open.insert(connection); }
                        kind if kind.is_end() => { open.remove(&connection); }
                        _ => {}
                    }
                    feed(std::slice::from_mut(&mut aggregator), &[flow_of(connection, kind)], &index);
                }
                Step::Forget(pod) => {
                    let key = ObjectKey { namespace: "default".into(), name: PODS[pod].into() };
                    aggregator.forget(&RemovedPods::new([Arc::new(key)]));
                    open.retain(|(source, destination, _)| *source != pod && *destination != pod);
                }
                Step::Look => aggregator.expire(),
                Step::Room => aggregator.make_room(),
                Step::List(listed) => {
                    aggregator.list(ListingStep::Begin);
                    let all = (0..PODS.len()).flat_map(|source| (0..PODS.len()).map(move |to| (source, to)));
                    let all = all.flat_map(|(source, to)| (0..3).map(move |port| (source, to, port)));
                    open = all.zip(listed).filter(|(_, listed)| *listed).map(|(connection, _)| connection).collect();
                    let flows: Vec<Flow> = open.iter().map(|connection| flow_of(*connection, E::Open)).collect();
                    feed(std::slice::from_mut(&mut aggregator), &flows, &index);
                    aggregator.list(ListingStep::End);
                }
            }
            let mut expected = BTreeMap::<String, u64>::new();
            for (source, destination, _) in &open {
                let name = |at: usize| format!("default/{}", PODS[at]);
                *expected.entry(series(&name(*source), &name(*destination))).or_default() += 1;
            }
            prop_assert_eq!(gauge(&mut aggregator), expected);
        }
    }
}

fn ip(number: usize) -> String {
    format!("10.0.0.{}", number + 1)
}
