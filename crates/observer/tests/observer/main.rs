//! The server against recorded answers of the reference server, and against its own clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod abuse;
mod client;
mod golden;
mod json;
mod server;
mod services;
mod streams;
mod wire;
