//! Panics and stalls on command: what they cost, and that it ends there. Armed points are the
//! process' own, so these tests have one to themselves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

mod families;
#[path = "../flow_server/mod.rs"]
mod flow_server;
mod flow_source;
mod flows;
mod history;
mod in_memory;
#[path = "../../crates/cluster/tests/kubernetes/kube_api/mod.rs"]
mod kube_api;
mod memory_ring;
mod mesh;
mod pipeline;
mod relay;
mod reload;
mod resolver;
mod rollups;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it arms points of the pipeline, or passes them.
#[derive(Debug)]
struct Turn(#[allow(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

fn turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    Turn(TURN.lock().unwrap_or_else(PoisonError::into_inner))
}
