//! The Rust side of `bpf/include/abi.h`: the only structs shared with the eBPF programs.
//!
//! Each is plain bytes in host order, so a ring slice or a map value is viewed in place by
//! `zerocopy`, without a copy and without `unsafe`. Sizes and offsets are asserted at compile time
//! here and in the header, and `tests/abi_btf.rs` compares names, offsets and sizes with the BTF of
//! the built object, so the two cannot drift.

mod events;
mod layer7;
mod message;

use std::mem::{offset_of, size_of};

pub use events::{EVENTS, RETRANSMITS, Retransmits, VALUE_RESENT, VALUE_UNKNOWN, event};
pub use layer7::{L7Totals, MESSAGE_PROTOCOLS, l7_switch};
pub use message::{Message, message_flag, message_kind};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Raised with any change of the structs; a record of another version is refused and counted.
pub const VERSION: u8 = 6;

/// Rows of the totals map; `enum webb_hook`.
pub const HOOKS: usize = 5;

/// Reasons of `enum webb_unparsed`, in order, as label values of
/// `webb_unparsed_packets_total{why}`.
pub const UNPARSED: [&str; 8] = [
    "truncated_l2",
    "truncated_l3",
    "truncated_l4",
    "bad_ip_header",
    "bad_l4_header",
    "extension_depth",
    "vlan_depth",
    "no_header",
];

/// `enum webb_kind`: why a record was written.
pub mod kind {
    /// First packet of a connection.
    pub const NEW: u8 = 1;
    /// A TCP flag or SCTP control chunk seen for the first time in this direction.
    pub const FLAGS: u8 = 2;
    /// The report interval has passed since the last record of this direction.
    pub const INTERVAL: u8 = 3;
    /// A packet that is always reported (ICMP), or any under `aggregation: none`.
    pub const PACKET: u8 = 4;
    /// Deltas without an event of their own: they count bytes and packets, never a flow.
    pub const FLUSH: u8 = 5;
    /// The kernel dropped the packet.
    pub const DROP: u8 = 6;
    /// An [`super::event`] alone; deltas may ride on it. No flow, like `FLUSH`.
    pub const EVENT: u8 = 7;
}

/// `WEBB_FLAG_*`: bits of [`Record::flags`].
pub mod flag {
    /// Sent by the side that did not start the connection.
    pub const REPLY: u8 = 0x01;
    /// The pod behind this interface started the connection.
    pub const EGRESS: u8 = 0x02;
    /// A fragment of an IP packet.
    pub const FRAGMENT: u8 = 0x04;
    /// No layer 4 that we read: fragment, ESP, GRE, not IP.
    pub const NO_L4: u8 = 0x08;
    /// Picked up midway: the opener was guessed from the ports.
    pub const GUESSED: u8 = 0x10;
    /// The pod acknowledges something, and nothing was seen to reach it by this interface.
    pub const ONE_SIDED: u8 = 0x20;
}

/// One observation in a ring: `struct webb_record`, 80 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    /// [`VERSION`].
    pub version: u8,
    /// Type of the record, one of [`kind`].
    pub kind: u8,
    /// Size of this struct.
    pub length: u16,
    /// Interface it was seen on; 0 when unknown.
    pub ifindex: u32,
    /// `CLOCK_MONOTONIC`, to two ticks of the kernel, never ahead of it.
    pub time_ns: u64,
    /// IPv4 as `::ffff:a.b.c.d`; all zero when not IP.
    pub source: [u8; 16],
    /// Destination address, like `source`.
    pub destination: [u8; 16],
    /// 0 without ports.
    pub source_port: u16,
    /// 0 without ports.
    pub destination_port: u16,
    /// 4, 6, or 0 when not IP.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Flags of this packet: FIN SYN RST PSH ACK URG ECE CWR from bit 0.
    pub tcp_flags: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// `enum webb_hook`.
    pub hook: u8,
    /// ICMP type; the first chunk's type for SCTP.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// One of [`event`].
    pub event: u8,
    /// Packets since the last record of this connection and direction.
    pub packets: u32,
    /// Bytes since then, whole frames.
    pub bytes: u64,
    /// Reason of a [`kind::DROP`]: the running kernel's `enum skb_drop_reason`.
    pub reason: u32,
    /// Of the event; of a [`kind::DROP`] of TCP the packet's sequence number.
    pub value: u32,
}

impl Record {
    /// The packets that a record in a ring stands for, which may be one that cannot be decoded.
    #[inline]
    pub fn packets_of(bytes: &[u8]) -> u32 {
        bytes
            .get(offset_of!(Self, packets)..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |packets| u32::from_ne_bytes(*packets))
    }
}

/// Random words of each of the two sums of the hash; `WEBB_SEEDS`.
pub const SEEDS: usize = 5;

/// Random words of each of the two sums over IPv6 addresses; `WEBB_ADDRESS_SEEDS`.
pub const ADDRESS_SEEDS: usize = 8;

/// Exact totals of one hook on one CPU, and the constants beside them: `struct webb_totals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is described in bpf/include/abi.h, by the same name")]
pub struct Totals {
    pub seen_packets: u64,
    pub seen_bytes: u64,
    pub seeds: [u64; SEEDS],
    pub report_interval: u32,
    pub buckets: u32,
    pub more_seeds: [u64; SEEDS],
    pub records: u64,
    pub reported_packets: u64,
    pub reported_bytes: u64,
    pub ring_is_tight: u64,
    pub released_entries: u64,
    pub evicted_entries: u64,
    pub alone_records: u64,
    pub lost_records: u64,
    pub lost_packets: u64,
    pub lost_bytes: u64,
    pub untracked_packets: u64,
    pub untracked_bytes: u64,
    pub suppressed_packets: u64,
    pub suppressed_bytes: u64,
    pub flooded_packets: u64,
    pub flooded_bytes: u64,
    pub stopped_packets: u64,
    pub stopped_bytes: u64,
    pub fragments: u64,
    pub mtu_errors: u64,
    pub address_seeds: [u64; 2 * ADDRESS_SEEDS],
    pub unparsed_packets: [u64; UNPARSED.len()],
    pub unparsed_bytes: [u64; UNPARSED.len()],
    pub lost_events: [u64; EVENTS],
}

/// Parts in which the connection table is swept; `WEBB_PARTS`.
pub const PARTS: usize = 4;

/// Bits of the class of a connection, the index into [`Swept::alive`] and [`Swept::ended`];
/// `WEBB_CLASS_*`.
pub mod class {
    /// TCP.
    pub const TCP: usize = 1;
    /// IPv6, else IPv4.
    pub const IPV6: usize = 2;
}

/// Classes of connections; `WEBB_CLASSES`.
pub const CLASSES: usize = 4;

/// Totals of a sweep of the connection table, or of a part of it: `struct webb_swept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is described in bpf/include/abi.h, by the same name")]
pub struct Swept {
    pub pending_packets: [u64; HOOKS],
    pub pending_bytes: [u64; HOOKS],
    pub entries: u64,
    pub deleted: u64,
    pub flushed: u64,
    pub alive: [u64; CLASSES],
    pub ended: [u64; CLASSES],
}

/// Drop reasons that suppressed drops are counted by; the last stands for all from there on.
/// `WEBB_SUPPRESSED_REASONS`.
pub const SUPPRESSED_REASONS: usize = 256;

/// Maximal number of new MAC addresses that a port can claim within the lifetime of a claim;
/// `WEBB_PORT_MACS`.
pub const PORT_MACS: usize = 4;

/// `WEBB_PORT_*`: bits of [`Port::flags`].
pub mod port {
    /// A port of a bridge, which may flood.
    pub const BRIDGED: u32 = 0x01;
    /// Others may drop behind our program: packets count when the device sends them.
    pub const AT_DEVICE: u32 = 0x02;
}

/// Special properties of a pod's interface: `struct webb_port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Port {
    /// Bits of [`port`].
    pub flags: u32,
    /// The index of its bridge.
    pub bridge: u32,
    /// The MAC address of the pod's own interface, the first wire byte lowest; 0 if it is not
    /// known.
    pub own: u64,
    /// That from which the pod sent last; 0 for none.
    pub last: u64,
    /// The tick at which that was noted.
    pub renewed: u32,
    /// The tick since which `learned` counts.
    pub window: u32,
    /// Addresses that were claimed since, beside its own.
    pub learned: u32,
    /// Always zero.
    pub pad0: u32,
}

/// A MAC address at a bridge: `struct webb_claimed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Claimed {
    /// The address, the first wire byte lowest.
    pub mac: u64,
    /// The bridge's index.
    pub bridge: u32,
    /// Always zero.
    pub pad0: u32,
}

/// Port that holds the claim: `struct webb_claim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Claim {
    /// The port's index.
    pub ifindex: u32,
    /// 1 if it is the address of the pod's own interface.
    pub own: u32,
    /// The tick at which the pod was last seen to send from it.
    pub renewed: u32,
    /// The tick at which another port was.
    pub contested: u32,
}

const _: () = assert!(size_of::<Port>() == 40 && size_of::<Claimed>() == 16 && size_of::<Claim>() == 16);
const _: () = assert!(size_of::<Record>() == 80);
const _: () = assert!(offset_of!(Record, source) == 16);
const _: () = assert!(offset_of!(Record, source_port) == 48);
const _: () = assert!(offset_of!(Record, packets) == 60);
const _: () = assert!(offset_of!(Record, bytes) == 64);
const _: () = assert!(offset_of!(Record, reason) == 72);
const _: () = assert!(offset_of!(Totals, more_seeds) == 64);
const _: () = assert!(size_of::<Totals>() == 8 * (49 + 2 * UNPARSED.len() + EVENTS));
const _: () = assert!(size_of::<Swept>() == 2 * 8 * HOOKS + 3 * 8 + 2 * 8 * CLASSES);

impl Totals {
    /// Adds another CPU's counts; what is constant is left out.
    pub fn add(&mut self, other: &Self) {
        self.seen_packets += other.seen_packets;
        self.seen_bytes += other.seen_bytes;
        self.reported_packets += other.reported_packets;
        self.reported_bytes += other.reported_bytes;
        self.untracked_packets += other.untracked_packets;
        self.untracked_bytes += other.untracked_bytes;
        self.suppressed_packets += other.suppressed_packets;
        self.suppressed_bytes += other.suppressed_bytes;
        self.lost_packets += other.lost_packets;
        self.lost_bytes += other.lost_bytes;
        self.flooded_packets += other.flooded_packets;
        self.flooded_bytes += other.flooded_bytes;
        self.stopped_packets += other.stopped_packets;
        self.stopped_bytes += other.stopped_bytes;
        self.fragments += other.fragments;
        self.mtu_errors += other.mtu_errors;
        self.records += other.records;
        self.lost_records += other.lost_records;
        self.alone_records += other.alone_records;
        self.released_entries += other.released_entries;
        self.evicted_entries += other.evicted_entries;
        for (mine, theirs) in self.unparsed_packets.iter_mut().zip(other.unparsed_packets) {
            *mine += theirs;
        }
        for (mine, theirs) in self.unparsed_bytes.iter_mut().zip(other.unparsed_bytes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.lost_events.iter_mut().zip(other.lost_events) {
            *mine += theirs;
        }
    }
}

impl Swept {
    /// Adds another part of the table. What was counted since start is the latest count, not a sum.
    pub fn add_part(&mut self, part: &Self) {
        for (mine, theirs) in self.pending_packets.iter_mut().zip(part.pending_packets) {
            *mine += theirs;
        }
        for (mine, theirs) in self.pending_bytes.iter_mut().zip(part.pending_bytes) {
            *mine += theirs;
        }
        for (mine, theirs) in self.alive.iter_mut().zip(part.alive) {
            *mine += theirs;
        }
        for (mine, theirs) in self.ended.iter_mut().zip(part.ended) {
            *mine += theirs;
        }
        self.entries += part.entries;
        self.deleted = self.deleted.max(part.deleted);
        self.flushed = self.flushed.max(part.flushed);
    }
}
