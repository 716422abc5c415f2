//! The [`Flow`]: one observation in Hubble's terms, small and plain enough to travel in batches.
//!
//! A flow is made by `decode` from a kernel record, named by `index`, and read by every metric. It
//! holds numbers and ids only: names live in the index (crate `webb-index`) that travels with the
//! batch. Enum values and their texts follow Hubble's `flow.proto` (hubble-contract, appendix A).

pub mod abi;
mod address;
pub mod clock;
mod connection;
pub mod date;
pub mod extra;
pub mod fault;
pub mod hash;
mod l4;
pub mod names;
pub mod open;
mod reason;
pub mod room;
mod ruling;
mod service;
pub mod sym;
mod text;
mod verdict;

pub use address::Address;
pub use connection::{ConnectionEvent, NO_TIME};
pub use extra::{Extra, ExtraId};
pub use l4::{Family, L4, SctpChunk, TcpFlags};
pub use reason::{Reason, Reasons};
pub use ruling::Ruling;
pub use service::{ServiceEnd, ServiceId};
pub use verdict::{Direction, Event, Point, Reply, Verdict};

/// Row of an endpoint in the batch's index, tagged with its [`Sort`] so that callers can test the
/// sort without a lookup. `NONE` for frames that are not IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EndpointId(pub u32);

/// The sort of an endpoint, as encoded in its [`EndpointId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Sort {
    /// No IP address, so nothing to look up.
    Unknown = 0,
    /// A pod of this node.
    Local = 1,
    /// A pod of another node.
    Remote = 2,
    /// A pod, node or service of another cluster of the mesh.
    Mesh = 3,
    /// A service's own address.
    Service = 4,
    /// This node, another one, or an API server outside of the nodes.
    Node = 5,
    /// An address of pods that no pod is known to have.
    Unnamed = 6,
    /// Outside of the cluster, and of the mesh.
    World = 7,
}

impl Sort {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Unknown, Self::Local, Self::Remote, Self::Mesh, Self::Service, Self::Node, Self::Unnamed, Self::World];

    /// Value of the label `result` of the counter of lookups.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Local => "local",
            Self::Remote => "remote",
            Self::Mesh => "mesh",
            Self::Service => "service",
            Self::Node => "node",
            Self::World => "world",
            Self::Unnamed => "unnamed",
        }
    }
}

impl EndpointId {
    /// Id of no endpoint: every name is empty.
    pub const NONE: Self = Self(0);
    /// An address outside of the cluster: `reserved:world`.
    pub const WORLD: Self = Self(1);
    /// Rows that there can be. With the sort before it an id has 30 bits.
    pub const ROWS: u32 = 1 << 27;
    /// Set in the ids of sorts that may hide another endpoint: the address of a service, a node
    /// that pods are masqueraded behind, a pod that is not known yet.
    const FRONT: u32 = (Sort::Service as u32) << 27;

    /// The id of the endpoint in `row`, of this sort. A row alone is the id of an endpoint outside
    /// of the cluster.
    pub fn new(sort: Sort, row: u32) -> Self {
        let sort = match sort {
            Sort::Unknown | Sort::World => 0,
            tagged => u32::from(tagged as u8),
        };
        Self((sort << 27) | (row % Self::ROWS))
    }

    /// The row.
    #[inline]
    pub fn row(self) -> u32 {
        self.0 % Self::ROWS
    }

    /// The sort.
    #[inline]
    pub fn sort(self) -> Sort {
        match (self.0 >> 27) & 7 {
            1 => Sort::Local,
            2 => Sort::Remote,
            3 => Sort::Mesh,
            4 => Sort::Service,
            5 => Sort::Node,
            6 => Sort::Unnamed,
            _ if self.row() == 0 => Sort::Unknown,
            _ => Sort::World,
        }
    }

    /// True if at least one of the two may be a NAT front. One comparison, since it runs for every
    /// flow.
    #[inline]
    pub fn any_front(self, other: Self) -> bool {
        (self.0 | other.0) & Self::FRONT != 0
    }
}

/// One flow: `flow.Flow` reduced to what metrics read, plus the deltas that Hubble lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// `CLOCK_MONOTONIC` nanoseconds; of a flow that another program wrote, Unix time in
    /// nanoseconds.
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
    /// Reference to further fields in the batch; `ExtraId::NONE` for nearly all.
    pub extra: ExtraId,
    /// The service that one end is addressed as, in the batch's index.
    pub service: ServiceEnd,
    /// Ruling of the policies, if it is a policy verdict.
    pub ruling: Ruling,
    /// Reason of the drop; `Reason::NONE` unless `verdict` is `Dropped`.
    pub reason: Reason,
    /// 0 without ports.
    pub source_port: u16,
    /// 0 without ports.
    pub destination_port: u16,
    /// Flags of the packet, if it is TCP.
    pub tcp_flags: TcpFlags,
    /// First chunk, if it is SCTP.
    pub sctp_chunk: SctpChunk,
    /// Type of an ICMP message. What is no ICMP may hold something else here and in the code
    /// ([`Flow::connection`], [`Flow::with_sequence`]).
    pub icmp_type: u8,
    /// Code of an ICMP message.
    pub icmp_code: u8,
    /// IP version.
    pub family: Family,
    /// Layer 4.
    pub l4: L4,
    /// Type of the event; `Event::Flush` is none of Hubble's and counts bytes and packets only, and
    /// neither is `Event::Connection` ([`Flow::connection`]).
    pub event: Event,
    /// Observation point (`event_type.sub_type` of a trace).
    pub point: Point,
    /// Verdict on the packet.
    pub verdict: Verdict,
    /// Direction of the connection, seen from the local pod.
    pub direction: Direction,
    /// Direction of the packet within its connection: a reply is sent by the side that did not
    /// start it.
    pub reply: Reply,
}

impl Flow {
    /// The same observation with its ends exchanged: the packet that this one would answer.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            source_ip: self.destination_ip,
            destination_ip: self.source_ip,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            service: self.service.swapped(),
            ..*self
        }
    }
}

// The reader fills 512 of these a batch; a batch must stay within a core's L2 cache.
const _: () = assert!(std::mem::size_of::<Flow>() <= 96);
