//! Prints responses in the forms of Hubble's command line.

use prost::Message as _;
use prost_types::Timestamp;

use super::events::{DebugText, agent_details, agent_type, debug_text, lost_count, lost_source};
use super::flow_text::{End, put_host, put_identity, put_summary, put_type, put_verdict};
use super::style::{Output, Style, push_plain};
use super::table::Table;
use super::time::put_time;
use crate::json_write;
use crate::proto::flow::{AgentEvent, DebugEvent, Flow, LostEvent};
use crate::proto::observer::get_flows_response::ResponseTypes;
use crate::proto::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};
use crate::proto::relay::{NodeState, NodeStatusEvent};
use crate::schema::schema;

/// Stands between the events of a dict.
const SEPARATOR: &str = "------------\n";

/// Letters of nodes' names that are listed.
const MAX_NAMES: usize = 50;

/// Prints responses; what is printed waits in `out`, and what is of nodes' states in `errors`.
#[derive(Debug, Default)]
pub(super) struct Printer {
    style: Style,
    pub(super) out: String,
    pub(super) errors: String,
    table: Table,
    is_first: bool,
}

/// A line's parts: names and values.
type Fields = Vec<(&'static str, String)>;

impl Printer {
    pub(super) fn new(style: Style) -> Self {
        Self { style, is_first: true, ..Self::default() }
    }

    fn time(&self, time: Option<&Timestamp>) -> String {
        let mut text = String::new();
        put_time(&mut text, self.style.time_format, time);
        text
    }

    fn json(&mut self, encoded: &[u8], message: &str) {
        let mut json = Vec::with_capacity(encoded.len() * 3);
        json_write::write(encoded, schema().message(message), &mut json);
        json.push(b'\n');
        self.out.push_str(&String::from_utf8_lossy(&json));
    }

    /// Prints a response of `GetFlows`, encoded.
    pub(super) fn flows(&mut self, encoded: &[u8]) -> Result<(), prost::DecodeError> {
        let response = GetFlowsResponse::decode(encoded)?;
        match &response.response_types {
            Some(ResponseTypes::NodeStatus(status)) => self.node_status(status, &response, encoded),
            None => {}
            Some(_) if self.style.output == Output::Json => self.json(encoded, "observer.GetFlowsResponse"),
            Some(ResponseTypes::Flow(flow)) => self.flow(&Flow::decode(flow.clone())?),
            Some(ResponseTypes::LostEvents(lost)) => self.lost(lost, &response),
        }
        Ok(())
    }

    fn flow(&mut self, flow: &Flow) {
        let style = self.style;
        if style.output == Output::Compact {
            let out = &mut self.out;
            put_time(out, style.time_format, flow.time.as_ref());
            if style.node_name {
                out.push_str(" [");
                push_plain(out, &flow.node_name);
                out.push(']');
            }
            out.push_str(": ");
            let (arrow, left, right) = match flow.is_reply {
                None => (" <> ", End::Source, End::Destination),
                Some(false) => (" -> ", End::Source, End::Destination),
                Some(true) => (" <- ", End::Destination, End::Source),
            };
            put_host(out, &style, flow, left);
            out.push(' ');
            put_identity(out, &style, flow, left);
            out.push_str(arrow);
            put_host(out, &style, flow, right);
            out.push(' ');
            put_identity(out, &style, flow, right);
            out.push(' ');
            put_type(out, flow);
            out.push(' ');
            put_verdict(out, &style, flow);
            out.push_str(" (");
            put_summary(out, &style, flow);
            out.push_str(")\n");
            return;
        }
        let text = |put: &dyn Fn(&mut String)| {
            let mut text = String::new();
            put(&mut text);
            text
        };
        let mut fields = self.head(flow.time.as_ref(), &flow.node_name);
        fields.push(("SOURCE", text(&|out| put_host(out, &style, flow, End::Source))));
        fields.push(("DESTINATION", text(&|out| put_host(out, &style, flow, End::Destination))));
        fields.push(("TYPE", text(&|out| put_type(out, flow))));
        fields.push(("VERDICT", text(&|out| put_verdict(out, &style, flow))));
        fields.push(("SUMMARY", text(&|out| put_summary(out, &style, flow))));
        self.fields(fields);
    }

    /// Time and node, which begin every event.
    fn head(&self, time: Option<&Timestamp>, node: &str) -> Fields {
        let mut fields = vec![("TIMESTAMP", self.time(time))];
        if self.style.node_name {
            let mut name = String::new();
            push_plain(&mut name, node);
            fields.push(("NODE", name));
        }
        fields
    }

    /// Prints fields as a row of the table, or one below the other.
    fn fields(&mut self, fields: Fields) {
        if self.style.output == Output::Table {
            if self.table.is_empty() {
                self.table.add(fields.iter().map(|(name, _)| (*name).to_owned()).collect());
            }
            self.table.add(fields.into_iter().map(|(_, value)| value).collect());
            return;
        }
        if !self.is_first {
            self.out.push_str(SEPARATOR);
        }
        self.is_first = false;
        for (name, value) in fields {
            self.out.push_str(&format!("{name:>11}: {value}\n"));
        }
    }

    fn lost(&mut self, lost: &LostEvent, response: &GetFlowsResponse) {
        let time = response.time.as_ref();
        let source = lost_source(lost);
        if self.style.output == Output::Compact {
            let node = if self.style.node_name { format!(" [{}]", response.node_name) } else { String::new() };
            let count = lost_count(lost, " ", &self.style);
            self.out.push_str(&format!("{}{node} EVENTS LOST: {source} {count}\n", self.time(time)));
            return;
        }
        let mut fields = self.head(time, &response.node_name);
        fields.push(("SOURCE", source));
        if self.style.output == Output::Table {
            fields.push(("DESTINATION", "-".to_owned()));
        }
        fields.push(("TYPE", "EVENTS LOST".to_owned()));
        fields.push(("VERDICT", "-".to_owned()));
        fields.push(("SUMMARY", lost_count(lost, " - ", &self.style)));
        self.fields(fields);
    }

    /// What a relay says of its nodes.
    fn node_status(&mut self, status: &NodeStatusEvent, response: &GetFlowsResponse, encoded: &[u8]) {
        let state = NodeState::try_from(status.state_change).unwrap_or_default();
        if !self.style.debug && !matches!(state, NodeState::NodeError | NodeState::NodeUnavailable) {
            return;
        }
        let time = self.time(response.time.as_ref());
        let nodes = names(&status.node_names);
        let count = status.node_names.len();
        let line = match self.style.output {
            Output::Json => {
                let mut json = Vec::new();
                json_write::write(encoded, schema().message("observer.GetFlowsResponse"), &mut json);
                format!("{}\n", String::from_utf8_lossy(&json))
            }
            Output::Dict => {
                let separator = if self.is_first { "" } else { SEPARATOR };
                self.is_first = false;
                let message =
                    if status.message.is_empty() { "N/A".to_owned() } else { format!("{:?}", status.message) };
                format!(
                    "{separator}  TIMESTAMP: {time}\n      STATE: {}\n      NODES: {nodes}\n    MESSAGE: {message}\n",
                    state.as_str_name()
                )
            }
            Output::Compact | Output::Table => {
                let said = match state {
                    NodeState::NodeConnected => format!("Receiving flows from {count} nodes: {nodes}"),
                    NodeState::NodeUnavailable => format!("{count} nodes are unavailable: {nodes}"),
                    NodeState::NodeGone => format!("{count} nodes removed from cluster: {nodes}"),
                    NodeState::NodeError => format!("Error {:?} on {count} nodes: {nodes}", status.message),
                    NodeState::UnknownNodeState => format!("unknown node status of {count} nodes: {nodes}"),
                };
                format!("{time} [{}]: {said}\n", response.node_name)
            }
        };
        push_plain(&mut self.errors, &line);
    }

    /// Prints a response of `GetAgentEvents`, encoded.
    pub(super) fn agent(&mut self, encoded: &[u8]) -> Result<(), prost::DecodeError> {
        if self.style.output == Output::Json {
            self.json(encoded, "observer.GetAgentEventsResponse");
            return Ok(());
        }
        let response = GetAgentEventsResponse::decode(encoded)?;
        let event = AgentEvent::decode(response.agent_event)?;
        let (kind, details) = (agent_type(&event), agent_details(&event, &self.style));
        let mut fields = self.head(response.time.as_ref(), &response.node_name);
        if self.style.output == Output::Compact {
            self.out.push_str(&format!("{}: {kind} ({details})\n", compact(&fields)));
            return Ok(());
        }
        fields.push(("TYPE", kind));
        fields.push(("DETAILS", details));
        self.fields(fields);
        Ok(())
    }

    /// Prints a response of `GetDebugEvents`, encoded.
    pub(super) fn debug(&mut self, encoded: &[u8]) -> Result<(), prost::DecodeError> {
        if self.style.output == Output::Json {
            self.json(encoded, "observer.GetDebugEventsResponse");
            return Ok(());
        }
        let response = GetDebugEventsResponse::decode(encoded)?;
        let DebugText { from, kind, cpu, mark, message } = debug_text(&DebugEvent::decode(response.debug_event)?);
        let mut fields = self.head(response.time.as_ref(), &response.node_name);
        match self.style.output {
            Output::Compact => {
                let line = format!("{}: {from} {kind} MARK: {mark} CPU: {cpu} ({message})\n", compact(&fields));
                self.out.push_str(&line);
                return Ok(());
            }
            Output::Table => {
                // The second column is empty, as Hubble's is.
                fields.extend([("FROM", from), ("", String::new()), ("TYPE", kind)]);
                fields.extend([("CPU/MARK", format!("{cpu} {mark}")), ("MESSAGE", message)]);
            }
            Output::Dict | Output::Json => {
                fields.extend([("TYPE", kind), ("FROM", from), ("MARK", mark), ("CPU", cpu), ("MESSAGE", message)]);
            }
        }
        self.fields(fields);
        Ok(())
    }

    /// Prints the table, if that is the form.
    pub(super) fn end(&mut self) {
        self.table.put(&mut self.out);
    }
}

/// The head of a compact line.
fn compact(head: &Fields) -> String {
    let mut parts = head.iter().map(|(_, value)| value);
    let time = parts.next().map_or("", String::as_str);
    parts.next().map_or_else(|| time.to_owned(), |node| format!("{time} [{node}]"))
}

/// Names with commas between them, at least one, and how many are left out.
fn names(names: &[String]) -> String {
    let mut length = 0;
    let shown = names.iter().enumerate().take_while(|(at, name)| {
        length += name.len() + 2;
        length <= MAX_NAMES || *at == 0
    });
    let shown: Vec<&str> = shown.map(|(_, name)| name.as_str()).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} (and {more} more)", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::flow::{Endpoint, Ethernet};

    fn printed(style: Style, response: &GetFlowsResponse) -> (String, String) {
        let mut printer = Printer::new(style);
        printer.flows(&response.encode_to_vec()).unwrap();
        printer.end();
        (printer.out, printer.errors)
    }

    fn status(state: NodeState, output: Output) -> (String, String) {
        let node_names = ["a".repeat(40), "b".repeat(40), "c".to_owned()].to_vec();
        let status = NodeStatusEvent { state_change: state.into(), node_names, message: "it's over".into() };
        let response_types = Some(ResponseTypes::NodeStatus(status));
        let response = GetFlowsResponse { response_types, node_name: "relay".into(), time: None };
        printed(Style { output, ..Style::default() }, &response)
    }

    /// What a relay says of its nodes goes to the other stream, and only if something is wrong.
    #[test]
    fn states_of_nodes() {
        let names = format!("{} (and 2 more)", "a".repeat(40));
        let (out, errors) = status(NodeState::NodeError, Output::Compact);
        assert_eq!((out.as_str(), errors), ("", format!("N/A [relay]: Error \"it's over\" on 3 nodes: {names}\n")));
        let (_, errors) = status(NodeState::NodeUnavailable, Output::Dict);
        assert!(errors.contains("STATE: NODE_UNAVAILABLE\n") && errors.contains("MESSAGE: \"it's over\"\n"));
        assert!(status(NodeState::NodeUnavailable, Output::Json).1.starts_with("{\"node_status\":{"));
        assert_eq!(status(NodeState::NodeConnected, Output::Compact), Default::default());
    }

    /// Control characters are shown, in names as in summaries, and colours are webb's own.
    #[test]
    fn escape_sequences_are_shown() {
        let flow = Flow {
            ethernet: Some(Ethernet { source: "\x1b[31ma".into(), destination: "b\r".into() }),
            source: Some(Endpoint { identity: 77, ..Endpoint::default() }),
            summary: "\x1b]0;title\x07\u{9b}31m\u{202e}é".into(),
            ..Flow::default()
        };
        let response_types = Some(ResponseTypes::Flow(flow.encode_to_vec().into()));
        let response = GetFlowsResponse { response_types, ..GetFlowsResponse::default() };
        let (out, _) = printed(Style::default(), &response);
        assert_eq!(
            out,
            "N/A: ^[[31ma (ID:77) <> b\\r (unknown) UNKNOWN VERDICT_UNKNOWN (^[]0;title[U+0007][U+009B]31m[U+202E]é)\n"
        );
        let (out, _) = printed(Style { color: true, ..Style::default() }, &response);
        assert!(out.starts_with("N/A: \x1b[36m^[[31ma\x1b[0m \x1b[35m(ID:77)\x1b[0m <> "), "{out}");
    }

    /// Bytes that are no message are an error, and nothing is printed.
    #[test]
    fn bytes_that_are_no_message() {
        let mut printer = Printer::new(Style::default());
        for bytes in [&[0xff; 9][..], &[10, 200, 1], &[10, 2, 0xff, 0xff]] {
            assert!(printer.flows(bytes).is_err() && printer.agent(bytes).is_err() && printer.debug(bytes).is_err());
        }
        assert_eq!(printer.out, "");
    }
}
