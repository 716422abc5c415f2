//! Log lines about failures of the watches.
//!
//! All kinds meet the same failure and retry for as long as it lasts: a line for each would be
//! hundreds in an outage of minutes, all alike. So a failure is logged when it is new, then the
//! text of `/readyz` once a minute, then the end. All the rest is logged at the level `debug`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::Status;
use super::error::ApiError;

/// Interval of the log line about a failure that persists, all kinds in one line.
const REPEAT_INTERVAL: Duration = Duration::from_mins(1);

/// Lines within that time, at most.
const MAX_LINES_PER_INTERVAL: usize = 6;

/// Texts remembered as logged, at most.
const MAX_TEXTS_REMEMBERED: usize = 64;

/// The record of logged failures, shared by all watches of one server.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    status: &'a Status,
    pages: RefCell<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Start of the failure; none while all watches run.
    began: Option<Instant>,
    /// Texts that were logged since then.
    known: HashSet<String>,
    /// The minute that is being filled, and its lines so far.
    minute: Option<Instant>,
    lines: usize,
}

/// The level of a failure in the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    New,
    Repeated,
    None,
}

impl<'a> Journal<'a> {
    pub(super) fn new(status: &'a Status) -> Self {
        Self { status, pages: RefCell::default() }
    }

    /// Counts a failure of one kind's watch.
    pub(super) fn count(&self) {
        self.status.count_failure();
    }

    /// Logs a failure of one kind's watch, if it is due.
    pub(super) fn failed(&self, kind: &str, error: &ApiError, wait: Duration) {
        let line = if *error == ApiError::Closed {
            Line::None
        } else {
            self.pages.borrow_mut().line(&error.to_string(), Instant::now())
        };
        match line {
            Line::New => tracing::warn!(kind, "{error}; trying again in {wait:.1?}"),
            Line::Repeated => {
                let complaint = self.status.complaint();
                tracing::warn!("still trying: {}", if complaint.is_empty() { error.to_string() } else { complaint });
            }
            Line::None => tracing::debug!(kind, "{error}; trying again in {wait:.1?}"),
        }
    }

    /// Logs the end of the failure if no watch fails any more.
    pub(super) fn recovered(&self) {
        if self.pages.borrow().began.is_none() || !self.status.complaint().is_empty() {
            return;
        }
        if let Some(lasted) = self.pages.borrow_mut().end(Instant::now()) {
            tracing::info!("all kinds are followed again after {lasted:.1?}");
        }
    }
}

impl Pages {
    /// Whether there is room for a line in this minute.
    fn room(&mut self, now: Instant) -> bool {
        if self.minute.is_none_or(|minute| now.saturating_duration_since(minute) >= REPEAT_INTERVAL) {
            self.minute = Some(now);
            self.lines = 0;
        }
        self.lines < MAX_LINES_PER_INTERVAL
    }

    fn line(&mut self, text: &str, now: Instant) -> Line {
        self.began.get_or_insert(now);
        let room = self.room(now);
        let line = if !room {
            Line::None
        } else if self.known.len() < MAX_TEXTS_REMEMBERED && self.known.insert(text.to_owned()) {
            Line::New
        } else if self.lines == 0 {
            Line::Repeated
        } else {
            Line::None
        };
        self.lines += usize::from(line != Line::None);
        line
    }

    /// Ends a failure and returns how long it lasted, if that is to be logged.
    fn end(&mut self, now: Instant) -> Option<Duration> {
        let began = self.began.take()?;
        self.known.clear();
        let room = self.room(now);
        self.lines += usize::from(room);
        room.then(|| now.saturating_duration_since(began))
    }
}

#[cfg(test)]
mod tests {
    use super::super::WatchTimings;
    use super::super::backoff::{Backoff, Class};
    use super::*;

    /// Nine minutes without a server, six kinds each with its own backoff: tens of lines. Each
    /// minute has one at least, and a new failure on the way is logged at once.
    #[test]
    fn nine_minutes_are_tens_of_lines() {
        let (mut pages, begin) = (Pages::default(), Instant::now());
        let mut kinds: Vec<_> =
            (0..6).map(|_| (Backoff::new(&WatchTimings::default()), begin, "the answer broke off")).collect();
        let (mut attempts, mut lines, mut last) = (0, 0, begin);
        loop {
            let (backoff, at, text) = kinds.iter_mut().min_by_key(|(_, at, _)| *at).unwrap();
            let now = *at;
            if now >= begin + Duration::from_mins(9) {
                break;
            }
            if pages.line(text, now) != Line::None {
                (lines, last) = (lines + 1, now);
            }
            assert!(now - last <= REPEAT_INTERVAL + Duration::from_secs(30), "silent for {:?}", now - last);
            attempts += 1;
            *text = "connection refused";
            *at = now + backoff.next(now.into(), Class::Away, None);
        }
        assert!(attempts > 150, "{attempts} attempts");
        assert!((9..=20).contains(&lines), "{lines} lines for {attempts} attempts");
        let now = begin + Duration::from_mins(9);
        assert_eq!(pages.line("it has just started", now), Line::New);
        assert_eq!(pages.end(now), Some(Duration::from_mins(9)));
        assert_eq!(pages.end(now), None, "the end is logged once");
    }

    /// A server that comes and goes all the time, each time with another text, is bounded too, and
    /// so is the memory.
    #[test]
    fn coming_and_going_is_bounded() {
        let (mut pages, begin) = (Pages::default(), Instant::now());
        let mut lines = 0;
        for second in 0..600_u64 {
            let now = begin + Duration::from_secs(second);
            lines += usize::from(pages.line(&format!("version {second} is too old"), now) != Line::None);
            if second < 300 {
                lines += usize::from(pages.end(now).is_some());
            }
        }
        assert!(lines <= 10 * MAX_LINES_PER_INTERVAL, "{lines} lines in ten minutes");
        assert!(pages.known.len() <= MAX_TEXTS_REMEMBERED);
    }
}
