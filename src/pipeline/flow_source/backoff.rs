//! Waits between two attempts to connect: longer each time, and never in step with other agents.

use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use webb_flow::hash::RandomState;

/// The first wait.
const MIN_WAIT: Duration = Duration::from_millis(250);

/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A connection that lasted so long was a success: the next wait is a first one.
const SUCCESS: Duration = Duration::from_secs(10);

/// The waits.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
    random: RandomState,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: MIN_WAIT, random: RandomState::default() }
    }
}

impl Backoff {
    /// The wait after a connection that lasted for `lasted`: between half of what is due and all of
    /// it.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= SUCCESS {
            self.next = MIN_WAIT;
        }
        let wait = self.next;
        self.next = (wait * 2).min(MAX_WAIT);
        let part = self.random.hash_one(Instant::now()) % 1024;
        wait / 2 + wait / 2 * u32::try_from(part).unwrap_or(0) / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits grow to a limit, differ, and begin anew after a connection that lasted.
    #[test]
    fn waits() {
        let mut backoff = Backoff::default();
        let mut due = MIN_WAIT;
        for _ in 0..12 {
            let wait = backoff.after(Duration::ZERO);
            assert!(wait >= due / 2 && wait <= due, "{wait:?} of {due:?}");
            due = (due * 2).min(MAX_WAIT);
        }
        assert_eq!(due, MAX_WAIT);
        assert!(backoff.after(SUCCESS) <= MIN_WAIT);
        let mut backoffs: Vec<_> = (0..20).map(|_| Backoff::default().after(Duration::ZERO)).collect();
        backoffs.dedup();
        assert!(backoffs.len() > 10, "{backoffs:?}");
    }
}
