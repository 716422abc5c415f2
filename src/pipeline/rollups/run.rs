//! The rollups' thread.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crossbeam_channel::Receiver;
use webb_flow::clock::unix_ns;

use super::state::RollupState;
use super::work::Work;
use crate::pipeline::lane::{DEPTH, MAX_BATCH_DELAY};
use crate::pipeline::{Item, Lifecycle};

impl RollupState {
    /// Adds the flows of the current batch from number `from` on, if rows are wanted.
    pub(super) fn add(&self, work: &mut Work, from: usize) {
        let Some(batch) = work.current.clone() else { return };
        work.position = from;
        if work.windows.is_some() {
            work.rollups.observe(batch.view(), from, &mut work.position);
        } else {
            self.figures.ignored.fetch_add(batch.flows.len().saturating_sub(from) as u64, Relaxed);
        }
        work.index = Arc::clone(&batch.index);
        work.current = None;
    }
}

/// Runs until it is stopped and woken, then empties the lane and sends the rows of the open window.
pub fn roll_up(lifecycle: &Lifecycle, lane: &Receiver<Item>, state: &RollupState) {
    let queue = lane.clone();
    lifecycle.check_work(move || !queue.is_empty());
    let mut work = state.work();
    if let Some(batch) = work.current.clone() {
        // The previous run panicked at a flow of this batch.
        let position = work.position;
        state.figures.add_panicked(work.rollups.pass_over(batch.view(), position));
        state.list();
        let next = work.position + 1;
        state.add(&mut work, next);
    }
    loop {
        // Asked before the lane is emptied: what stops this thread comes after the last batch.
        let stopping = lifecycle.stopping();
        state.take_up(&mut work, unix_ns(), Instant::now());
        for item in lane.try_iter().take(DEPTH) {
            match item {
                Item::Batch(batch) => {
                    work.current = Some(batch);
                    state.add(&mut work, 0);
                }
                Item::List(step) => state.take_step(&mut work, step),
                _ => {}
            }
            lifecycle.beat();
        }
        lifecycle.beat();
        state.advance(&mut work, unix_ns(), Instant::now());
        if !lane.is_empty() {
            continue;
        }
        if stopping {
            return state.end(&mut work, unix_ns());
        }
        let wait = work.wait(unix_ns()).min(MAX_BATCH_DELAY);
        lifecycle.while_idle(wait, || state.lane.wait_for_batches(wait));
    }
}
