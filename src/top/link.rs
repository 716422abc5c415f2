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
    /// True until what the user wants is answered.
    is_wished: bool,
    /// Time of the next question.
    next: Duration,
    failures: u32,
    lost: Option<(Duration, String)>,
}

impl Link {
    /// True if it is time for a question; it is taken as asked then. During a pause it is time
    /// only for what the user wants, and for a lost agent.
    pub(super) fn take_turn(&mut self, now: Duration, is_paused: bool) -> bool {
        let is_wanted = !is_paused || self.is_wished || self.lost.is_some();
        let is_due = is_wanted && !self.is_waiting && (self.asks_again || now >= self.next);
        if is_due {
            (self.is_waiting, self.asks_again) = (true, false);
        }
        is_due
    }

    /// Asks now, or as soon as the last question is answered.
    pub(super) fn ask_now(&mut self) {
        (self.asks_again, self.is_wished) = (true, true);
    }

    /// Takes an answer; true if it is to what the user wants.
    pub(super) fn answered(&mut self, now: Duration, interval: Duration) -> bool {
        let (asks_again, was_wished) = (self.asks_again, self.is_wished);
        *self = Self { asks_again, is_wished: asks_again, next: now + interval, ..Self::default() };
        was_wished
    }

    /// Takes the answer of an agent that has too much to do: it is there, and is asked once more.
    pub(super) fn put_off(&mut self, now: Duration) {
        let next = now + Duration::from_secs(1);
        *self = Self { asks_again: self.asks_again, is_wished: self.is_wished, next, ..Self::default() };
    }

    /// Takes a failure: the next question waits for 1 s, 2 s, 4 s and so on.
    pub(super) fn failed(&mut self, now: Duration, why: String) {
        let wait = Duration::from_secs(1 << self.failures.min(5)).min(MAX_WAIT);
        let since = self.lost.as_ref().map_or(now, |(since, _)| *since);
        *self = Self {
            next: now + wait,
            failures: self.failures.saturating_add(1),
            lost: Some((since, why)),
            is_wished: self.is_wished,
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
        assert!(link.take_turn(SECOND, false) && !link.take_turn(SECOND * 9, false));
        link.answered(SECOND * 10, SECOND * 5);
        assert!(!link.take_turn(SECOND * 14, false) && link.take_turn(SECOND * 15, false));
        link.ask_now();
        assert!(!link.take_turn(SECOND * 15, false), "the last is not answered");
        link.answered(SECOND * 16, SECOND * 5);
        assert!(link.take_turn(SECOND * 16, false));
    }

    /// During a pause nothing is asked but what the user wants, until it is answered.
    #[test]
    fn pauses_leave_wishes() {
        let mut link = Link::default();
        assert!(!link.take_turn(SECOND, true));
        link.ask_now();
        assert!(link.take_turn(SECOND, true));
        link.put_off(SECOND);
        assert_eq!(link.lost(SECOND), None, "an agent that is busy is there");
        assert!(!link.take_turn(SECOND, true) && link.take_turn(SECOND * 2, true));
        link.failed(SECOND * 2, "refused".to_owned());
        assert!(link.take_turn(SECOND * 3, true));
        assert!(link.answered(SECOND * 3, SECOND) && !link.take_turn(SECOND * 99, true));
        assert!(link.take_turn(SECOND * 99, false));
        link.failed(SECOND * 99, "refused".to_owned());
        assert!(link.take_turn(SECOND * 100, true), "the next try that is announced");
        assert!(!link.answered(SECOND * 100, SECOND));
    }

    /// Waits double up to half a minute, and end with the first answer.
    #[test]
    fn failures_wait_longer() {
        let mut link = Link::default();
        let mut now = SECOND;
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(link.take_turn(now, false));
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
