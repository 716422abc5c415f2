//! Keeps the thread of one metric's aggregator; there is one of these for each configured metric.
//!
//! A thread for each metric costs a wake-up for each batch, not for each flow, and buys what
//! supervision needs: a metric that panics, stalls or is slow is alone with it.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use crossbeam_channel::Receiver;

use super::keeper::ThreadKeeper;
use super::restart::Intensity;
use crate::pipeline::{AggregatorState, Item, LaneWaker, work};

/// Starts an aggregator. A restart finds the state, and so every counter, as the life before left
/// it. `look_every` is how often it looks for series that do not change.
pub fn start(
    lane: Receiver<Item>,
    waker: LaneWaker,
    state: Arc<AggregatorState>,
    look_every: Option<Duration>,
    intensity: Intensity,
) -> Addr<ThreadKeeper> {
    ThreadKeeper::start(
        Arc::new(move |life| {
            work(life, &lane, &state, look_every);
            Ok(())
        }),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
