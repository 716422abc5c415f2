//! Events of layer 7: one message each, with the connection that it was seen on.
//!
//! Texts are borrowed from the record or from buffers that are used again, so an event is read
//! before the next record comes.

use webb_flow::abi::Message;
pub use webb_flow::extra::GrpcStatus;
use webb_flow::extra::L7Kind;
use webb_flow::{Address, Family, L4};

/// Side of a connection, by the interface that a message was seen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// That of the client: a request leaves its pod, a response reaches it.
    Client,
    /// That of the server.
    Server,
}

/// An address and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Port {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: u16,
}

/// `enum webb_hook`: packets that leave a pod, and packets that reach one. No other hook reads
/// layer 7.
const FROM_POD: u8 = 0;
const TO_POD: u8 = 1;

/// One connection as seen at a pod's interface: both directions of it have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// The pod's interface.
    pub ifindex: u32,
    /// The end behind the interface.
    pub pod: Port,
    /// The other end.
    pub peer: Port,
}

impl Path {
    /// The path of a record, and whether the end behind the interface sent it. None if the record
    /// was seen elsewhere.
    #[inline]
    pub(super) fn of(record: &Message) -> Option<(Self, bool)> {
        let source = Port { address: Address(record.source), port: record.source_port };
        let destination = Port { address: Address(record.destination), port: record.destination_port };
        match record.hook {
            FROM_POD => Some((Self { ifindex: record.ifindex, pod: source, peer: destination }, true)),
            TO_POD => Some((Self { ifindex: record.ifindex, pod: destination, peer: source }, false)),
            _ => None,
        }
    }
}

/// A path with a known client and a known server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection {
    /// The path.
    pub path: Path,
    /// Side that it was seen at.
    pub side: Side,
    /// TCP or UDP.
    pub l4: L4,
    /// IP version.
    pub family: Family,
}

impl Connection {
    /// The connection of a record, given its sender's part: the client, or the server.
    #[inline]
    pub(super) fn of(record: &Message, sender_is_client: bool) -> Option<Self> {
        let (path, sender_is_pod) = Path::of(record)?;
        let side = if sender_is_client == sender_is_pod { Side::Client } else { Side::Server };
        let family = match record.family {
            4 => Family::V4,
            6 => Family::V6,
            _ => return None,
        };
        Some(Self { path, side, l4: L4::of_protocol(record.protocol), family })
    }

    /// The client's end.
    #[inline]
    pub fn client(&self) -> Port {
        if self.side == Side::Client { self.path.pod } else { self.path.peer }
    }

    /// The end that answers.
    #[inline]
    pub fn server(&self) -> Port {
        if self.side == Side::Client { self.path.peer } else { self.path.pod }
    }
}

/// Decision about the messages of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// They are emitted.
    Emit,
    /// They are not, since the other side emits them.
    OtherSide,
    /// They are not: the end at the interface is not the pod behind it.
    Transit,
}

/// The consumer of events, which has the names of pods and the settings.
pub trait Sink {
    /// Decides about the messages of a connection; called once a connection, and for each DNS
    /// message over UDP.
    fn judge(&mut self, connection: &Connection) -> Judgement;

    /// Takes an event.
    fn emit(&mut self, event: &Event<'_>);
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event<'a> {
    /// `CLOCK_MONOTONIC` nanoseconds of the record in which the message begins.
    pub time_ns: u64,
    /// Connection that it was seen on.
    pub connection: Connection,
    /// Request or response.
    pub kind: L7Kind,
    /// Content of the message.
    pub content: Content<'a>,
}

/// The parsed message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content<'a> {
    /// DNS.
    Dns(Dns<'a>),
    /// HTTP.
    Http(Http<'a>),
    /// The end of a gRPC call, behind the HTTP messages of it.
    Grpc(Grpc<'a>),
    /// A DNS question that was given up after its time-out, in place of its answer.
    Unanswered(Unanswered<'a>),
}

/// A DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dns<'a> {
    /// The question's name in lower case with a trailing dot, escaped; empty unless wanted.
    pub query: &'a str,
    /// The question's type.
    pub qtype: u16,
    /// Response: its code, EDNS bits included.
    pub rcode: u16,
    /// Response: the addresses in its answers.
    pub ips: u32,
    /// Response: the types of all answers, in order.
    pub rrtypes: &'a [u16],
    /// Response: nanoseconds since its query; none if that was sent more than once, since the
    /// answered one is unknown.
    pub latency_ns: Option<u64>,
    /// Response: the least TTL of addresses and aliases in seconds; `u32::MAX` without any.
    pub ttl: u32,
    /// Response: the addresses that the question's name has, by itself or by its aliases. Empty
    /// unless asked for, and unless the response is whole and has no error.
    pub addresses: &'a [Address],
    /// Response: all addresses in its answers, in order. Empty unless wanted.
    pub answered: &'a [Address],
    /// Response: the targets of the aliases in its answers, in order, as [`Dns::query`] is. Empty
    /// unless wanted.
    pub cnames: &'a [String],
}

/// An HTTP request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Http<'a> {
    /// The request's method.
    pub method: &'a str,
    /// The request's protocol, as Hubble writes it.
    pub protocol: &'static str,
    /// Response: the status.
    pub code: u16,
    /// The request's URL; empty unless wanted.
    pub url: &'a str,
    /// Names in canonical case, sorted; empty unless wanted.
    pub headers: &'a [(String, String)],
    /// The request's trace id in hex; empty unless wanted, and if there is none.
    pub trace_id: &'a str,
    /// Response: nanoseconds from the request's head to the response's.
    pub latency_ns: u64,
}

/// End of a gRPC call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grpc<'a> {
    /// The status.
    pub status: GrpcStatus,
    /// The request's path, which is the method's name; empty unless wanted.
    pub path: &'a str,
    /// Nanoseconds from the request's head to the end.
    pub duration_ns: u64,
}

/// A DNS question without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered<'a> {
    /// The question's name, as [`Dns::query`]; empty unless asked for.
    pub query: &'a str,
    /// The question's type.
    pub qtype: u16,
    /// Askings without an answer, at least one.
    pub askings: u32,
}

/// Texts that consumers read. Texts that none reads are not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct Wants {
    /// Names of DNS questions.
    pub query: bool,
    /// Addresses of DNS answers.
    pub addresses: bool,
    /// Everything that DNS answers say of addresses and aliases.
    pub answers: bool,
    /// DNS questions that are given up after their time-out.
    pub unanswered: bool,
    /// URLs.
    pub url: bool,
    /// Headers.
    pub headers: bool,
    /// Trace ids.
    pub trace: bool,
    /// The ends of gRPC calls.
    pub grpc: bool,
    /// The paths of gRPC calls.
    pub grpc_path: bool,
}

impl Wants {
    /// Every text.
    pub const ALL: Self = Self {
        query: true,
        addresses: true,
        answers: true,
        unanswered: true,
        url: true,
        headers: true,
        trace: true,
        grpc: true,
        grpc_path: true,
    };
}
