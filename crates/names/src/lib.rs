//! A relay of pods' names, for clusters in which each agent cannot watch all pods.
//!
//! ```text
//! API server ── pods, nodes ──▶ Directory ── stream of each agent ──▶ Held ──▶ cache of names
//!                                   ▲                                  │
//!                                   └──────── addresses it meets ──────┘
//! ```
//!
//! [`Directory`] and [`Held`] are state without input or output; [`serve()`] and [`follow()`] are
//! the stream between them. On both sides an answer is the complete state of one address, so a
//! later one replaces an earlier one, and nothing depends on how many were between.

mod addresses;
mod directory;
mod follow;
mod fuzz;
mod held;
mod held_nodes;
mod listing;
mod node_message;
mod nodes;
mod nodes_digest;
mod profile;
mod proto;
mod protocol_error;
mod serve;

pub use directory::{Directory, Lease, Sent, TooMany};
pub use follow::{Asks, FollowError, Following, asks, drain, follow};
pub use fuzz::fuzz;
pub use held::{Changes, Held, HeldCounts};
pub use listing::list;
pub use nodes_digest::NodesDigest;
pub use profile::Profile;
pub use proto::wire;
pub use protocol_error::ProtocolError;
pub use serve::{ServeError, Site, serve};

/// The version of the protocol.
pub const VERSION: u32 = 1;

/// The longest pause between two answers: one that says nothing else says that the relay is there.
const BEAT_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
