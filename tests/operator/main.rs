//! Operators and names relays as processes of their own, against the API server of the tests.
//! Loopback only; neither root nor eBPF is needed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may end where it is wrong, and prints how long a hand-over took"
)]

mod cluster;
mod election;
#[path = "../../crates/cluster/tests/kubernetes/kube_api/mod.rs"]
mod kube_api;
mod names;
mod replica;
