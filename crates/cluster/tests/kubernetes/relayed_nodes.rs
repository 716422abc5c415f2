//! Nodes of which a relay sends addresses and networks.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use webb_cluster::kubernetes::WatchTimings;
use webb_cluster::{Cache, CacheSettings, NodeChanges, NodeNetwork, ObjectKey, Pod};

use crate::kube_api::Api;
use crate::kube_api::agent::Agent;
use crate::nodes::{REMOTE_NODE, address, api, brisk, identity, name, node, of_nodes, zone};

/// An agent with a relay that has greeted it.
fn relayed(api: &Api, sends_nodes: bool) -> Agent {
    with(api, sends_nodes, brisk())
}

fn with(api: &Api, sends_nodes: bool, timings: WatchTimings) -> Agent {
    let settings = CacheSettings { node: "node-1".into(), cluster: "lab".into(), ..CacheSettings::default() };
    let cache = Cache::new(settings);
    cache.set_relayed(true);
    cache.set_relay_sends_nodes(sends_nodes);
    Agent::start_into(cache, api.kubeconfig(None), timings)
}

/// A node as a relay sends it, with this address.
fn sent(number: usize, address: &str) -> (String, Arc<NodeNetwork>) {
    let network = NodeNetwork {
        internal: vec![address.parse().unwrap()],
        external: vec![format!("203.0.113.{}", number % 250).parse().unwrap()],
        pod_networks: vec![format!("10.{}.{}.0/24", 100 + number / 250, number % 250).parse().unwrap()],
    };
    (name(number), Arc::new(network))
}

fn send(agent: &Agent, changed: impl IntoIterator<Item = (String, Arc<NodeNetwork>)>) {
    agent.cache.take_relayed_nodes(NodeChanges { changed: changed.into_iter().collect(), removed: vec![] });
}

/// Whole Nodes are not listed: labels come by lists of metadata, the rest from the relay, in either
/// order; the own Node is read.
#[test]
fn metadata_is_enough_beside_a_relay() {
    let api = api(150);
    let mut own = node(0, "own");
    own["metadata"]["name"] = json!("node-1");
    own["status"]["addresses"] = json!([{"type": "InternalIP", "address": "192.168.77.1"}]);
    api.put(own);
    let agent = relayed(&api, true);
    send(&agent, [sent(3, &address(3))]);
    agent.until("the lists", || agent.status.synced());
    agent.until("one that was sent before", || identity(&agent, &address(3)) == REMOTE_NODE);
    assert_eq!(identity(&agent, "10.250.0.3"), REMOTE_NODE, "its tunnel, of an annotation");
    assert_eq!(zone(&agent, 7), ["topology.kubernetes.io/zone=a"]);
    assert_ne!(identity(&agent, &address(7)), REMOTE_NODE, "its network is not known yet");
    send(&agent, (0..150).map(|number| sent(number, &address(number))));
    for number in [3, 7, 149] {
        for its in [address(number), format!("203.0.113.{number}"), format!("10.100.{number}.1")] {
            assert_eq!(identity(&agent, &its), REMOTE_NODE, "{its}");
        }
    }
    agent.until("the own node", || identity(&agent, "192.168.77.1") == 1);

    send(&agent, [sent(7, "192.168.99.7")]);
    assert_eq!(identity(&agent, "192.168.99.7"), REMOTE_NODE);
    assert_ne!(identity(&agent, &address(7)), REMOTE_NODE, "it has another");
    api.put(node(7, "b"));
    agent.until("a label", || zone(&agent, 7) == ["topology.kubernetes.io/zone=b"]);
    assert_eq!(identity(&agent, "192.168.99.7"), REMOTE_NODE);
    agent.cache.take_relayed_nodes(NodeChanges { changed: vec![], removed: vec![name(7)] });
    assert_ne!(identity(&agent, "192.168.99.7"), REMOTE_NODE, "it is gone");

    // What the relay sends of the own node is not needed, and may be late.
    send(&agent, [("node-1".to_owned(), sent(1, "192.168.88.1").1)]);
    assert_ne!(identity(&agent, "192.168.88.1"), REMOTE_NODE);
    assert_eq!(identity(&agent, "192.168.77.1"), 1);

    let whole = of_nodes(&api, |seen| !seen.metadata && seen.name.as_deref() != Some("node-1"));
    assert!(whole.is_empty(), "{whole:?}");
    assert_eq!(agent.status.complaint(), "");
}

/// Nodes that the relay sends are known at once, before any list has them, and gone at once. Only
/// those that a pod names are read, of their metadata alone.
#[test]
fn new_nodes_are_known_at_once() {
    let api = api(150);
    let timings = WatchTimings { nodes_interval: Duration::from_mins(10), ..brisk() };
    let agent = with(&api, true, timings);
    agent.until("the lists", || agent.status.synced());
    api.put_all((200..260).map(|number| node(number, "c")));
    send(&agent, (200..260).map(|number| sent(number, &address(number))));
    assert_eq!((identity(&agent, &address(200)), identity(&agent, &address(259))), (REMOTE_NODE, REMOTE_NODE));
    assert!(zone(&agent, 200).is_empty());
    let pod = Pod { node: name(200), ..Pod::default() };
    agent.cache.upsert_relayed(ObjectKey { namespace: "default".into(), name: "there".into() }, pod);
    agent.until("its labels", || zone(&agent, 200) == ["topology.kubernetes.io/zone=c"]);
    assert_eq!(identity(&agent, &address(200)), REMOTE_NODE);
    let reads = of_nodes(&api, |seen| seen.name.as_deref().is_some_and(|name| name != "node-1"));
    assert!(reads.len() == 1 && reads[0].metadata, "{reads:?}");
    agent.cache.take_relayed_nodes(NodeChanges { changed: vec![], removed: vec![name(200)] });
    assert_ne!(identity(&agent, &address(200)), REMOTE_NODE);
}

/// A list that is older than what the relay has sent removes nothing of it.
#[test]
fn lists_may_be_older_than_the_relay() {
    let api = api(150);
    let agent = relayed(&api, true);
    agent.until("the lists", || agent.status.synced());
    send(&agent, [sent(300, &address(300))]);
    let lists = || of_nodes(&api, |seen| seen.name.is_none() && seen.status != 0).len();
    let before = lists();
    agent.until("lists", || lists() > before + 2);
    assert_eq!(identity(&agent, &address(300)), REMOTE_NODE);
}

/// Beside a relay of an earlier version, which sends no nodes, they are listed whole, before
/// anything else; where one goes back to it, in the next round.
#[test]
fn relays_may_send_no_nodes() {
    let api = api(150);
    let agent = relayed(&api, false);
    agent.until("the lists", || agent.status.synced());
    assert_eq!(identity(&agent, &address(7)), REMOTE_NODE);
    let whole = || of_nodes(&api, |seen| !seen.metadata && seen.name.is_none()).len();
    assert_eq!(whole(), 1);
    agent.cache.set_relay_sends_nodes(true);
    send(&agent, [sent(7, "192.168.99.7")]);
    agent.until("what the next one sends", || identity(&agent, "192.168.99.7") == REMOTE_NODE);
    assert_ne!(identity(&agent, &address(7)), REMOTE_NODE);
    let lists = || of_nodes(&api, |seen| seen.name.is_none() && seen.status != 0).len();
    let before = lists();
    agent.until("a list beside it", || lists() > before + 1);
    agent.cache.set_relay_sends_nodes(false);
    agent.until("a whole list", || identity(&agent, &address(7)) == REMOTE_NODE);
    assert_eq!(whole(), 2);
}

/// Before the relay has greeted no Node is asked for but to count them.
#[test]
fn a_greeting_comes_first() {
    let api = api(150);
    let settings = CacheSettings { node: "node-1".into(), cluster: "lab".into(), ..CacheSettings::default() };
    let cache = Cache::new(settings);
    cache.set_relayed(true);
    let agent = Agent::start_into(cache, api.kubeconfig(None), brisk());
    agent.until("all else", || agent.status.watched().iter().filter(|watched| watched.synced()).count() == 5);
    assert!(!agent.status.synced());
    assert!(of_nodes(&api, |seen| seen.limit != Some(1)).is_empty());
    agent.cache.set_relay_sends_nodes(true);
    agent.until("the lists", || agent.status.synced());
}

/// Watched Nodes are what the API server says of them.
#[test]
fn watched_nodes_need_no_relay() {
    let api = api(20);
    let agent = relayed(&api, true);
    agent.until("the lists", || agent.status.synced());
    send(&agent, [sent(7, "192.168.99.7")]);
    assert_eq!(identity(&agent, &address(7)), REMOTE_NODE);
    assert_ne!(identity(&agent, "192.168.99.7"), REMOTE_NODE);
}
