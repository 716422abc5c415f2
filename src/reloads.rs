//! Outcomes of a file's reloads: a count for each, and the last one, named as Prometheus names its
//! own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counters of the reloads of one file.
#[derive(Debug, Default)]
pub struct Reloads {
    applied: AtomicU64,
    rejected: AtomicU64,
    succeeded: AtomicBool,
    /// Seconds since 1970; 0 is never.
    success_seconds: AtomicU64,
    /// Values of the file that wait for the next start.
    waiting: AtomicU64,
}

impl Reloads {
    /// Reloads of a file that has been read at the start.
    pub fn loaded() -> Self {
        let reloads = Self::default();
        reloads.confirmed();
        reloads
    }

    /// Counts one that was applied.
    pub fn applied(&self) {
        self.applied.fetch_add(1, Relaxed);
        self.confirmed();
    }

    /// Notes that the file is again as it was last applied.
    pub fn confirmed(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.success_seconds.store(now, Relaxed);
        self.succeeded.store(true, Relaxed);
    }

    /// Counts one that was rejected whole.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
        self.failed();
    }

    /// Notes that the file cannot be read.
    pub fn failed(&self) {
        self.succeeded.store(false, Relaxed);
    }

    /// Sets the number of values that wait for the next start.
    pub fn set_waiting(&self, count: usize) {
        self.waiting.store(count as u64, Relaxed);
    }

    /// Number of values of the file, as last read, that wait for the next start.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Both counts by the `outcome` label's value.
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [("applied", self.applied.load(Relaxed)), ("rejected", self.rejected.load(Relaxed))]
    }

    /// True if the file's present content is in force.
    pub fn succeeded(&self) -> bool {
        self.succeeded.load(Relaxed)
    }

    /// Time of the last success, in seconds since 1970; 0 if there was none.
    pub fn success_seconds(&self) -> u64 {
        self.success_seconds.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last one decides, and a failure keeps the time of the last success.
    #[test]
    fn the_last_one_decides() {
        let late = Reloads::default();
        assert!(!late.succeeded() && late.success_seconds() == 0);
        let reloads = Reloads::loaded();
        assert!(reloads.succeeded() && reloads.success_seconds() > 0);
        reloads.rejected();
        assert!(!reloads.succeeded() && reloads.success_seconds() > 0);
        reloads.confirmed();
        assert!(reloads.succeeded());
        reloads.failed();
        reloads.applied();
        assert!(reloads.succeeded());
        assert_eq!(reloads.counts(), [("applied", 1), ("rejected", 1)]);
    }
}
