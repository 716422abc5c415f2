//! Histogram of the probes' latencies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets in seconds; they are Cilium's.
pub const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// Observed latencies, in one set of buckets.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    /// Observations by bucket; the last one is beyond the bounds.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_ns: AtomicU64,
}

/// One state of the buckets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Observed {
    /// Observations up to each bound.
    pub cumulative: [u64; BUCKETS.len()],
    /// All observations.
    pub count: u64,
    /// Sum of the observed seconds.
    pub sum: f64,
}

impl Latencies {
    /// Observes one latency.
    pub(super) fn observe(&self, latency: Duration) {
        let at = BUCKETS.partition_point(|bound| *bound < latency.as_secs_f64());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Reads the buckets.
    pub(super) fn read(&self) -> Observed {
        let mut observed = Observed::default();
        for (at, bucket) in self.buckets.iter().enumerate() {
            observed.count += bucket.load(Relaxed);
            if let Some(cumulative) = observed.cumulative.get_mut(at) {
                *cumulative = observed.count;
            }
        }
        observed.sum = Duration::from_nanos(self.sum_ns.load(Relaxed)).as_secs_f64();
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound belongs to its bucket, and what is beyond the last one counts in the sum and count.
    #[test]
    fn bounds_are_inclusive() {
        let latencies = Latencies::default();
        for millis in [1, 2, 8000, 10_000] {
            latencies.observe(Duration::from_millis(millis));
        }
        let observed = latencies.read();
        assert_eq!(observed.cumulative, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3]);
        assert_eq!((observed.count, observed.sum), (4, 18.003));
    }
}
