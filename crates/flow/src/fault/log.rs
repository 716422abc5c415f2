//! The last faults, kept for `GET /faults`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::FaultType;

/// Maximal number of kept faults; older ones remain only as counts.
const MAX_ENTRIES: usize = 32;

/// One fault.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub unix_seconds: u64,
    /// The component that failed.
    pub component: String,
    /// `panicked`, `failed` or `stalled`.
    pub kind: &'static str,
    /// The error or panic message.
    pub text: String,
}

/// The last 32 faults, oldest first.
#[derive(Debug)]
pub struct FaultLog {
    started: Instant,
    entries: Mutex<VecDeque<Entry>>,
}

impl Default for FaultLog {
    fn default() -> Self {
        Self { started: Instant::now(), entries: Mutex::default() }
    }
}

impl FaultLog {
    pub(super) fn push(&self, component: &str, kind: FaultType, text: &str) {
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let mut entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if entries.len() == MAX_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(Entry {
            unix_seconds,
            component: component.to_owned(),
            kind: kind.label(),
            text: text.chars().take(2000).collect(),
        });
    }

    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The kept faults, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().cloned().collect()
    }
}
