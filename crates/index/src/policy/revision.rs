//! Counts the changes of all that policies say, compiled or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that a cluster's cache and its indexes share. An index has the changes up to the count
/// that it was built at; while the cache's is greater, newer policies are being compiled.
#[derive(Debug, Clone, Default)]
pub struct PolicyRevision(Arc<AtomicU64>);

impl PolicyRevision {
    /// Counts a change.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// The changes so far.
    #[inline]
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
