//! A bound of flows a second: what would follow is dropped, and counted by its caller.

use std::time::{Duration, Instant};

/// A bucket that holds what a second allows. It is filled once a turn, so a flow costs no look at
/// the clock.
#[derive(Debug)]
pub(super) struct Limit {
    per_second: f64,
    left: f64,
    filled: Instant,
}

impl Limit {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, left: per_second, filled: now }
    }

    /// Fills it with what the time since the last call allows.
    pub(super) fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.filled, now));
        let passed = passed.min(Duration::from_secs(1)).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
    }

    /// True if one more is allowed.
    #[inline]
    pub(super) fn take(&mut self) -> bool {
        let has_one = self.left >= 1.0;
        if has_one {
            self.left -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second's worth may come at once; then what time allows.
    #[test]
    fn a_second_at_once() {
        let start = Instant::now();
        let mut limit = Limit::new(10, start);
        let mut taken = |after_ms| {
            limit.fill(start + Duration::from_millis(after_ms));
            (0..100).filter(|_| limit.take()).count()
        };
        assert_eq!([taken(0), taken(0), taken(500), taken(550), taken(600), taken(60_000)], [10, 0, 5, 0, 1, 10]);
    }
}
