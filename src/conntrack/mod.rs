//! The kernel's connection tracking, followed over netlink: which connections have their addresses
//! translated, and to what.
//!
//! ```text
//! kernel ──events: new, destroy──► Follower ──NatUpdate──► bounded channel ──► the reader's table
//!        ──dump: all there is────►     │
//!                                      └ at the start, after an overrun, and every few minutes
//! ```
//!
//! The kernel records the translations of kube-proxy, in its iptables, nftables and IPVS modes,
//! here and nowhere else. Only connections with a translation are passed on, which is a small part
//! on most nodes. Netlink drops events when its reader is slow; then everything is read anew, so an
//! overrun costs a dump and never a translation.
//!
//! The protocol is small enough to be read here: every length is checked, and nothing that a
//! message may say can do more than be counted as malformed.

mod attributes;
mod counters;
mod error;
mod follower;
mod message;
mod query;
mod snat;
mod socket;

pub use counters::Counters;
pub use error::ConntrackError;
pub use follower::{Follower, Following};
pub use message::{Message, messages};
pub use snat::{Snat, SnatFigures};

/// Checks that connection tracking can be followed here; leaves nothing behind.
///
/// # Errors
/// Why not.
pub fn probe() -> Result<(), ConntrackError> {
    follower::check()
}

/// Reads arbitrary bytes as messages: for fuzzing, where no input may do more than end.
///
/// # Panics
/// If a connection changes its protocol on the way.
pub fn fuzz(bytes: &[u8]) {
    for message in messages(bytes) {
        if let Message::New(Some(translation)) | Message::Gone(Some(translation)) = message {
            assert!(translation.opened.protocol == translation.arrived.protocol, "one connection has one protocol");
        }
    }
}
