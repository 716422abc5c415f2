//! Limits on series, pods that go and series that idle: whatever happens in whatever order, each
//! flow is counted once, in the series that a plain reading of the rules says.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use webb_flow::sym::Sym;
use webb_flow::{Address, Flow, TcpFlags};
use webb_index::{Index, Policies};
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
    let limits = Limits { per_family, budget: Arc::new(Budget::new(total)), idle_looks };
    aggregators(configuration).pop().unwrap().with_limits(&limits)
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
                Step::Forget(gone) => aggregator.forget(&RemovedPods::new([(Sym::new("default"), Sym::new(PODS[gone]))])),
                Step::Look => aggregator.expire(),
            }
            model.step(step, per_family.min(total), looks);
            prop_assert_eq!(counted(&mut aggregator), model.expected());
        }
        prop_assert_eq!(aggregator.folded(), model.folded);
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
    assert_eq!(both[1].folded(), 3, "one series is tcp's");
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
