//! Limits on series, pods that go and series that idle: whatever happens in whatever order, each
//! flow is counted once, in the series that a plain reading of the rules says.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::{Address, Flow, TcpFlags};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index, ObjectKey, Policies};
use webb_metrics::{Aggregator, Budget, Limits, RemovedPods};

use crate::common::{aggregators, feed, flow, pod, snapshots, tcp};

const PODS: [&str; 5] = ["a", "b", "c", "d", "e"];
const FLAGS: [(&str, u16); 3] = [("FIN", TcpFlags::FIN), ("RST", TcpFlags::RST), ("SYN", TcpFlags::SYN)];

fn ip(number: usize) -> String {
    format!("10.0.0.{}", number + 1)
}

fn index() -> Arc<Index> {
    let entry = |(at, name): (usize, &&str)| {
        let address = Address::from(ip(at).parse::<std::net::IpAddr>().unwrap());
        (pod("default", name, "w"), vec![address])
    };
    Arc::new(Index::new(PODS.iter().enumerate().map(entry), Policies::default()))
}

fn limited(configuration: &str, per_family: usize, total: usize, idle_looks: Option<u32>) -> Aggregator {
    let budget = Arc::new(Budget::new(total));
    let limits = Limits { per_family, budget, idle_looks, room_looks: Some(2), ..Limits::default() };
    aggregators(configuration).pop().unwrap().with_limits(&limits)
}

fn deleted(name: &str) -> RemovedPods {
    RemovedPods::new([Arc::new(ObjectKey { namespace: "default".into(), name: name.into() })])
}

fn folded(aggregator: &Aggregator) -> u64 {
    aggregator.folded().iter().sum()
}

fn counted(aggregator: &mut Aggregator) -> BTreeMap<String, u64> {
    let snapshots = snapshots(std::slice::from_mut(aggregator));
    let rows: Vec<(String, u64)> = snapshots.iter().flat_map(|snapshot| snapshot.rows(0).collect::<Vec<_>>()).collect();
    let series: BTreeMap<String, u64> = rows.iter().cloned().collect();
    assert_eq!(series.len(), rows.len(), "no series twice: {rows:?}");
    series
}

#[derive(Debug, Clone)]
enum Step {
    Flow { source: usize, destination: usize, flag: usize },
    Forget(usize),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..PODS.len(), 0..PODS.len(), 0..FLAGS.len())
            .prop_map(|(source, destination, flag)| Step::Flow { source, destination, flag }),
        1 => (0..PODS.len()).prop_map(Step::Forget),
        2 => Just(Step::Look),
    ]
}

/// Source and destination, and the flag.
type Labels = (Option<(usize, usize)>, usize);
/// Count, value at the last look, looks without a change.
type Held = (u64, u64, u32);

/// The rules, plainly: by source, destination and flag; none of both is the series of others.
#[derive(Default)]
struct Model {
    series: BTreeMap<Labels, Held>,
    folded: u64,
    removed: u64,
}

impl Model {
    fn step(&mut self, step: &Step, room: usize, looks: u32) {
        match *step {
            Step::Flow { source, destination, flag } => {
                let own = (Some((source, destination)), flag);
                let admitted = self.series.keys().filter(|(ends, _)| ends.is_some()).count();
                let fits = self.series.contains_key(&own) || admitted < room;
                self.folded += u64::from(!fits);
                self.series.entry(if fits { own } else { (None, flag) }).or_default().0 += 1;
            }
            Step::Forget(gone) => {
                let names = |ends: Option<(usize, usize)>| ends.is_some_and(|(a, b)| a == gone || b == gone);
                self.series.retain(|(ends, _), (count, ..)| {
                    self.removed += if names(*ends) { *count } else { 0 };
                    !names(*ends)
                });
            }
            Step::Look => self.series.retain(|_, (count, seen, unchanged)| {
                *unchanged = if count == seen { *unchanged + 1 } else { 0 };
                *seen = *count;
                self.removed += if *unchanged >= looks { *count } else { 0 };
                *unchanged < looks
            }),
        }
    }

    fn expected(&self) -> BTreeMap<String, u64> {
        let line = |(&(ends, flag), &(count, ..)): (&Labels, &Held)| {
            let name = |at: usize| format!("default/{}", PODS[at]);
            let (source, destination) = ends.map_or(("~other".into(), "~other".into()), |(a, b)| (name(a), name(b)));
            let flag = FLAGS[flag].0;
            (format!("destination=\"{destination}\",family=\"IPv4\",flag=\"{flag}\",source=\"{source}\""), count)
        };
        self.series.iter().map(line).collect()
    }
}

proptest! {
    /// Admitted and folded together are all, what was admitted first stays, and removals take what
    /// the rules say.
    #[test]
    fn series_are_as_the_rules_say(
        steps in prop::collection::vec(step(), 1..200),
        per_family in 1_usize..12,
        total in 1_usize..12,
        looks in 1_u32..3,
    ) {
        let index = index();
        let mut aggregator = limited("tcp:sourceContext=pod;destinationContext=pod", per_family, total, Some(looks));
        let (mut model, mut flows) = (Model::default(), 0);
        for step in &steps {
            match *step {
                Step::Flow { source, destination, flag } => {
                    let flow = tcp(flow(&index, &ip(source), &ip(destination)), 80, FLAGS[flag].1);
                    feed(std::slice::from_mut(&mut aggregator), &[flow], &index);
                    flows += 1;
                }
                Step::Forget(gone) => aggregator.forget(&deleted(PODS[gone])),
                Step::Look => aggregator.expire(),
            }
            model.step(step, per_family.min(total), looks);
            prop_assert_eq!(counted(&mut aggregator), model.expected());
        }
        prop_assert_eq!(folded(&aggregator), model.folded);
        prop_assert_eq!(counted(&mut aggregator).values().sum::<u64>() + model.removed, flows);
    }
}

/// One budget for all: what one metric holds another cannot have, and gives back when it goes.
#[test]
fn metrics_share_a_budget() {
    let index = index();
    let limits = Limits { budget: Arc::new(Budget::new(3)), ..Limits::default() };
    let mut both: Vec<Aggregator> =
        aggregators("tcp flow:sourceContext=pod").into_iter().map(|one| one.with_limits(&limits)).collect();
    let flows: Vec<Flow> =
        (0..PODS.len()).map(|source| tcp(flow(&index, &ip(source), &ip(0)), 80, TcpFlags::SYN)).collect();
    feed(&mut both, &flows, &index);
    assert_eq!(limits.budget.held(), 3);
    assert_eq!(folded(&both[1]), 3, "one series is tcp's");
    assert_eq!(counted(&mut both[1]).values().sum::<u64>(), 5);
    drop(both);
    assert_eq!(limits.budget.held(), 0);
}

/// A label with untrusted values is fixed in some metrics: past some hundreds even the series of
/// others are one.
#[test]
fn fixed_labels_fold_too() {
    let index = index();
    let flows: Vec<Flow> = (0..1000).map(|port| tcp(flow(&index, &ip(0), &ip(1)), port, TcpFlags::SYN)).collect();
    for (configuration, series) in [("port-distribution", 11), ("port-distribution:sourceContext=pod", 10 + 256 + 1)] {
        let mut aggregator = limited(configuration, 10, usize::MAX, None);
        feed(std::slice::from_mut(&mut aggregator), &flows, &index);
        feed(std::slice::from_mut(&mut aggregator), &flows, &index);
        let counted = counted(&mut aggregator);
        assert_eq!((counted.len(), counted.values().sum::<u64>()), (series, 2000), "{configuration}");
        let rest: Vec<_> = counted.keys().filter(|labels| labels.contains("port=\"~other\"")).collect();
        assert_eq!(rest.len(), 1, "{rest:?}");
    }
}

/// A flow between an address outside of the cluster and one of a pod, seen at the pod's interface.
fn stranger(index: &Index, number: u32, pod: usize, ifindex: u32) -> Flow {
    let address = std::net::Ipv4Addr::from(0xcb00_7100 + number).to_string();
    Flow { ifindex, ..tcp(flow(index, &address, &ip(pod)), 80, TcpFlags::SYN) }
}

const BY_ADDRESS: &str = "tcp:sourceContext=ip;destinationContext=ip";

fn own_series(aggregator: &mut Aggregator) -> usize {
    counted(aggregator).keys().filter(|labels| !labels.contains("~other")).count()
}

/// A scan by one pod, however long, leaves room for series of other pods that come after it, and
/// for the pod's own series with known peers.
#[test]
fn a_scan_leaves_room_for_others() {
    let index = index();
    let mut aggregator = limited(BY_ADDRESS, 1000, usize::MAX, None);
    let scan: Vec<Flow> = (0..5000).map(|number| stranger(&index, number, 0, 7)).collect();
    feed(std::slice::from_mut(&mut aggregator), &scan, &index);
    assert_eq!(own_series(&mut aggregator), 800);
    assert_eq!(aggregator.folded(), [0, 0, 4200]);
    let later: Vec<Flow> = (0..100).map(|number| stranger(&index, 10_000 + number, 1, 8)).collect();
    feed(std::slice::from_mut(&mut aggregator), &later, &index);
    let peer = Flow { ifindex: 7, ..tcp(flow(&index, &ip(0), &ip(2)), 80, TcpFlags::SYN) };
    feed(std::slice::from_mut(&mut aggregator), &[peer], &index);
    assert_eq!(own_series(&mut aggregator), 901, "none of them is ~other");
    assert_eq!(counted(&mut aggregator).values().sum::<u64>(), 5101);
}

/// One pod's scan of one metric leaves room in all others, though the budget is of all together.
#[test]
fn a_scan_leaves_room_for_other_metrics() {
    let index = index();
    let limits = Limits { budget: Arc::new(Budget::new(100)), ..Limits::default() };
    let mut both: Vec<Aggregator> = aggregators("tcp:sourceContext=ip drop:sourceContext=pod")
        .into_iter()
        .map(|one| one.with_limits(&limits))
        .collect();
    let scan: Vec<Flow> = (0..5000).map(|number| stranger(&index, number, 0, 7)).collect();
    feed(&mut both, &scan, &index);
    assert_eq!(limits.budget.held(), 80);
    let dropped = Flow { ifindex: 7, ..scan[0] };
    let dropped = Flow { verdict: webb_flow::Verdict::Dropped, event: webb_flow::Event::Drop, ..dropped };
    feed(&mut both, &[dropped], &index);
    assert_eq!(own_series(&mut both[1]), 1);
}

/// Series of a finished scan make room: refused series get their own, memory is given back, and
/// quiet series of others stay.
#[test]
fn room_returns_after_a_scan() {
    let index = index();
    let mut aggregator = limited(BY_ADDRESS, 10_000, usize::MAX, None);
    let one = std::slice::from_mut(&mut aggregator);
    feed(one, &[stranger(&index, 100_000, 1, 8)], &index);
    let scan: Vec<Flow> = (0..20_000).map(|number| stranger(&index, number, 0, 7)).collect();
    feed(one, &scan, &index);
    let late = stranger(&index, 200_000, 0, 7);
    feed(one, &[late, late], &index);
    let quiet = |series: &BTreeMap<String, u64>| series.keys().any(|labels| labels.contains("\"203.1.247.160\""));
    for look in 0..3 {
        assert!(own_series(&mut one[0]) > 8000, "look {look}");
        one[0].make_room();
        feed(one, &scan[..10], &index);
    }
    let left = counted(&mut one[0]);
    assert_eq!(own_series(&mut one[0]), 11, "the quiet one, and those that go on");
    assert!(quiet(&left));
    assert!(left.values().any(|count| *count == 4), "a series that stays goes on");
    assert_eq!(one[0].made_room(), 7990);
    feed(one, &[late, late, late], &index);
    let now = counted(&mut one[0]);
    assert!(now.values().any(|count| *count == 3), "what was refused has a series");
    for _ in 0..20 {
        one[0].make_room();
    }
    assert!(quiet(&counted(&mut one[0])), "no one else was refused");
}

/// Nothing is interned of an address, whether a series shows it or not.
#[test]
fn addresses_are_not_interned() {
    let index = index();
    let mut aggregator = limited(BY_ADDRESS, 10, usize::MAX, None);
    let scan: Vec<Flow> = (0..100).map(|number| stranger(&index, 0x0001_0000 + number, 0, 7)).collect();
    feed(std::slice::from_mut(&mut aggregator), &scan, &index);
    let shown = counted(&mut aggregator);
    assert!(shown.keys().any(|labels| labels.contains("203.1.113.0")), "{shown:?}");
    for number in 0..100 {
        assert_eq!(webb_flow::sym::Sym::known(&format!("203.1.113.{number}")), None);
    }
}

/// A pod whose name reads like an address, and that address, are one series, not two of the same
/// labels.
#[test]
fn a_name_that_reads_like_an_address() {
    let address = Address::from("10.0.0.1".parse::<std::net::IpAddr>().unwrap());
    let index = Arc::new(Index::new([(pod("", "203.0.113.9", ""), vec![address])], Policies::default()));
    let mut aggregator = limited("tcp:sourceContext=pod-name|ip", 10, usize::MAX, None);
    let flows = ["10.0.0.1", "203.0.113.9"].map(|source| tcp(flow(&index, source, "10.0.0.2"), 80, TcpFlags::SYN));
    feed(std::slice::from_mut(&mut aggregator), &flows, &index);
    assert_eq!(counted(&mut aggregator).into_values().collect::<Vec<_>>(), [2]);
}

/// A table that was large and is nearly empty is put together again: all that is left keeps its
/// counts, and counting goes on.
#[test]
fn a_sparse_table_is_compacted() {
    let index = index();
    let mut aggregator = limited(BY_ADDRESS, usize::MAX, usize::MAX, Some(2));
    let one = std::slice::from_mut(&mut aggregator);
    let flows: Vec<Flow> = (0..20_000).map(|number| stranger(&index, number, 0, 7)).collect();
    let stay: Vec<Flow> = flows.iter().copied().step_by(200).collect();
    feed(one, &flows, &index);
    let before = counted(&mut one[0]);
    for round in 0..5 {
        one[0].expire();
        feed(one, &stay, &index);
        assert_eq!(own_series(&mut one[0]), if round < 2 { 20_000 } else { 100 });
    }
    let left = counted(&mut one[0]);
    assert!(left.iter().all(|(labels, count)| before.contains_key(labels) && *count == 6), "{left:?}");
    feed(one, &flows, &index);
    assert_eq!(counted(&mut one[0]).values().sum::<u64>(), 100 * 7 + 19_900);
}

/// A pod of another cluster takes its own series along, and none of a pod with the same name here.
#[test]
fn a_pod_of_another_cluster_goes() {
    let spec = |cluster: &str| EndpointSpec {
        cluster: cluster.into(),
        namespace: "default".into(),
        pod_name: "a".into(),
        ..EndpointSpec::default()
    };
    let address = |at| Address::from(ip(at).parse::<std::net::IpAddr>().unwrap());
    let ends = [(EndpointKind::Pod, "home"), (EndpointKind::Mesh, "east"), (EndpointKind::Mesh, "west")];
    let endpoints = ends.map(|(kind, cluster)| Endpoint::new(kind, false, &spec(cluster)));
    let index = Arc::new(Index::new(endpoints.into_iter().zip((0..).map(|at| vec![address(at)])), Policies::default()));
    for (configuration, left) in [
        ("flow:sourceContext=pod", ["default/a", "west/default/a"]),
        ("flow:labelsContext=source_namespace,source_pod,source_cluster", ["home", "west"]),
    ] {
        let mut aggregators = aggregators(configuration);
        feed(&mut aggregators, &[0, 1, 2].map(|at| flow(&index, &ip(at), &ip(0))), &index);
        aggregators[0]
            .forget(&RemovedPods::new([Arc::new(ObjectKey { namespace: "east/default".into(), name: "a".into() })]));
        let series: Vec<String> = counted(&mut aggregators[0]).into_keys().collect();
        assert_eq!(series.len(), 2, "{series:?}");
        assert!(series.iter().zip(left).all(|(series, cluster)| series.contains(cluster)), "{series:?}");
    }
}
