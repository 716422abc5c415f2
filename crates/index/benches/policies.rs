//! Cost of many policies with tiers: memory, a change of one of them, a new pod, and an evaluation.
//!
//! 10,000 pods that policies can all tell apart, in 100 namespaces, under 100
//! ClusterNetworkPolicies of 25 rules a direction with three peers each, all of them distinct.
//! `cargo bench -p webb-index --bench policies` prints a table. In the first cluster each policy
//! selects the pods of ten namespaces; in the second each selects all pods, and its peers none. In
//! the third its peers are networks that have no pod; in the fourth these lie in one another, a
//! pod is in some thousand of them, and only the port is another.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends where it is wrong"
)]

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;

use std::sync::Arc;
use std::time::{Duration, Instant};

use counting_allocator::bytes;
use ipnet::IpNet;
use rustix::time::{ClockId, clock_gettime};
use webb_flow::{Address, Direction, Flow, L4};
use webb_index::policy::spec::{
    Action, PeerSpec, PolicyKind, PortMatch, PortSpec, Requirement, RuleSpec, Selector, Subject, Test, Tier, TierRule,
    TierSpec,
};
use webb_index::policy::{Compiler, Decision};
use webb_index::{Endpoint, EndpointKind, EndpointSpec, Index};

const NAMESPACES: u32 = 100;
const PODS: u32 = 100;
const POLICIES: u32 = 100;
const RULES: u32 = 25;
const PEERS: u32 = 3;

/// Selection of the policies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// The pods of ten namespaces, from and to ten pods a peer.
    Some,
    /// All pods, and peers that no pod is.
    NoMatch,
    /// All pods, and peers that are networks without a pod.
    Networks,
    /// All pods, and peers that are networks of all sizes with pods in them, on another port.
    Nested,
}

fn main() {
    cluster("each policy selects the pods of ten namespaces", Shape::Some);
    cluster("each policy selects all, no rule matches", Shape::NoMatch);
    cluster("each policy selects all, peers are networks, no rule matches", Shape::Networks);
    cluster("each policy selects all, peers are networks in one another, no port matches", Shape::Nested);
}

fn is(key: &str, value: u32) -> Selector {
    Selector(vec![Requirement { key: key.into(), test: Test::In(vec![value.to_string()]) }])
}

/// A rule's peers are the pods of one name in the namespaces of a team: ten pods. `version` makes
/// them others.
fn rule(number: u32, action: Action, shape: Shape, version: u32) -> TierRule {
    let peer = |at: u32| {
        let number = number * PEERS + at;
        if shape == Shape::Nested {
            let (base, length) =
                (0x0a00_0000 + number * 37 % (NAMESPACES * 256), u8::try_from(8 + number % 25).unwrap());
            let net = IpNet::new(std::net::IpAddr::V4(base.into()), length).unwrap();
            return PeerSpec::Block { net, except: Vec::new() };
        }
        if shape == Shape::Networks {
            let net = format!("172.{}.{}.{}/28", 16 + number / 4096, number / 16 % 256, number % 16 * 16);
            return PeerSpec::Block { net: net.parse().unwrap(), except: Vec::new() };
        }
        let name = if shape == Shape::NoMatch { PODS + number } else { number / 10 % PODS };
        let team = is("team", number % 10);
        let further = Requirement { key: "x".into(), test: Test::NotIn(vec![format!("{number} {version}")]) };
        PeerSpec::Pods { namespaces: Some(team), pods: Some(Selector([is("name", name).0, vec![further]].concat())) }
    };
    let first = if shape == Shape::Nested { 8080 } else { 80 };
    let port = PortSpec { protocol: L4::Tcp, port: PortMatch::Range(first, first + 10) };
    let rule = RuleSpec { peers: (0..PEERS).map(peer).collect(), ports: vec![port], unknown: false };
    TierRule { action: Some(action), rule }
}

fn policy(number: u32, shape: Shape, version: u32) -> Arc<TierSpec> {
    let rules = |direction: u32| {
        let first = (number * 2 + direction) * RULES;
        let action = |at: u32| if at.is_multiple_of(2) { Action::Accept } else { Action::Deny };
        (0..RULES).map(|at| rule(first + at, action(at), shape, version)).collect()
    };
    Arc::new(TierSpec {
        kind: PolicyKind::ClusterNetworkPolicy,
        name: format!("policy-{number}"),
        tier: Some(if number.is_multiple_of(2) { Tier::Admin } else { Tier::Baseline }),
        priority: Some(u16::try_from(number).unwrap()),
        namespaces: if shape == Shape::Some { is("team", number % 10) } else { Selector::default() },
        pods: None,
        ingress: rules(0),
        egress: rules(1),
    })
}

fn subject(namespace: u32, name: u32) -> Subject {
    let labels = [("name".to_owned(), name.to_string()), ("unique".to_owned(), format!("{namespace}-{name}"))];
    Subject { namespace: format!("n{namespace}"), labels: labels.into(), ports: Vec::new(), vendor: false }
}

fn address(namespace: u32, name: u32) -> Address {
    std::net::IpAddr::V4((0x0a00_0000 + namespace * 256 + name).into()).into()
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The CPU time of one call, best and median of so many.
fn timed(what: &str, limit: &str, times: u32, mut call: impl FnMut(u32)) {
    let mut taken: Vec<Duration> = (0..times)
        .map(|at| {
            let began = cpu();
            call(at);
            cpu().saturating_sub(began)
        })
        .collect();
    taken.sort();
    let (best, median) = (taken[0], taken[taken.len() / 2]);
    println!("  {what:<44} best {best:>9.2?}  median {median:>9.2?}{}", wanted(limit));
}

fn wanted(limit: &str) -> String {
    if limit.is_empty() { String::new() } else { format!("  wanted {limit}") }
}

/// Bytes that were taken since.
fn held(what: &str, limit: &str, since: u64) {
    let taken = bytes().saturating_sub(since) as f64 / 1e6;
    println!("  {what:<44} {taken:.1} MB{}", wanted(limit));
}

fn cluster(what: &str, shape: Shape) {
    println!("{what}");
    let mut compiler = Compiler::default();
    for namespace in 0..NAMESPACES {
        let labels = [("team".to_owned(), (namespace % 10).to_string())].into();
        compiler.namespace(&format!("n{namespace}"), labels, true);
    }
    let pods: Vec<(u32, u32)> =
        (0..NAMESPACES).flat_map(|namespace| (0..PODS).map(move |name| (namespace, name))).collect();
    let endpoints: Vec<(Endpoint, Vec<Address>)> = pods
        .iter()
        .map(|&(namespace, name)| {
            let spec = EndpointSpec {
                namespace: format!("n{namespace}"),
                pod_name: name.to_string(),
                ..EndpointSpec::default()
            };
            let policy_subject = compiler.subject(subject(namespace, name));
            (
                Endpoint { policy_subject, ..Endpoint::new(EndpointKind::Pod, true, &spec) },
                vec![address(namespace, name)],
            )
        })
        .collect();
    compiler.policies();
    let before = bytes();
    let mut specs: Vec<Arc<TierSpec>> = (0..POLICIES).map(|number| policy(number, shape, 0)).collect();
    held("memory of the policies as they are read", "", before);
    let before = bytes();
    timed("all policies, from nothing", "", 1, |_| {
        compiler.set_all(Vec::new(), specs.clone());
        compiler.policies();
    });
    held("memory of tables, and of what compiles them", "", before);
    let mut change = |what: &str, edit: &mut dyn FnMut(u32, &mut Vec<Arc<TierSpec>>)| {
        timed(what, "50 ms", 30, |turn| {
            let published = compiler.policies().clone();
            edit(turn, &mut specs);
            compiler.set_all(Vec::new(), specs.clone());
            compiler.policies();
            drop(published);
        });
    };
    change("one policy changes", &mut |turn, specs| {
        let number = turn % POLICIES;
        specs[number as usize] = policy(number, shape, 1 + turn);
    });
    change("one policy has another priority", &mut |turn, specs| {
        let spec = Arc::make_mut(&mut specs[turn as usize]);
        spec.priority = spec.priority.map(|priority| priority + 5);
    });
    change("one policy comes or goes", &mut |turn, specs| {
        if turn.is_multiple_of(2) {
            specs.remove(turn as usize);
        } else {
            specs.insert(turn as usize - 1, policy(turn - 1, shape, 0));
        }
    });
    // The tables that were published stay in use meanwhile.
    timed("a pod that is like no other comes", "", 200, |turn| {
        let published = compiler.policies().clone();
        compiler.subject(subject(turn % NAMESPACES, PODS + turn));
        compiler.policies();
        drop(published);
    });
    let tables = compiler.policies().clone();
    evaluations(&Index::new(endpoints, tables.clone()));
    drop((compiler, specs));
    let before = bytes();
    drop(tables);
    let freed = before.saturating_sub(bytes()) as f64 / 1e6;
    println!("  {:<44} {freed:.1} MB{}", "memory of tables alone", wanted("19 MB"));
}

fn evaluations(index: &Index) {
    let mut state = 1_u64;
    let mut dice = move |sides: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).unwrap() % sides
    };
    let mut end = || {
        let ip = address(dice(NAMESPACES), dice(PODS));
        (index.find(ip), ip)
    };
    let flows: Vec<Flow> = (0..2_000)
        .map(|_| {
            let ((source, source_ip), (destination, destination_ip)) = (end(), end());
            Flow {
                source,
                source_ip,
                destination,
                destination_ip,
                destination_port: 80,
                l4: L4::Tcp,
                ..Flow::default()
            }
        })
        .collect();
    let mut decisions = [0_u32; 3];
    // The best of five for each, since others use the machine.
    let mut best = vec![Duration::MAX; flows.len()];
    for turn in 0..5 {
        for (flow, best) in flows.iter().zip(&mut best) {
            let began = Instant::now();
            let end = index.policies().evaluate_end(index, flow, Direction::Ingress).unwrap();
            *best = (*best).min(began.elapsed());
            if turn == 0 {
                decisions[match end.decision {
                    Decision::Allow => 0,
                    Decision::Deny => 1,
                    Decision::Undecided => 2,
                }] += 1;
            }
        }
    }
    best.sort();
    let (median, worst) = (best[best.len() / 2], best[best.len() - 1]);
    let [allowed, denied, open] = decisions;
    println!(
        "  {:<44} median {median:>7.2?}  worst {worst:>9.2?}  wanted 2 µs and 50 µs ({allowed} allowed, {denied} denied, \
         {open} open)",
        "an evaluation"
    );
}
