//! Nodes on the stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use webb_cluster::NodeNetwork;
use webb_names::wire::{Answer, Hello, Node, Nodes};
use webb_names::{Directory, FollowError, Held, ProtocolError};

use crate::relays::{Relay, hello, key, lying, pod};
use crate::streams::Agent;

const NODES: usize = 10_000;

pub(crate) fn network(number: usize) -> Arc<NodeNetwork> {
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

/// The nodes of a relay's answers, up to the last of the networks.
fn taken(directory: &Arc<Directory>, held: &mut Held) -> Vec<Nodes> {
    let lease = directory.connect();
    if let Some(digest) = held.offer_nodes() {
        lease.knows_nodes(digest);
    }
    held.begin(true);
    let mut all = Vec::new();
    while let Some(answer) = lease.next() {
        all.extend(answer.nodes.clone());
        held.take(answer).1.unwrap();
    }
    all
}

/// An agent that has all nodes is sent none of them on its next stream, by whichever relay has the
/// same; and then what changes. By a relay that has others it is sent all.
#[test]
fn known_nodes_are_left_out() {
    let relays = [Arc::new(Directory::bounded(2, 3)), Arc::new(Directory::bounded(2, 100))];
    let all = || (0..10).map(|at| (at.to_string(), network(at)));
    // They have not come in one order, nor at once.
    relays[0].set_nodes(all().collect());
    relays[1].set_nodes(all().skip(5).map(|(name, _)| (name, network(77))).collect());
    relays[1].set_nodes(all().rev().chain([("gone".to_owned(), network(78))]).collect());
    relays[1].set_nodes(all().rev().collect());
    let mut held = Held::new("own".to_owned());
    assert_eq!(taken(&relays[0], &mut held).len(), 4, "three nodes a part");
    let same = Nodes { same: true, ..Nodes::default() };
    for relay in &relays {
        assert_eq!(taken(relay, &mut held), std::slice::from_ref(&same));
    }
    let lease = relays[1].connect();
    lease.knows_nodes(held.offer_nodes().unwrap());
    assert_eq!(lease.next().unwrap().nodes, Some(same));
    relays[1].set_nodes(all().skip(1).chain([("new".to_owned(), network(10))]).collect());
    let nodes = lease.next().unwrap().nodes.unwrap();
    assert_eq!(
        (nodes.begins, nodes.same, nodes.changed.len(), &*nodes.removed),
        (false, false, 1, &["0".to_owned()][..])
    );
    assert_eq!(lease.next(), None);
    // This one's agent is another, which has not received that.
    let whole = taken(&relays[1], &mut held);
    assert!(matches!(&*whole, [nodes] if nodes.begins && nodes.changed.len() == 10), "{whole:?}");
}

/// The digest is in the greeting of an agent's next stream, and a relay says that it has the same.
#[tokio::test]
async fn greetings_have_the_digest() {
    let relay = Relay::start("east").await;
    relay.directory.set_nodes((0..100).map(|at| (at.to_string(), network(at))).collect());
    let bytes = || relay.directory.sent().bytes.load(std::sync::atomic::Ordering::Relaxed);
    let mut agent = Agent::new();
    agent.until(relay.at, |agent| agent.held().knows_networks()).await;
    let (of_all, answers) = (bytes(), agent.following.answers());
    assert!(of_all > 2000, "{of_all}");
    // The greeting, and the answer with networks that follows it.
    agent.until(relay.at, |agent| agent.answers() >= answers + 2).await;
    assert!(bytes() - of_all < 20, "{} bytes", bytes() - of_all);
}

/// A relay that refers to nodes of an agent that has none is wrong.
#[tokio::test]
async fn unknown_nodes_end_the_stream() {
    let same = Nodes { same: true, ..Nodes::default() };
    let hello = Answer { hello: hello().hello.map(|hello| Hello { nodes: true, ..hello }), ..Answer::default() };
    let at = lying(vec![hello, Answer { nodes: Some(same), ..Answer::default() }]).await;
    let error = Agent::new().error(at).await;
    assert!(matches!(error, FollowError::Protocol(ProtocolError::UnknownNodes)), "{error}");
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
