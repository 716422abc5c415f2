//! What one observation means: the [`Flow`], in Hubble's terms, small and plain enough to travel in batches.
//!
//! A flow is made by `decode` from a kernel record, named by `index`, and read by every metric. It holds numbers and
//! ids only: names live in the [`crate::index::Index`] that travels with the batch. Enum values and their texts follow
//! Hubble's `flow.proto` (contract, appendix A).

pub mod extra;
mod l4;
pub mod names;
mod reason;
mod ruling;
mod service;
mod text;
mod verdict;

pub use extra::{Extra, ExtraId};
pub use l4::{Family, L4, SctpChunk, TcpFlags};
pub use reason::{Reason, Reasons};
pub use ruling::Ruling;
pub use service::{ServiceEnd, ServiceId};
pub use verdict::{Direction, Event, Point, Reply, Verdict};

use std::net::{IpAddr, Ipv6Addr};

/// Row of the endpoint table of the index a batch travels with. `NONE` for frames that are not IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EndpointId(pub u32);

impl EndpointId {
    /// No endpoint at all: every name is empty.
    pub const NONE: Self = Self(0);
    /// Nobody we know: `reserved:world`.
    pub const WORLD: Self = Self(1);
    /// Set in the id of an address that somebody else may be behind: of a service, or of a node.
    const FRONT: u32 = 1 << 31;

    /// The id of a row; `front` says whether somebody else may be behind its addresses.
    pub fn of_row(row: u32, front: bool) -> Self {
        Self(if front { row | Self::FRONT } else { row & !Self::FRONT })
    }

    /// The row.
    pub fn row(self) -> usize {
        (self.0 & !Self::FRONT) as usize
    }

    /// True if at least one of the two may have somebody else behind it. One comparison: this is asked of every flow.
    #[inline]
    pub fn any_front(self, other: Self) -> bool {
        (self.0 | other.0) & Self::FRONT != 0
    }
}

/// An address as 16 bytes, IPv4 as `::ffff:a.b.c.d`: one key type for both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The address as the standard library's type, IPv4 unmapped.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// One flow: `flow.Flow` reduced to what metrics read, plus the deltas that Hubble lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// `CLOCK_MONOTONIC` nanoseconds; of a flow that another program wrote, Unix time in nanoseconds.
    pub time_ns: u64,
    /// Sender of the packet.
    pub source_ip: Address,
    /// Receiver of the packet.
    pub destination_ip: Address,
    /// Bytes since the last record of this connection and direction, whole frames.
    pub bytes: u64,
    /// Packets since then.
    pub packets: u32,
    /// Sender, in the batch's index.
    pub source: EndpointId,
    /// Receiver, in the batch's index.
    pub destination: EndpointId,
    /// Interface it was seen on; 0 when unknown.
    pub ifindex: u32,
    /// What it carries beyond this, in its batch; `ExtraId::NONE` for nearly all.
    pub extra: ExtraId,
    /// The service that one end is addressed as, in the batch's index.
    pub service: ServiceEnd,
    /// What decided it, if it is a policy verdict.
    pub ruling: Ruling,
    /// Why it was dropped; `Reason::NONE` unless `verdict` is `Dropped`.
    pub reason: Reason,
    /// 0 without ports.
    pub source_port: u16,
    /// 0 without ports.
    pub destination_port: u16,
    /// Flags of the packet, if it is TCP.
    pub tcp_flags: TcpFlags,
    /// First chunk, if it is SCTP.
    pub sctp_chunk: SctpChunk,
    /// Type of an ICMP message.
    pub icmp_type: u8,
    /// Code of an ICMP message.
    pub icmp_code: u8,
    /// IP version.
    pub family: Family,
    /// Layer 4.
    pub l4: L4,
    /// What kind of event this is; `Event::Flush` is none of Hubble's and counts bytes and packets only.
    pub event: Event,
    /// Where it was seen (`event_type.sub_type` of a trace).
    pub point: Point,
    /// What became of the packet.
    pub verdict: Verdict,
    /// Direction of the connection, seen from the local pod.
    pub direction: Direction,
    /// Whether it was sent by the side that did not start the connection.
    pub reply: Reply,
}

// The reader fills 512 of these a batch; a batch must stay within a core's L2 cache.
const _: () = assert!(std::mem::size_of::<Flow>() <= 96);
