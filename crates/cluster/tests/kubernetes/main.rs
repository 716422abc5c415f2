//! Lists and watches, against an API server that has faults on command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod fake;
mod faults;
mod kube_api;
mod lease;
mod lists;
mod login;
mod nodes;
mod policies;
mod protobuf;
mod recovery;
mod relayed_nodes;
mod watch;
