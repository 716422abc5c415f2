//! Health between nodes: probes every other node of the cluster, and keeps what became of it.
//!
//! ```text
//! cluster cache ── peers ──► schedule ──► probes: GET /hello, ICMP echo ──► board ──► metrics, /health
//! ```
//!
//! Every agent listens on `health.listen` and answers `GET /hello`; the prober asks for it at each
//! internal address of each node, at the same port, and sends an ICMP echo where the kernel allows
//! datagram ICMP sockets. It resolves no name, follows no redirect, reads no body, and takes no
//! proxy. All times are of the monotonic clock: a step of the machine's clock moves nothing.
//!
//! An address is *unknown* until there is a result, and once its last result is too old: a prober
//! that stands still proves nothing about a peer. When a failure counts is in `track.rs`.

mod address;
mod board;
mod echo;
mod echo_message;
mod error;
mod fuzz;
mod head;
mod hello;
mod latencies;
mod peers;
mod prober;
mod report;
mod schedule;
mod track;

pub use board::{Counts, Health};
pub use echo_message::{Reply, parse_reply};
pub use error::ProbeError;
pub use fuzz::fuzz;
pub use head::parse_status;
pub use latencies::{BUCKETS, Observed};
pub use prober::{Prober, probe_echo};
pub use report::{AddressReport, NodeReport, ProbeReport, Report, UnprobedReport};
pub use schedule::auto_interval;

/// Bytes of the head of an answer that are read at most.
pub const MAX_HEAD_BYTES: usize = 8 << 10;

/// Headers of an answer at most.
const MAX_HEADERS: usize = 64;

/// A protocol that addresses are probed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `GET /hello`.
    Http,
    /// ICMP echo.
    Icmp,
}

impl Protocol {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Http, Self::Icmp];

    /// Value of the `protocol` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Icmp => "icmp",
        }
    }
}

/// Rank of an address among those of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// The first internal address of the Node object.
    Primary,
    /// Any other internal address.
    Secondary,
}

impl Rank {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Secondary];

    /// Value of the `address_type` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// Connectivity of an address, or of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Connectivity {
    /// Every protocol had an answer.
    Reachable,
    /// Probes failed, for longer than the grace allows.
    Unreachable,
    /// There is no result, or only old ones.
    #[default]
    Unknown,
}

impl Connectivity {
    /// All of them, in the order of their labels.
    pub const ALL: [Self; 3] = [Self::Reachable, Self::Unreachable, Self::Unknown];

    /// Value of the `status` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
            Self::Unknown => "unknown",
        }
    }

    /// Joins the states of the parts of something: one that is unreachable makes it so, then one
    /// that is unknown; without parts it is unknown.
    pub fn of_all(parts: impl IntoIterator<Item = Self>) -> Self {
        let joined = parts.into_iter().reduce(|one, other| match (one, other) {
            (Self::Unreachable, _) | (_, Self::Unreachable) => Self::Unreachable,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Reachable, Self::Reachable) => Self::Reachable,
        });
        joined.unwrap_or_default()
    }
}
