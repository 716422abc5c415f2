//! Batches that are used again: a ring of shared batches, recycled by reference count.
//!
//! The reader refills the oldest batch that only it still refers to: every aggregator is done with
//! that one. No return channel, no free list. The pool grows to what is under way at once, a
//! handful of batches that stay in the core's cache, and up to the lanes' depth while an aggregator
//! is behind. One that stands still holds what is in its own lane and nothing else: batches behind
//! those are refilled, and the pool never keeps more than [`MAX_BATCHES`].

use std::collections::VecDeque;
use std::sync::Arc;

use webb_flow::Extra;
use webb_index::Index;

use super::batch::{BATCH, Batch};
use super::lane::DEPTH;

/// Batches that are kept: a full lane's, and as many again for the lanes that go on meanwhile. 13
/// MB.
const MAX_BATCHES: usize = 2 * DEPTH;

/// Rows of extras that are kept to be used again.
const MAX_SPARE_ROWS: usize = 2 * BATCH;

/// The reader's batches.
#[derive(Debug, Default)]
pub(super) struct Pool {
    batches: VecDeque<Arc<Batch>>,
    allocated: u64,
    /// Rows of extras with reusable texts.
    pub(super) spare: Vec<Extra>,
}

impl Pool {
    /// An empty batch without other readers, which names its flows by `index`. Allocates only while
    /// every batch is still being read.
    pub(super) fn take(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        // The first, unless an aggregator stands still.
        let free = self.batches.iter_mut().position(|batch| Arc::get_mut(batch).is_some());
        if let Some(mut oldest) = free.and_then(|at| self.batches.remove(at))
            && let Some(batch) = Arc::get_mut(&mut oldest)
        {
            batch.flows.clear();
            self.spare.append(&mut batch.extras);
            self.spare.truncate(MAX_SPARE_ROWS);
            if !Arc::ptr_eq(&batch.index, index) {
                batch.index = Arc::clone(index);
            }
            return oldest;
        }
        self.allocate(index)
    }

    /// Allocates a batch with room for one more flow: the last one may bring a policy verdict
    /// along.
    fn allocate(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        self.allocated += 1;
        Arc::new(Batch { index: Arc::clone(index), flows: Vec::with_capacity(BATCH + 1), extras: Vec::new() })
    }

    /// Keeps a batch that was sent, to be used again. The oldest makes room for it: what still
    /// reads that one frees it.
    pub(super) fn keep(&mut self, batch: Arc<Batch>) {
        if self.batches.len() >= MAX_BATCHES {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
    }

    /// Number of batches allocated since start.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch that is still referred to must never be refilled; one that is not must be.
    #[test]
    fn recycles_only_what_is_free() {
        let index = Arc::new(Index::default());
        let mut pool = Pool::default();
        let first = pool.take(&index);
        let reader = Arc::clone(&first);
        pool.keep(first);
        let second = pool.take(&index);
        assert!(!Arc::ptr_eq(&reader, &second));
        assert_eq!(pool.allocated(), 2);
        drop(reader);
        pool.keep(second);
        let third = pool.take(&index);
        assert_eq!((pool.allocated(), third.flows.len()), (2, 0));
    }

    /// A batch that is held for long must not keep those behind it from being used again.
    #[test]
    fn a_held_batch_holds_up_no_other() {
        let index = Arc::new(Index::default());
        let mut pool = Pool::default();
        let held = pool.take(&index);
        let stalled = Arc::clone(&held);
        pool.keep(held);
        for _ in 0..100_000 {
            let batch = pool.take(&index);
            assert!(!Arc::ptr_eq(&batch, &stalled));
            pool.keep(batch);
        }
        assert_eq!((pool.allocated(), pool.batches.len()), (2, 2));
    }

    /// However many batches are held at once, the pool keeps no more than its share, and gives none
    /// of them out.
    #[test]
    fn keeps_no_more_than_its_share() {
        let index = Arc::new(Index::default());
        let mut pool = Pool::default();
        let mut held = Vec::new();
        for _ in 0..3 * MAX_BATCHES {
            let batch = pool.take(&index);
            held.push(Arc::clone(&batch));
            pool.keep(batch);
        }
        assert_eq!((pool.allocated(), pool.batches.len()), (3 * MAX_BATCHES as u64, MAX_BATCHES));
        held.clear();
        let batch = pool.take(&index);
        pool.keep(batch);
        assert_eq!((pool.allocated(), pool.batches.len()), (3 * MAX_BATCHES as u64, MAX_BATCHES));
    }
}
