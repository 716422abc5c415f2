//! The outcome of an election, shared by the thread that takes part in it and by those that ask.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use webb_flow::clock;

use super::{Answer, Request, Term};

/// The outcome of a request about the Lease, as its counter's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the labels are the documentation")]
pub enum Outcome {
    Read,
    Written,
    Conflict,
    NotFound,
    Failed,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Read, Self::Written, Self::Conflict, Self::NotFound, Self::Failed];

    /// Value of the `outcome` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
        }
    }

    /// The outcome of a request with this answer.
    pub fn of(request: &Request, answer: &Answer) -> Self {
        match (request, answer) {
            (Request::Get, Answer::Lease(_)) => Self::Read,
            (_, Answer::Lease(_)) => Self::Written,
            (_, Answer::Conflict) => Self::Conflict,
            (_, Answer::NotFound) => Self::NotFound,
            (_, Answer::Failed) => Self::Failed,
        }
    }
}

/// Leadership of this process. Whether it leads is decided by the clock when that is asked, so that
/// a process that slept does not lead when it wakes.
#[derive(Debug, Default)]
pub struct Leadership {
    term: Mutex<Option<Term>>,
    holder: Mutex<String>,
    problem: Mutex<Option<String>>,
    requests: [AtomicU64; Outcome::ALL.len()],
}

impl Leadership {
    /// True if this process leads at this moment.
    pub fn is_leading(&self) -> bool {
        self.leads_at(clock::boot_ns())
    }

    /// True if the present term covers this time of `CLOCK_BOOTTIME`.
    pub fn leads_at(&self, boot_ns: u64) -> bool {
        self.term.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|term| term.covers(boot_ns))
    }

    /// The holder of the Lease as last seen; empty if none was.
    pub fn holder(&self) -> String {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The reason for which the Lease cannot be read or written; none if it can.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests with this outcome.
    pub fn requests(&self, outcome: Outcome) -> u64 {
        self.requests.get(outcome as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Sets the term; none ends leadership at once.
    pub fn set_term(&self, term: Option<Term>) {
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
    }

    /// Sets the holder. True if it is another than before.
    pub fn set_holder(&self, holder: &str) -> bool {
        let mut known = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != holder;
        if changed {
            holder.clone_into(&mut known);
        }
        changed
    }

    /// Sets the problem. True if one begins or ends.
    pub fn set_problem(&self, problem: Option<String>) -> bool {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, problem);
        before.is_some() != known.is_some()
    }

    /// Counts a request.
    pub fn count(&self, outcome: Outcome) {
        if let Some(count) = self.requests.get(outcome as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing but the clock ends a term: no thread has to run for that.
    #[test]
    fn terms_end_by_the_clock() {
        let leadership = Leadership::default();
        assert!(!leadership.is_leading());
        let now = clock::boot_ns();
        leadership.set_term(Some(Term { from: 0, until: now + 3_600_000_000_000 }));
        assert!(leadership.is_leading());
        leadership.set_term(Some(Term { from: 0, until: now }));
        assert!(!leadership.is_leading(), "its end has come");
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
    }
}
