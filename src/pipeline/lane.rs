//! The bounded road from the reader to one aggregator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use super::{Batch, Cut};
use crate::fault::{Component, State};

/// How many batches a lane holds. At a low rate a batch is what came in 20 ms, so this is what an aggregator may miss of
/// time, two and a half seconds, before something is skipped; in a flood it is 65,536 flows.
const DEPTH: usize = 128;

/// What travels on a lane.
#[derive(Debug)]
pub enum Item {
    /// Flows to count.
    Batch(Arc<Batch>),
    /// Answer with your series as they are now.
    Cut(Cut),
}

/// The reader's end of the road to one aggregator.
#[derive(Debug)]
pub struct Lane {
    to: Sender<Item>,
    component: Arc<Component>,
    sent: AtomicU64,
    skipped: AtomicU64,
}

impl Lane {
    /// A lane to the aggregator that `component` stands for.
    pub fn new(component: Arc<Component>) -> (Self, Receiver<Item>) {
        let (to, from) = bounded(DEPTH);
        (Self { to, component, sent: AtomicU64::new(0), skipped: AtomicU64::new(0) }, from)
    }

    /// Hands over a batch. Waits while the lane is full, which fills the ring instead of memory; `waiting` is called
    /// now and then meanwhile. An aggregator that is down is not waited for, since its neighbours must not notice: what
    /// finds its lane full is skipped and counted.
    pub(super) fn send(&self, batch: &Arc<Batch>, waiting: impl Fn()) {
        let flows = batch.flows.len() as u64;
        self.sent.fetch_add(flows, Relaxed);
        let mut item = Item::Batch(Arc::clone(batch));
        if self.component.state() != State::Up && self.to.is_full() {
            self.skipped.fetch_add(flows, Relaxed);
            return;
        }
        loop {
            match self.to.send_timeout(item, Duration::from_millis(50)) {
                Ok(()) => break,
                Err(SendTimeoutError::Timeout(again)) if self.component.state() == State::Up => item = again,
                Err(_down_or_gone) => {
                    self.skipped.fetch_add(flows, Relaxed);
                    break;
                }
            }
            waiting();
        }
        self.component.set_queue(self.to.len());
    }

    /// Asks for a cut behind everything sent so far. A lane that is full is passed over; the desk uses its last one.
    pub(super) fn cut(&self, cut: Cut) {
        // Full or gone: the desk notices by the answer that does not come.
        let _passed_over = self.to.try_send(Item::Cut(cut));
    }

    /// Flows sent or skipped since start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Flows skipped because the aggregator was down and its lane full.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed)
    }

    /// The aggregator at the other end.
    pub fn component(&self) -> &Arc<Component> {
        &self.component
    }
}
