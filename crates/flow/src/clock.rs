//! `CLOCK_MONOTONIC`, the clock that the kernel stamps records with. Tests set one by hand instead
//! of waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A source of time in nanoseconds; the kernel's unless a test set another.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

impl Clock {
    /// A clock that stands until `time_ns` is changed.
    pub fn by_hand(time_ns: Arc<AtomicU64>) -> Self {
        Self(Some(time_ns))
    }

    /// Nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.0.as_ref().map_or_else(now_ns, |time_ns| time_ns.load(Relaxed))
    }
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Unix time, in nanoseconds.
pub fn unix_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// `CLOCK_BOOTTIME`, in nanoseconds. It counts the time that the machine was suspended too.
pub fn boot_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

fn nanoseconds(time: Timespec) -> u64 {
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}
