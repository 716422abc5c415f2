//! The types of values in an expression, and the fields of a flow.
//!
//! A field that the API has and that no filter can read, since webb does not keep it, is refused by
//! name: an expression never sees a value that is not the flow's.

use std::fmt;

use webb_flow::names::{DIRECTIONS, DROP_REASONS, IP_VERSIONS, L7_TYPES, SCTP_CHUNKS, VERDICTS};
use webb_flow::{L4, TcpFlags};

use crate::End;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// Of the elements of an empty list.
    Any,
    Null,
    Bool,
    /// A bool that may be absent: null then.
    MaybeBool,
    Int,
    Uint,
    Double,
    Text,
    Message(Message),
    List(Box<Type>),
}

/// A message within a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    Flow,
    Ip,
    Layer4,
    Protocol(L4),
    Flags,
    Endpoint(End),
    Workload,
    Layer7,
    Dns,
    Http,
    Header,
    EventType,
    Service(End),
    IpTrace,
    Interface,
    TraceContext,
    TraceParent,
}

/// A value that is read from a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Get {
    Uuid,
    Verdict,
    DropReason,
    Address(End),
    Translated,
    IpVersion,
    Encrypted,
    Port(L4, End),
    Flag(u16),
    Chunk,
    IcmpType(L4),
    IcmpCode(L4),
    Identity(End),
    Cluster(End),
    Namespace(End),
    Labels(End),
    Pod(End),
    Workloads(End),
    Node,
    NodeLabels,
    Names(End),
    Layer7Type,
    Latency,
    Query,
    Rcode,
    Qtypes,
    Rrtypes,
    Code,
    Method,
    Url,
    HttpProtocol,
    Headers,
    Reply,
    IsReply,
    EventType,
    SubType,
    ServiceName(End),
    ServiceNamespace(End),
    Direction,
    PolicyMatch,
    IpTraceId,
    InterfaceIndex,
    InterfaceName,
    TraceId,
}

/// A field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Value(Get, Type),
    Message(Message),
    /// The first or second text of an element of a list.
    Part(usize),
    /// In the API, and not among what webb keeps for filters.
    Unkept,
}

/// Fields of the API that filters cannot read, by their message.
const UNKEPT: [(Message, &[&str]); 6] = [
    (
        Message::Flow,
        &[
            "time",
            "emitter",
            "drop_reason",
            "auth_type",
            "ethernet",
            "tunnel",
            "Type",
            "trace_observation_point",
            "trace_reason",
            "file",
            "debug_capture_point",
            "proxy_port",
            "sock_xlate_point",
            "socket_cookie",
            "cgroup_id",
            "Summary",
            "extensions",
            "egress_allowed_by",
            "ingress_allowed_by",
            "egress_denied_by",
            "ingress_denied_by",
            "policy_log",
            "aggregate",
        ],
    ),
    (Message::Layer7, &["kafka"]),
    (Message::Dns, &["ips", "ttl", "cnames", "observation_source"]),
    (Message::IpTrace, &["ip_option_type"]),
    (Message::Protocol(L4::Vrrp), &["type", "vrid", "priority"]),
    (Message::Protocol(L4::Igmp), &["type", "group_address"]),
];

/// The field of this name.
pub(super) fn field(message: Message, name: &str) -> Option<Field> {
    let unkept = UNKEPT.iter().find(|(known, _)| *known == message).map_or(&[][..], |(_, names)| names);
    if unkept.contains(&name) || matches!((message, name), (Message::Endpoint(_), "ID")) {
        return Some(Field::Unkept);
    }
    in_flow(message, name).or_else(|| in_part(message, name))
}

fn texts() -> Type {
    Type::List(Box::new(Type::Text))
}

fn in_flow(message: Message, name: &str) -> Option<Field> {
    use End::{Destination, Source};
    if message != Message::Flow {
        return None;
    }
    Some(match name {
        "uuid" => Field::Value(Get::Uuid, Type::Text),
        "verdict" => Field::Value(Get::Verdict, Type::Int),
        "drop_reason_desc" => Field::Value(Get::DropReason, Type::Int),
        "IP" => Field::Message(Message::Ip),
        "l4" => Field::Message(Message::Layer4),
        "source" => Field::Message(Message::Endpoint(Source)),
        "destination" => Field::Message(Message::Endpoint(Destination)),
        "node_name" => Field::Value(Get::Node, Type::Text),
        "node_labels" => Field::Value(Get::NodeLabels, texts()),
        "source_names" => Field::Value(Get::Names(Source), texts()),
        "destination_names" => Field::Value(Get::Names(Destination), texts()),
        "l7" => Field::Message(Message::Layer7),
        "reply" => Field::Value(Get::Reply, Type::Bool),
        "is_reply" => Field::Value(Get::IsReply, Type::MaybeBool),
        "event_type" => Field::Message(Message::EventType),
        "source_service" => Field::Message(Message::Service(Source)),
        "destination_service" => Field::Message(Message::Service(Destination)),
        "traffic_direction" => Field::Value(Get::Direction, Type::Int),
        "policy_match_type" => Field::Value(Get::PolicyMatch, Type::Uint),
        "ip_trace_id" => Field::Message(Message::IpTrace),
        "interface" => Field::Message(Message::Interface),
        "trace_context" => Field::Message(Message::TraceContext),
        _ => return None,
    })
}

fn in_part(message: Message, name: &str) -> Option<Field> {
    use End::{Destination, Source};
    let value = |get, kind| Some(Field::Value(get, kind));
    match (message, name) {
        (Message::Ip, "source") => value(Get::Address(Source), Type::Text),
        (Message::Ip, "source_xlated") => value(Get::Translated, Type::Text),
        (Message::Ip, "destination") => value(Get::Address(Destination), Type::Text),
        (Message::Ip, "ipVersion") => value(Get::IpVersion, Type::Int),
        (Message::Ip, "encrypted") => value(Get::Encrypted, Type::Bool),
        (Message::Layer4, name) => protocol(name).map(|l4| Field::Message(Message::Protocol(l4))),
        (Message::Protocol(l4 @ (L4::Tcp | L4::Udp | L4::Sctp)), "source_port") => {
            value(Get::Port(l4, Source), Type::Uint)
        }
        (Message::Protocol(l4 @ (L4::Tcp | L4::Udp | L4::Sctp)), "destination_port") => {
            value(Get::Port(l4, Destination), Type::Uint)
        }
        (Message::Protocol(L4::Tcp), "flags") => Some(Field::Message(Message::Flags)),
        (Message::Protocol(L4::Sctp), "chunk_type") => value(Get::Chunk, Type::Int),
        (Message::Protocol(l4 @ (L4::IcmpV4 | L4::IcmpV6)), "type") => value(Get::IcmpType(l4), Type::Uint),
        (Message::Protocol(l4 @ (L4::IcmpV4 | L4::IcmpV6)), "code") => value(Get::IcmpCode(l4), Type::Uint),
        (Message::Flags, name) => flag(name).map(|bit| Field::Value(Get::Flag(bit), Type::Bool)),
        (Message::Endpoint(end), "identity") => value(Get::Identity(end), Type::Uint),
        (Message::Endpoint(end), "cluster_name") => value(Get::Cluster(end), Type::Text),
        (Message::Endpoint(end), "namespace") => value(Get::Namespace(end), Type::Text),
        (Message::Endpoint(end), "labels") => value(Get::Labels(end), texts()),
        (Message::Endpoint(end), "pod_name") => value(Get::Pod(end), Type::Text),
        (Message::Endpoint(end), "workloads") => {
            value(Get::Workloads(end), Type::List(Box::new(Type::Message(Message::Workload))))
        }
        (Message::Workload, "name") | (Message::Header, "key") => Some(Field::Part(0)),
        (Message::Workload, "kind") | (Message::Header, "value") => Some(Field::Part(1)),
        (Message::Layer7, "type") => value(Get::Layer7Type, Type::Int),
        (Message::Layer7, "latency_ns") => value(Get::Latency, Type::Uint),
        (Message::Layer7, "dns") => Some(Field::Message(Message::Dns)),
        (Message::Layer7, "http") => Some(Field::Message(Message::Http)),
        (Message::Dns, "query") => value(Get::Query, Type::Text),
        (Message::Dns, "rcode") => value(Get::Rcode, Type::Uint),
        (Message::Dns, "qtypes") => value(Get::Qtypes, texts()),
        (Message::Dns, "rrtypes") => value(Get::Rrtypes, texts()),
        (Message::Http, "code") => value(Get::Code, Type::Uint),
        (Message::Http, "method") => value(Get::Method, Type::Text),
        (Message::Http, "url") => value(Get::Url, Type::Text),
        (Message::Http, "protocol") => value(Get::HttpProtocol, Type::Text),
        (Message::Http, "headers") => value(Get::Headers, Type::List(Box::new(Type::Message(Message::Header)))),
        (Message::EventType, "type") => value(Get::EventType, Type::Int),
        (Message::EventType, "sub_type") => value(Get::SubType, Type::Int),
        (Message::Service(end), "name") => value(Get::ServiceName(end), Type::Text),
        (Message::Service(end), "namespace") => value(Get::ServiceNamespace(end), Type::Text),
        (Message::IpTrace, "trace_id") => value(Get::IpTraceId, Type::Uint),
        (Message::Interface, "index") => value(Get::InterfaceIndex, Type::Uint),
        (Message::Interface, "name") => value(Get::InterfaceName, Type::Text),
        (Message::TraceContext, "parent") => Some(Field::Message(Message::TraceParent)),
        (Message::TraceParent, "trace_id") => value(Get::TraceId, Type::Text),
        _ => None,
    }
}

fn protocol(name: &str) -> Option<L4> {
    Some(match name {
        "TCP" => L4::Tcp,
        "UDP" => L4::Udp,
        "ICMPv4" => L4::IcmpV4,
        "ICMPv6" => L4::IcmpV6,
        "SCTP" => L4::Sctp,
        "VRRP" => L4::Vrrp,
        "IGMP" => L4::Igmp,
        _ => return None,
    })
}

fn flag(name: &str) -> Option<u16> {
    Some(match name {
        "FIN" => TcpFlags::FIN,
        "SYN" => TcpFlags::SYN,
        "RST" => TcpFlags::RST,
        "PSH" => TcpFlags::PSH,
        "ACK" => TcpFlags::ACK,
        "URG" => TcpFlags::URG,
        "ECE" => TcpFlags::ECE,
        "CWR" => TcpFlags::CWR,
        "NS" => TcpFlags::NS,
        _ => return None,
    })
}

/// The names of an enum's numbers.
pub(super) fn names_of_enum(name: &str) -> Option<&'static [(i32, &'static str)]> {
    Some(match name {
        "Verdict" => &VERDICTS,
        "TrafficDirection" => &DIRECTIONS,
        "IPVersion" => &IP_VERSIONS,
        "L7FlowType" => &L7_TYPES,
        "SCTPChunkType" => &SCTP_CHUNKS,
        "DropReason" => &DROP_REASONS,
        _ => return None,
    })
}

impl Type {
    /// True if values of both types can be compared.
    pub(super) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _)
            | (_, Self::Any)
            | (Self::Null, Self::MaybeBool | Self::Message(_))
            | (Self::MaybeBool | Self::Message(_), Self::Null)
            | (Self::Bool, Self::MaybeBool)
            | (Self::MaybeBool, Self::Bool) => true,
            (Self::Message(_), Self::Message(_)) => false,
            (Self::List(one), Self::List(other)) => one.fits(other),
            _ => self == other,
        }
    }

    pub(super) fn is_bool(&self) -> bool {
        matches!(self, Self::Bool | Self::MaybeBool | Self::Any)
    }
}

/// The type as the reference implementation names it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "dyn",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::MaybeBool => "wrapper(bool)",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Message(message) => message.name(),
            Self::List(element) => return write!(f, "list({element})"),
        })
    }
}

impl Message {
    /// The name of its type.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow.Flow",
            Self::Ip => "flow.IP",
            Self::Layer4 => "flow.Layer4",
            Self::Protocol(L4::Tcp) => "flow.TCP",
            Self::Protocol(L4::Udp) => "flow.UDP",
            Self::Protocol(L4::IcmpV4) => "flow.ICMPv4",
            Self::Protocol(L4::IcmpV6) => "flow.ICMPv6",
            Self::Protocol(L4::Sctp) => "flow.SCTP",
            Self::Protocol(L4::Vrrp) => "flow.VRRP",
            Self::Protocol(L4::Igmp | L4::None) => "flow.IGMP",
            Self::Flags => "flow.TCPFlags",
            Self::Endpoint(_) => "flow.Endpoint",
            Self::Workload => "flow.Workload",
            Self::Layer7 => "flow.Layer7",
            Self::Dns => "flow.DNS",
            Self::Http => "flow.HTTP",
            Self::Header => "flow.HTTPHeader",
            Self::EventType => "flow.CiliumEventType",
            Self::Service(_) => "flow.Service",
            Self::IpTrace => "flow.IPTraceID",
            Self::Interface => "flow.NetworkInterface",
            Self::TraceContext => "flow.TraceContext",
            Self::TraceParent => "flow.TraceParent",
        }
    }
}
