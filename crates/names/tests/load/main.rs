//! The load of agents and of a relay on the API server, in requests and bytes, and what they hold
//! of memory. It is a binary of its own, since all that is allocated in it is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]
#![allow(clippy::print_stdout, reason = "the figures are what one wants to read")]

#[path = "../../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
mod follower;
mod hour;
mod objects;
#[path = "../../../cluster/tests/kubernetes/kube_api/protobuf.rs"]
#[allow(dead_code, clippy::cast_possible_truncation, reason = "a byte of a number at a time; lists come in parts")]
mod protobuf;
mod server;
mod start;
mod time;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pods of a node.
const PODS: usize = 30;

/// Number of nodes of a large cluster, if one is asked for.
fn nodes_asked_for() -> Option<usize> {
    std::env::var("WEBB_LOAD_NODES").ok().map(|text| text.parse().unwrap())
}

/// What is allocated counts for one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes as people write them.
fn shown(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
