//! Backoff after a failure: doubling bounds with full jitter.
//!
//! Thousands of agents lose the same API server at the same moment. Waiting a random part of the
//! bound, and not the bound, spreads them over it evenly. Only the monotonic clock is asked, so a
//! clock that jumps changes nothing; it is the runtime's, which a test can advance.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::WatchTimings;

/// Time without a failure after which the next one counts as the first.
const FAILURES_FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// The longest `Retry-After` that is honoured.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The class of a failure. Each class has a backoff of its own: what grew while the server was away
/// does not delay requests to a server that is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// No answer, or the answer of an unhealthy server.
    Away,
    /// A well server's refusal.
    Refused,
    /// The version is of no use: list again.
    Stale,
}

/// The failures of one watch so far.
#[derive(Debug)]
pub(super) struct Backoff {
    /// Bound of the first wait, and the failures, by class.
    classes: [(Duration, Failures); 3],
    most: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    /// End of the last wait.
    until: Option<Instant>,
}

impl Backoff {
    /// A backoff without failures.
    pub(super) fn new(timings: &WatchTimings) -> Self {
        let first = [timings.backoff_min, timings.relist_backoff, timings.relist_backoff];
        Self { classes: first.map(|least| (least, Failures::default())), most: timings.backoff_max }
    }

    /// Delay before the next attempt after a failure. `asked`: the server's `Retry-After`; waited
    /// in full, and a little.
    pub(super) fn next(&mut self, now: Instant, class: Class, asked: Option<Duration>) -> Duration {
        let [away, refused, stale] = &mut self.classes;
        let (least, failures) = match class {
            Class::Away => away,
            Class::Refused => refused,
            Class::Stale => stale,
        };
        if failures.until.is_some_and(|until| now.saturating_duration_since(until) >= FAILURES_FORGOTTEN_AFTER) {
            failures.count = 0;
        }
        let bound = least.saturating_mul(1 << failures.count.min(16)).min(self.most);
        failures.count = failures.count.saturating_add(1);
        let wait = match asked {
            Some(asked) => asked.min(MAX_RETRY_AFTER) + random(bound),
            None => random(bound),
        };
        failures.until = Some(now + wait);
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

    fn backoff() -> Backoff {
        let timings = WatchTimings {
            backoff_min: LEAST,
            backoff_max: MOST,
            relist_backoff: LEAST * 2,
            ..WatchTimings::default()
        };
        Backoff::new(&timings)
    }

    /// Bounds double up to the last one, and a good minute starts them anew.
    #[test]
    fn bounds_double_and_start_anew() {
        let (mut now, mut longest) = (Instant::now(), [Duration::ZERO; 9]);
        for _ in 0..200 {
            let mut backoff = self::backoff();
            for (failure, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next(now, Class::Away, None);
                assert!(wait < (LEAST * (1 << failure)).min(MOST));
                *longest = wait.max(*longest);
                now += wait;
            }
            assert!(backoff.next(now + FAILURES_FORGOTTEN_AFTER + MOST, Class::Away, None) < LEAST);
        }
        // Of 200 even draws, the longest is above half of its bound but for one case in 2^200.
        for (failure, longest) in longest.into_iter().enumerate() {
            assert!(longest > (LEAST * (1 << failure)).min(MOST) / 2, "{failure}: {longest:?}");
        }
    }

    /// After an outage of any length, a failure starts from the first backoff again.
    #[test]
    fn an_outage_does_not_delay_the_recovery() {
        let mut now = Instant::now();
        let mut backoff = self::backoff();
        for _ in 0..20 {
            now += backoff.next(now, Class::Away, None);
        }
        for class in [Class::Refused, Class::Stale] {
            let first = backoff.next(now, class, None);
            assert!(first < LEAST * 2, "{class:?}: {first:?}");
            let worst = (0..200).map(|_| backoff.next(now, class, None)).max().unwrap();
            assert!(worst > MOST / 2, "{class:?} that goes on is met with the same timeout: {worst:?}");
        }
    }

    /// The server's `Retry-After` is respected up to a bound.
    #[test]
    fn the_server_is_obeyed_within_reason() {
        let now = Instant::now();
        let wait = backoff().next(now, Class::Away, Some(Duration::from_secs(7)));
        assert!((7_000..7_500).contains(&wait.as_millis()), "{wait:?}");
        let wait = backoff().next(now, Class::Away, Some(Duration::from_hours(24)));
        assert!(wait < MAX_RETRY_AFTER + LEAST);
        assert_eq!(random(Duration::ZERO), Duration::ZERO);
    }
}
