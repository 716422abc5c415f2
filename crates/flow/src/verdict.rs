//! Event type, observation point, verdict, direction and reply state, with Hubble's numbers.

/// `flow.event_type.type` (hubble-contract §1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Event {
    /// No event type known.
    #[default]
    Unknown = 0,
    /// The packet was dropped.
    Drop = 1,
    /// A debug capture.
    Capture = 3,
    /// The packet passed an observation point.
    Trace = 4,
    /// A policy was evaluated.
    PolicyVerdict = 5,
    /// A socket translation.
    Socket = 7,
    /// A parsed layer-7 message.
    L7 = 129,
    /// webb's own: an event of a TCP connection. Counts in `connections` alone.
    Connection = 254,
    /// webb's own: deltas without an event. Counts in `traffic`, never in a Hubble family.
    Flush = 255,
}

/// `flow.event_type.sub_type` of a trace event: the datapath's observation points (hubble-contract,
/// appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are Hubble's own and say it all")]
pub enum Point {
    #[default]
    ToEndpoint = 0,
    ToProxy = 1,
    ToHost = 2,
    ToStack = 3,
    ToOverlay = 4,
    FromEndpoint = 5,
    FromProxy = 6,
    FromHost = 7,
    FromStack = 8,
    FromOverlay = 9,
    FromNetwork = 10,
    ToNetwork = 11,
    FromCrypto = 12,
    ToCrypto = 13,
    /// None of Hubble's: its text is empty.
    Other = 255,
}

/// `flow.Verdict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are Hubble's own and say it all")]
pub enum Verdict {
    #[default]
    Unknown = 0,
    Forwarded = 1,
    Dropped = 2,
    Error = 3,
    Audit = 4,
    Redirected = 5,
    Traced = 6,
    Translated = 7,
}

impl Verdict {
    /// True for a forwarded packet: the rule of `tcp`, `port-distribution` and `sctp`.
    pub fn passed(self) -> bool {
        matches!(self, Self::Forwarded | Self::Redirected)
    }
}

/// `flow.TrafficDirection`: of the connection, seen from the local pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are Hubble's own and say it all")]
pub enum Direction {
    #[default]
    Unknown = 0,
    Ingress = 1,
    Egress = 2,
}

/// `flow.is_reply`, which may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Reply {
    /// Not known (drops, for one).
    #[default]
    Unknown = 0,
    /// Sent by the side that started the connection.
    No = 1,
    /// Sent by the other side.
    Yes = 2,
}
