//! Layer 7 counters of the programs, and their switch.

use std::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Protocols of layer-7 records, as rows of the totals: HTTP/1, HTTP/2, DNS over UDP and over TCP;
/// `WEBB_MESSAGE_PROTOCOLS`.
pub const MESSAGE_PROTOCOLS: usize = 4;

/// `WEBB_L7_*`: bits of the map `l7_switch`.
pub mod l7_switch {
    /// DNS at the client's interface.
    pub const DNS_CLIENT: u32 = 0x01;
    /// DNS at the server's interface.
    pub const DNS_SERVER: u32 = 0x02;
    /// HTTP at the client's interface.
    pub const HTTP_CLIENT: u32 = 0x04;
    /// HTTP at the server's interface.
    pub const HTTP_SERVER: u32 = 0x08;
}

/// Totals of layer 7 on one CPU: `struct webb_l7_totals`. By protocol, wanted = sent + lost +
/// unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is described in bpf/include/abi.h, by the same name")]
pub struct L7Totals {
    pub wanted: [u64; MESSAGE_PROTOCOLS],
    pub sent: [u64; MESSAGE_PROTOCOLS],
    pub sent_bytes: [u64; MESSAGE_PROTOCOLS],
    pub lost: [u64; MESSAGE_PROTOCOLS],
    pub unread: [u64; MESSAGE_PROTOCOLS],
    pub cut: [u64; MESSAGE_PROTOCOLS],
    pub looked: u64,
    pub found: [u64; MESSAGE_PROTOCOLS],
    pub none: u64,
    pub untracked: u64,
    pub budget: u64,
    pub frames: u64,
    pub resync: u64,
}

const _: () = assert!(size_of::<L7Totals>() == 8 * (7 * MESSAGE_PROTOCOLS + 6));

impl L7Totals {
    /// Adds another CPU's counts.
    pub fn add(&mut self, other: &Self) {
        let rows = [
            (&mut self.wanted, other.wanted),
            (&mut self.sent, other.sent),
            (&mut self.sent_bytes, other.sent_bytes),
            (&mut self.lost, other.lost),
            (&mut self.unread, other.unread),
            (&mut self.cut, other.cut),
            (&mut self.found, other.found),
        ];
        for (mine, theirs) in rows {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
        self.looked += other.looked;
        self.none += other.none;
        self.untracked += other.untracked;
        self.budget += other.budget;
        self.frames += other.frames;
        self.resync += other.resync;
    }
}
