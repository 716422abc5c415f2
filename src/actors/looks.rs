//! When the way out of pods' interfaces is looked at: at once after a message that something there
//! has changed, and now and then, for what no message tells of.

use std::time::{Duration, Instant};

/// The time between two looks without a message. TCX sends none for its programs.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The least time between two looks: a burst of messages costs a few.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// The next look and the last.
#[derive(Debug)]
pub(super) struct Looks {
    next: Instant,
    last: Option<Instant>,
}

impl Looks {
    /// The first look is due now.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, last: None }
    }

    /// Something may have changed.
    pub(super) fn soon(&mut self, now: Instant) {
        let allowed = self.last.map_or(now, |last| now.max(last + MIN_INTERVAL));
        self.next = self.next.min(allowed);
    }

    /// There was a look.
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

    /// A single message is followed by a look at once, a burst by one for each while, and the last
    /// message of a burst by one as well.
    #[test]
    fn messages_are_followed_by_looks() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut looks = Looks::new(start);
        looks.done(at(0));
        assert_eq!(looks.next(), start + POLL_INTERVAL);
        looks.soon(at(1000));
        assert_eq!(looks.next(), at(1000), "at once");
        looks.done(at(1001));
        let mut count = 0;
        for now in 1002..1101 {
            looks.soon(at(now));
            if looks.next() <= at(now) {
                looks.done(at(now));
                count += 1;
            }
        }
        assert_eq!(count, 4);
        looks.soon(at(1101));
        assert_eq!(looks.next(), at(1101));
        looks.done(at(1101));
        looks.soon(at(1102));
        assert_eq!(looks.next(), at(1121), "the last of a burst is not forgotten");
    }
}
