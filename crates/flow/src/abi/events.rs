//! Events of a TCP connection: `enum webb_event`, and the totals of retransmissions.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `enum webb_event`: the event of a record. Each comes once for a connection and
/// interface, but for samples, retransmissions, windows and listings.
pub mod event {
    /// No event.
    pub const NONE: u8 = 0;
    /// SYN-ACK of an attempt. Value: microseconds since the first SYN; bit
    /// [`super::VALUE_RESENT`]: the SYN was sent again.
    pub const ACCEPTED: u8 = 1;
    /// RST of the acceptor, which had not accepted.
    pub const REFUSED: u8 = 2;
    /// The attempt's entry ended without an answer; a record of the opener's lane.
    pub const TIMED_OUT: u8 = 3;
    /// An ICMP error quotes the SYN; a record of the opener's lane. Value: ICMP code.
    pub const UNREACHABLE: u8 = 4;
    /// The SYN was dropped. Never in a record: user space finds the drop.
    pub const DROPPED: u8 = 5;
    /// FIN of both sides. Value of this and the other ends: milliseconds since the first SYN, or
    /// [`super::VALUE_UNKNOWN`].
    pub const CLOSED: u8 = 6;
    /// RST of the opener.
    pub const RESET_BY_OPENER: u8 = 7;
    /// RST of the acceptor.
    pub const RESET_BY_ACCEPTOR: u8 = 8;
    /// The sweep removed its entry.
    pub const IDLE: u8 = 9;
    /// Its entry was needed for another connection.
    pub const INTERRUPTED: u8 = 10;
    /// A round-trip time. Value: microseconds from a segment to its acknowledgement; the record's
    /// source is the local sender.
    pub const SAMPLE: u8 = 11;
    /// A local socket sent its SYN again; `ifindex` 0. Value of this and the next two: segments.
    pub const RETRANSMIT_SYN: u8 = 12;
    /// A local socket sent its SYN-ACK again.
    pub const RETRANSMIT_SYN_ACK: u8 = 13;
    /// A local socket sent data again.
    pub const RETRANSMIT_DATA: u8 = 14;
    /// The record's sender closed its receive window.
    pub const ZERO_WINDOW: u8 = 15;
    /// An open connection, listed by a sweep. Value: as at the end.
    pub const OPEN: u8 = 16;
}

/// Number of events, [`event::NONE`] included; `WEBB_EVENTS`.
pub const EVENTS: usize = 17;

/// Bit of the value of [`event::ACCEPTED`]; `WEBB_VALUE_RESENT`.
pub const VALUE_RESENT: u32 = 0x8000_0000;

/// The value of an end where the connection's begin was not seen; `WEBB_VALUE_UNKNOWN`.
pub const VALUE_UNKNOWN: u32 = u32::MAX;

/// Types of retransmissions: SYN, SYN-ACK, data; `WEBB_RETRANSMITS`.
pub const RETRANSMITS: usize = 3;

/// Per-CPU totals of retransmitted segments: `struct webb_retransmits`. Seen is the sum of the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is described in bpf/include/abi.h, by the same name")]
pub struct Retransmits {
    pub seen: [u64; RETRANSMITS],
    pub sent: [u64; RETRANSMITS],
    pub suppressed: [u64; RETRANSMITS],
    pub lost: [u64; RETRANSMITS],
}

impl Retransmits {
    /// Adds another CPU's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.seen, other.seen),
            (&mut self.sent, other.sent),
            (&mut self.suppressed, other.suppressed),
            (&mut self.lost, other.lost),
        ] {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}
