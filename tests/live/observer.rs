//! The observer: known traffic as clients of Hubble's API see it, by the socket of a running agent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use prost::Message as _;
use webb_observer::proto::flow::{Flow, FlowFilter};
use webb_observer::proto::observer::get_flows_response::ResponseTypes;
use webb_observer::proto::observer::observer_client::ObserverClient;
use webb_observer::proto::observer::{GetFlowsRequest, GetNamespacesRequest, GetNodesRequest, ServerStatusRequest};

use crate::harness::{Agent, DEATHSTAR_A, Lab, METRICS, QUICK, TIEFIGHTER};

/// Metrics for tests of flows.
pub(crate) const METRICS_OF_FLOWS: &str = "flow drop";

/// Long enough for a loaded machine.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(1);

/// An agent with an observer on a socket in the lab's directory.
pub(crate) struct Observed {
    agent: Agent,
    socket: PathBuf,
}

impl Observed {
    fn start(lab: &Lab, node: &str, more: &str) -> Self {
        Self::start_with(lab, node, METRICS, more)
    }

    /// An agent with these metrics, and further addresses of its observer.
    pub(crate) fn start_with(lab: &Lab, node: &str, metrics: &str, more: &str) -> Self {
        Self::start_named(lab, node, metrics, more, &[])
    }

    /// The same, with names from elsewhere than the lab's manifest.
    pub(crate) fn start_named(lab: &Lab, node: &str, metrics: &str, more: &str, arguments: &[&str]) -> Self {
        let socket = lab.dir.path().join(format!("{node}.sock"));
        let text = format!("{QUICK}observer: {{ enabled: true, listen: ['unix://{}'{more}] }}\n", socket.display());
        let config = lab.file(&format!("{node}.yaml"), &text);
        let mut all = vec!["--config", config.to_str().unwrap()];
        all.extend(arguments);
        let mut agent = Agent::start_at(lab, node, metrics, &all);
        agent.wait_until("the observer's socket is there", |_| socket.exists());
        Self { agent, socket }
    }

    pub(crate) fn log(&self) -> String {
        self.agent.log()
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The flows of an answer.
pub(crate) fn flows(address: &str, request: &GetFlowsRequest) -> Vec<Flow> {
    runtime().block_on(async {
        let mut client = ObserverClient::connect(address.to_owned()).await.unwrap();
        let mut stream = client.get_flows(request.clone()).await.unwrap().into_inner();
        let mut flows = Vec::new();
        while let Some(response) = stream.message().await.unwrap() {
            match response.response_types {
                Some(ResponseTypes::Flow(flow)) => flows.push(Flow::decode(flow).unwrap()),
                other => panic!("not a flow: {other:?}"),
            }
        }
        flows
    })
}

/// Asks until the answer has a flow.
fn some_flows(address: &str, filter: FlowFilter) -> Vec<Flow> {
    let request = GetFlowsRequest { whitelist: vec![filter], ..GetFlowsRequest::default() };
    let began = Instant::now();
    loop {
        let found = flows(address, &request);
        if !found.is_empty() {
            return found;
        }
        assert!(
            began.elapsed() < TIMEOUT,
            "no flow by {request:?}; all: {:#?}",
            flows(address, &GetFlowsRequest::default())
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A connection between pods is there with both names, by every filter that says the same; status,
/// nodes and namespaces are those of this agent, and its own metrics add up.
#[test]
fn known_traffic_is_seen() {
    let Some(lab) = Lab::up() else { return };
    let mut observed = Observed::start(&lab, "node", "");
    let address = observed.address();
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    let found = some_flows(
        &address,
        FlowFilter {
            source_pod: vec![TIEFIGHTER.into()],
            destination_pod: vec![DEATHSTAR_A.into()],
            destination_port: vec!["80".into()],
            reply: vec![false],
            ..FlowFilter::default()
        },
    );
    let flow = &found[0];
    assert_eq!(flow.node_name, "webb-node-1");
    assert_eq!(flow.source.as_ref().unwrap().namespace, "default");
    assert_eq!(flow.verdict, 1);
    assert!(flow.uuid.len() == 36 && flow.time.is_some() && !flow.summary.is_empty(), "{flow:?}");

    runtime().block_on(async {
        let mut client = ObserverClient::connect(address).await.unwrap();
        let status = client.server_status(ServerStatusRequest::default()).await.unwrap().into_inner();
        assert!(
            status.num_flows > 0 && status.seen_flows >= status.num_flows && status.max_flows == 4095,
            "{status:?}"
        );
        let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
        assert!(nodes.iter().any(|node| node.name == "webb-node-1" && node.num_flows > 0), "{nodes:?}");
        let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
        assert!(namespaces.iter().any(|one| one.namespace == "default"), "{namespaces:?}");
    });
    observed.agent.settles(|scrape| {
        let [sent, recorded] =
            ["sent", "recorded"].map(|of| scrape.sum(&format!("webb_observer_{of}_flows_total"), &[]));
        if sent > 0 && sent == recorded { Ok(()) } else { Err(format!("{sent} sent, {recorded} recorded")) }
    });
}
