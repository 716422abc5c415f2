//! Counters of what a flow source receives, and of what is known to be missing.
//!
//! At rest, `received` is the sum of all outcomes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use webb_flow::names::LOST_EVENT_SOURCES;
use webb_flowlog::WireFault;
use webb_observer::client::Cause;

/// What became of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A flow that was handed to the lanes.
    Counted,
    /// A flow or a notice that an earlier connection had brought.
    Duplicate,
    /// A notice of events that the server lost.
    LostEvents,
    /// Nothing to count, such as the state of a node.
    Other,
    /// It made the source panic.
    Panicked,
    /// It cannot be read.
    Refused(WireFault),
}

/// Number of outcomes that are no fault of the response.
const SOUND: usize = 5;

impl Outcome {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let sound = [Self::Counted, Self::Duplicate, Self::LostEvents, Self::Other, Self::Panicked];
        sound.into_iter().chain(WireFault::ALL.map(Self::Refused))
    }

    /// Value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Duplicate => "duplicate",
            Self::LostEvents => "lost_events",
            Self::Other => "other",
            Self::Panicked => "panicked",
            Self::Refused(fault) => fault.label(),
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Counted => 0,
            Self::Duplicate => 1,
            Self::LostEvents => 2,
            Self::Other => 3,
            Self::Panicked => 4,
            Self::Refused(fault) => SOUND + fault as usize,
        }
    }
}

/// Why flows are missing, in a number that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// The server was started again: what it had and had not sent is gone.
    Restarted,
    /// The server's history no longer reached back to the last flow.
    Overwritten,
    /// One of the two: the server does not say how long it runs.
    Unknown,
    /// A response was too large to be received, and all up to it was passed over.
    TooLarge,
}

impl Gap {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Restarted, Self::Overwritten, Self::Unknown, Self::TooLarge];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Restarted => "restarted",
            Self::Overwritten => "overwritten",
            Self::Unknown => "unknown",
            Self::TooLarge => "too_large",
        }
    }
}

/// Lost events by their source, in the order of [`LOST_EVENT_SOURCES`].
pub type LostEvents = [u64; LOST_EVENT_SOURCES.len()];

/// The counters: written by the source's thread, read by scrapes.
#[derive(Debug, Default)]
pub struct SourceLedger {
    /// Responses received.
    pub(super) received: AtomicU64,
    outcomes: [AtomicU64; SOUND + WireFault::ALL.len()],
    lost: [AtomicU64; LOST_EVENT_SOURCES.len()],
    notices: [AtomicU64; LOST_EVENT_SOURCES.len()],
    gaps: [AtomicU64; Gap::ALL.len()],
    connected: AtomicBool,
    ended: [AtomicU64; Cause::ALL.len()],
}

fn add(counts: &[AtomicU64], at: usize, number: u64) {
    if let Some(count) = counts.get(at) {
        count.fetch_add(number, Relaxed);
    }
}

fn read(counts: &[AtomicU64], at: usize) -> u64 {
    counts.get(at).map_or(0, |count| count.load(Relaxed))
}

impl SourceLedger {
    pub(super) fn count(&self, outcome: Outcome) {
        add(&self.outcomes, outcome.place(), 1);
    }

    /// Counts events that the server lost. Hubble counts a notice of a ring as one, and each event
    /// that found its queue full (hubble-contract §3.1).
    pub(super) fn lose(&self, source: usize, events: u64) {
        add(&self.lost, source, events);
        add(&self.notices, source, webb_flowlog::hubble_counts(source, events));
    }

    pub(super) fn count_gap(&self, gap: Gap) {
        add(&self.gaps, gap as usize, 1);
    }

    pub(super) fn end(&self, cause: Cause) {
        add(&self.ended, cause as usize, 1);
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    /// Responses received.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Responses with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        read(&self.outcomes, outcome.place())
    }

    /// Events that the server said it has lost.
    pub fn lost(&self) -> LostEvents {
        std::array::from_fn(|at| read(&self.lost, at))
    }

    /// The same as Hubble counts them in `hubble_lost_events_total`.
    pub fn notices(&self) -> LostEvents {
        std::array::from_fn(|at| read(&self.notices, at))
    }

    /// Gaps of this reason.
    pub fn gaps(&self, gap: Gap) -> u64 {
        read(&self.gaps, gap as usize)
    }

    /// Connections that ended, or could not be made, for this cause.
    pub fn ended(&self, cause: Cause) -> u64 {
        read(&self.ended, cause as usize)
    }

    /// True while the server is followed.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each outcome has a counter of its own.
    #[test]
    fn outcomes_have_their_places() {
        let ledger = SourceLedger::default();
        for (number, outcome) in Outcome::all().enumerate() {
            for _ in 0..=number {
                ledger.count(outcome);
            }
        }
        for (number, outcome) in Outcome::all().enumerate() {
            assert_eq!(ledger.outcome(outcome), number as u64 + 1, "{}", outcome.label());
        }
    }
}
