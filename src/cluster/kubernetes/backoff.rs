//! How long to wait after a failure: doubling bounds with full jitter.
//!
//! Thousands of agents lose the same API server at the same moment. Waiting a random part of the bound, and not the
//! bound, spreads them over it evenly. Only the monotonic clock is asked, so a clock that jumps changes nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// After so long without a failure the next one counts as the first.
const GOOD: Duration = Duration::from_mins(1);

/// A server may ask for patience, but not for more than this.
const MOST_ASKED: Duration = Duration::from_mins(5);

/// The failures of one watch so far.
#[derive(Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
    /// When the last wait was over.
    until: Option<Instant>,
}

impl Backoff {
    /// The first bound is `least`, the last `most`.
    pub(super) fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, failures: 0, until: None }
    }

    /// How long to wait now that something failed. `asked`: what the server asked for; waited in full, and a little.
    pub(super) fn next(&mut self, now: Instant, asked: Option<Duration>) -> Duration {
        if self.until.is_some_and(|until| now.saturating_duration_since(until) >= GOOD) {
            self.failures = 0;
        }
        let bound = self.least.saturating_mul(1 << self.failures.min(16)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        let wait = match asked {
            Some(asked) => asked.min(MOST_ASKED) + random(bound),
            None => random(bound),
        };
        self.until = Some(now + wait);
        wait
    }
}

/// A time below `bound`, each as likely as the other. Good for spreading load, not for secrets.
pub(super) fn random(bound: Duration) -> Duration {
    // Every `RandomState` has another key.
    let number = RandomState::new().build_hasher().finish();
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(number.checked_rem(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(30);

    /// Bounds double up to the last one, and a good minute starts them anew.
    #[test]
    fn bounds_double_and_start_anew() {
        let (mut now, mut longest) = (Instant::now(), [Duration::ZERO; 9]);
        for _ in 0..200 {
            let mut backoff = Backoff::new(LEAST, MOST);
            for (failure, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next(now, None);
                assert!(wait < (LEAST * (1 << failure)).min(MOST));
                *longest = wait.max(*longest);
                now += wait;
            }
            assert!(backoff.next(now + GOOD + MOST, None) < LEAST);
        }
        // Of 200 even draws, the longest is above half of its bound but for one case in 2^200.
        for (failure, longest) in longest.into_iter().enumerate() {
            assert!(longest > (LEAST * (1 << failure)).min(MOST) / 2, "{failure}: {longest:?}");
        }
    }

    /// What the server asks for is kept to, within reason.
    #[test]
    fn the_server_is_obeyed_within_reason() {
        let now = Instant::now();
        let wait = Backoff::new(LEAST, MOST).next(now, Some(Duration::from_secs(7)));
        assert!((7_000..7_500).contains(&wait.as_millis()), "{wait:?}");
        let wait = Backoff::new(LEAST, MOST).next(now, Some(Duration::from_hours(24)));
        assert!(wait < MOST_ASKED + LEAST);
        assert_eq!(random(Duration::ZERO), Duration::ZERO);
    }
}
