//! Responses that carry events.

use bytes::Bytes;
use prost_types::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use crate::answers::Respond;
use crate::encode::Encoder;
use crate::mask::Mask;
use crate::proto::flow::{LostEvent, LostEventSource};
use crate::proto::observer::get_flows_response::ResponseTypes;
use crate::proto::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};
use crate::proto::relay::{NodeState, NodeStatusEvent};
use crate::segment::{Event, Other, Segment};
use crate::unix_ns;
use crate::wire;

/// Numbers of the fields of `flow.Flow` that the envelope repeats.
const TIME: u32 = 1;
const NODE_NAME: u32 = 11;

/// Makes the responses of `GetFlows`.
pub(crate) struct Flows {
    pub(crate) mask: Option<Mask>,
    pub(crate) node_name: String,
    pub(crate) encoder: Encoder,
    /// The memory of the request's expressions.
    pub(crate) _expressions: Option<OwnedSemaphorePermit>,
}

impl Respond for Flows {
    type Answer = GetFlowsResponse;

    fn event(&mut self, segment: &Segment, place: usize) -> GetFlowsResponse {
        if let Some(Event::Other(row)) = segment.events.get(place) {
            let lost = segment.other(*row).map(lost).unwrap_or_default();
            return lost;
        }
        let whole = self.encoder.encoded(segment, place);
        match (segment.events.get(place), &self.mask) {
            // Seen here: what the flow says is known, and need not be read out of it.
            (Some(Event::Flow(flow)), None) if segment.encoded.is_empty() => GetFlowsResponse {
                response_types: Some(ResponseTypes::Flow(whole)),
                node_name: self.node_name.clone(),
                time: Some(time_of(segment.flow_time_ns(flow))),
            },
            (_, mask) => masked(whole, mask.as_ref()),
        }
    }

    fn gone(&mut self, gone_ns: u64) -> Option<GetFlowsResponse> {
        let status = NodeStatusEvent {
            // The one state of which clients print the message.
            state_change: NodeState::NodeError.into(),
            node_names: vec![self.node_name.clone()],
            message: format!("flows up to {} are no longer in the history", time_of(gone_ns)),
        };
        Some(GetFlowsResponse {
            response_types: Some(ResponseTypes::NodeStatus(status)),
            node_name: self.node_name.clone(),
            time: Some(time_of(unix_ns())),
        })
    }

    fn lost(&mut self, count: u64) -> Option<GetFlowsResponse> {
        let event = LostEvent {
            source: LostEventSource::HubbleRingBuffer.into(),
            num_events_lost: count,
            ..LostEvent::default()
        };
        Some(GetFlowsResponse {
            response_types: Some(ResponseTypes::LostEvents(event)),
            node_name: self.node_name.clone(),
            time: Some(time_of(unix_ns())),
        })
    }
}

/// The response with a flow, or with the parts of it that are asked for.
pub(crate) fn masked(whole: Bytes, mask: Option<&Mask>) -> GetFlowsResponse {
    let flow = match mask {
        None => whole,
        Some(mask) => {
            let mut out = Vec::with_capacity(whole.len());
            mask.apply(&whole, &mut out);
            Bytes::from(out)
        }
    };
    let (mut node_name, mut time) = (String::new(), None);
    for field in wire::fields(&flow) {
        match field.number {
            TIME => time = Some(timestamp(field.value.bytes())),
            NODE_NAME => node_name = String::from_utf8_lossy(field.value.bytes()).into_owned(),
            _ => {}
        }
    }
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name, time }
}

/// A lost event of the past: one that was written to the history.
pub(crate) fn lost(other: &Other) -> GetFlowsResponse {
    let event = prost::Message::decode(other.message.clone()).unwrap_or_default();
    GetFlowsResponse {
        response_types: Some(ResponseTypes::LostEvents(event)),
        node_name: other.node_name.clone(),
        time: Some(time_of(other.time_ns)),
    }
}

/// Makes the responses of `GetAgentEvents`.
pub(crate) struct AgentEvents;

impl Respond for AgentEvents {
    type Answer = GetAgentEventsResponse;

    fn event(&mut self, segment: &Segment, place: usize) -> GetAgentEventsResponse {
        let Some(other) = other(segment, place) else { return GetAgentEventsResponse::default() };
        GetAgentEventsResponse {
            agent_event: other.message.clone(),
            node_name: other.node_name.clone(),
            time: Some(time_of(other.time_ns)),
        }
    }

    fn gone(&mut self, _: u64) -> Option<GetAgentEventsResponse> {
        None
    }

    fn lost(&mut self, _: u64) -> Option<GetAgentEventsResponse> {
        None
    }
}

/// Makes the responses of `GetDebugEvents`.
pub(crate) struct DebugEvents;

impl Respond for DebugEvents {
    type Answer = GetDebugEventsResponse;

    fn event(&mut self, segment: &Segment, place: usize) -> GetDebugEventsResponse {
        let Some(other) = other(segment, place) else { return GetDebugEventsResponse::default() };
        GetDebugEventsResponse {
            debug_event: other.message.clone(),
            node_name: other.node_name.clone(),
            time: Some(time_of(other.time_ns)),
        }
    }

    fn gone(&mut self, _: u64) -> Option<GetDebugEventsResponse> {
        None
    }

    fn lost(&mut self, _: u64) -> Option<GetDebugEventsResponse> {
        None
    }
}

fn other(segment: &Segment, place: usize) -> Option<&Other> {
    match segment.events.get(place)? {
        Event::Other(row) => segment.other(*row),
        Event::Flow(_) => None,
    }
}

/// A timestamp of Unix time in nanoseconds.
pub(crate) fn time_of(unix_ns: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(unix_ns / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(unix_ns % 1_000_000_000).unwrap_or(0),
    }
}

fn timestamp(encoded: &[u8]) -> Timestamp {
    let mut time = Timestamp::default();
    for field in wire::fields(encoded) {
        match field.number {
            1 => time.seconds = field.value.number().cast_signed(),
            2 => time.nanos = i32::try_from(field.value.number()).unwrap_or(0),
            _ => {}
        }
    }
    time
}
