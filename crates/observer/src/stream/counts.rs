//! What became of the events that a stream has read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Events by what became of them; all together are those that the history had since the stream was
/// asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowCounts {
    /// Flows that were sent for themselves.
    pub included: u64,
    /// Flows that were sent as part of the sample.
    pub sampled: u64,
    /// Events that are not sent.
    pub passed_over: u64,
    /// Flows beyond the limit of a second.
    pub limited: u64,
    /// Events that left the history before the stream came to them.
    pub overrun: u64,
    /// Events that were lost to a panic.
    pub panicked: u64,
}

/// Counters of a stream; they outlive its thread's restarts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) included: AtomicU64,
    pub(super) sampled: AtomicU64,
    pub(super) passed_over: AtomicU64,
    pub(super) limited: AtomicU64,
    pub(super) overrun: AtomicU64,
    pub(super) panicked: AtomicU64,
}

impl Counters {
    pub(super) fn now(&self) -> FlowCounts {
        let Self { included, sampled, passed_over, limited, overrun, panicked } = self;
        let [included, sampled, passed_over, limited, overrun, panicked] =
            [included, sampled, passed_over, limited, overrun, panicked].map(|count| count.load(Relaxed));
        FlowCounts { included, sampled, passed_over, limited, overrun, panicked }
    }
}

/// Adds to a counter that one thread writes.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
