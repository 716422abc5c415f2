//! Nodes on the stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use webb_cluster::NodeNetwork;
use webb_names::wire::{Answer, Node, Nodes};
use webb_names::{Directory, FollowError, Held, ProtocolError};

use crate::relays::{Relay, hello, key, lying, pod};
use crate::streams::Agent;

const NODES: usize = 10_000;

fn network(number: usize) -> Arc<NodeNetwork> {
    let [.., high, low] = number.to_be_bytes();
    let network = NodeNetwork {
        internal: vec![[10, 128, high, low].into()],
        pod_networks: vec![format!("10.{high}.{low}.0/24").parse().unwrap()],
        ..NodeNetwork::default()
    };
    Arc::new(network)
}

/// Nodes come in parts, before the last of the networks, which an agent waits for. Those of a
/// cluster of 5,000 are some 250 kB.
#[test]
fn nodes_come_before_networks() {
    let directory = Arc::new(Directory::default());
    directory.upsert(key("web"), &pod("10.0.1.1"));
    directory.set_nodes((0..NODES).map(|at| (format!("ip-10-128-{at}.ec2.internal"), network(at))).collect());
    let (lease, mut held) = (directory.connect(), Held::new("own".to_owned()));
    held.begin(true);
    let (mut names, mut parts) = (BTreeSet::new(), 0);
    while let Some(answer) = lease.next() {
        assert!(!held.knows_networks(), "the networks were complete before the nodes");
        parts += 1;
        let (changes, outcome) = held.take(answer);
        outcome.unwrap();
        names.extend(changes.nodes.changed.into_iter().map(|(name, _)| name));
    }
    assert!(held.knows_networks() && parts > 1, "{parts} parts");
    assert_eq!(names.len(), NODES);
    let sent = directory.sent().bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sent < 55 * NODES as u64, "{sent} bytes");
}

/// A client that has all nodes is sent changes alone, and nodes that are exactly as many as an
/// answer takes are complete.
#[test]
fn changes_of_nodes_are_sent() {
    let directory = Arc::new(Directory::bounded(2, 3));
    let all = |count: usize| (0..count).map(|at| (at.to_string(), network(at))).collect::<Vec<_>>();
    directory.set_nodes(all(3));
    let lease = directory.connect();
    let answer = lease.next().unwrap();
    let nodes = answer.nodes.unwrap();
    assert!(nodes.begins && !nodes.more && answer.networks.is_some(), "{nodes:?}");
    assert_eq!(nodes.changed.len(), 3);
    assert_eq!(lease.next(), None);
    directory.set_nodes(all(3));
    assert_eq!(lease.next(), None);
    directory.set_nodes(all(2));
    let nodes = lease.next().unwrap().nodes.unwrap();
    assert_eq!((nodes.begins, nodes.more, nodes.changed.len(), nodes.removed), (false, false, 0, vec!["2".to_owned()]));
    assert_eq!(lease.next(), None);
}

/// A relay says whether it sends nodes.
#[tokio::test]
async fn relays_may_send_no_nodes() {
    let (relay, mut agent) = (Relay::start("east").await, Agent::new());
    assert!(agent.following.held().sends_nodes(), "it is expected to");
    agent.until(relay.at, |agent| agent.held().knows_networks()).await;
    assert!(!agent.following.held().sends_nodes());
    relay.directory.set_nodes(vec![("a".to_owned(), network(1))]);
    agent.until(relay.at, |agent| agent.held().sends_nodes()).await;
}

/// A node that is none ends the stream.
#[tokio::test]
async fn wrong_nodes_end_the_stream() {
    let nodes = Nodes { changed: vec![Node::default()], ..Nodes::default() };
    let at = lying(vec![hello(), Answer { nodes: Some(nodes), ..Answer::default() }]).await;
    let error = Agent::new().error(at).await;
    assert!(matches!(error, FollowError::Protocol(ProtocolError::Node)), "{error}");
    assert_eq!(error.label(), "wrong_answer");
}
