//! Requests that no client of good will makes.

use std::sync::Arc;

use tonic::Code;
use webb_observer::History;
use webb_observer::proto::flow::FlowFilter;
use webb_observer::proto::flow::flow_filter::Experimental;
use webb_observer::proto::observer::{GetFlowsRequest, ServerStatusRequest};

use crate::server::{Server, call, history, recorded};

const GET_FLOWS: &str = "/observer.Observer/GetFlows";

fn encoded(request: &GetFlowsRequest) -> Vec<u8> {
    prost::Message::encode_to_vec(request)
}

/// Requests that are too large, cut off, or of more than a filter may cost are refused by a status,
/// and the server goes on.
#[tokio::test]
async fn bad_requests_are_refused() {
    let server = Server::start(history(&recorded("flows-a.jsonl.zst"), 100)).await;
    let channel = server.connect().await;
    let status = async |request: Vec<u8>| {
        let (responses, status) = call(&channel, GET_FLOWS, request).await;
        assert!(responses.is_empty());
        status.map(|status| (status.code(), status.message().to_owned())).unwrap()
    };
    assert_eq!(status(vec![0; 2 << 20]).await.0, Code::OutOfRange);
    // A whitelist that is longer than the request.
    assert_eq!(status(vec![6 << 3 | 2, 100, 1]).await.0, Code::Internal);
    let many = GetFlowsRequest { blacklist: vec![FlowFilter::default(); 1001], ..GetFlowsRequest::default() };
    assert_eq!(status(encoded(&many)).await, (Code::Unknown, "more than 1000 filters".into()));
    let filter =
        FlowFilter { http_url: vec!["a".into(); 60], dns_query: vec!["b".into(); 60], ..FlowFilter::default() };
    let costly = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
    assert_eq!(status(encoded(&costly)).await, (Code::Unknown, "more than 100 regular expressions".into()));
    let filter = FlowFilter { http_path: vec!["a{6000}".into(); 9], ..FlowFilter::default() };
    let large = GetFlowsRequest { blacklist: vec![filter; 11], ..GetFlowsRequest::default() };
    let (code, text) = status(encoded(&large)).await;
    assert_eq!(code, Code::Unknown);
    let why = "too large together with the expressions before it: the most is 16 MiB";
    assert_eq!(text, format!("invalid http path filter: a{{6000}}: error parsing regexp: {why}"));
    let cel = |expressions: Vec<String>| {
        let experimental = Some(Experimental { cel_expression: expressions });
        let filter = FlowFilter { experimental, ..FlowFilter::default() };
        encoded(&GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() })
    };
    assert_eq!(status(cel(vec!["true".into(); 33])).await, (Code::Unknown, "more than 32 CEL expressions".into()));
    for bomb in ["(".repeat(60_000), "(".repeat(4000), "!".repeat(4000), "[1].map(x, ".repeat(300)] {
        let (code, text) = status(cel(vec![bomb])).await;
        assert_eq!(code, Code::Unknown);
        assert!(text.starts_with("error compiling CEL expression: "), "{text}");
    }
    let paths = (0..10_000).map(|number| format!("nothing.{number}")).collect();
    let field_mask = Some(prost_types::FieldMask { paths });
    let masked = GetFlowsRequest { field_mask, ..GetFlowsRequest::default() };
    assert_eq!(status(encoded(&masked)).await, (Code::Unknown, "invalid fieldmask".into()));
}

/// Expressions that cost the most for each event hold up no other client.
#[tokio::test]
async fn costly_expressions_hold_up_no_other() {
    let server = Server::start(history(&recorded("flows-a.jsonl.zst"), 4095)).await;
    let bomb = format!("{}false{}", "[1,2,3,4,5,6,7,8].exists(x, ".repeat(20), ")".repeat(20));
    let experimental = Some(Experimental { cel_expression: vec![bomb; 32] });
    let filter = FlowFilter { experimental, ..FlowFilter::default() };
    let request = GetFlowsRequest { whitelist: vec![filter], number: 1, ..GetFlowsRequest::default() };
    let (costly, plain) = (server.connect().await, server.connect().await);
    let slow = async { call(&costly, GET_FLOWS, encoded(&request)).await.0.len() };
    let fast = async {
        let request = GetFlowsRequest { number: 3, ..GetFlowsRequest::default() };
        call(&plain, GET_FLOWS, encoded(&request)).await.0.len()
    };
    let first = futures::future::select(Box::pin(slow), Box::pin(fast)).await;
    let futures::future::Either::Right((3, slow)) = first else { panic!("the plain request is answered first") };
    assert_eq!(slow.await, 0, "an expression of too many steps matches nothing");
}

/// A field that only a newer client knows is passed over.
#[tokio::test]
async fn newer_requests_are_answered() {
    let server = Server::start(history(&recorded("flows-a.jsonl.zst"), 100)).await;
    let mut request = encoded(&GetFlowsRequest { number: 3, ..GetFlowsRequest::default() });
    // Field 77, a text.
    request.extend_from_slice(&[0xea, 0x04, 3, b'n', b'e', b'w']);
    let (responses, status) = call(&server.connect().await, GET_FLOWS, request).await;
    assert_eq!((responses.len(), status.map(|status| status.code())), (3, None));
}

/// Clients that read nothing hold up neither the others nor what is written.
#[tokio::test]
async fn clients_that_read_nothing_hold_up_no_other() {
    use webb_observer::proto::observer::observer_client::ObserverClient;
    let server = Server::start(Arc::new(History::new(1000))).await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
        idle.push(ObserverClient::new(server.connect().await).get_flows(request).await.unwrap());
    }
    for segment in 0..200 {
        server.history.push(crate::streams::flows(segment * 500, 500), 0);
    }
    let mut client = ObserverClient::new(server.connect().await);
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.seen_flows), (1000, 100_000));
    let all = client.get_flows(GetFlowsRequest::default()).await.unwrap().into_inner();
    assert_eq!(futures::StreamExt::count(all).await, 1000);
    drop(idle);
}

/// The expressions of all requests have a bound together: what is beyond it is refused, plain
/// requests are answered, and what a request took is free once it ends.
#[tokio::test]
async fn expressions_of_all_requests_are_bounded() {
    use webb_observer::proto::observer::observer_client::ObserverClient;
    let server = Server::start(Arc::new(History::new(10))).await;
    let mut client = ObserverClient::new(server.connect().await);
    let filter = FlowFilter { http_path: vec!["a{6000}".into(); 8], ..FlowFilter::default() };
    let costly = GetFlowsRequest { whitelist: vec![filter], follow: true, ..GetFlowsRequest::default() };
    let mut open = Vec::new();
    let refused = loop {
        match client.get_flows(costly.clone()).await {
            Ok(answers) => open.push(answers),
            Err(status) => break status,
        }
    };
    assert!((2..20).contains(&open.len()), "{} requests", open.len());
    let why = "the expressions of other requests take most of 32 MiB: try later";
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, why));
    let plain = GetFlowsRequest::default();
    assert!(client.get_flows(plain).await.is_ok());
    drop(open);
    let began = std::time::Instant::now();
    while client.get_flows(costly.clone()).await.is_err() {
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "what is over has its memory still");
    }
}
