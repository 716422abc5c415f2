//! An aggregator's thread: takes batches from its lane, counts them, answers cuts.
//!
//! What it counts lives in a [`Seat`] that outlives the thread. When a flow makes the metric panic, the seat still
//! knows the batch and how far it was; the next life goes on behind that one flow, with every counter as it was.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{Batch, Item, Life};
use crate::metrics::Aggregator;

/// An aggregator and the batch it is in, kept over the lives of its thread.
#[derive(Debug)]
pub struct Seat {
    work: Mutex<Work>,
    poisoned: AtomicU64,
    counted: AtomicU64,
    series: AtomicU64,
}

#[derive(Debug)]
struct Work {
    aggregator: Aggregator,
    current: Option<Arc<Batch>>,
    /// The next flow of `current`; the one before it was being counted if the thread died.
    position: usize,
}

impl Seat {
    /// Seats an aggregator.
    pub fn new(aggregator: Aggregator) -> Self {
        let work = Work { aggregator, current: None, position: 0 };
        Self { work: Mutex::new(work), poisoned: AtomicU64::new(0), counted: AtomicU64::new(0), series: AtomicU64::new(0) }
    }

    /// Flows that made the aggregator panic, since start.
    pub fn poisoned(&self) -> u64 {
        self.poisoned.load(Relaxed)
    }

    /// Flows it has looked at, since start.
    pub fn counted(&self) -> u64 {
        self.counted.load(Relaxed)
    }

    /// Series it holds.
    pub fn series(&self) -> u64 {
        self.series.load(Relaxed)
    }
}

impl Work {
    /// Counts what is left of the current batch; returns how many flows that were.
    fn finish(&mut self) -> u64 {
        let Some(batch) = &self.current else { return 0 };
        let from = self.position;
        self.aggregator.observe(&batch.flows, &batch.index, &mut self.position);
        let counted = (batch.flows.len() - from) as u64;
        self.current = None;
        self.position = 0;
        counted
    }
}

/// Runs until told to stop, then empties the lane. One lock a batch, which nobody else wants while the thread lives.
pub fn work(life: &Life, lane: &Receiver<Item>, seat: &Seat) {
    let mut work = seat.work.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(batch) = &work.current {
        // The life before this one died in this batch, at the flow before `position`.
        let done = work.position.saturating_sub(1).min(batch.flows.len()) as u64;
        seat.counted.fetch_add(done, Relaxed);
        seat.poisoned.fetch_add(1, Relaxed);
        let counted = work.finish();
        seat.counted.fetch_add(counted, Relaxed);
    }
    loop {
        life.beat();
        let item = if life.stopping() {
            let Ok(item) = lane.try_recv() else { return };
            item
        } else {
            match lane.recv_timeout(Duration::from_millis(500)) {
                Ok(item) => item,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        };
        match item {
            Item::Batch(batch) => {
                work.current = Some(batch);
                let counted = work.finish();
                seat.counted.fetch_add(counted, Relaxed);
            }
            Item::Cut(cut) => cut.answer(work.aggregator.snapshot()),
        }
        seat.series.store(work.aggregator.series() as u64, Relaxed);
    }
}
