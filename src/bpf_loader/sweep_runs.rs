//! Numbers and times of the sweeps of the connection table.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use webb_metrics::expose::Histogram;

/// The sweeps since the start, a sweep being one of the whole table in its parts.
#[derive(Debug, Default)]
pub struct SweepRuns(Mutex<Runs>);

#[derive(Debug, Default)]
struct Runs {
    completed: Histogram,
    uncompleted: Histogram,
    resets: u64,
    /// Time that the parts of the sweep took so far.
    spent: Duration,
    /// A part of the sweep has failed, so that it is not complete with its last.
    broken: bool,
}

impl SweepRuns {
    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a part: whether it was the last of the table, or none if it has failed and is begun
    /// anew.
    pub(super) fn note(&self, was_last: Option<bool>, took: Duration) {
        let mut runs = self.runs();
        runs.spent += took;
        let spent = runs.spent.as_secs_f64();
        match was_last {
            None => {
                runs.resets += 1;
                if !std::mem::replace(&mut runs.broken, true) {
                    runs.uncompleted.observe(spent);
                }
            }
            Some(true) => {
                if !std::mem::take(&mut runs.broken) {
                    runs.completed.observe(spent);
                }
                runs.spent = Duration::ZERO;
            }
            Some(false) => {}
        }
    }

    /// Times of the sweeps by status: completed, or interrupted by a failure.
    pub fn times(&self) -> [(&'static str, Histogram); 2] {
        let runs = self.runs();
        [("completed", runs.completed.clone()), ("uncompleted", runs.uncompleted.clone())]
    }

    /// Number of parts that were begun anew.
    pub fn resets(&self) -> u64 {
        self.runs().resets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sweep is complete with its last part, takes what its parts took, and is interrupted once
    /// however often a part of it fails.
    #[test]
    fn sweeps_are_counted() {
        let runs = SweepRuns::default();
        let part = Duration::from_millis(500);
        for was_last in [Some(false), Some(true), Some(false), None, None, Some(false), Some(true), Some(true)] {
            runs.note(was_last, part);
        }
        let [(_, completed), (_, uncompleted)] = runs.times();
        assert_eq!((completed.count, uncompleted.count, runs.resets()), (2, 1, 2));
        assert!(
            (completed.sum - 1.5).abs() < 1e-9 && (uncompleted.sum - 1.0).abs() < 1e-9,
            "{completed:?} {uncompleted:?}"
        );
    }
}
