//! Pods that go and come, 20 a second, for an hour of a clock that is advanced as fast as their
//! events are read.
//!
//! The hour of docs/performance.md is had by `WEBB_LOAD_NODES=5000 WEBB_LOAD_SECONDS=3600
//! cargo test --release -p webb-names --test load -- --nocapture hour`; without the variables it is
//! a minute of a small cluster.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_cluster::kubernetes::{Reason, WatchTimings};

use super::follower::{Follower, Role, run};
use super::objects::Cluster;
use super::server::{Lists, Pods, Server, Traffic};
use super::time::{PLACES_PER_TICK, TICK, TICKS_OF_A_CHANGE, Time};
use super::{PODS, alone, nodes_asked_for, shown};

/// Time after the last event in which what is kept of deleted pods is let go.
const SETTLING: Duration = Duration::from_secs(80);

/// Places whose names are checked at a time.
const SAMPLE: usize = 50;

/// Checks names of pods after a tick: of places that got another pod, and of some that are yet to
/// get one.
fn check_names(follower: &Follower, role: Role, cluster: Cluster, time: &Time, tick: usize) {
    let every = if role == Role::RelayedAgent { cluster.nodes } else { 1 };
    let (replaced, begun) = time.places(tick);
    let of = |pods: Range<usize>| {
        let pods = pods.filter(|pod| (pod % cluster.pods).is_multiple_of(every));
        let stride = pods.clone().count() / SAMPLE;
        pods.step_by(stride.max(1))
    };
    // A pod that was replaced by one that is there still.
    let gone = begun.saturating_sub(cluster.pods)..replaced;
    for pod in of(gone).map(|pod| pod + cluster.pods).chain(of(begun..cluster.pods)) {
        let (name, place) = (cluster.pod_name(pod).1, pod % cluster.pods);
        assert_eq!(follower.name(&cluster.pod_address(pod)), name, "of the place {place} after the tick {tick}");
    }
    // What those sent that went last.
    if role != Role::Relay && tick < time.ticks() {
        for pod in of(replaced.saturating_sub(PLACES_PER_TICK)..replaced) {
            let before = follower.name_before(&cluster.pod_address(pod), TICK * TICKS_OF_A_CHANGE);
            assert_eq!(before, cluster.pod_name(pod).1, "before the tick {tick}");
        }
    }
}

fn hour(role: Role, pods: Pods) {
    let nodes = nodes_asked_for().unwrap_or(20);
    let seconds = std::env::var("WEBB_LOAD_SECONDS").map_or(60, |text| text.parse().unwrap());
    let cluster = Cluster { nodes, pods: nodes * PODS };
    let time = Arc::new(Time::new(seconds));
    let server = Server::start(cluster, Lists::Streamed, pods, Arc::clone(&time));
    let timings = WatchTimings { start_spread_per_node: Duration::from_nanos(1), ..WatchTimings::default() };
    run(role, &server, &timings, async |follower| {
        follower.until_synced().await;
        let (events, first, start) = (follower.events(), server.traffic(), follower.held());
        let (began, mut highest) = (Instant::now(), 0);
        tokio::time::pause();
        let settling = usize::try_from(SETTLING.as_millis() / TICK.as_millis()).unwrap();
        for tick in 0..time.ticks() + settling {
            follower.tick(&time, tick, events).await;
            highest = highest.max(follower.held().now);
            if tick.is_multiple_of(300) {
                check_names(follower, role, cluster, &time, tick);
            }
            if tick > 0 && tick.is_multiple_of(4500) {
                println!("  after {} min: {}", tick / 300, shown(usize::try_from(follower.held().now).unwrap()));
            }
        }
        check_names(follower, role, cluster, &time, time.ticks() + settling);
        let (end, traffic) = (follower.held(), server.traffic());
        let of_pods = |traffic: &Traffic| traffic.bytes(&["pods, watched", "pods, watched of one node"]);
        let all = |traffic: &Traffic| traffic.all_bytes();
        println!(
            "{role:?}, {nodes} nodes, {pods:?}, {seconds} s with {} events in {:.0?}: {} of pods, {} of all else, {} requests; \
             {} held at first, {} at most, {} at the end",
            time.now().sent,
            began.elapsed(),
            shown(of_pods(&traffic) - of_pods(&first)),
            shown(all(&traffic) - all(&first) - (of_pods(&traffic) - of_pods(&first))),
            traffic.all_requests() - first.all_requests(),
            shown(usize::try_from(start.now).unwrap()),
            shown(usize::try_from(highest).unwrap()),
            shown(usize::try_from(end.now).unwrap()),
        );
        println!("{traffic:?}");
        let expected = if role == Role::RelayedAgent { PODS } else { cluster.pods };
        assert_eq!(follower.pods(), expected);
        // No list but the first, and no watch that ended before its time.
        for watched in follower.status().watched() {
            let restarts = Reason::ALL.map(|reason| (reason, watched.restarts(reason)));
            assert!(restarts.iter().all(|(reason, count)| *reason == Reason::Closed || *count == 0), "{restarts:?}");
        }
        // Each event is a pod at most, in protocol buffers three quarters of one.
        let of_form = |bytes| if pods == Pods::Json { bytes } else { bytes / 4 * 3 };
        let bytes = time.now().sent * of_form(cluster.sizes().pods / cluster.pods);
        assert!(of_pods(&traffic) - of_pods(&first) < bytes, "{traffic:?}, not below {bytes}");
        // A watch lasts 217 s at least, and an agent has six, a relay two. Both ask for Nodes every
        // eight minutes; an agent for kinds of policy every 45 s, and for its own Node every
        // minute.
        let times = |kinds: usize, interval: usize| {
            kinds * (usize::try_from(time.now().time.as_secs()).unwrap() / interval + 1)
        };
        let of_agent = if role == Role::Relay { 0 } else { times(1, 45) + times(1, 60) };
        let most = times(if role == Role::Relay { 2 } else { 6 }, 217) + times(1, 480) + of_agent;
        assert!(traffic.all_requests() - first.all_requests() <= most, "{traffic:?}, at first {first:?}");
        // A previous owner is kept for a minute, and tables are sparse at times.
        assert!(end.now < start.now * 3 / 2 + 1_000_000, "{start:?}, {end:?}");
        assert!(highest < start.now * 3 / 2 + 4_000_000, "{start:?}, {highest}");
    });
}

/// Names are right while pods go and come, and neither memory nor requests grow by that.
#[test]
fn an_hour_of_an_agent() {
    let _alone = alone();
    hour(Role::Agent, Pods::Protobuf);
    hour(Role::Agent, Pods::Json);
}

/// The same of an agent that has a relay, to which the other nodes' pods cost nothing.
#[test]
fn an_hour_of_an_agent_with_a_relay() {
    let _alone = alone();
    hour(Role::RelayedAgent, Pods::Protobuf);
}

/// The same of the relay.
#[test]
fn an_hour_of_the_relay() {
    let _alone = alone();
    hour(Role::Relay, Pods::Protobuf);
}
