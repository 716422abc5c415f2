//! Batches that are used again: a ring of shared batches, recycled by reference count.
//!
//! The reader looks at the oldest batch; when it holds the only reference every aggregator is done with it, and it is
//! refilled in place. No return channel, no free list. The pool is made as large as the lanes are deep, so nothing is
//! allocated later but while an aggregator that is down sits on batches.

use std::collections::VecDeque;
use std::sync::Arc;

use super::lane::DEPTH;
use super::{BATCH, Batch};
use crate::index::Index;

/// What can be under way at once: a full lane, one batch in the aggregator's hands and one in the reader's.
const SIZE: usize = DEPTH + 2;

/// The reader's batches.
#[derive(Debug)]
pub(super) struct Pool {
    batches: VecDeque<Arc<Batch>>,
    allocated: u64,
}

impl Default for Pool {
    fn default() -> Self {
        let index = Arc::new(Index::default());
        let mut pool = Self { batches: VecDeque::with_capacity(2 * SIZE), allocated: 0 };
        for _ in 0..SIZE {
            let batch = pool.allocate(&index);
            pool.keep(batch);
        }
        pool
    }
}

impl Pool {
    /// An empty batch without other readers, which names its flows by `index`. Allocates only while every batch is
    /// still being read.
    pub(super) fn take(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        if let Some(mut oldest) = self.batches.pop_front() {
            if let Some(batch) = Arc::get_mut(&mut oldest) {
                batch.flows.clear();
                if !Arc::ptr_eq(&batch.index, index) {
                    batch.index = Arc::clone(index);
                }
                return oldest;
            }
            self.batches.push_front(oldest);
        }
        self.allocate(index)
    }

    fn allocate(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        self.allocated += 1;
        Arc::new(Batch { index: Arc::clone(index), flows: Vec::with_capacity(BATCH) })
    }

    /// Keeps a batch that was sent, to be used again.
    pub(super) fn keep(&mut self, batch: Arc<Batch>) {
        self.batches.push_back(batch);
    }

    /// How many batches were allocated since start.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that somebody still reads must never be refilled; one that nobody reads must be.
    #[test]
    fn recycles_only_what_is_free() {
        let index = Arc::new(Index::default());
        let mut pool = Pool::default();
        let made = pool.allocated();
        let readers: Vec<_> = (0..made).map(|_| pool.take(&index)).collect();
        for batch in &readers {
            pool.keep(Arc::clone(batch));
        }
        assert_eq!(pool.allocated(), made, "the first round needs nothing new");
        let extra = pool.take(&index);
        assert!(readers.iter().all(|busy| !Arc::ptr_eq(busy, &extra)));
        assert_eq!(pool.allocated(), made + 1);
        drop(readers);
        pool.keep(extra);
        assert!(pool.take(&index).flows.is_empty());
        assert_eq!(pool.allocated(), made + 1, "the oldest is free again");
    }
}
