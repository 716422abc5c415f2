//! Counts of a kind's events, as its watch passes them on.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Change;

/// Action of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Create,
    Update,
    Delete,
}

impl Action {
    /// All actions, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];
}

/// Events of one action, and the time of the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Events that changed something.
    pub changed: u64,
    /// Events that changed nothing that is used.
    pub equal: u64,
    /// Events of objects that cannot be used.
    pub invalid: u64,
    /// Time since the last of them; none if there was none.
    pub since_last: Option<Duration>,
}

#[derive(Debug, Default)]
struct Counters {
    changed: AtomicU64,
    equal: AtomicU64,
    invalid: AtomicU64,
    /// Milliseconds after the start, plus one; zero is never.
    last: AtomicU64,
}

/// Counts of all events of a kind.
#[derive(Debug)]
pub(super) struct Events {
    started: Instant,
    by_action: [Counters; Action::ALL.len()],
}

impl Default for Events {
    fn default() -> Self {
        Self { started: Instant::now(), by_action: Default::default() }
    }
}

impl Events {
    /// Counts an object that was created or updated.
    pub(super) fn applied(&self, change: Change) {
        match change {
            Change::Created => self.count(Action::Create, |counters| &counters.changed),
            Change::Updated => self.count(Action::Update, |counters| &counters.changed),
            Change::Equal => self.count(Action::Update, |counters| &counters.equal),
        }
    }

    /// Counts an object that cannot be used; whether it is new is not known.
    pub(super) fn invalid(&self) {
        self.count(Action::Update, |counters| &counters.invalid);
    }

    /// Counts a deletion, of an object that was `known` or not.
    pub(super) fn deleted(&self, known: bool) {
        self.count(Action::Delete, |counters| if known { &counters.changed } else { &counters.equal });
    }

    fn count(&self, action: Action, counter: impl Fn(&Counters) -> &AtomicU64) {
        let Some(counters) = self.by_action.get(action as usize) else { return };
        counter(counters).fetch_add(1, Relaxed);
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        counters.last.store(now.saturating_add(1), Relaxed);
    }

    pub(super) fn counts(&self, action: Action) -> EventCounts {
        let Some(counters) = self.by_action.get(action as usize) else { return EventCounts::default() };
        let last = counters.last.load(Relaxed).checked_sub(1).map(Duration::from_millis);
        EventCounts {
            changed: counters.changed.load(Relaxed),
            equal: counters.equal.load(Relaxed),
            invalid: counters.invalid.load(Relaxed),
            since_last: last.map(|last| self.started.elapsed().saturating_sub(last)),
        }
    }
}
