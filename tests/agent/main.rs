//! Parts of the agent put together, with the kernel, the cluster and clients played by the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod clients;
mod deferred_flows;
mod explain;
mod health;
#[path = "../../crates/metrics/tests/metrics/common/mod.rs"]
mod metrics_common;
mod observer_server;
mod observer_tls;
#[path = "../../crates/metrics/tests/metrics/parser/mod.rs"]
mod parser;
mod scrape;
mod server;
mod supervision;
mod tls;
