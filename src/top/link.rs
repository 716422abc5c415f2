//! When the agent is asked, and what is known of an agent that does not answer.

use std::time::Duration;

/// The longest wait after failures.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// State of the connection to the agent. Times are since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// True from a question to its answer.
    is_waiting: bool,
    /// True if something else is wanted since the question.
    asks_again: bool,
    /// Time of the next question.
    next: Duration,
    failures: u32,
    lost: Option<(Duration, String)>,
}

impl Link {
    /// True if it is time for a question; it is taken as asked then.
    pub(super) fn take_turn(&mut self, now: Duration) -> bool {
        let is_due = !self.is_waiting && (self.asks_again || now >= self.next);
        if is_due {
            (self.is_waiting, self.asks_again) = (true, false);
        }
        is_due
    }

    /// Asks now, or as soon as the last question is answered.
    pub(super) fn ask_now(&mut self) {
        self.asks_again = true;
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, now: Duration, interval: Duration) {
        *self = Self { asks_again: self.asks_again, next: now + interval, ..Self::default() };
    }

    /// Takes a failure: the next question waits for 1 s, 2 s, 4 s and so on.
    pub(super) fn failed(&mut self, now: Duration, why: String) {
        let wait = Duration::from_secs(1 << self.failures.min(5)).min(MAX_WAIT);
        let since = self.lost.as_ref().map_or(now, |(since, _)| *since);
        *self = Self {
            next: now + wait,
            failures: self.failures.saturating_add(1),
            lost: Some((since, why)),
            ..Self::default()
        };
    }

    /// Time since the first failure, time to the next question, and why; none while it answers.
    pub(super) fn lost(&self, now: Duration) -> Option<(Duration, Duration, &str)> {
        let (since, why) = self.lost.as_ref()?;
        Some((now.saturating_sub(*since), self.next.saturating_sub(now), why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One question at a time, the next after the interval, or at once if something else is wanted.
    #[test]
    fn questions_take_turns() {
        let mut link = Link::default();
        assert!(link.take_turn(SECOND) && !link.take_turn(SECOND * 9));
        link.answered(SECOND * 10, SECOND * 5);
        assert!(!link.take_turn(SECOND * 14) && link.take_turn(SECOND * 15));
        link.ask_now();
        assert!(!link.take_turn(SECOND * 15), "the last is not answered");
        link.answered(SECOND * 16, SECOND * 5);
        assert!(link.take_turn(SECOND * 16));
    }

    /// Waits double up to half a minute, and end with the first answer.
    #[test]
    fn failures_wait_longer() {
        let mut link = Link::default();
        let mut now = SECOND;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(link.take_turn(now));
            link.failed(now, "refused".to_owned());
            waits.push(link.lost(now).unwrap().1.as_secs());
            now += link.lost(now).unwrap().1;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(link.lost(now).unwrap().0, now.saturating_sub(SECOND));
        link.answered(now, SECOND);
        assert_eq!(link.lost(now), None);
    }
}
