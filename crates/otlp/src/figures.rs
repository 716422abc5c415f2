//! What became of the records of an output.
//!
//! Counted for each request, not for each record, under a lock that is held for a few additions:
//! so the numbers of a ledger are of one moment, and its equation holds whenever it is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use webb_flow::clock::unix_ns;
use webb_flow::fault::{PassCounts, Passes};

use crate::request::Stream;

/// Codes that are counted each; requests with others count as `other`.
const MAX_CODES: usize = 64;

/// The reason for which records were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Loss {
    /// There was no room in memory.
    QueueFull = 0,
    /// There was no room in the spool directory.
    SpoolFull,
    /// They waited in the spool directory for longer than allowed.
    TooOld,
    /// The receiver refused them for good.
    Refused,
    /// A record was too large for the receiver.
    TooLarge,
    /// They were in memory when the output was closed.
    Shutdown,
    /// Their file in the spool directory was damaged.
    Corrupted,
    /// They stay in a directory that the output was configured away from.
    Orphaned,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::QueueFull,
        Self::SpoolFull,
        Self::TooOld,
        Self::Refused,
        Self::TooLarge,
        Self::Shutdown,
        Self::Corrupted,
        Self::Orphaned,
    ];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::TooOld => "too_old",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Shutdown => "shutdown",
            Self::Corrupted => "corrupted",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Records of a stream by what became of them.
///
/// `offered = delivered + rejected + dropped + waiting`, at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Records that were offered, and those that were found in the spool directory.
    pub offered: u64,
    /// Records that the receiver has taken.
    pub delivered: u64,
    /// Records of requests that it took, which it says it did not take (`partial_success`).
    pub rejected: u64,
    /// Records that were dropped, by [`Loss`].
    pub dropped: [u64; Loss::ALL.len()],
    /// Records that wait in memory or in the spool directory, or are under way.
    pub waiting: u64,
}

impl Ledger {
    /// Records that were dropped for this reason.
    pub fn dropped(&self, reason: Loss) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// True if the equation holds.
    pub fn is_closed(&self) -> bool {
        self.offered == self.delivered + self.rejected + self.dropped.iter().sum::<u64>() + self.waiting
    }

    fn drop(&mut self, reason: Loss, records: u64) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += records;
        }
        self.waiting -= records;
    }
}

/// The ledgers and counters of one output; they outlive restarts of its thread, and are those of
/// each output that follows under its name.
#[derive(Debug, Default)]
pub struct Figures {
    ledgers: Mutex<[Ledger; Stream::ALL.len()]>,
    sent_bytes: AtomicU64,
    queue_bytes: AtomicU64,
    spool_bytes: AtomicU64,
    spool_files: AtomicU64,
    bad_files: AtomicU64,
    spool_errors: AtomicU64,
    last_success_ns: AtomicU64,
    requests: Mutex<BTreeMap<String, u64>>,
    times: Passes,
    problem: Mutex<String>,
}

impl Figures {
    /// What became of the records of a stream.
    pub fn ledger(&self, stream: Stream) -> Ledger {
        lock(&self.ledgers).get(stream as usize).copied().unwrap_or_default()
    }

    /// Bytes of bodies that receivers took, as sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Relaxed)
    }

    /// Bytes of requests in memory.
    pub fn queue_bytes(&self) -> u64 {
        self.queue_bytes.load(Relaxed)
    }

    /// Bytes of files in the spool directory.
    pub fn spool_bytes(&self) -> u64 {
        self.spool_bytes.load(Relaxed)
    }

    /// Number of files in the spool directory.
    pub fn spool_files(&self) -> u64 {
        self.spool_files.load(Relaxed)
    }

    /// Files of the spool directory that were damaged.
    pub fn bad_files(&self) -> u64 {
        self.bad_files.load(Relaxed)
    }

    /// Times that the spool directory could not be used.
    pub fn spool_errors(&self) -> u64 {
        self.spool_errors.load(Relaxed)
    }

    /// Time at which a receiver last took a request, in nanoseconds since 1970; 0 is never.
    pub fn last_success_ns(&self) -> u64 {
        self.last_success_ns.load(Relaxed)
    }

    /// Requests by their outcome: `OK` and the other status codes of gRPC, three digits of HTTP,
    /// `connection`, `timeout`, `protocol`.
    pub fn requests(&self) -> Vec<(String, u64)> {
        lock(&self.requests).iter().map(|(code, count)| (code.clone(), *count)).collect()
    }

    /// Times of requests: those that were answered with success, and all others.
    pub fn request_times(&self) -> [PassCounts; 2] {
        self.times.counts()
    }

    /// What stands in the way of deliveries now; empty if nothing does.
    pub fn problem(&self) -> String {
        lock(&self.problem).clone()
    }

    pub(crate) fn offered(&self, stream: Stream, records: u32) {
        self.change(stream, |ledger| {
            ledger.offered += u64::from(records);
            ledger.waiting += u64::from(records);
        });
    }

    pub(crate) fn dropped(&self, stream: Stream, reason: Loss, records: u32) {
        self.change(stream, |ledger| ledger.drop(reason, u64::from(records)));
    }

    /// Counts a request that was taken, but for `rejected` of its records.
    pub(crate) fn delivered(&self, stream: Stream, records: u32, rejected: u32, bytes: usize) {
        let rejected = rejected.min(records);
        self.change(stream, |ledger| {
            ledger.delivered += u64::from(records - rejected);
            ledger.rejected += u64::from(rejected);
            ledger.waiting -= u64::from(records);
        });
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
        self.last_success_ns.store(unix_ns(), Relaxed);
    }

    pub(crate) fn request(&self, code: &str, succeeded: bool, took: Duration) {
        let mut requests = lock(&self.requests);
        let is_known = requests.contains_key(code) || requests.len() < MAX_CODES;
        *requests.entry(if is_known { code } else { "other" }.to_owned()).or_default() += 1;
        self.times.count(succeeded, took);
    }

    pub(crate) fn set_queue_bytes(&self, bytes: u64) {
        self.queue_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn set_spool(&self, files: usize, bytes: u64) {
        self.spool_files.store(files as u64, Relaxed);
        self.spool_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn count_bad_file(&self) {
        self.bad_files.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_spool_error(&self) {
        self.spool_errors.fetch_add(1, Relaxed);
    }

    /// Sets the problem; true if it is another one.
    pub(crate) fn set_problem(&self, problem: &str) -> bool {
        let mut current = lock(&self.problem);
        let is_new = *current != problem;
        if is_new {
            problem.clone_into(&mut current);
        }
        is_new
    }

    fn change(&self, stream: Stream, change: impl FnOnce(&mut Ledger)) {
        if let Some(ledger) = lock(&self.ledgers).get_mut(stream as usize) {
            change(ledger);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
