//! Which changes of an output's state are logged: a receiver that refuses every other request would
//! else log two lines each time.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

/// Interval of log lines that name a problem.
const INTERVAL: Duration = Duration::from_mins(1);

/// What was logged of an output's state, and what was not.
#[derive(Debug, Default)]
pub(crate) struct StateLog {
    /// The problem that the log names; empty if it says that requests are delivered.
    logged: String,
    /// The problem that there was last; empty without one.
    last: String,
    /// The part of it that is the spool directory's.
    of_spool: String,
    problem_at: Option<Instant>,
    spool_at: Option<Instant>,
    /// Changes since the last line.
    changes: u64,
}

/// A line to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StateLine {
    /// Empty once there is none any more.
    pub(crate) problem: String,
    /// Changes since the line before, without this one.
    pub(crate) left_out: u64,
}

impl StateLog {
    /// The line that is due, where `of_spool` is a part of the problem. A problem is named once in
    /// an interval, the one that there is then, and its end at once.
    pub(crate) fn due(&mut self, problem: &str, of_spool: &str, now: Instant) -> Option<StateLine> {
        if self.last != problem {
            problem.clone_into(&mut self.last);
            self.changes += 1;
        }
        let is_spool_new = self.of_spool != of_spool && !of_spool.is_empty();
        if self.of_spool != of_spool {
            of_spool.clone_into(&mut self.of_spool);
        }
        if self.logged == problem {
            return None;
        }
        let has_passed = |since: Option<Instant>| since.is_none_or(|since| now - since >= INTERVAL);
        // What is wrong with the directory would else not be said while a receiver is away.
        if is_spool_new && has_passed(self.spool_at) {
            self.spool_at = Some(now);
        } else if !problem.is_empty() && !has_passed(self.problem_at) {
            return None;
        }
        if !problem.is_empty() {
            self.problem_at = Some(now);
        }
        problem.clone_into(&mut self.logged);
        let left_out = std::mem::take(&mut self.changes) - 1;
        Some(StateLine { problem: problem.to_owned(), left_out })
    }
}

impl fmt::Display for StateLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.problem.is_empty() { "requests are delivered again" } else { &self.problem })?;
        match self.left_out {
            0 => Ok(()),
            left_out => write!(f, " (changes since the line before that are not logged: {left_out})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A receiver that refuses every other request has two lines a minute, with the number of all
    /// else; what stays wrong then is logged.
    #[test]
    fn alternating_states_are_limited() {
        let (mut log, mut now) = (StateLog::default(), Instant::now());
        let (mut lines, mut changes) = (Vec::new(), 0);
        for at in 0..600 {
            lines.extend(log.due(if at % 2 == 0 { "it refuses" } else { "" }, "", now));
            changes += 1;
            now += SECOND;
        }
        assert_eq!(lines.len(), 20, "{lines:?}");
        let of_problem = |line: &&StateLine| !line.problem.is_empty();
        assert_eq!(lines.iter().filter(of_problem).count(), 10);
        assert_eq!(lines.iter().map(|line| line.left_out + 1).sum::<u64>() + 58, changes);
        assert_eq!(lines[2].to_string(), "it refuses (changes since the line before that are not logged: 58)");
        let last: Vec<_> = (0..120).filter_map(|at| log.due("it refuses", "", now + SECOND * at)).collect();
        assert_eq!(last, [StateLine { problem: "it refuses".to_owned(), left_out: 58 }]);
    }

    /// A problem and its end are logged at once; another text in place of it, in the next minute.
    #[test]
    fn rare_changes_are_logged() {
        let (mut log, start) = (StateLog::default(), Instant::now());
        let line = |problem: &str, left_out| Some(StateLine { problem: problem.to_owned(), left_out });
        assert_eq!(log.due("", "", start), None);
        assert_eq!(log.due("it is away", "", start), line("it is away", 0));
        assert_eq!(log.due("it is away", "", start + SECOND * 100), None);
        assert_eq!(log.due("it refuses", "", start + SECOND * 101), line("it refuses", 0));
        assert_eq!(log.due("it is away", "", start + SECOND * 102), None);
        assert_eq!(log.due("it is away", "", start + SECOND * 161), line("it is away", 0));
        assert_eq!(log.due("", "", start + SECOND * 162), line("", 0));
        assert_eq!(line("", 0).unwrap().to_string(), "requests are delivered again");
    }

    /// What is wrong with the directory is logged beside the problem that there is already.
    #[test]
    fn spool_problems_are_logged() {
        let (mut log, now) = (StateLog::default(), Instant::now());
        log.due("it is away", "", now);
        let line = log.due("the disk is full; it is away", "the disk is full", now + SECOND);
        assert_eq!(line.map(|line| line.left_out), Some(0));
        assert_eq!(log.due("it is away", "", now + SECOND * 2), None);
        assert_eq!(log.due("the disk is full; it is away", "the disk is full", now + SECOND * 3), None);
    }
}
