//! What an agent asks of its API server, in requests and bytes, by the size of the cluster.
//!
//! `WEBB_LOAD_NODES=5000 cargo test --test kubernetes load:: -- --nocapture` prints the table of
//! docs/performance.md with a cluster of that size; without the variable it has two small ones.

mod objects;
mod server;

use std::time::Duration;

use objects::Cluster;
use server::{Lists, Pods, Server, Traffic};
use webb_cluster::kubernetes::WatchTimings;

use crate::kube_api::agent::{Agent, timings};

/// Pods of a node.
const PODS: usize = 30;

/// Time in which a kubelet writes its Node, at most, in seconds.
const HEARTBEAT_S: usize = 300;

/// An agent that has read everything, and after it one round of Nodes where these are not watched.
fn traffic(nodes: usize, lists: Lists, pods: Pods) -> Traffic {
    let server = Server::start(Cluster { nodes, pods: nodes * PODS }, lists, pods);
    let patient = WatchTimings {
        answer_timeout: Duration::from_mins(1),
        start_spread_per_node: Duration::from_micros(1),
        nodes_interval: Duration::from_secs(1),
        own_node_interval: Duration::from_millis(100),
        ..timings()
    };
    let agent = Agent::start(server.kubeconfig(), patient);
    agent.until("synced", || agent.status.synced());
    assert_eq!((agent.cache.counts().pods, agent.cache.counts().nodes), (nodes * PODS, nodes));
    if nodes > 100 {
        agent.until("a list of metadata, and the own Node", || {
            server.traffic().requests("nodes, metadata") > 1 && server.traffic().requests("one node") > 0
        });
        assert_eq!(server.traffic().requests("nodes, watched"), 0, "{:?}", server.traffic());
        assert_eq!(server.traffic().requests("nodes, listed"), 1);
    }
    server.traffic()
}

/// Bytes as people write them.
fn shown(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// The load at the start and per hour stays within what it is said to be, and is less than that of
/// an agent that watches Nodes and EndpointSlices.
#[test]
fn the_load_is_what_it_is_said_to_be() {
    let further = std::env::var("WEBB_LOAD_NODES").ok().map(|text| text.parse::<usize>().unwrap());
    println!(
        "| nodes, pods | at the start, streamed: before, now in JSON, and now | listed: the same | an hour of Nodes and slices: before, now |"
    );
    println!("|---|---|---|---|");
    for nodes in [20, 120].into_iter().chain(further) {
        let cluster = Cluster { nodes, pods: nodes * PODS };
        let whole = cluster.sizes();
        let [json, protobuf] = [Pods::Json, Pods::Protobuf]
            .map(|pods| [Lists::Streamed, Lists::Whole].map(|lists| traffic(nodes, lists, pods)));
        let [streamed, listed] = &protobuf;
        let start =
            |traffic: &Traffic| traffic.bytes(&["pods, watched", "pods, listed", "nodes, watched", "nodes, listed"]);
        let before = whole.pods + whole.nodes + whole.slices;
        // Every Node once a heartbeat, as its kubelet writes it.
        let beats = 3600 / HEARTBEAT_S;
        let hour_before = beats * whole.nodes;
        let hour = if nodes > 100 {
            let list = listed.largest("nodes, metadata");
            6 * list + 60 * whole.nodes / nodes
        } else {
            hour_before
        };
        println!(
            "| {nodes}, {} | {}, {}, {} | {}, {}, {} | {}, {} |",
            nodes * PODS,
            shown(before),
            shown(start(&json[0])),
            shown(start(streamed)),
            shown(before),
            shown(start(&json[1])),
            shown(start(listed)),
            shown(hour_before),
            shown(hour)
        );
        assert!(
            start(streamed) < before * 3 / 4 && start(listed) < before / 5,
            "{streamed:?} {listed:?}, before {before}"
        );
        assert!(nodes <= 100 || hour < hour_before / 20, "{hour}, before {hour_before}");
        // Two requests before the lists; one for each kind, a refusal and its watch.
        let requests: usize = listed.all_requests() - listed.requests("one node") - listed.requests("nodes, metadata");
        assert!(requests <= 20, "{listed:?}");
    }
}
