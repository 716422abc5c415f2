//! Both nodes as Relay sees them: the list of peers from one, the flows of each, merged by time;
//! and nodes that come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::io;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use serde_json::json;
use tokio::time::timeout;
use webb_observer::proto::flow::{Flow, FlowFilter, layer4};
use webb_observer::proto::observer::get_flows_response::ResponseTypes;
use webb_observer::proto::observer::observer_client::ObserverClient;
use webb_observer::proto::observer::{GetFlowsRequest, GetFlowsResponse};
use webb_observer::proto::peer::peer_client::PeerClient;
use webb_observer::proto::peer::{ChangeNotification, ChangeNotificationType, NotifyRequest};

use crate::api_server::ApiServer;
use crate::harness::{DEATHSTAR_C, Lab, TIEFIGHTER, inside};
use crate::observer::{METRICS_OF_FLOWS, Observed, TIMEOUT, runtime};

/// Connections of a test.
const ROUNDS: usize = 3;

/// The connections that a node has seen the opening packet of: the opener's port, and the time.
fn opened(flows: &[Flow], node: &str) -> BTreeMap<u32, (i64, i32)> {
    let of = flows.iter().filter(|flow| flow.node_name == node);
    of.filter_map(|flow| match flow.l4.as_ref()?.protocol.as_ref()? {
        layer4::Protocol::Tcp(tcp) => {
            let flags = tcp.flags.as_ref()?;
            (flags.syn && !flags.ack).then(|| (tcp.source_port, time(flow)))
        }
        _ => None,
    })
    .collect()
}

/// The next notification of a stream.
async fn next<E: Debug>(
    notifications: &mut (impl Stream<Item = Result<ChangeNotification, E>> + Unpin),
) -> ChangeNotification {
    timeout(TIMEOUT, notifications.next()).await.expect("a notification").expect("no end").unwrap()
}

/// Peers by name, from a server at that address of this namespace, once there are so many with an
/// address.
async fn peers(server: &str, number: usize) -> BTreeMap<String, String> {
    let mut client = PeerClient::connect(server.to_owned()).await.unwrap();
    let mut notifications = client.notify(NotifyRequest {}).await.unwrap().into_inner();
    let mut peers = BTreeMap::new();
    while peers.len() < number {
        let peer = next(&mut notifications).await;
        assert!(peer.tls.is_none(), "without TLS there is no server name: {peer:?}");
        match peer.r#type() {
            ChangeNotificationType::PeerDeleted => drop(peers.remove(&peer.name)),
            _ => drop(peers.insert(peer.name, peer.address)),
        }
    }
    peers
}

/// The flows of all peers, merged by their time, as each stream has them.
async fn merged(peers: &BTreeMap<String, String>, request: &GetFlowsRequest) -> Vec<Flow> {
    let mut flows = Vec::new();
    for address in peers.values() {
        let mut client = ObserverClient::connect(format!("http://{address}")).await.unwrap();
        let mut stream = client.get_flows(request.clone()).await.unwrap().into_inner();
        while let Some(GetFlowsResponse { response_types, .. }) = stream.message().await.unwrap() {
            let Some(ResponseTypes::Flow(flow)) = response_types else { panic!("not a flow: {response_types:?}") };
            flows.push(Flow::decode(flow).unwrap());
        }
    }
    flows.sort_by_key(time);
    flows
}

fn time(flow: &Flow) -> (i64, i32) {
    flow.time.as_ref().map(|time| (time.seconds, time.nanos)).unwrap_or_default()
}

/// One agent names both, by the addresses of their nodes. Each connection between the nodes is in
/// the flows of both, with the same ends, at nearly the same time, and every flow has an id of its
/// own.
#[test]
fn two_nodes_by_a_relay() {
    let Some(lab) = Lab::up() else { return };
    let (near, far) = (
        Observed::start_with(&lab, "node", METRICS_OF_FLOWS, ", ':4244'"),
        Observed::start_with(&lab, "node2", METRICS_OF_FLOWS, ", ':4244'"),
    );
    lab.run("tiefighter", &format!("pod land --rounds {ROUNDS} 10.244.2.11:80"));
    let filter = FlowFilter {
        source_pod: vec![TIEFIGHTER.to_owned()],
        destination_pod: vec![DEATHSTAR_C.to_owned()],
        protocol: vec!["tcp".to_owned()],
        reply: vec![false],
        ..FlowFilter::default()
    };
    let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
    let relay = async || {
        let peers = peers("http://127.0.0.1:4244", 2).await;
        let expected = [("webb-node-1", "172.18.0.2:4244"), ("webb-node-2", "172.18.0.3:4244")];
        let named: Vec<_> = peers.iter().map(|(name, address)| (name.as_str(), address.as_str())).collect();
        assert_eq!(named, expected);
        loop {
            let flows = merged(&peers, &request).await;
            if ["webb-node-1", "webb-node-2"].iter().all(|node| opened(&flows, node).len() == ROUNDS) {
                return flows;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let flows = inside(&lab.namespace("node"), || {
        runtime().block_on(async { timeout(TIMEOUT, relay()).await }).map_err(io::Error::other)
    });
    let Some(flows) = flows else { panic!("no flows of both nodes\n{}\n{}", near.log(), far.log()) };
    let [near, far] = ["webb-node-1", "webb-node-2"].map(|node| opened(&flows, node));
    for (port, (seconds, _)) in &near {
        let there = far.get(port).unwrap_or_else(|| panic!("{port} is in {far:?}"));
        assert!(seconds.abs_diff(there.0) <= 1, "{port}: {near:?} {far:?}");
    }
    assert!(flows.is_sorted_by_key(time), "merged by time");
    let ids: BTreeSet<_> = flows.iter().map(|flow| &flow.uuid).collect();
    assert_eq!(ids.len(), flows.len(), "each flow has an id of its own");
}

/// A node that is made, moves to another address and is deleted is announced so, once each.
#[test]
fn nodes_come_and_go() {
    let Some(lab) = Lab::up() else { return };
    let api = ApiServer::start(&lab);
    let node = |address: &str| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "webb-node-9"},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
    };
    let kubeconfig = api.kubeconfig_text();
    let more = ["--cluster-source", "kubernetes", "--kubeconfig", &kubeconfig];
    let observed = Observed::start_named(&lab, "node", METRICS_OF_FLOWS, ", ':4244'", &more);
    runtime().block_on(async {
        let mut client = PeerClient::connect(observed.address()).await.unwrap();
        let mut notifications = client.notify(NotifyRequest {}).await.unwrap().into_inner();
        let mut of_nine = async || loop {
            let notification = next(&mut notifications).await;
            if notification.name == "webb-node-9" {
                return (notification.r#type(), notification.address);
            }
        };
        api.put(node("192.0.2.9"));
        assert_eq!(of_nine().await, (ChangeNotificationType::PeerAdded, "192.0.2.9:4244".to_owned()));
        api.put(node("192.0.2.10"));
        assert_eq!(of_nine().await, (ChangeNotificationType::PeerUpdated, "192.0.2.10:4244".to_owned()));
        api.delete("Node", "", "webb-node-9");
        assert_eq!(of_nine().await.0, ChangeNotificationType::PeerDeleted);
    });
}
