//! Reads what an expression asks of a flow.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::extra::{Dns, L7, L7Record};
use webb_flow::hash::RandomState;
use webb_flow::names::{DROP_REASONS, number_of};
use webb_flow::sym::Sym;
use webb_flow::{EndpointId, L4, Reply};

use super::types::{Get, Message};
use super::value::{Text, Value};
use crate::End;
use crate::filters::address::FlowAddress;
use crate::filters::flow_view::{FlowView, SubType};

/// Texts at which the cache is cleared.
const MAX_TEXTS: usize = 1 << 16;

/// Texts of symbols, which are asked for without a lock. Cleared with the caches of matches.
#[derive(Debug, Default)]
pub(super) struct Texts(RefCell<HashMap<Sym, Arc<str>, RandomState>>);

impl Texts {
    pub(super) fn get(&self, name: Sym) -> Arc<str> {
        let mut known = self.0.borrow_mut();
        if known.len() >= MAX_TEXTS {
            known.clear();
        }
        Arc::clone(known.entry(name).or_insert_with(|| name.text()))
    }

    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// A flow, and what is known beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) view: &'s FlowView<'s>,
    pub(super) texts: &'s Texts,
    /// The name of this node, for flows that were seen here.
    pub(super) node: &'s str,
    /// Its labels, for the same.
    pub(super) node_labels: &'s [String],
}

/// The values of a list.
pub(super) enum Items<'s> {
    /// Joined with `,`.
    Joined(Arc<str>),
    /// The same, each `name/kind`.
    Workloads(Arc<str>),
    Texts(&'s [String]),
    Headers(&'s [(String, String)]),
}

impl Items<'_> {
    /// Calls `each` for every value until it returns false.
    pub(super) fn visit<'i>(&'i self, mut each: impl FnMut(Value<'i>) -> bool) {
        let pair = |(one, other): (&'i str, &'i str)| Value::Pair(Text::Borrowed(one), Text::Borrowed(other));
        let _all = match self {
            Self::Joined(text) => text.split(',').filter(|text| !text.is_empty()).all(|text| each(Value::text(text))),
            Self::Workloads(text) => {
                text.split(',').filter_map(|text| text.rsplit_once('/')).all(|one| each(pair(one)))
            }
            Self::Texts(texts) => texts.iter().all(|text| each(Value::text(text))),
            Self::Headers(headers) => headers.iter().all(|(key, value)| each(pair((key, value)))),
        };
    }
}

impl<'s> Source<'s> {
    fn shared(&self, name: Sym) -> Value<'s> {
        if name.is_empty() { Value::text("") } else { Value::Text(Text::Shared(self.texts.get(name))) }
    }

    fn layer_7(&self) -> Option<&'s L7> {
        self.view.extra?.l7.as_ref()
    }

    fn dns(&self) -> Option<&'s Dns> {
        match &self.layer_7()?.record {
            L7Record::Dns(dns) => Some(dns),
            _ => None,
        }
    }

    /// The list that a field is; none of a field that is no list.
    pub(super) fn items(&self, get: Get) -> Option<Items<'s>> {
        let view = self.view;
        Some(match get {
            Get::Labels(end) => Items::Joined(self.texts.get(view.identity(end))),
            Get::Names(end) => Items::Joined(self.texts.get(view.names(end))),
            Get::Workloads(end) => Items::Workloads(self.texts.get(view.endpoint(end).workloads)),
            Get::NodeLabels => Items::Texts(view.written().map_or(self.node_labels, |extra| &extra.node_labels)),
            Get::Qtypes => Items::Texts(self.dns().map_or(&[], |dns| &dns.qtypes)),
            Get::Rrtypes => Items::Texts(self.dns().map_or(&[], |dns| &dns.rrtypes)),
            Get::Headers => Items::Headers(view.http().map_or(&[], |http| &http.headers)),
            _ => return None,
        })
    }

    /// The value of a field; of an absent one, the value that protobuf gives it.
    pub(super) fn get(&self, get: Get) -> Value<'s> {
        if let Some(items) = self.items(get) {
            let mut values = Vec::new();
            items.visit(|value| {
                values.push(value.into_owned());
                true
            });
            return Value::List(values);
        }
        let flow = self.view.flow;
        let number = |is_there: bool, number: u64| Value::Uint(if is_there { number } else { 0 });
        match get {
            Get::Verdict => Value::Int(self.view.verdict().into()),
            Get::DropReason => Value::Int(self.drop_reason().into()),
            Get::Address(end) => address(self.view.address(end)),
            Get::Translated => address(self.view.translated()),
            Get::IpVersion => Value::Int(self.view.ip_version().into()),
            Get::Encrypted => Value::Bool(self.view.has_ip() && self.view.extra.is_some_and(|extra| extra.encrypted)),
            Get::Port(l4, End::Source) => number(flow.l4 == l4, flow.source_port.into()),
            Get::Port(l4, End::Destination) => number(flow.l4 == l4, flow.destination_port.into()),
            Get::Flag(bit) => Value::Bool(flow.l4 == L4::Tcp && flow.tcp_flags.has(bit)),
            Get::Chunk if flow.l4 == L4::Sctp => {
                Value::Int(self.view.written().map_or(flow.sctp_chunk as i32, |extra| extra.sctp_chunk).into())
            }
            Get::Chunk => Value::Int(0),
            Get::IcmpType(l4) => number(flow.l4 == l4, flow.icmp_type.into()),
            Get::IcmpCode(l4) => number(flow.l4 == l4, flow.icmp_code.into()),
            Get::Identity(end) => Value::Uint(self.view.endpoint(end).identity_number.into()),
            Get::Namespace(end) => self.shared(self.view.endpoint(end).namespace),
            Get::Pod(end) => self.shared(self.view.endpoint(end).pod_name),
            Get::Reply => Value::Bool(flow.reply == Reply::Yes),
            Get::IsReply => match flow.reply {
                Reply::Yes => Value::Bool(true),
                Reply::No => Value::Bool(false),
                Reply::Unknown => Value::Null,
            },
            Get::EventType => Value::Int(self.view.event().map_or(0, |(kind, _)| kind.into())),
            Get::SubType => Value::Int(match self.view.event() {
                Some((_, SubType::Number(number))) => number.into(),
                Some((_, SubType::Reason(reason))) => self.number_of_reason(reason.0).into(),
                None => 0,
            }),
            Get::Direction => Value::Int(self.view.direction().into()),
            Get::PolicyMatch => Value::Uint(match self.view.written() {
                Some(extra) => extra.policy_match_type.into(),
                None if flow.ruling.is_given() => flow.ruling.matched().into(),
                None => 0,
            }),
            _ => self.beside(get),
        }
    }

    /// The value of a field that is kept beside the flow.
    fn beside(&self, get: Get) -> Value<'s> {
        let view = self.view;
        let text = |text: Option<&'s String>| Value::text(text.map_or("", String::as_str));
        match get {
            Get::Uuid => text(view.extra.map(|extra| &extra.uuid)),
            Get::TraceId => text(view.extra.map(|extra| &extra.trace_id)),
            Get::IpTraceId => Value::Uint(view.extra.map_or(0, |extra| extra.ip_trace_id)),
            Get::Cluster(end) => match (view.written(), end) {
                (Some(extra), End::Source) => Value::text(&extra.source_cluster),
                (Some(extra), End::Destination) => Value::text(&extra.destination_cluster),
                (None, _) => self.shared(view.endpoint(end).cluster),
            },
            Get::Node => Value::text(view.written().map_or(self.node, |extra| &extra.node_name)),
            Get::Layer7Type => Value::Int(self.layer_7().map_or(0, |l7| l7.kind as i64)),
            Get::Latency => Value::Uint(self.layer_7().map_or(0, |l7| l7.latency_ns)),
            Get::Query => Value::text(view.dns_query().unwrap_or_default()),
            Get::Rcode => Value::Uint(self.dns().map_or(0, |dns| dns.rcode.into())),
            Get::Code => Value::Uint(view.http().map_or(0, |http| http.code.into())),
            Get::Method => text(view.http().map(|http| &http.method)),
            Get::Url => text(view.http().map(|http| &http.url)),
            Get::HttpProtocol => text(view.http().map(|http| &http.protocol)),
            Get::ServiceName(end) | Get::ServiceNamespace(end) => self.service(end, get),
            Get::InterfaceIndex => Value::Uint(match view.written() {
                Some(extra) => extra.interface.as_ref().map_or(0, |interface| interface.index.into()),
                None => view.flow.ifindex.into(),
            }),
            // The kernel says the number alone.
            Get::InterfaceName => {
                text(view.written().and_then(|extra| extra.interface.as_ref()).map(|interface| &interface.name))
            }
            // All others were read above.
            _ => Value::Null,
        }
    }

    fn service(&self, end: End, get: Get) -> Value<'s> {
        let is_name = matches!(get, Get::ServiceName(_));
        let Some(extra) = self.view.written() else {
            let service = self.view.service(end);
            return self.shared(if is_name { service.name } else { service.namespace });
        };
        let service = if end == End::Source { &extra.source_service } else { &extra.destination_service };
        let Some(service) = service else { return Value::text("") };
        Value::text(if is_name { &service.name } else { &service.namespace })
    }

    fn drop_reason(&self) -> i32 {
        match self.view.extra {
            Some(extra) => extra.drop_reason,
            None if self.view.is_dropped() => self.number_of_reason(self.view.flow.reason.0),
            None => 0,
        }
    }

    fn number_of_reason(&self, reason: Sym) -> i32 {
        number_of(&DROP_REASONS, &self.texts.get(reason)).unwrap_or(0)
    }

    /// True if the flow has the message.
    pub(super) fn has(&self, message: Message) -> bool {
        let (view, flow) = (self.view, self.view.flow);
        match message {
            Message::Flow | Message::Workload | Message::Header => true,
            Message::Ip => view.has_ip(),
            Message::Layer4 => view.extra.map_or(flow.l4 != L4::None, |extra| extra.has_l4),
            Message::Protocol(l4) => flow.l4 == l4,
            Message::Flags => flow.l4 == L4::Tcp && flow.tcp_flags.is_known(),
            Message::Endpoint(end) => end.id(flow) != EndpointId::NONE,
            Message::Layer7 => self.layer_7().is_some(),
            Message::Dns => view.dns_query().is_some(),
            Message::Http => view.http().is_some(),
            Message::EventType => view.event().is_some(),
            Message::Service(end) => match view.written() {
                Some(extra) if end == End::Source => extra.source_service.is_some(),
                Some(extra) => extra.destination_service.is_some(),
                None => !view.service(end).name.is_empty(),
            },
            Message::IpTrace => view.extra.is_some_and(|extra| extra.ip_trace_id != 0),
            Message::Interface => match view.written() {
                Some(extra) => extra.interface.is_some(),
                None => flow.ifindex != 0,
            },
            Message::TraceContext | Message::TraceParent => view.extra.is_some_and(|extra| !extra.trace_id.is_empty()),
        }
    }
}

fn address(address: Option<FlowAddress>) -> Value<'static> {
    address.map_or(Value::text(""), |address| Value::Text(Text::Owned(address.to_string())))
}
