//! Streams that stay open.

use std::sync::Arc;

use futures::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use webb_flow::Flow;
use webb_observer::proto::flow::{FlowFilter, LostEventSource, NetworkInterface};
use webb_observer::proto::observer::get_flows_response::ResponseTypes;
use webb_observer::proto::observer::observer_client::ObserverClient;
use webb_observer::proto::observer::{GetFlowsRequest, GetFlowsResponse, GetNodesRequest, ServerStatusRequest};
use webb_observer::proto::peer::peer_client::PeerClient;
use webb_observer::proto::peer::{ChangeNotificationType, NotifyRequest};
use webb_observer::{Event, History, Peer, Segment};

use crate::server::Server;

/// Flows that are recognised by their time.
pub(crate) fn flows(from: u64, count: u64) -> Segment {
    let flow = |time_ns| Event::Flow(Flow { time_ns, ..Flow::default() });
    let encoded = |number: u64| {
        let time = prost_types::Timestamp { seconds: number.cast_signed(), nanos: 0 };
        prost::Message::encode_to_vec(&webb_observer::proto::flow::Flow { time: Some(time), ..Default::default() })
            .into()
    };
    let events = (from..from + count).map(flow).collect();
    Segment { events, encoded: (from..from + count).map(encoded).collect(), ..Segment::default() }
}

async fn follow(channel: Channel, number: u64) -> Streaming<GetFlowsResponse> {
    let request = GetFlowsRequest { follow: true, number, ..GetFlowsRequest::default() };
    ObserverClient::new(channel).get_flows(request).await.unwrap().into_inner()
}

/// The number of the next flow.
async fn next(stream: &mut Streaming<GetFlowsResponse>) -> i64 {
    stream.message().await.unwrap().unwrap().time.unwrap().seconds
}

/// A follower of an empty history gets the first flow and every one after it, once; one that asks
/// for two of the past begins with these. The end of the server is an error, not an end.
#[tokio::test]
async fn followers_get_each_flow_once() {
    let server = Server::start(Arc::new(History::new(4095))).await;
    let channel = server.connect().await;
    let mut early = follow(channel.clone(), 0).await;
    for segment in 0..100 {
        server.history.push(flows(segment * 3, 3), 0);
        for flow in 0..3 {
            assert_eq!(next(&mut early).await, (segment * 3 + flow).cast_signed());
        }
    }
    let mut late = follow(channel, 2).await;
    assert_eq!([next(&mut late).await, next(&mut late).await], [298, 299]);
    server.history.push(flows(300, 1), 0);
    assert_eq!([next(&mut early).await, next(&mut late).await], [300, 300]);
    server.stop();
    assert_eq!(early.message().await.unwrap_err().code(), Code::Unavailable);
}

/// A client that reads too slowly misses flows and is told how many: sent and lost make all.
#[tokio::test]
async fn slow_readers_learn_of_each_loss() {
    const FLOWS: u64 = 400_000;
    let server = Server::start(Arc::new(History::new(1000))).await;
    let mut stream = follow(server.connect().await, 0).await;
    server.history.push(flows(0, 1), 0);
    assert_eq!(next(&mut stream).await, 0);
    for segment in 0..FLOWS / 500 {
        server.history.push(flows(1 + segment * 500, 500), 0);
    }
    let (mut sent, mut lost, mut last) = (1, 0, 0);
    while sent + lost < FLOWS + 1 {
        let response = stream.next().await.unwrap().unwrap();
        match response.response_types.unwrap() {
            ResponseTypes::Flow(_) => {
                let number = response.time.unwrap().seconds;
                assert!(number > last, "in order, and none twice");
                (sent, last) = (sent + 1, number);
            }
            ResponseTypes::LostEvents(event) => {
                assert_eq!(event.source(), LostEventSource::HubbleRingBuffer);
                assert_eq!(response.node_name, "stock-1");
                lost += event.num_events_lost;
            }
            ResponseTypes::NodeStatus(_) => panic!("a node has no status to tell"),
        }
    }
    assert_eq!(sent + lost, FLOWS + 1);
    assert_eq!(server.history.missed(), lost);
    assert!(lost > 0, "too many for what a connection holds");
    assert_eq!(last, FLOWS.cast_signed());
}

/// A node lists all, by which a user interface needs no relay, with figures of itself; the newest
/// flow counts. Each call is counted, with its messages and its status.
#[tokio::test]
async fn a_node_lists_all() {
    let server = Server::start(Arc::new(History::new(1000))).await;
    server.history.push(flows(0, 7), 0);
    let mut client = ObserverClient::new(server.connect().await);
    let response = client.get_nodes(GetNodesRequest {}).await.unwrap();
    assert_eq!(response.metadata().get("hubble-server-version").unwrap(), "1.19.4");
    let nodes = response.into_inner().nodes;
    let figures: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.num_flows, node.state)).collect();
    let others = [("node-2", 0, 0), ("prod/node-b.company.com", 0, 0)];
    assert_eq!(figures, [&[("stock-1", 7, 1)], &others[..]].concat());
    assert_eq!(nodes[0].address, "192.0.2.1:4244");
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (7, 1000, 7));
    let all = client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.count().await, 7);
    let wrong = GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() };
    assert_eq!(client.get_flows(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    drop(client.get_flows(GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }).await.unwrap());
    let handled = |counts: &webb_observer::MethodCounts<'_>| {
        counts.handled().filter(|(_, count)| *count > 0).map(|(code, _)| code).collect::<Vec<_>>()
    };
    loop {
        let counts = server.calls.counts().find(|counts| counts.method.name == "GetFlows").unwrap();
        // The server learns of the cancelled one by the connection.
        if handled(&counts) == ["OK", "Canceled", "InvalidArgument"] {
            assert_eq!((counts.started, counts.received, counts.sent), (3, 3, 7));
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let status = server.calls.counts().find(|counts| counts.method.name == "ServerStatus").unwrap();
    assert_eq!((status.started, status.received, status.sent, handled(&status)), (1, 1, 1, vec!["OK"]));
}

/// One that asks for a time of which flows are gone is told up to when they are; one that does not
/// is not.
#[tokio::test]
async fn what_is_gone_is_said() {
    let server = Server::start(Arc::new(History::new(10))).await;
    // Their times are seconds; what they are selected by is nanoseconds.
    server.history.push(flows(0, 25), 0);
    let mut client = ObserverClient::new(server.connect().await);
    for (since_ns, told) in [(0, true), (14, true), (15, false), (20, false)] {
        let since = Some(prost_types::Timestamp { seconds: 0, nanos: since_ns });
        let request = GetFlowsRequest { since, ..GetFlowsRequest::default() };
        let mut stream = client.get_flows(request).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        match first.response_types.unwrap() {
            ResponseTypes::NodeStatus(status) => {
                assert!(told, "{since_ns}");
                assert_eq!(status.node_names, ["stock-1"]);
                assert_eq!(status.message, "flows up to 1970-01-01T00:00:00.000000014Z are no longer in the history");
                assert_eq!(stream.count().await, 10);
            }
            _ => assert!(!told, "{since_ns}"),
        }
    }
}

/// A filter that names another node is answered at once where all flows are of this node, and a
/// follower of such flows is left alone until the server stops.
#[tokio::test]
async fn flows_of_other_nodes_are_not_looked_for() {
    let server = Server::start(Arc::new(History::new(1000))).await;
    let live = Flow { time_ns: 1, ..Flow::default() };
    server.history.push(Segment { events: vec![Event::Flow(live); 7], ..Segment::default() }, 0);
    let mut client = ObserverClient::new(server.connect().await);
    for (name, count) in [("stock-1", 7), ("default/stock-*", 7), ("node-2", 0), ("prod/stock-1", 0)] {
        let filter = FlowFilter { node_name: vec![name.into()], ..FlowFilter::default() };
        let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
        assert_eq!(client.get_flows(request).await.unwrap().into_inner().count().await, count, "{name}");
    }
    let filter = FlowFilter { node_name: vec!["node-2".into()], ..FlowFilter::default() };
    let request = GetFlowsRequest { whitelist: vec![filter], follow: true, ..GetFlowsRequest::default() };
    let mut stream = client.get_flows(request).await.unwrap().into_inner();
    server.history.push(Segment { events: vec![Event::Flow(live); 7], ..Segment::default() }, 0);
    server.stop();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unavailable);
}

/// All nodes first, then each change.
#[tokio::test]
async fn peers_are_announced() {
    let server = Server::start(Arc::new(History::new(1))).await;
    let mut client = PeerClient::new(server.connect().await);
    let mut changes = client.notify(NotifyRequest {}).await.unwrap().into_inner();
    for (name, address) in
        [("stock-1", "192.0.2.1:4244"), ("node-2", "192.0.2.2:4244"), ("prod/node-b.company.com", "192.0.2.3:4244")]
    {
        let change = changes.message().await.unwrap().unwrap();
        assert_eq!((change.name.as_str(), change.address.as_str()), (name, address));
        assert_eq!((change.r#type(), change.tls.is_none()), (ChangeNotificationType::PeerAdded, true));
    }
    server.peers.send_modify(|peers| {
        *peers = peers.iter().filter(|peer: &&Peer| peer.name != "node-2").cloned().collect();
    });
    let change = changes.message().await.unwrap().unwrap();
    assert_eq!((change.name.as_str(), change.r#type()), ("node-2", ChangeNotificationType::PeerDeleted));
    server.stop();
    assert_eq!(changes.message().await.unwrap_err().code(), Code::Unavailable);
}

/// A flow that was seen here is found by the id that it was shown with, whichever client asks, and
/// by the name of its interface.
#[tokio::test]
async fn flows_are_found_by_what_is_shown() {
    let server = Server::start(Arc::new(History::new(1000))).await;
    let flow = |time_ns, ifindex| Event::Flow(Flow { time_ns, ifindex, ..Flow::default() });
    for segment in 0..3 {
        let events = (0..10).map(|at| flow(segment * 10 + at, 1)).chain([flow(0, u32::MAX)]).collect();
        server.history.push(Segment { events, ..Segment::default() }, 0);
    }
    let found = async |filter: FlowFilter| {
        let mut client = ObserverClient::new(server.connect().await);
        let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
        let answers = client.get_flows(request).await.unwrap().into_inner();
        let flow = |answer: Result<GetFlowsResponse, _>| match answer.unwrap().response_types {
            Some(ResponseTypes::Flow(flow)) => prost::Message::decode(flow).unwrap(),
            other => panic!("{other:?}"),
        };
        answers.map(flow).collect::<Vec<webb_observer::proto::flow::Flow>>().await
    };
    let all = found(FlowFilter::default()).await;
    assert_eq!(all.len(), 33);
    assert_eq!(all[0].interface.as_ref().unwrap().name, "lo");
    for wanted in &all[..3] {
        let by_id = found(FlowFilter { uuid: vec![wanted.uuid.clone()], ..FlowFilter::default() }).await;
        // Segments without an index of their own share a generation.
        assert!(by_id.contains(wanted) && by_id.iter().all(|flow| flow.uuid == wanted.uuid), "{wanted:?}");
    }
    for (name, count) in [("lo", 30), ("none", 0)] {
        let interface = vec![NetworkInterface { name: name.into(), ..NetworkInterface::default() }];
        assert_eq!(found(FlowFilter { interface, ..FlowFilter::default() }).await.len(), count, "{name}");
    }
}
