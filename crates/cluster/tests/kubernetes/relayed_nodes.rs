//! Nodes of which a relay sends addresses and networks.

use std::sync::Arc;

use serde_json::json;
use webb_cluster::{Cache, CacheSettings, NodeChanges, NodeNetwork};

use crate::kube_api::Api;
use crate::kube_api::agent::Agent;
use crate::nodes::{REMOTE_NODE, address, api, brisk, identity, name, node, of_nodes, zone};

/// An agent with a relay.
fn relayed(api: &Api) -> Agent {
    let settings = CacheSettings { node: "node-1".into(), cluster: "lab".into(), ..CacheSettings::default() };
    let cache = Cache::new(settings);
    cache.set_relayed(true);
    Agent::start_into(cache, api.kubeconfig(None), brisk())
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
    let agent = relayed(&api);
    send(&agent, [sent(3, &address(3))]);
    agent.until("the lists", || agent.status.synced());
    agent.until("one that was sent before", || identity(&agent, &address(3)) == REMOTE_NODE);
    assert_eq!(identity(&agent, "10.250.0.3"), REMOTE_NODE, "its tunnel, of an annotation");
    assert_eq!(zone(&agent, 7), ["topology.kubernetes.io/zone=a"]);
    assert_ne!(identity(&agent, &address(7)), REMOTE_NODE, "nobody has said whose it is");
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
    api.delete("Node", "", &name(7));
    agent.until("a deletion", || identity(&agent, "192.168.99.7") != REMOTE_NODE);

    // What the relay sends of the own node is not needed, and may be late.
    send(&agent, [("node-1".to_owned(), sent(1, "192.168.88.1").1)]);
    assert_ne!(identity(&agent, "192.168.88.1"), REMOTE_NODE);
    assert_eq!(identity(&agent, "192.168.77.1"), 1);

    let whole = of_nodes(&api, |seen| !seen.metadata && seen.name.as_deref() != Some("node-1"));
    assert!(whole.is_empty(), "{whole:?}");
    assert_eq!(agent.status.complaint(), "");
}

/// A node that the relay sends before any list has it is read, of its metadata alone; one that does
/// not exist is no node.
#[test]
fn new_nodes_are_looked_up() {
    let api = api(150);
    let agent = relayed(&api);
    agent.until("the lists", || agent.status.synced());
    api.put(node(200, "c"));
    send(&agent, [sent(200, &address(200)), sent(300, &address(300))]);
    agent.until("the new node", || identity(&agent, &address(200)) == REMOTE_NODE);
    assert_eq!(zone(&agent, 200), ["topology.kubernetes.io/zone=c"]);
    // One that is under way has no status yet.
    let answered = || of_nodes(&api, |seen| seen.name.as_deref() == Some(&name(300)) && seen.status != 0);
    agent.until("the stray one is asked for", || answered().len() >= 2);
    assert!(answered().iter().all(|seen| seen.metadata && seen.status == 404), "{:?}", answered());
    assert_ne!(identity(&agent, &address(300)), REMOTE_NODE);
}

/// A relay of an earlier version sends no nodes: they are listed whole, once. The next one sends
/// them again.
#[test]
fn relays_may_send_no_nodes() {
    let api = api(150);
    let agent = relayed(&api);
    send(&agent, [sent(7, "192.168.99.7")]);
    agent.until("the lists", || agent.status.synced());
    agent.cache.expect_relayed_nodes(false);
    agent.until("a whole list", || identity(&agent, &address(7)) == REMOTE_NODE);
    assert_ne!(identity(&agent, "192.168.99.7"), REMOTE_NODE, "what was sent before may be old");
    agent.cache.expect_relayed_nodes(true);
    let mut changed = node(7, "b");
    changed["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = json!("10.251.0.7");
    api.put(changed);
    agent.until("the next list of metadata", || identity(&agent, "10.251.0.7") == REMOTE_NODE);
    assert_eq!(identity(&agent, "192.168.99.7"), REMOTE_NODE);
    let lists = of_nodes(&api, |seen| !seen.metadata && seen.name.is_none());
    assert_eq!(lists.len(), 1, "{lists:?}");
}

/// Watched Nodes are what the API server says of them.
#[test]
fn watched_nodes_need_no_relay() {
    let api = api(20);
    let agent = relayed(&api);
    agent.until("the lists", || agent.status.synced());
    send(&agent, [sent(7, "192.168.99.7")]);
    assert_eq!(identity(&agent, &address(7)), REMOTE_NODE);
    assert_ne!(identity(&agent, "192.168.99.7"), REMOTE_NODE);
}
