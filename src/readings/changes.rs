//! The last changes: what was new, or began, at a sample. Bounded by number and age.

use std::collections::VecDeque;
use std::sync::Arc;

use super::state::State;

/// Changes that are kept: some 0.1 MB.
pub const MAX_CHANGES: usize = 512;

/// Seconds for which they are kept.
pub const MAX_CHANGE_AGE: u64 = 6 * 3600;

/// Seconds without growth after which a counter that grows begins anew; and for which a change is
/// not listed twice.
pub(super) const QUIET: u64 = 900;

/// What a change is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Two ends that had not talked before.
    Pair,
    /// A policy.
    Policy,
    /// What is dropped, denied, or passes though it is forbidden.
    Drop,
    /// Connects or responses that fail, or are slow.
    Quality,
    /// Answers of DNS.
    Dns,
    /// A pod of this node.
    Pod,
    /// The agent itself.
    Agent,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Pair, Self::Policy, Self::Drop, Self::Quality, Self::Dns, Self::Pod, Self::Agent];

    /// Name in the API and in a query.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Policy => "policy",
            Self::Drop => "drop",
            Self::Quality => "quality",
            Self::Dns => "dns",
            Self::Pod => "pod",
            Self::Agent => "agent",
        }
    }
}

/// A figure that changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Before; none if it was nought or is not known.
    pub before: Option<f64>,
    /// Since then.
    pub after: f64,
    /// `per_second` or `seconds`.
    pub unit: &'static str,
}

/// Something that was new, or began.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Unix time of the sample that showed it, in seconds, or of the event itself.
    pub unix: u64,
    /// What it is of.
    pub kind: ChangeKind,
    /// State that it shows; [`State::Forwarded`] for none.
    pub state: State,
    /// Both ends, if it is of two.
    pub ends: Option<(Arc<str>, Arc<str>)>,
    /// True if it is known which end calls.
    pub is_directed: bool,
    /// Name of the object, the part or the DNS name that it is of.
    pub object: Option<Arc<str>>,
    /// What is seen, behind these names.
    pub text: String,
    /// The figure that shows it.
    pub figure: Option<Figure>,
}

impl Change {
    /// A change without ends, object and figure.
    pub fn new(unix: u64, kind: ChangeKind, text: String) -> Self {
        let state = State::Forwarded;
        Self { unix, kind, state, ends: None, is_directed: true, object: None, text, figure: None }
    }
}

/// A pair that has become slow.
#[derive(Debug, Clone, PartialEq)]
pub struct Slowed {
    /// Who calls.
    pub from: Arc<str>,
    /// Who is called.
    pub to: Arc<str>,
    /// 95th percentile of its handshakes that is usual, in seconds; none if a limit is exceeded.
    pub usual: Option<f64>,
    /// The same over the last minute.
    pub p95: f64,
}

/// The changes, oldest first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Each with a hash of what it says, without time and figure.
    entries: VecDeque<(u64, Change)>,
    /// Unix time of the first sample of all; 0 before it.
    since: u64,
    /// Unix time of the first sample since the samples were freed last.
    pub(super) began: u64,
    /// Unix time of the last sample, and of the last before the samples were freed.
    last: u64,
    gap: Option<u64>,
}

impl Changes {
    /// Notes a sample; `is_first` for one that has none before it.
    pub(super) fn sampled(&mut self, unix: u64, is_first: bool) {
        if is_first {
            self.began = unix;
        }
        if self.since == 0 {
            self.since = unix;
        }
        if let Some(gap) = self.gap.take() {
            let text = format!(
                "no samples for {} minutes, as nothing was read: what changed meanwhile is not known",
                unix.saturating_sub(gap).div_ceil(60)
            );
            self.push(0, Change::new(unix, ChangeKind::Agent, text));
        }
        self.last = unix;
    }

    /// Notes that the samples are freed: until the next one nothing is seen.
    pub(super) fn freed(&mut self) {
        self.gap = self.gap.or((self.last > 0).then_some(self.last));
    }

    /// Adds a change, unless one with the same `key` was added a short time ago.
    pub(super) fn push(&mut self, key: u64, change: Change) {
        let is_recent = |(of, before): &(u64, Change)| *of == key && before.unix + QUIET > change.unix;
        if key != 0 && self.entries.iter().any(is_recent) {
            return;
        }
        let oldest = change.unix.saturating_sub(MAX_CHANGE_AGE);
        while self.entries.front().is_some_and(|(_, first)| first.unix < oldest) || self.entries.len() >= MAX_CHANGES {
            self.entries.pop_front();
        }
        self.entries.push_back((key, change));
    }

    /// Those of the last hours before `unix`, oldest first.
    pub(super) fn until(&self, unix: u64) -> impl Iterator<Item = &Change> {
        let oldest = unix.saturating_sub(MAX_CHANGE_AGE);
        self.entries.iter().map(|(_, change)| change).filter(move |change| change.unix >= oldest)
    }

    /// Unix time of the first sample; none before it.
    pub(super) fn since(&self) -> Option<u64> {
        (self.since > 0).then_some(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(unix: u64) -> Change {
        Change::new(unix, ChangeKind::Pair, String::new())
    }

    /// Neither number nor age grows without bound, and nothing is listed twice within minutes.
    #[test]
    fn changes_are_bounded() {
        let mut changes = Changes::default();
        (1..2000_u64).for_each(|at| changes.push(at, change(at)));
        assert_eq!(changes.until(2000).count(), MAX_CHANGES);
        changes.push(1999, change(2100));
        assert_eq!(changes.until(2100).last().map(|last| last.unix), Some(1999), "it was listed a moment ago");
        changes.push(1999, change(1999 + QUIET));
        assert_eq!(changes.until(3000).last().map(|last| last.unix), Some(1999 + QUIET));
        assert_eq!(changes.until(MAX_CHANGE_AGE + 2500).count(), 1);
        changes.push(1, change(MAX_CHANGE_AGE + 5000));
        assert_eq!(changes.entries.len(), 1);
    }

    /// A time without samples is one entry, which says so.
    #[test]
    fn gaps_are_said() {
        let mut changes = Changes::default();
        changes.freed();
        changes.sampled(1000, true);
        assert_eq!((changes.until(1000).count(), changes.since()), (0, Some(1000)));
        changes.freed();
        changes.freed();
        changes.sampled(1000 + 600, true);
        let said: Vec<_> = changes.until(1600).map(|change| change.text.as_str()).collect();
        assert_eq!(said, ["no samples for 10 minutes, as nothing was read: what changed meanwhile is not known"]);
        assert_eq!((changes.since(), changes.began), (Some(1000), 1600));
    }
}
