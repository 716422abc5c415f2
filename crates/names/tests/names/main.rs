//! The relay's state and its stream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod any_order;
mod many;
mod nodes;
mod relays;
mod streams;
mod versions;
