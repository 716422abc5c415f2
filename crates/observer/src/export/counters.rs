//! What an exporter has written and lost.

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The reason for which events were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They left the history before the exporter came to them: the writer is too slow.
    Overrun,
    /// There was no room on the disk, or in the quota.
    DiskFull,
    /// The file system is read-only.
    ReadOnly,
    /// The file may not be written.
    Denied,
    /// The file could not be written for another reason.
    Failed,
    /// The line is longer than a file may be.
    TooLong,
    /// The exporter panicked over them.
    Panicked,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Self; 7] =
        [Self::Overrun, Self::DiskFull, Self::ReadOnly, Self::Denied, Self::Failed, Self::TooLong, Self::Panicked];

    /// The label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Overrun => "overrun",
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::TooLong => "too_long",
            Self::Panicked => "panicked",
        }
    }
}

impl From<&io::Error> for Loss {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Failed,
        }
    }
}

/// Counters of one exporter; they outlive its restarts.
#[derive(Debug, Default)]
pub struct Counters {
    lines: AtomicU64,
    bytes: AtomicU64,
    rotations: AtomicU64,
    lost: [AtomicU64; Loss::ALL.len()],
    problem: Mutex<String>,
}

impl Counters {
    /// Lines that were written.
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Files that were closed because another was begun.
    pub fn rotations(&self) -> u64 {
        self.rotations.load(Relaxed)
    }

    /// Events that were lost for a reason.
    pub fn lost(&self, reason: Loss) -> u64 {
        self.lost.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Why nothing can be written now; empty if it can.
    pub fn problem(&self) -> String {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn wrote(&self, lines: u64, bytes: u64) {
        self.lines.fetch_add(lines, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn rotated(&self) {
        self.rotations.fetch_add(1, Relaxed);
    }

    pub(super) fn lose(&self, reason: Loss, events: u64) {
        if let Some(count) = self.lost.get(reason as usize) {
            count.fetch_add(events, Relaxed);
        }
    }

    /// Sets the problem; true if it is another one.
    pub(super) fn set_problem(&self, problem: &str) -> bool {
        let mut current = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = *current != problem;
        problem.clone_into(&mut current);
        is_new
    }
}
