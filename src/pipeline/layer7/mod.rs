//! Layer 7 on its way: a thread of its own reads the ring of layer 7, and hands flows to the
//! reader, which names them and puts them into its batches. So one snapshot is consistent over all
//! metrics, and what goes wrong in a message costs layer 7 alone.
//!
//! ```text
//! l7 ring ─► dissect_loop (judge, dissect) ─► Messages (bounded) ─► Inbox of the reader (name) ─► batch
//!                 └─ answers of DNS ─► names by address ──────────────────────────────────────────► batch
//! ```
//!
//! The other way go closes of connections, which the reader sees.

mod closes;
mod dissect_loop;
mod dns_names;
mod fill;
mod inbox;
mod messages;
mod sides;

pub use dissect_loop::{DissectLoop, Layer7Config, Parts, Published};
pub use dns_names::{NameCounts, NamesWriter};
pub use inbox::Inbox;
pub(super) use inbox::Turn;
pub use messages::Outbox;
pub use sides::{Side, Sides};
