//! Limits of the length of label values and of the number of series.
//!
//! Label values are untrusted input: names in replayed flows, DNS queries of pods. Prometheus keeps
//! each in memory, as does every aggregator, so a value longer than any legitimate one is
//! truncated. What pods write into packets as they like has a lower limit. A name of the DNS has at
//! most 255 bytes, a Kubernetes name 253; only all labels of a pod joined (the context `identity`)
//! come to more.
//!
//! Likewise the number of series: made-up addresses or names would make up series, so beyond a
//! limit new series are counted in one overflow series ([`super::series`]). Below it, no pod takes
//! the room of others (the module `owners`).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a label value at most; what is longer is cut, between two characters.
pub const MAX_BYTES: usize = 4096;

/// Bytes of a value at most that a pod writes as it likes: the path of a request, the name of a DNS
/// question. What is longer is cut, and ends in [`CLIPPED`].
pub const MAX_WIRE_BYTES: usize = 256;

/// Ends a value that was cut at [`MAX_WIRE_BYTES`].
pub const CLIPPED: &str = "~";

/// Stands for all values beyond a limit on their number.
pub const OTHER: &str = "~other";

/// Limits of the number of series, and of their time without a change. Unlimited by default.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Series of one family.
    pub per_family: usize,
    /// Series of all families of all metrics that share this budget.
    pub budget: Arc<Budget>,
    /// Maximal number of looks ([`crate::Aggregator::expire`]) in a row at which a series is
    /// unchanged before it is removed.
    pub idle_looks: Option<u32>,
    /// The same number for series that make room because others were refused
    /// ([`crate::Aggregator::make_room`]).
    pub room_looks: Option<u32>,
    /// Open connections that a gauge of them knows.
    pub open_connections: usize,
}

/// Reason for which a count went into a series that stands for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The family holds as many series as it may.
    Family,
    /// All metrics together do.
    Total,
    /// The interface holds its share of what the family, or all metrics, may.
    Share,
}

impl Refusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Family, Self::Total, Self::Share];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Family => "max_series",
            Self::Total => "max_series_total",
            Self::Share => "share",
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_family: usize::MAX,
            budget: Arc::new(Budget::new(usize::MAX)),
            idle_looks: None,
            room_looks: None,
            open_connections: usize::MAX,
        }
    }
}

/// Series for all metrics together.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    held: AtomicUsize,
    refused: AtomicU64,
}

impl Budget {
    /// A budget of at most so many series.
    pub fn new(most: usize) -> Self {
        Self { most, held: AtomicUsize::new(0), refused: AtomicU64::new(0) }
    }

    /// Takes so many; false if there are not as many left.
    pub(super) fn take(&self, series: usize) -> bool {
        let within = |held: usize| held.checked_add(series).filter(|held| *held <= self.most);
        self.held.fetch_update(Relaxed, Relaxed, within).is_ok()
    }

    /// Gives so many back.
    pub(super) fn give(&self, series: usize) {
        self.held.fetch_sub(series, Relaxed);
    }

    /// Number of series that are left.
    fn room(&self) -> usize {
        self.most.saturating_sub(self.held.load(Relaxed))
    }

    /// Number of times that fewer series were left than wanted.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Number of series that are held.
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }
}

/// The part of a budget that one metric holds. A lock, but only births and deaths of series take
/// it.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    /// Number of held series; none once they were returned.
    held: Mutex<Option<usize>>,
}

impl Share {
    /// A share that holds nothing of this budget yet.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, held: Mutex::new(Some(0)) }
    }

    /// Takes so many; false if there are not as many left.
    pub(super) fn take(&self, series: usize) -> bool {
        let mut held = self.held();
        let Some(held) = &mut *held else { return true };
        let room = self.budget.take(series);
        *held += if room { series } else { 0 };
        room
    }

    /// Number of series that are left for it.
    pub(super) fn room(&self) -> usize {
        if self.held().is_some() { self.budget.room() } else { usize::MAX }
    }

    /// Notes that there were not as many left as were wanted: others may make room.
    pub(super) fn refuse(&self) {
        self.budget.refused.fetch_add(1, Relaxed);
    }

    /// Number of refusals over all metrics.
    pub(super) fn refused(&self) -> u64 {
        self.budget.refused()
    }

    /// Gives so many back.
    pub(super) fn give(&self, series: usize) {
        if let Some(held) = &mut *self.held() {
            *held = held.saturating_sub(series);
            self.budget.give(series);
        }
    }

    /// Returns all of it: the metric is no longer shown, and another takes its place. It may hold
    /// what it likes until it has read the rest of its lane and goes.
    pub fn give_up(&self) {
        if let Some(held) = self.held().take() {
            self.budget.give(held);
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static CUT: AtomicU64 = AtomicU64::new(0);
static FOLDED: AtomicU64 = AtomicU64::new(0);

/// The value as it may be shown.
#[inline]
pub fn cut(value: &str) -> &str {
    if value.len() <= MAX_BYTES { value } else { shortened(value) }
}

#[cold]
fn shortened(value: &str) -> &str {
    CUT.fetch_add(1, Relaxed);
    value.get(..value.floor_char_boundary(MAX_BYTES)).unwrap_or_default()
}

/// The value as it may be shown, if it comes from the wire, and what ends it.
#[inline]
pub fn clip(value: &str) -> (&str, &'static str) {
    if value.len() <= MAX_WIRE_BYTES { (value, "") } else { clipped(value) }
}

#[cold]
fn clipped(value: &str) -> (&str, &'static str) {
    CUT.fetch_add(1, Relaxed);
    let end = value.floor_char_boundary(MAX_WIRE_BYTES - CLIPPED.len());
    (value.get(..end).unwrap_or_default(), CLIPPED)
}

/// Number of cut values since start. One that comes again may count again.
pub fn cut_values() -> u64 {
    CUT.load(Relaxed)
}

pub(super) fn note_folded() {
    FOLDED.fetch_add(1, Relaxed);
}

/// Number of counts with texts beyond those that one metric keeps.
pub fn folded() -> u64 {
    FOLDED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value from the wire has 256 bytes at most, is cut between two characters, and says so.
    #[test]
    fn values_from_the_wire_are_clipped() {
        let shown = |text: &str| {
            let (begin, end) = clip(text);
            format!("{begin}{end}")
        };
        let most = "a".repeat(MAX_WIRE_BYTES);
        assert_eq!(shown(&most), most);
        assert_eq!(shown(&format!("{most}a")), format!("{}~", "a".repeat(255)));
        assert_eq!(shown(&"\u{e9}".repeat(129)), format!("{}~", "\u{e9}".repeat(127)));
    }

    /// A share is given back once, whatever its metric still does.
    #[test]
    fn a_share_is_given_back_once() {
        let budget = Arc::new(Budget::new(10));
        let (old, new) = (Share::new(Arc::clone(&budget)), Share::new(Arc::clone(&budget)));
        assert!(old.take(8) && !new.take(3) && !old.take(3));
        old.give(1);
        assert_eq!(budget.held(), 7);
        old.give_up();
        assert!(old.take(1000), "what it holds is not seen");
        old.give(7);
        old.give_up();
        assert!(new.take(10));
        assert_eq!(budget.held(), 10);
    }
}
