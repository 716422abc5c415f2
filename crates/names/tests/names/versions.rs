//! Agents and relays of the version before, which know no digest of nodes: their messages, by the
//! numbers of their fields.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use webb_cluster::NodeNetwork;
use webb_names::wire::{Answer, Hello, Networks, Node, Nodes};
use webb_names::{Held, NodesDigest, VERSION};

use crate::nodes::network;
use crate::relays::{Relay, channel, key, lying, pod};
use crate::streams::Agent;

#[derive(Clone, PartialEq, Message)]
struct OldHello {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    cluster: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(bool, tag = "4")]
    nodes: bool,
}

#[derive(Clone, PartialEq, Message)]
struct OldRequest {
    #[prost(message, optional, tag = "1")]
    hello: Option<OldHello>,
}

#[derive(Clone, PartialEq, Message)]
struct OldNodes {
    #[prost(bool, tag = "1")]
    begins: bool,
    #[prost(message, repeated, tag = "2")]
    changed: Vec<Node>,
    #[prost(string, repeated, tag = "3")]
    removed: Vec<String>,
    #[prost(bool, tag = "4")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
struct OldAnswer {
    #[prost(message, optional, tag = "1")]
    hello: Option<OldHello>,
    #[prost(message, optional, tag = "5")]
    networks: Option<Networks>,
    #[prost(uint64, optional, tag = "6")]
    lag_ms: Option<u64>,
    #[prost(message, optional, tag = "8")]
    nodes: Option<OldNodes>,
}

/// The same message in the other version.
fn converted<T: Message + Default>(message: &impl Message) -> T {
    T::decode(&*message.encode_to_vec()).unwrap()
}

fn nodes(count: usize) -> Vec<(String, Arc<NodeNetwork>)> {
    (0..count).map(|at| (at.to_string(), network(at))).collect()
}

/// An agent of the version before is sent all nodes on each stream, and nothing that it does not
/// know.
#[tokio::test]
async fn old_agents_are_sent_all_nodes() {
    let relay = Relay::start("east").await;
    relay.directory.upsert(key("web"), &pod("10.0.1.1"));
    relay.directory.set_nodes(nodes(3));
    for _ in 0..2 {
        let hello = OldHello { version: VERSION, cluster: "east".to_owned(), name: "old".to_owned(), nodes: false };
        let requests = stream::iter([OldRequest { hello: Some(hello) }]).chain(stream::pending());
        let mut grpc = Grpc::new(channel(relay.at).await);
        grpc.ready().await.unwrap();
        let path = PathAndQuery::from_static("/webb.names.Names/Follow");
        // The answers by this version's messages: by the other's nothing else could be seen.
        let codec = ProstCodec::<OldRequest, Answer>::default();
        let mut answers = grpc.streaming(tonic::Request::new(requests), path, codec).await.unwrap().into_inner();
        let mut all = Vec::new();
        while all.last().is_none_or(|answer: &OldAnswer| answer.networks.is_none()) {
            let answer = answers.message().await.unwrap().unwrap();
            let old: OldAnswer = converted(&answer);
            assert_eq!(answer.encoded_len(), old.encoded_len(), "it does not know all of {answer:?}");
            all.push(old);
        }
        assert!(all[0].hello.as_ref().is_some_and(|hello| hello.nodes));
        let sent: Vec<OldNodes> = all.into_iter().filter_map(|answer| answer.nodes).collect();
        assert!(matches!(&*sent, [all] if all.begins && !all.more && all.changed.len() == 3), "{sent:?}");
    }
}

/// A relay of the version before does not know the digest that it is sent: it sends all, and what
/// it does not send is gone.
#[tokio::test]
async fn old_relays_send_all_nodes() {
    let relay = Relay::start("east").await;
    relay.directory.upsert(key("web"), &pod("10.0.1.1"));
    relay.directory.set_nodes(nodes(3));
    let mut agent = Agent::new();
    agent.until(relay.at, |agent| agent.held().knows_networks()).await;
    let digest = agent.following.held().offer_nodes().unwrap();

    let hello = Hello {
        version: VERSION,
        cluster: "east".to_owned(),
        name: "new".to_owned(),
        nodes_digest: digest.to_bytes(),
        ..Hello::default()
    };
    let expected = OldHello { version: VERSION, cluster: "east".to_owned(), name: "new".to_owned(), nodes: false };
    assert_eq!(converted::<OldHello>(&hello), expected);

    let hello = OldHello { nodes: true, name: "old".to_owned(), ..expected };
    let of_two = OldNodes {
        begins: true,
        changed: vec![
            Node { name: "0".to_owned(), ..Node::default() },
            Node { name: "9".to_owned(), ..Node::default() },
        ],
        ..OldNodes::default()
    };
    let answers = [
        OldAnswer { hello: Some(hello), ..OldAnswer::default() },
        OldAnswer { nodes: Some(of_two.clone()), ..OldAnswer::default() },
    ];
    let at = lying(answers.iter().map(converted::<Answer>).collect()).await;
    let held_now = expected_digest(&of_two);
    agent.until(at, |agent| agent.held().offer_nodes() == Some(held_now)).await;
}

/// The digest of an agent that has these nodes alone.
fn expected_digest(nodes: &OldNodes) -> NodesDigest {
    let mut held = Held::new("own".to_owned());
    let answer = Answer { nodes: Some(converted::<Nodes>(nodes)), ..Answer::default() };
    held.take(answer).1.unwrap();
    held.offer_nodes().unwrap()
}
