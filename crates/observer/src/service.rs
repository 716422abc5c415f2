//! The methods of Hubble's Observer.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use webb_flow::clock::now_ns;
use webb_index::filters::Filters;

use crate::answers::{Answers, Respond};
use crate::encode::Encoder;
use crate::expressions::{Compiled, Expressions};
use crate::history::History;
use crate::mask::Mask;
use crate::proto::observer::observer_server::Observer;
use crate::proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest, GetNodesResponse, Namespace, Node,
    ServerStatusRequest, ServerStatusResponse, Tls,
};
use crate::proto::relay::NodeState;
use crate::rate;
use crate::responses::{AgentEvents, DebugEvents, Flows};
use crate::site::{Peer, Site};
use crate::walk::{Limits, Walk, Wanted};

/// Answers of a streaming method.
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves a history.
#[derive(Debug, Clone)]
pub(crate) struct ObserverService {
    pub(crate) history: Arc<History>,
    pub(crate) site: Site,
    pub(crate) expressions: Expressions,
}

impl ObserverService {
    fn answers<R: Respond>(
        &self,
        filters: Filters,
        limits: Limits,
        respond: R,
    ) -> Result<Response<Streamed<R::Answer>>, Status>
    where
        R::Answer: Send + 'static,
    {
        if limits.first && limits.follow {
            return Err(Status::invalid_argument("first cannot be specified with follow"));
        }
        let walk = Walk::new(&self.history, filters, limits, self.site.started_ns);
        let answers = Answers::new(Arc::clone(&self.history), walk, respond, self.site.stopping.clone());
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl Observer for ObserverService {
    type GetFlowsStream = Streamed<GetFlowsResponse>;
    type GetAgentEventsStream = Streamed<GetAgentEventsResponse>;
    type GetDebugEventsStream = Streamed<GetDebugEventsResponse>;

    async fn get_flows(&self, request: Request<GetFlowsRequest>) -> Result<Response<Self::GetFlowsStream>, Status> {
        let request = request.into_inner();
        let limits = limits(&request);
        let Compiled { mut filters, share } = self.expressions.compile(request.whitelist, request.blacklist).await?;
        filters.set_local_node(&self.site.path());
        let mask = request.field_mask.filter(|mask| !mask.paths.is_empty());
        let mask = mask.map(|mask| Mask::new(mask.paths.iter().map(String::as_str))).transpose();
        let mask = mask.map_err(|invalid| Status::unknown(invalid.to_string()))?;
        let node_name = self.site.name();
        let encoder = Encoder::new(node_name.clone(), self.site.version.clone(), self.site.started_ns);
        self.answers(filters, limits, Flows { mask, node_name, encoder, _expressions: share })
    }

    async fn get_agent_events(
        &self,
        request: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        let request = request.into_inner();
        let limits = Limits {
            wanted: Wanted::Agent,
            number: request.number,
            first: request.first,
            follow: request.follow,
            since_ns: request.since.as_ref().map(unix_ns),
            until_ns: request.until.as_ref().map(unix_ns),
        };
        self.answers(Filters::default(), limits, AgentEvents)
    }

    async fn get_debug_events(
        &self,
        request: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        let request = request.into_inner();
        let limits = Limits {
            wanted: Wanted::Debug,
            number: request.number,
            first: request.first,
            follow: request.follow,
            since_ns: request.since.as_ref().map(unix_ns),
            until_ns: request.until.as_ref().map(unix_ns),
        };
        self.answers(Filters::default(), limits, DebugEvents)
    }

    /// All nodes of the cluster, so that a user interface needs no relay; figures of this one
    /// alone. (A node of Hubble's refuses.)
    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        let name = self.site.name();
        let peers = Arc::clone(&self.site.peers.borrow());
        let mut nodes: Vec<Node> = peers.iter().map(node).collect();
        if !nodes.iter().any(|node| node.name == name) {
            nodes.insert(0, Node { name: name.clone(), tls: Some(Tls::default()), ..Node::default() });
        }
        let totals = self.history.totals();
        for own in nodes.iter_mut().filter(|node| node.name == name) {
            own.version.clone_from(&self.site.version);
            own.state = NodeState::NodeConnected.into();
            own.uptime_ns = now_ns().saturating_sub(self.site.started_ns);
            (own.num_flows, own.max_flows, own.seen_flows) = (totals.held, totals.limit, totals.flows);
        }
        Ok(Response::new(GetNodesResponse { nodes }))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        let named = |namespace| Namespace { cluster: self.site.listed_cluster().to_owned(), namespace };
        let namespaces = self.history.namespaces(now_ns()).into_iter().map(named).collect();
        Ok(Response::new(GetNamespacesResponse { namespaces }))
    }

    async fn server_status(&self, _: Request<ServerStatusRequest>) -> Result<Response<ServerStatusResponse>, Status> {
        let totals = self.history.totals();
        Ok(Response::new(ServerStatusResponse {
            num_flows: totals.held,
            max_flows: totals.limit,
            seen_flows: totals.flows,
            uptime_ns: now_ns().saturating_sub(self.site.started_ns),
            version: self.site.version.clone(),
            flows_rate: rate::of_the_last_minute(&self.history, crate::unix_ns()).await,
            ..ServerStatusResponse::default()
        }))
    }
}

/// The limits that a request for flows gives.
pub(crate) fn limits(request: &GetFlowsRequest) -> Limits {
    Limits {
        wanted: Wanted::Flows,
        number: request.number,
        first: request.first,
        follow: request.follow,
        since_ns: request.since.as_ref().map(unix_ns),
        until_ns: request.until.as_ref().map(unix_ns),
    }
}

/// A node of which nothing is known but its name and where it is.
fn node(peer: &Peer) -> Node {
    let server_name = peer.server_name.clone();
    let tls = Tls { enabled: server_name.is_some(), server_name: server_name.unwrap_or_default() };
    Node { name: peer.name.clone(), address: peer.address.clone(), tls: Some(tls), ..Node::default() }
}

/// Unix time in nanoseconds; the start of 1970 for a time before that.
pub(crate) fn unix_ns(time: &Timestamp) -> u64 {
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.nanos).unwrap_or(0))
}
