//! What of the watches' troubles is logged.
//!
//! Every kind meets the same trouble and tries again for as long as it lasts: line by line that
//! would be hundreds in an outage of minutes, all alike. So a trouble is logged when it is new,
//! then once a minute what `/readyz` says, then the end. All the rest is there at the level
//! `debug`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::Status;
use super::trouble::Trouble;

/// How often a trouble that goes on is logged, all kinds in one line.
const REPEAT: Duration = Duration::from_mins(1);

/// The most lines within that time.
const LINES: usize = 6;

/// Texts that are remembered as logged.
const KNOWN: usize = 64;

/// The memory of what was logged; shared by all watches of one server.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    status: &'a Status,
    pages: RefCell<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// When the trouble began; none while all is well.
    began: Option<Instant>,
    /// Texts that were logged since then.
    known: HashSet<String>,
    /// The minute that is being filled, and its lines so far.
    minute: Option<Instant>,
    lines: usize,
}

/// What a trouble is to the log.
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

    /// Logs a trouble of one kind's watch, if it is time.
    pub(super) fn trouble(&self, kind: &str, trouble: &Trouble, wait: Duration) {
        let line = if *trouble == Trouble::Closed {
            Line::None
        } else {
            self.pages.borrow_mut().line(&trouble.to_string(), Instant::now())
        };
        match line {
            Line::New => tracing::warn!(kind, "{trouble}; trying again in {wait:.1?}"),
            Line::Repeated => {
                let complaint = self.status.complaint();
                tracing::warn!("still trying: {}", if complaint.is_empty() { trouble.to_string() } else { complaint });
            }
            Line::None => tracing::debug!(kind, "{trouble}; trying again in {wait:.1?}"),
        }
    }

    /// Notes that one kind is well, and logs the end of the trouble if all are.
    pub(super) fn well(&self) {
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
        if self.minute.is_none_or(|minute| now.saturating_duration_since(minute) >= REPEAT) {
            self.minute = Some(now);
            self.lines = 0;
        }
        self.lines < LINES
    }

    fn line(&mut self, text: &str, now: Instant) -> Line {
        self.began.get_or_insert(now);
        let room = self.room(now);
        let line = if !room {
            Line::None
        } else if self.known.len() < KNOWN && self.known.insert(text.to_owned()) {
            Line::New
        } else if self.lines == 0 {
            Line::Repeated
        } else {
            Line::None
        };
        self.lines += usize::from(line != Line::None);
        line
    }

    /// Ends a trouble: how long it lasted, if that is to be logged.
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
    use super::super::Pace;
    use super::super::backoff::{Backoff, Class};
    use super::*;

    /// Nine minutes without a server, six kinds each with its own backoff: tens of lines. Each
    /// minute has one at least, and what is new on the way is told at once.
    #[test]
    fn nine_minutes_are_tens_of_lines() {
        let (mut pages, begin) = (Pages::default(), Instant::now());
        let mut kinds: Vec<_> =
            (0..6).map(|_| (Backoff::new(&Pace::default()), begin, "the answer broke off")).collect();
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
            assert!(now - last <= REPEAT + Duration::from_secs(30), "silent for {:?}", now - last);
            attempts += 1;
            *text = "connection refused";
            *at = now + backoff.next(now, Class::Away, None);
        }
        assert!(attempts > 150, "{attempts} attempts");
        assert!((9..=20).contains(&lines), "{lines} lines for {attempts} attempts");
        let now = begin + Duration::from_mins(9);
        assert_eq!(pages.line("it has just started", now), Line::New);
        assert_eq!(pages.end(now), Some(Duration::from_mins(9)));
        assert_eq!(pages.end(now), None, "the end is told once");
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
        assert!(lines <= 10 * LINES, "{lines} lines in ten minutes");
        assert!(pages.known.len() <= KNOWN);
    }
}
