//! The export of flows to files: what is written, byte for byte; what becomes of the files; what
//! faults do to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod common;
mod disk;
mod files;
mod golden;
mod reload;
mod supervised;
