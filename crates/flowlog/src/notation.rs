//! The notations that a flow is written in, and the fields of its messages by number and by name.
//!
//! JSON and protobuf's wire format hold the same fields. What they mean is written once, in
//! [`fields`](super::fields) and in the interner: for any [`Notation`].

use std::borrow::Cow;

use super::json::{Cursor, JsonError};
use super::numbers::number;
use super::time;

/// A value that is being read. A caller requests the type that the field has; what it does not read
/// it skips.
pub(super) trait Notation<'a>: Sized {
    /// The error of a value that is not what its field holds.
    type Error;

    /// An error at this value.
    ///
    /// # Errors
    /// Always.
    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Self::Error>;

    /// Reads a message: `each` gets the number of every field, and its value. The number is that of
    /// `M`; a field that `M` does not have may get the number 0.
    fn message<M: Message>(
        &mut self,
        each: impl FnMut(&mut Self, u32) -> Result<(), Self::Error>,
    ) -> Result<(), Self::Error>;

    /// Reads a repeated field: `each` reads one element. The wire format has the field once for
    /// each element.
    fn elements(&mut self, each: impl FnMut(&mut Self) -> Result<(), Self::Error>) -> Result<(), Self::Error>;

    /// A text.
    fn text(&mut self) -> Result<Cow<'a, str>, Self::Error>;

    /// A boolean.
    fn truth(&mut self) -> Result<bool, Self::Error>;

    /// `google.protobuf.BoolValue`.
    fn wrapped_truth(&mut self) -> Result<bool, Self::Error>;

    /// A whole number that fits.
    fn integer<T: TryFrom<i128>>(&mut self) -> Result<T, Self::Error>;

    /// An enum's value: any number, and any name of the table or a stand-in for another.
    fn enumeration(&mut self, table: &[(i32, &'static str)]) -> Result<i32, Self::Error>;

    /// `google.protobuf.Timestamp` as Unix time in nanoseconds.
    fn time(&mut self) -> Result<u64, Self::Error>;

    /// Passes the value.
    fn pass(&mut self) -> Result<(), Self::Error>;

    /// The bytes of a message or list, which are passed unread.
    fn bytes(&mut self) -> Option<&'a [u8]>;

    /// Goes back by what [`Notation::bytes`] has just given, to read it after all.
    fn rewind(&mut self, bytes: &[u8]);
}

/// The fields of a message that are read.
pub(super) trait Message {
    /// The number of a name; 0 of another.
    fn number(name: &str) -> u32;

    /// The name of a number; empty of another.
    fn name(number: u32) -> &'static str;
}

impl<'a> Notation<'a> for Cursor<'a> {
    type Error = JsonError;

    #[cold]
    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, JsonError> {
        self.wrong(what)
    }

    #[inline]
    fn message<M: Message>(
        &mut self,
        mut each: impl FnMut(&mut Self, u32) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.object(|inside, name| each(inside, M::number(name)))
    }

    #[inline]
    fn elements(&mut self, each: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.list(each)
    }

    #[inline]
    fn text(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.string()
    }

    #[inline]
    fn truth(&mut self) -> Result<bool, JsonError> {
        self.boolean()
    }

    #[inline]
    fn wrapped_truth(&mut self) -> Result<bool, JsonError> {
        self.boolean()
    }

    #[inline]
    fn integer<T: TryFrom<i128>>(&mut self) -> Result<T, JsonError> {
        self.whole()
    }

    #[inline]
    fn enumeration(&mut self, table: &[(i32, &'static str)]) -> Result<i32, JsonError> {
        number(self, table)
    }

    fn time(&mut self) -> Result<u64, JsonError> {
        let text = self.string()?;
        match time::nanoseconds(&text) {
            Some(moment) => Ok(moment),
            None => self.wrong(format!("expected a time such as 2026-01-01T00:00:00Z, found {text:?}")),
        }
    }

    #[inline]
    fn pass(&mut self) -> Result<(), JsonError> {
        self.skip()
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'a [u8]> {
        self.raw().map(str::as_bytes)
    }

    fn rewind(&mut self, bytes: &[u8]) {
        self.back(bytes.len());
    }
}

/// Declares messages: numbers as constants, and the names that JSON has.
macro_rules! messages {
    ($($(#[$doc:meta])* $message:ident { $($field:ident = $number:literal $name:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $message;

        #[allow(dead_code, reason = "of some fields the name is enough")]
        impl $message {
            $(pub(super) const $field: u32 = $number;)*
        }

        impl Message for $message {
            #[inline]
            fn number(name: &str) -> u32 {
                match name {
                    $($name => $number,)*
                    _ => 0,
                }
            }

            fn name(number: u32) -> &'static str {
                match number {
                    $($number => $name,)*
                    _ => "",
                }
            }
        }
    )*};
}

messages! {
    /// `observer.GetFlowsResponse` and `observer.ExportEvent`.
    Envelope {
        FLOW = 1 "flow",
        NODE_STATUS = 2 "node_status",
        LOST_EVENTS = 3 "lost_events",
        AGENT_EVENT = 4 "agent_event",
        DEBUG_EVENT = 5 "debug_event",
    }
    /// `flow.Flow`, as far as it is read.
    FlowFields {
        TIME = 1 "time",
        VERDICT = 2 "verdict",
        IP = 5 "IP",
        L4 = 6 "l4",
        SOURCE = 8 "source",
        DESTINATION = 9 "destination",
        NODE_NAME = 11 "node_name",
        SOURCE_NAMES = 13 "source_names",
        DESTINATION_NAMES = 14 "destination_names",
        L7 = 15 "l7",
        EVENT_TYPE = 19 "event_type",
        SOURCE_SERVICE = 20 "source_service",
        DESTINATION_SERVICE = 21 "destination_service",
        TRAFFIC_DIRECTION = 22 "traffic_direction",
        POLICY_MATCH_TYPE = 23 "policy_match_type",
        DROP_REASON_DESC = 25 "drop_reason_desc",
        IS_REPLY = 26 "is_reply",
        INTERFACE = 28 "interface",
        TRACE_CONTEXT = 30 "trace_context",
        UUID = 34 "uuid",
        NODE_LABELS = 37 "node_labels",
        IP_TRACE_ID = 40 "ip_trace_id",
    }
    /// `flow.IP`.
    IpFields {
        SOURCE = 1 "source",
        DESTINATION = 2 "destination",
        VERSION = 3 "ipVersion",
        ENCRYPTED = 4 "encrypted",
        SOURCE_XLATED = 5 "source_xlated",
    }
    /// `flow.Layer4`.
    L4Fields {
        TCP = 1 "TCP",
        UDP = 2 "UDP",
        ICMP_V4 = 3 "ICMPv4",
        ICMP_V6 = 4 "ICMPv6",
        SCTP = 5 "SCTP",
        VRRP = 6 "VRRP",
        IGMP = 7 "IGMP",
    }
    /// `flow.TCP`, and `flow.UDP`, which has less.
    TcpFields {
        SOURCE_PORT = 1 "source_port",
        DESTINATION_PORT = 2 "destination_port",
        FLAGS = 3 "flags",
    }
    /// `flow.SCTP`.
    SctpFields {
        SOURCE_PORT = 1 "source_port",
        DESTINATION_PORT = 2 "destination_port",
        CHUNK_TYPE = 3 "chunk_type",
    }
    /// `flow.ICMPv4` and `flow.ICMPv6`.
    IcmpFields {
        TYPE = 1 "type",
        CODE = 2 "code",
    }
    /// `flow.TCPFlags`.
    FlagFields {
        FIN = 1 "FIN",
        SYN = 2 "SYN",
        RST = 3 "RST",
        PSH = 4 "PSH",
        ACK = 5 "ACK",
        URG = 6 "URG",
        ECE = 7 "ECE",
        CWR = 8 "CWR",
        NS = 9 "NS",
    }
    /// `flow.Endpoint`.
    EndpointFields {
        IDENTITY = 2 "identity",
        NAMESPACE = 3 "namespace",
        LABELS = 4 "labels",
        POD_NAME = 5 "pod_name",
        WORKLOADS = 6 "workloads",
        CLUSTER_NAME = 7 "cluster_name",
    }
    /// `flow.Workload`.
    WorkloadFields {
        NAME = 1 "name",
        KIND = 2 "kind",
    }
    /// `flow.CiliumEventType`.
    EventTypeFields {
        TYPE = 1 "type",
        SUB_TYPE = 2 "sub_type",
    }
    /// `flow.NetworkInterface`.
    InterfaceFields {
        INDEX = 1 "index",
        NAME = 2 "name",
    }
    /// `flow.Service`.
    ServiceFields {
        NAME = 1 "name",
        NAMESPACE = 2 "namespace",
    }
    /// `flow.TraceContext`.
    TraceContextFields {
        PARENT = 1 "parent",
    }
    /// `flow.TraceParent` and `flow.IPTraceID`.
    TraceIdFields {
        TRACE_ID = 1 "trace_id",
    }
    /// `flow.Layer7`.
    L7Fields {
        TYPE = 1 "type",
        LATENCY_NS = 2 "latency_ns",
        DNS = 100 "dns",
        HTTP = 101 "http",
    }
    /// `flow.DNS`.
    DnsFields {
        QUERY = 1 "query",
        IPS = 2 "ips",
        RCODE = 6 "rcode",
        QTYPES = 7 "qtypes",
        RRTYPES = 8 "rrtypes",
    }
    /// `flow.HTTP`.
    HttpFields {
        CODE = 1 "code",
        METHOD = 2 "method",
        URL = 3 "url",
        PROTOCOL = 4 "protocol",
        HEADERS = 5 "headers",
    }
    /// `flow.HTTPHeader`.
    HeaderFields {
        KEY = 1 "key",
        VALUE = 2 "value",
    }
    /// `flow.LostEvent`.
    LostFields {
        SOURCE = 1 "source",
        EVENTS = 2 "num_events_lost",
    }
    /// `google.protobuf.Timestamp`.
    TimestampFields {
        SECONDS = 1 "seconds",
        NANOS = 2 "nanos",
    }
    /// `google.protobuf.BoolValue`.
    WrapperFields {
        VALUE = 1 "value",
    }
}
