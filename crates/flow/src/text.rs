//! The texts that label values take: enum names as Hubble prints them (hubble-contract, appendix A
//! and 1.3).
//!
//! Called when a series is born, never per flow.

use super::{Direction, Event, Family, L4, Point, SctpChunk, Verdict};

impl Verdict {
    /// `flow.Verdict` name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "VERDICT_UNKNOWN",
            Self::Forwarded => "FORWARDED",
            Self::Dropped => "DROPPED",
            Self::Error => "ERROR",
            Self::Audit => "AUDIT",
            Self::Redirected => "REDIRECTED",
            Self::Traced => "TRACED",
            Self::Translated => "TRANSLATED",
        }
    }

    /// The verdict of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::Forwarded,
            2 => Self::Dropped,
            3 => Self::Error,
            4 => Self::Audit,
            5 => Self::Redirected,
            6 => Self::Traced,
            7 => Self::Translated,
            _ => Self::Unknown,
        }
    }
}

impl Point {
    /// `to-endpoint` and so on; empty for [`Point::Other`].
    pub fn name(self) -> &'static str {
        match self {
            Self::ToEndpoint => "to-endpoint",
            Self::ToProxy => "to-proxy",
            Self::ToHost => "to-host",
            Self::ToStack => "to-stack",
            Self::ToOverlay => "to-overlay",
            Self::FromEndpoint => "from-endpoint",
            Self::FromProxy => "from-proxy",
            Self::FromHost => "from-host",
            Self::FromStack => "from-stack",
            Self::FromOverlay => "from-overlay",
            Self::FromNetwork => "from-network",
            Self::ToNetwork => "to-network",
            Self::FromCrypto => "from-crypto",
            Self::ToCrypto => "to-crypto",
            Self::Other => "",
        }
    }

    /// The point of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::ToEndpoint,
            1 => Self::ToProxy,
            2 => Self::ToHost,
            3 => Self::ToStack,
            4 => Self::ToOverlay,
            5 => Self::FromEndpoint,
            6 => Self::FromProxy,
            7 => Self::FromHost,
            8 => Self::FromStack,
            9 => Self::FromOverlay,
            10 => Self::FromNetwork,
            11 => Self::ToNetwork,
            12 => Self::FromCrypto,
            13 => Self::ToCrypto,
            _ => Self::Other,
        }
    }
}

impl Event {
    /// The event of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::Drop,
            3 => Self::Capture,
            4 => Self::Trace,
            5 => Self::PolicyVerdict,
            7 => Self::Socket,
            129 => Self::L7,
            254 => Self::Connection,
            255 => Self::Flush,
            _ => Self::Unknown,
        }
    }
}

impl Direction {
    /// Value of the `traffic_direction` label (hubble-contract §2.3).
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The direction of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::Ingress,
            2 => Self::Egress,
            _ => Self::Unknown,
        }
    }
}

impl Family {
    /// `flow.IPVersion` name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotUsed => "IP_NOT_USED",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::V4,
            2 => Self::V6,
            _ => Self::NotUsed,
        }
    }
}

impl L4 {
    /// The protocol's name as Hubble labels it; `None` gives `Unknown L4` (hubble-contract §1.0.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "Unknown L4",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::IcmpV4 => "ICMPv4",
            Self::IcmpV6 => "ICMPv6",
            Self::Sctp => "SCTP",
            Self::Vrrp => "VRRP",
            Self::Igmp => "IGMP",
        }
    }

    /// The protocol of a number, as packed into a key.
    pub fn of(number: u8) -> Self {
        match number {
            1 => Self::Tcp,
            2 => Self::Udp,
            3 => Self::IcmpV4,
            4 => Self::IcmpV6,
            5 => Self::Sctp,
            6 => Self::Vrrp,
            7 => Self::Igmp,
            _ => Self::None,
        }
    }
}

impl SctpChunk {
    /// `flow.SCTPChunkType` name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "UNSUPPORTED",
            Self::Init => "INIT",
            Self::InitAck => "INIT_ACK",
            Self::Shutdown => "SHUTDOWN",
            Self::ShutdownAck => "SHUTDOWN_ACK",
            Self::ShutdownComplete => "SHUTDOWN_COMPLETE",
            Self::Abort => "ABORT",
        }
    }
}
