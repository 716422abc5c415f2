//! When the next request may be sent: waits after failures, and a slow start after an outage.
//!
//! After a failure there is one request at a time, and a random wait before it whose limit doubles:
//! agents do not come in step. When a receiver is back, a request may be sent in the first second,
//! two in the next, four in the one after: thousands of agents do not send at once what they have
//! kept.

use std::time::Duration;

use tokio::time::Instant;
use webb_flow::hash::seed;

use crate::config::RetryConfig;

/// Seconds after which a receiver that is back is trusted with any number of requests.
const RAMP_SECONDS: u32 = 10;

/// The pace of one output.
#[derive(Debug)]
pub(crate) struct Pace {
    retry: RetryConfig,
    /// The limit of the next wait.
    limit: Duration,
    paused_until: Option<Instant>,
    /// The last request failed.
    is_outage: bool,
    /// Number of waits so far: requests that were under way together are one failure.
    epoch: u64,
    ramp: Option<Ramp>,
}

/// A slow start.
#[derive(Debug)]
struct Ramp {
    since: Instant,
    second: u32,
    /// Requests in this second.
    sent: u32,
}

impl Pace {
    pub(crate) fn new(retry: RetryConfig) -> Self {
        Self { retry, limit: retry.min, paused_until: None, is_outage: false, epoch: 0, ramp: None }
    }

    /// Number of the present time between two waits.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True if a request may be sent beside those that are under way.
    pub(crate) fn may_depart(&mut self, now: Instant, under_way: usize, in_flight: usize) -> bool {
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        let most = if self.is_outage { 1 } else { in_flight };
        under_way < most && self.ramp_room(now) > 0
    }

    fn ramp_room(&mut self, now: Instant) -> u32 {
        let Some(ramp) = &mut self.ramp else { return u32::MAX };
        let second = u32::try_from((now - ramp.since).as_secs()).unwrap_or(u32::MAX);
        if second >= RAMP_SECONDS {
            self.ramp = None;
            return u32::MAX;
        }
        if second != ramp.second {
            (ramp.second, ramp.sent) = (second, 0);
        }
        (1 << second) - ramp.sent.min(1 << second)
    }

    /// Records that a request was sent.
    pub(crate) fn departed(&mut self) {
        if let Some(ramp) = &mut self.ramp {
            ramp.sent += 1;
        }
    }

    /// The next time at which more may be sent than now.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let of_ramp = self.ramp.as_ref().map(|ramp| ramp.since + Duration::from_secs(u64::from(ramp.second) + 1));
        [self.paused_until, of_ramp].into_iter().flatten().filter(|at| *at > now).max()
    }

    /// Records a failure of a request that was sent in `epoch`, to be tried again after `after` if
    /// the receiver has named a time.
    pub(crate) fn failed(&mut self, epoch: u64, after: Option<Duration>, now: Instant) {
        (self.is_outage, self.ramp) = (true, None);
        if epoch == self.epoch {
            self.epoch += 1;
            // A receiver that asks for no wait at all is not sent to without one.
            let wait = after.unwrap_or_default().min(self.retry.max).max(random(self.limit));
            self.limit = (self.limit * 2).min(self.retry.max);
            self.paused_until = Some(now + wait);
        }
    }

    /// Records that the receiver works. True if it did not before.
    pub(crate) fn answered(&mut self, now: Instant) -> bool {
        self.limit = self.retry.min;
        let was_outage = std::mem::take(&mut self.is_outage);
        if was_outage {
            // The request that ended the outage is the one of the first second.
            self.ramp = Some(Ramp { since: now, second: 0, sent: 1 });
        }
        was_outage
    }
}

/// A random time below `limit`.
fn random(limit: Duration) -> Duration {
    let part = u32::try_from(seed() % 1024).unwrap_or(0);
    limit * part / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: RetryConfig = RetryConfig { min: Duration::from_secs(1), max: Duration::from_mins(1) };

    fn pause(pace: &Pace, now: Instant) -> Duration {
        pace.paused_until.unwrap() - now
    }

    /// Waits are random up to a limit, which doubles to a minute; requests that fail together are
    /// one failure; a receiver's wish is followed up to the greatest wait.
    #[test]
    fn waits_grow() {
        let now = Instant::now();
        let mut longest = [Duration::ZERO; 9];
        for _ in 0..200 {
            let mut pace = Pace::new(RETRY);
            for longest in &mut longest {
                let epoch = pace.epoch();
                pace.failed(epoch, None, now);
                *longest = pause(&pace, now).max(*longest);
                let before = pace.limit;
                pace.failed(epoch, Some(Duration::from_hours(1)), now);
                assert_eq!((pace.limit, pace.epoch()), (before, epoch + 1));
            }
        }
        for (longest, limit) in longest.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60]) {
            let limit = Duration::from_secs(limit);
            assert!(*longest < limit && *longest > limit * 9 / 10, "{longest:?} of {limit:?}");
        }
        let mut pace = Pace::new(RETRY);
        pace.failed(0, Some(Duration::from_secs(7)), now);
        assert_eq!(pause(&pace, now), Duration::from_secs(7));
        pace.failed(1, Some(Duration::from_hours(7)), now);
        assert_eq!(pause(&pace, now), Duration::from_mins(1));
        assert!(pace.answered(now));
        assert_eq!(pace.limit, RETRY.min);
    }

    /// One request at a time in an outage; then one in the first second, two, four; then as many as
    /// are allowed.
    #[test]
    fn a_receiver_that_is_back_is_spared() {
        let start = Instant::now();
        let mut pace = Pace::new(RETRY);
        assert!(pace.may_depart(start, 1, 2) && !pace.may_depart(start, 2, 2));
        pace.failed(0, Some(Duration::from_secs(5)), start);
        assert!(!pace.may_depart(start, 0, 2));
        assert_eq!(pace.wake_at(start), Some(start + Duration::from_secs(5)));
        let back = start + Duration::from_secs(5);
        assert!(pace.may_depart(back, 0, 2) && !pace.may_depart(back, 1, 2));
        pace.departed();
        assert!(pace.answered(back) && !pace.answered(back));
        for second in 0..10_u32 {
            let now = back + Duration::from_millis(u64::from(second) * 1000 + 10);
            let mut sent = u32::from(second == 0);
            while pace.may_depart(now, 0, 2) {
                pace.departed();
                sent += 1;
            }
            assert_eq!(sent, 1 << second);
            let next = back + Duration::from_secs(u64::from(second) + 1);
            assert_eq!(pace.wake_at(now), Some(next));
        }
        let now = back + Duration::from_secs(10);
        assert!((0..5000).all(|_| pace.may_depart(now, 1, 2)));
        assert_eq!(pace.wake_at(now), None);
    }
}
