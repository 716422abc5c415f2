//! Interfaces that could not be attached to: when each is tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::bpf_loader::AttachError;

/// The wait before the second attempt. It doubles with each one that follows.
const MIN_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The interfaces that are waited for, by index.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<u32, Failed>);

#[derive(Debug)]
struct Failed {
    error: String,
    /// Time of the next attempt; none where it would end the same way.
    next: Option<Instant>,
    wait: Duration,
}

impl Attempts {
    /// Takes note of a failure. True if it is new: not the same error as at the last attempt.
    pub(super) fn failed(&mut self, index: u32, error: &AttachError, now: Instant) -> bool {
        let text = error.to_string();
        let before = self.0.get(&index);
        let wait = before.map_or(MIN_BACKOFF, |before| (before.wait * 2).min(MAX_BACKOFF));
        let is_new = before.is_none_or(|before| before.error != text);
        let next = (!error.is_final()).then(|| now + wait);
        self.0.insert(index, Failed { error: text, next, wait });
        is_new
    }

    /// Ends the attempts at an interface: it is attached to, not wanted or removed.
    pub(super) fn done(&mut self, index: u32) {
        self.0.remove(&index);
    }

    /// Drops all former failures.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Interfaces that are due for another attempt.
    pub(super) fn due(&self, now: Instant) -> Vec<u32> {
        let due = self.0.iter().filter(|(_, failed)| failed.next.is_some_and(|next| next <= now));
        due.map(|(index, _)| *index).collect()
    }

    /// Time of the next attempt; none if none is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|failed| failed.next).min()
    }

    /// Errors of the last attempts, in no order.
    pub(super) fn errors(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|failed| failed.error.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same error is new once, and is waited for ever longer; a point in time is not moved by
    /// what happens before it.
    #[test]
    fn waits_double() {
        let (mut attempts, mut now) = (Attempts::default(), Instant::now());
        let error = |why: &str| AttachError::Refused { name: "veth7".to_owned(), means: "clsact", why: why.to_owned() };
        assert!(attempts.failed(7, &error("busy"), now));
        let mut waits = Vec::new();
        for _ in 0..7 {
            let next = attempts.next().unwrap();
            assert!(attempts.due(now).is_empty());
            assert_eq!(attempts.due(next), [7]);
            waits.push((next - now).as_secs());
            now = next;
            assert!(!attempts.failed(7, &error("busy"), now));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert!(attempts.failed(7, &error("not permitted"), now), "another error is new");
        attempts.done(7);
        assert_eq!(attempts.next(), None);
    }

    /// An interface that cannot be watched at all is logged once and never retried.
    #[test]
    fn final_errors_are_not_tried_again() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let error = AttachError::NotEthernet { name: "tun0".to_owned() };
        assert!(attempts.failed(7, &error, now));
        assert!(!attempts.failed(7, &error, now), "not new any more");
        assert_eq!(attempts.next(), None);
        assert!(attempts.due(now + MAX_BACKOFF * 100).is_empty());
        assert!(attempts.errors().all(|error| error.contains("tun0")));
    }
}
