//! The eBPF programs in the running kernel: single packets by `BPF_PROG_TEST_RUN`, the tables and
//! rings behind them, and real packets through interfaces of network namespaces.
//!
//! They need root. Without, each test says so and passes; with `CI=true` it fails instead.
//! `scripts/kernels` runs them on other kernels, each test in a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test stops where its assumptions fail"
)]

mod classes;
mod layer7;
mod ledger;
mod live;
mod packets;
mod quality;
mod shared;
mod support;
mod table;
