//! Optional parts of a flow: layer 7, names, node, raw numbers. Few flows carry them and few
//! metrics read them.
//!
//! A kernel record has none of it; flows that are replayed, and layer-7 parsers, do. It lives
//! beside the flows of a batch ([`crate::Flow::extra`] is the index), so that a
//! [`Flow`](super::Flow) stays small and the event path stays flat.

use super::address::Address;
use crate::sym::Sym;

/// Row of a batch's extras; `NONE` for the flows, nearly all, that have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExtraId(pub u32);

impl ExtraId {
    /// No fields beyond the flow itself.
    pub const NONE: Self = Self(u32::MAX);
}

impl Default for ExtraId {
    fn default() -> Self {
        Self::NONE
    }
}

/// `flow.Flow` beyond what [`Flow`](super::Flow) holds. Names are those of hubble-contract,
/// appendix B.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "each field is flow.proto's of the same name (hubble-contract, appendix B)")]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of its own")]
pub struct Extra {
    /// True for a flow that was seen here: its node, clusters, services and interface are those of
    /// the flow itself, and not what is written below.
    pub live: bool,
    /// True for a message of layer 7 that is reported once, though its packets are seen twice.
    pub is_only_report: bool,
    pub uuid: String,
    pub node_name: String,
    pub node_labels: Vec<String>,
    /// Sorted, joined with `,`: the identifier `dns`.
    pub source_names: Sym,
    pub destination_names: Sym,
    pub source_service: Option<Service>,
    pub destination_service: Option<Service>,
    pub source_cluster: String,
    pub destination_cluster: String,
    pub source_xlated: Option<Address>,
    /// Addresses that are written as IPv6 though they are IPv4's (`::ffff:10.0.0.1`).
    pub mapped: Mapped,
    pub encrypted: bool,
    /// False where the flow has no IP message at all; `family` alone does not distinguish that from
    /// an unset version.
    pub has_ip: bool,
    /// False where the flow has no layer 4 message at all, not even an empty one.
    pub has_l4: bool,
    /// The SCTP chunk type's number, which may be none that has a name.
    pub sctp_chunk: i32,
    /// `event_type.type`; none where the message is absent.
    pub event_type: Option<i32>,
    pub sub_type: i32,
    /// The verdict's number, which may be none that has a name.
    pub verdict: i32,
    /// `drop_reason_desc` as a number.
    pub drop_reason: i32,
    pub traffic_direction: i32,
    pub policy_match_type: u32,
    pub interface: Option<Interface>,
    pub trace_id: String,
    pub ip_trace_id: u64,
    pub l7: Option<L7>,
}

impl Extra {
    /// True if names from DNS lie in it, and not only in the index.
    #[inline]
    pub fn carries_names(&self) -> bool {
        !self.source_names.is_empty() || !self.destination_names.is_empty()
    }

    /// Bytes of the texts of a flow that was seen here, about.
    pub fn bytes(&self) -> usize {
        let list = |texts: &[String]| texts.iter().map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let of_l7 = match self.l7.as_ref().map(|l7| &l7.record) {
            Some(L7Record::Dns(dns)) => {
                let addresses = dns.addresses.len() * size_of::<Address>();
                dns.query.len() + list(&dns.qtypes) + list(&dns.rrtypes) + list(&dns.cnames) + addresses
            }
            Some(L7Record::Http(http)) => {
                let header = |(key, value): &(String, String)| key.len() + value.len() + 2 * size_of::<String>();
                let texts = http.method.len() + http.url.len() + http.protocol.len();
                texts + http.headers.iter().map(header).sum::<usize>()
            }
            _ => 0,
        };
        of_l7 + self.trace_id.len()
    }
}

/// Addresses that were written in IPv6's form of an IPv4 address. An [`Address`] cannot tell;
/// Hubble's text can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Mapped {
    pub source: bool,
    pub destination: bool,
    pub source_xlated: bool,
}

/// `flow.Service`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Service {
    pub namespace: String,
    pub name: String,
}

/// `flow.NetworkInterface`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Interface {
    pub index: u32,
    pub name: String,
}

/// `flow.L7FlowType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are Hubble's own")]
pub enum L7Kind {
    #[default]
    Unknown,
    Request,
    Response,
    Sample,
}

/// `flow.Layer7`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct L7 {
    /// Request, response or sample.
    pub kind: L7Kind,
    /// Between request and response.
    pub latency_ns: u64,
    /// The parsed message.
    pub record: L7Record,
}

/// Message of `flow.Layer7.record` that is set.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum L7Record {
    /// Neither of the others.
    #[default]
    None,
    /// A DNS query or answer.
    Dns(Dns),
    /// An HTTP request or response.
    Http(Http),
    /// The end of a gRPC call: a flow of its own, of [`crate::Event::Flush`], that is none of
    /// Hubble's.
    Grpc(Grpc),
    /// A DNS question that was given up: a flow of its own as well, in place of the answer.
    Unanswered(Unanswered),
}

/// A DNS question without an answer. The flow's packets are how often it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unanswered {
    /// The question's name, as [`Dns::query`]; empty unless a metric asks for it.
    pub query: String,
}

/// End of a gRPC call. [`L7::latency_ns`] is from the request's head to the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grpc {
    /// The status.
    pub status: GrpcStatus,
    /// The request's path, which is the method's name; empty unless a metric needs it.
    pub path: String,
}

/// The status of a gRPC call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GrpcStatus {
    /// 0 to 16.
    Number(u8),
    /// A number that gRPC does not define, or none at all.
    Other,
    /// No status was seen.
    #[default]
    Unknown,
}

/// `flow.DNS`, as far as metrics and filters read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is flow.proto's of the same name")]
pub struct Dns {
    pub query: String,
    /// Number of addresses in the answer.
    pub ips: u32,
    /// The addresses themselves, of a flow that was seen here.
    pub addresses: Vec<Address>,
    /// The targets of the aliases in the answer, with a dot at the end; of a flow that was seen
    /// here.
    pub cnames: Vec<String>,
    /// The least time to live of addresses and aliases, in seconds; of a flow that was seen here.
    pub ttl: u32,
    pub rcode: u32,
    pub qtypes: Vec<String>,
    pub rrtypes: Vec<String>,
    /// Nanoseconds from the question to this answer; not Hubble's. None of a question, of a flow
    /// that another program wrote, and if the question was asked more than once.
    pub latency_ns: Option<u64>,
}

/// `flow.HTTP`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is flow.proto's of the same name")]
pub struct Http {
    pub code: u32,
    pub method: String,
    pub url: String,
    pub protocol: String,
    pub headers: Vec<(String, String)>,
}
