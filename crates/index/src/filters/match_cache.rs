//! Caches match results: whether the names of an endpoint match is a function of few symbols.
//!
//! A symbol keeps its meaning while an index owns it; the cache is cleared before symbols of an
//! index that is gone may be used again ([`super::Filters::clear_caches`]). Text is compared once
//! for each pair of symbols; after that a flow costs one hash probe, without lock or allocation.

use std::cell::RefCell;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;

/// Entries at which the cache is cleared: names come and go as long as the cluster runs.
const MAX_ENTRIES: usize = 1 << 16;

/// Match results by the symbols that they depend on.
#[derive(Debug, Default)]
pub(super) struct MatchCache(RefCell<HashMap<(Sym, Sym), bool, RandomState>>);

impl MatchCache {
    /// Returns the result for `key`; a miss is computed and inserted.
    #[inline]
    pub(super) fn get_or_insert(&self, key: (Sym, Sym), compute: impl FnOnce() -> bool) -> bool {
        if let Some(&known) = self.0.borrow().get(&key) {
            return known;
        }
        let result = compute();
        let mut entries = self.0.borrow_mut();
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, result);
        result
    }
}

impl MatchCache {
    /// Removes all results.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Clone for MatchCache {
    /// A clone starts empty: it serves another thread and other flows.
    fn clone(&self) -> Self {
        Self::default()
    }
}
