//! Keeps the thread of one metric's aggregator; there is one of these for each configured metric.
//!
//! A thread for each metric costs a wake-up for each batch, not for each flow, and buys what
//! supervision needs: a metric that panics, stalls or is slow is alone with it.

use std::sync::Arc;

use actix::Addr;
use crossbeam_channel::Receiver;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::{AggregatorState, Item, LaneWaker, Looks, work};

/// Starts an aggregator. A restart finds the state, and so every counter, as the life before left
/// it. `looks` is how often it looks for series that do not change.
pub fn start(
    lane: Receiver<Item>,
    waker: LaneWaker,
    state: Arc<AggregatorState>,
    looks: Looks,
    intensity: Intensity,
) -> Addr<ThreadSupervisor> {
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| {
            work(lifecycle, &lane, &state, looks);
            Ok(())
        }),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
