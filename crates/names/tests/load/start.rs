//! The first lists of a cluster, and the Nodes of an hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use webb_cluster::kubernetes::WatchTimings;

use super::follower::{Held, Role, run};
use super::objects::Cluster;
use super::server::{Lists, Pods, Server, Traffic};
use super::time::Time;
use super::{PODS, alone, nodes_asked_for, shown};

/// Time in which a kubelet writes its Node, at most, in seconds.
const HEARTBEAT_S: usize = 300;

/// A follower that has read everything, and after it one round of Nodes where these are not
/// watched.
fn first_lists(role: Role, nodes: usize, lists: Lists, pods: Pods) -> (Traffic, Held) {
    let server = Server::start(Cluster { nodes, pods: nodes * PODS }, lists, pods, Arc::new(Time::new(0)));
    let timings = WatchTimings {
        start_spread: Duration::ZERO,
        start_spread_per_node: Duration::from_micros(1),
        nodes_interval: Duration::from_secs(1),
        own_node_interval: Duration::from_millis(100),
        node_reads_interval: Duration::from_millis(20),
        ..WatchTimings::default()
    };
    let began = Instant::now();
    let (held, took) = run(role, &server, &timings, async |follower| {
        follower.until_synced().await;
        let (held, took) = (follower.held(), began.elapsed());
        let expected = if role == Role::RelayedAgent { PODS } else { nodes * PODS };
        assert_eq!((follower.pods(), follower.nodes()), (expected, nodes));
        if nodes > 100 {
            let own = usize::from(role != Role::Relay);
            let is_read =
                |traffic: &Traffic| traffic.requests("nodes, metadata") > 1 && traffic.requests("one node") >= own;
            while !is_read(&server.traffic()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(server.traffic().requests("nodes, watched"), 0, "{:?}", server.traffic());
            let whole = usize::from(role != Role::RelayedAgent);
            assert_eq!(server.traffic().requests("nodes, listed"), whole, "{role:?}: {:?}", server.traffic());
        }
        (held, took)
    });
    let traffic = server.traffic();
    println!(
        "{role:?}, {nodes} nodes, {lists:?}, {pods:?}: {} in {} requests and {took:.1?}; {} held, {} at most",
        shown(first_bytes(role, &traffic)),
        requests(&traffic),
        shown(usize::try_from(held.now).unwrap()),
        shown(usize::try_from(held.highest).unwrap()),
    );
    (traffic, held)
}

/// Bytes of the first lists. Beside a relay one of metadata is among them.
fn first_bytes(role: Role, traffic: &Traffic) -> usize {
    let pods = ["pods, watched", "pods, listed", "pods, of one node", "pods, watched of one node"];
    let of_metadata = if role == Role::RelayedAgent { traffic.largest("nodes, metadata") } else { 0 };
    traffic.bytes(&pods) + traffic.bytes(&["nodes, watched", "nodes, listed"]) + of_metadata
}

/// Requests of the first lists. Those that are repeated by and by count once.
fn requests(traffic: &Traffic) -> usize {
    let repeated = ["nodes, metadata", "apis, listed"].map(|what| traffic.requests(what).saturating_sub(1));
    traffic.all_requests() - traffic.requests("one node") - repeated.iter().sum::<usize>()
}

/// The load at the start and per hour stays within what it is said to be, and is less than that of
/// an agent that watches Nodes and EndpointSlices; and an agent with a relay has next to none.
#[test]
fn the_load_is_what_it_is_said_to_be() {
    let _alone = alone();
    let mut rows = vec![
        "| nodes, pods | start, lists streamed: before, now, in JSON | start, lists not streamed: before, now, in JSON | \
         with a relay: streamed, not streamed | the relay | Nodes, an hour: before, now |"
            .to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for nodes in [20, 120].into_iter().chain(nodes_asked_for()) {
        let cluster = Cluster { nodes, pods: nodes * PODS };
        let whole = cluster.sizes();
        let before = whole.pods + whole.nodes + whole.slices;
        let of = |role, lists, pods| first_lists(role, nodes, lists, pods);
        let (streamed, held) = of(Role::Agent, Lists::Streamed, Pods::Protobuf);
        let (streamed_json, _) = of(Role::Agent, Lists::Streamed, Pods::Json);
        let (listed, _) = of(Role::Agent, Lists::Whole, Pods::Protobuf);
        let (listed_json, _) = of(Role::Agent, Lists::Whole, Pods::Json);
        let (relayed, held_relayed) = of(Role::RelayedAgent, Lists::Streamed, Pods::Protobuf);
        let (relayed_listed, _) = of(Role::RelayedAgent, Lists::Whole, Pods::Protobuf);
        let (relay, _) = of(Role::Relay, Lists::Streamed, Pods::Protobuf);
        // Every Node once a heartbeat, as its kubelet writes it.
        let beats = 3600 / HEARTBEAT_S;
        let hour_before = beats * whole.nodes;
        let hour =
            if nodes > 100 { 6 * listed.largest("nodes, metadata") + 60 * whole.nodes / nodes } else { hour_before };
        let [streamed, streamed_json, listed, listed_json] = [&streamed, &streamed_json, &listed, &listed_json]
            .map(|traffic| (first_bytes(Role::Agent, traffic), requests(traffic)));
        let [relayed, relayed_listed] =
            [&relayed, &relayed_listed].map(|traffic| first_bytes(Role::RelayedAgent, traffic));
        let relay = first_bytes(Role::Relay, &relay);
        rows.push(format!(
            "| {nodes}, {} | {}, {}, {} | {}, {}, {} | {}, {} | {} | {}, {} |",
            nodes * PODS,
            shown(before),
            shown(streamed.0),
            shown(streamed_json.0),
            shown(before),
            shown(listed.0),
            shown(listed_json.0),
            shown(relayed),
            shown(relayed_listed),
            shown(relay),
            shown(hour_before),
            shown(hour)
        ));
        assert!(streamed.0 < before * 3 / 4 && listed.0 < before / 5, "{streamed:?} {listed:?}, before {before}");
        assert!(streamed.0 < streamed_json.0 && listed.0 < listed_json.0, "{streamed_json:?} {listed_json:?}");
        // The pods of one node, twice, and Nodes: by compressed metadata, where they are many.
        let of_nodes = if nodes > 100 { whole.nodes / 30 } else { whole.nodes };
        assert!(relayed < 2 * whole.pods / nodes + of_nodes, "{relayed}, {of_nodes} of them of Nodes");
        assert!(relay <= streamed.0, "{relay}");
        assert!(nodes <= 100 || hour < hour_before / 20, "{hour}, before {hour_before}");
        // Two requests before the lists, and one for kinds of policy; one for each kind, a refusal
        // and its watch.
        assert!(listed.1 <= 21, "{listed:?}");
        let pods = (nodes * PODS) as u64;
        assert!(held.now < pods * 1800 + 5_000_000, "{held:?}");
        assert!(held_relayed.now < nodes as u64 * 3600 + 2_000_000, "{held_relayed:?}");
    }
    println!("{}", rows.join("\n"));
}
