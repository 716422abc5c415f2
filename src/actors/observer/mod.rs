//! Keeps the observer: the thread that fills the history, and the one that serves it.

mod complaints;
mod listener;
mod peers;
pub mod server;

use std::sync::Arc;

use actix::Addr;
use crossbeam_channel::Receiver;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::{HistoryState, Item, record};

/// Starts to fill the history. A restart goes on behind the batch that ended the run before.
pub fn start_history(items: Receiver<Item>, state: Arc<HistoryState>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let waker = state.lane().waker();
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| {
            record(lifecycle, &items, &state);
            Ok(())
        }),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
