//! Remembered answers: whether the names of an endpoint fit is asked of every flow, and is a function of few symbols.
//!
//! Symbols mean the same for as long as the process lives, so an answer never grows old. Text is looked at once for
//! each pair of symbols; after that a flow costs one hash probe, without lock or allocation.

use std::cell::RefCell;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;

/// Emptied at this size: names come and go for as long as the cluster lives.
const LIMIT: usize = 1 << 16;

/// Answers by the symbols that they depend on.
#[derive(Debug, Default)]
pub(super) struct Memo(RefCell<HashMap<(Sym, Sym), bool, RandomState>>);

impl Memo {
    /// The answer for `key`, worked out if nobody asked before.
    #[inline]
    pub(super) fn answer(&self, key: (Sym, Sym), work_out: impl FnOnce() -> bool) -> bool {
        if let Some(&known) = self.0.borrow().get(&key) {
            return known;
        }
        let answer = work_out();
        let mut answers = self.0.borrow_mut();
        if answers.len() >= LIMIT {
            answers.clear();
        }
        answers.insert(key, answer);
        answer
    }
}

impl Clone for Memo {
    /// A copy begins without answers: it will work on another thread, for other flows.
    fn clone(&self) -> Self {
        Self::default()
    }
}
