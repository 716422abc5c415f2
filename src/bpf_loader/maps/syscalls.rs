//! Counts of the system calls by which this process reads and writes its own maps.
//!
//! None is on the path of a packet: totals are read by scrapes and sweeps, the rest is written when
//! an interface or a setting changes. Their time is taken only if it is wanted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use aya::maps::MapError;
use webb_metrics::expose::{DEFAULT_BOUNDS, Histogram};

use crate::bpf_loader::error::os_error;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident: $($variant:ident $label:literal),*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the labels say it")]
        pub enum $name { $($variant),* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label's value.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),* }
            }
        }
    };
}

labels! {
    /// A map that this process reads or writes by system calls.
    OwnMap: Totals "totals", DropTotals "drop_totals", Suppressed "suppressed", Swept "swept", Ports "ports",
        Windows "windows", Claims "claims", AtDevice "at_device", Retransmits "retransmits", Layer7Totals "l7_totals",
        Layer7Switch "l7_switch"
}

labels! {
    /// An operation, by Cilium's name.
    MapOperation: Lookup "lookup", Update "update", Delete "delete", GetNextKey "getNextKey"
}

const MAPS: usize = OwnMap::ALL.len();
const OPERATIONS: usize = MapOperation::ALL.len();

/// Values of the label `outcome`, by their index.
const OUTCOMES: [&str; 2] = ["success", "fail"];

#[derive(Debug)]
struct Durations {
    /// Calls by the first bound that they do not exceed; the last has all others.
    within: [AtomicU64; DEFAULT_BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

/// Counts of calls, and their durations if these are wanted.
#[derive(Debug)]
pub struct Syscalls {
    counts: [[[AtomicU64; OUTCOMES.len()]; OPERATIONS]; MAPS],
    timed: AtomicBool,
    durations: [[Durations; OUTCOMES.len()]; OPERATIONS],
}

/// The counts of this process.
pub static SYSCALLS: Syscalls = Syscalls::new();

impl Syscalls {
    const fn new() -> Self {
        Self {
            counts: [const { [const { [const { AtomicU64::new(0) }; OUTCOMES.len()] }; OPERATIONS] }; MAPS],
            timed: AtomicBool::new(false),
            durations: [const {
                [const {
                    Durations {
                        within: [const { AtomicU64::new(0) }; DEFAULT_BOUNDS.len() + 1],
                        sum_ns: AtomicU64::new(0),
                    }
                }; OUTCOMES.len()]
            }; OPERATIONS],
        }
    }

    /// Has the time of each call taken from now on.
    pub fn take_times(&self) {
        self.timed.store(true, Relaxed);
    }

    /// Makes a call and counts it. The answer that there is no such entry is a success.
    pub(in super::super) fn count<T>(
        &self,
        map: OwnMap,
        operation: MapOperation,
        call: impl FnOnce() -> Result<T, MapError>,
    ) -> Result<T, MapError> {
        let began = self.timed.load(Relaxed).then(Instant::now);
        let answer = call();
        let failed = answer
            .as_ref()
            .is_err_and(|error| !matches!(error, MapError::KeyNotFound) && os_error(error) != Some(libc::ENOENT));
        self.note(map, operation, failed, 1);
        if let Some(began) = began {
            self.observe(operation, failed, began);
        }
        answer
    }

    /// Counts calls that were made.
    pub(in super::super) fn note(&self, map: OwnMap, operation: MapOperation, failed: bool, calls: u64) {
        let of_map = self.counts.get(map as usize).and_then(|counts| counts.get(operation as usize));
        if let Some(count) = of_map.and_then(|counts| counts.get(usize::from(failed))) {
            count.fetch_add(calls, Relaxed);
        }
    }

    fn observe(&self, operation: MapOperation, failed: bool, began: Instant) {
        let took = began.elapsed();
        let of = self.durations.get(operation as usize).and_then(|outcomes| outcomes.get(usize::from(failed)));
        let Some(durations) = of else { return };
        let bound = DEFAULT_BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        if let Some(count) = durations.within.get(bound.unwrap_or(DEFAULT_BOUNDS.len())) {
            count.fetch_add(1, Relaxed);
        }
        durations.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The counts by map, operation and outcome, of the operations that were made.
    pub fn counts(&self) -> impl Iterator<Item = (OwnMap, MapOperation, &'static str, u64)> {
        OwnMap::ALL.iter().zip(&self.counts).flat_map(|(map, operations)| {
            MapOperation::ALL.iter().zip(operations).flat_map(move |(operation, outcomes)| {
                let made = outcomes.iter().any(|count: &AtomicU64| count.load(Relaxed) > 0);
                let counted = OUTCOMES.iter().zip(outcomes);
                counted
                    .filter(move |_| made)
                    .map(move |(outcome, count)| (*map, *operation, *outcome, count.load(Relaxed)))
            })
        })
    }

    /// The durations by operation and outcome, of the operations that were timed.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
    pub fn durations(&self) -> impl Iterator<Item = (MapOperation, &'static str, Histogram)> {
        MapOperation::ALL.iter().zip(&self.durations).flat_map(|(operation, outcomes)| {
            OUTCOMES.iter().zip(outcomes).filter_map(|(outcome, durations)| {
                let mut count = 0;
                let mut buckets = Vec::with_capacity(DEFAULT_BOUNDS.len());
                for (bound, within) in DEFAULT_BOUNDS.iter().zip(&durations.within) {
                    count += within.load(Relaxed);
                    buckets.push((*bound, count));
                }
                count += durations.within.last().map_or(0, |beyond| beyond.load(Relaxed));
                let sum = durations.sum_ns.load(Relaxed) as f64 / 1e9;
                (count > 0).then_some((*operation, *outcome, Histogram { buckets, sum, count }))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn failing(errno: i32) -> Result<(), MapError> {
        let io_error = io::Error::from_raw_os_error(errno);
        Err(MapError::SyscallError(aya::sys::SyscallError { call: "bpf_map_delete_elem", io_error }))
    }

    /// Calls are counted by outcome, a missing entry is none that failed, and times are taken only
    /// where they are wanted.
    #[test]
    fn calls_are_counted() {
        let calls = Syscalls::new();
        let (map, delete) = (OwnMap::Ports, MapOperation::Delete);
        calls.count(map, MapOperation::Lookup, || Ok(7)).unwrap();
        calls.count(map, delete, || failing(libc::ENOENT)).unwrap_err();
        calls.count(map, delete, || Err::<(), _>(MapError::KeyNotFound)).unwrap_err();
        assert_eq!(calls.durations().count(), 0);
        calls.take_times();
        calls.count(map, delete, || failing(libc::E2BIG)).unwrap_err();
        calls.note(OwnMap::Claims, MapOperation::GetNextKey, false, 3);
        let rows: Vec<_> = calls
            .counts()
            .map(|(map, operation, outcome, count)| (map.label(), operation.label(), outcome, count))
            .collect();
        assert_eq!(
            rows,
            [
                ("ports", "lookup", "success", 1),
                ("ports", "lookup", "fail", 0),
                ("ports", "delete", "success", 2),
                ("ports", "delete", "fail", 1),
                ("claims", "getNextKey", "success", 3),
                ("claims", "getNextKey", "fail", 0),
            ]
        );
        let times: Vec<_> = calls.durations().collect();
        let [(operation, outcome, histogram)] = &times[..] else { panic!("{times:?}") };
        assert_eq!((operation.label(), *outcome, histogram.count), ("delete", "fail", 1));
        assert_eq!(histogram.buckets.len(), DEFAULT_BOUNDS.len());
    }
}
