//! Keeps the thread of the rollups.

use std::sync::Arc;

use actix::Addr;
use crossbeam_channel::Receiver;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::{Item, RollupState, roll_up};

/// Starts to sum flows. A restart goes on behind the flow that ended the run before.
pub fn start(items: Receiver<Item>, state: Arc<RollupState>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let waker = state.lane().waker();
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| {
            roll_up(lifecycle, &items, &state);
            Ok(())
        }),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
