//! Schedule of the polls of the egress side of pods' interfaces: at once after a netlink message
//! about a change there, and at an interval, for changes without a message.

use std::time::{Duration, Instant};

/// Interval of the polls without a message. TCX sends none for its programs.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Least time between two polls: a burst of messages costs a few.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// The times of the next and the last poll.
#[derive(Debug)]
pub(super) struct PollSchedule {
    next: Instant,
    last: Option<Instant>,
}

impl PollSchedule {
    /// The first poll is due now.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, last: None }
    }

    /// Something may have changed.
    pub(super) fn soon(&mut self, now: Instant) {
        let allowed = self.last.map_or(now, |last| now.max(last + MIN_INTERVAL));
        self.next = self.next.min(allowed);
    }

    /// A poll was made.
    pub(super) fn done(&mut self, now: Instant) {
        (self.last, self.next) = (Some(now), now + POLL_INTERVAL);
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single message is followed by a poll at once, a burst by one for each while, and the last
    /// message of a burst by one as well.
    #[test]
    fn messages_are_followed_by_polls() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut schedule = PollSchedule::new(start);
        schedule.done(at(0));
        assert_eq!(schedule.next(), start + POLL_INTERVAL);
        schedule.soon(at(1000));
        assert_eq!(schedule.next(), at(1000), "at once");
        schedule.done(at(1001));
        let mut count = 0;
        for now in 1002..1101 {
            schedule.soon(at(now));
            if schedule.next() <= at(now) {
                schedule.done(at(now));
                count += 1;
            }
        }
        assert_eq!(count, 4);
        schedule.soon(at(1101));
        assert_eq!(schedule.next(), at(1101));
        schedule.done(at(1101));
        schedule.soon(at(1102));
        assert_eq!(schedule.next(), at(1121), "the last of a burst is not forgotten");
    }
}
