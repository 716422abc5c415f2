//! Records, requests and their delivery.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod answers;
mod broker;
mod common;
mod files;
mod kafka;
mod outage;
mod receiver;
mod spool;
mod wire;
mod writer;
