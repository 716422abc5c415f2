//! Batches that are used again: a ring of shared batches, recycled by reference count.
//!
//! The reader looks at the oldest batch; when it holds the only reference every aggregator is done with it, and it is
//! refilled in place. No return channel, no free list. The pool grows to what is under way at once, a handful of batches
//! that stay in the core's cache, and up to the lanes' depth while an aggregator is behind.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{BATCH, Batch};
use crate::index::Index;

/// The reader's batches.
#[derive(Debug, Default)]
pub(super) struct Pool {
    batches: VecDeque<Arc<Batch>>,
    allocated: u64,
}

impl Pool {
    /// An empty batch without other readers, which names its flows by `index`. Allocates only while every batch is
    /// still being read.
    pub(super) fn take(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        if let Some(mut oldest) = self.batches.pop_front() {
            if let Some(batch) = Arc::get_mut(&mut oldest) {
                batch.flows.clear();
                batch.extras.clear();
                if !Arc::ptr_eq(&batch.index, index) {
                    batch.index = Arc::clone(index);
                }
                return oldest;
            }
            self.batches.push_front(oldest);
        }
        self.allocate(index)
    }

    /// One more than a full batch: the last flow may bring a policy verdict along.
    fn allocate(&mut self, index: &Arc<Index>) -> Arc<Batch> {
        self.allocated += 1;
        Arc::new(Batch { index: Arc::clone(index), flows: Vec::with_capacity(BATCH + 1), extras: Vec::new() })
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
}
