//! Runs of a component's periodic work: a sweep, a poll, a reconciliation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of a run's duration, in seconds: the Go client's defaults, as Cilium's controllers
/// have them.
pub const PASS_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Runs of one outcome.
#[derive(Debug, Default)]
struct Runs {
    /// Runs by bucket; the last is beyond all bounds.
    buckets: [AtomicU64; PASS_BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// Counts of a component's runs, written by its owner and read by any thread.
#[derive(Debug, Default)]
pub struct Passes {
    succeeded: Runs,
    failed: Runs,
    /// Failures since the last success.
    failing: AtomicU64,
}

/// Runs of one outcome, as counted so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassCounts {
    /// Number of runs.
    pub count: u64,
    /// Runs that took at most the time of each bound.
    pub within: [u64; PASS_BOUNDS.len()],
    /// Seconds of all of them.
    pub seconds: f64,
}

impl Passes {
    /// Counts a run.
    pub fn count(&self, succeeded: bool, took: Duration) {
        let runs = if succeeded {
            self.failing.store(0, Relaxed);
            &self.succeeded
        } else {
            self.failing.fetch_add(1, Relaxed);
            &self.failed
        };
        let seconds = took.as_secs_f64();
        let bucket = PASS_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(PASS_BOUNDS.len());
        if let Some(count) = runs.buckets.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        runs.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts of the runs that succeeded, and of those that did not.
    pub fn counts(&self) -> [PassCounts; 2] {
        [self.succeeded.counts(), self.failed.counts()]
    }

    /// Number of failures since the last success.
    pub fn failing(&self) -> u64 {
        self.failing.load(Relaxed)
    }
}

impl Runs {
    fn counts(&self) -> PassCounts {
        let mut within = [0; PASS_BOUNDS.len()];
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            if let Some(within) = within.get_mut(at) {
                *within = count;
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds as a double")]
        let seconds = self.micros.load(Relaxed) as f64 / 1e6;
        PassCounts { count, within, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs count by outcome and duration; one success ends a row of failures.
    #[test]
    fn runs_are_counted() {
        let passes = Passes::default();
        for (succeeded, millis) in [(true, 1), (true, 30), (false, 20_000), (false, 5)] {
            passes.count(succeeded, Duration::from_millis(millis));
        }
        assert_eq!(passes.failing(), 2);
        let [succeeded, failed] = passes.counts();
        assert_eq!((succeeded.count, succeeded.within[0], succeeded.within[2], succeeded.within[3]), (2, 1, 1, 2));
        assert_eq!((failed.count, failed.within[0], failed.within[10]), (2, 1, 1));
        assert!((failed.seconds - 20.005).abs() < 1e-9);
        passes.count(true, Duration::ZERO);
        assert_eq!(passes.failing(), 0);
    }
}
