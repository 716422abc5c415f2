//! How long a label value may be.
//!
//! Label values come from outside: names in flows that are replayed, questions that pods ask their DNS server. Prometheus
//! keeps each in memory, as does every aggregator, so a value longer than any honest one is cut. A name of the DNS has
//! at most 255 bytes, a Kubernetes name 253; only all labels of a pod joined (the context `identity`) come to more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes of a label value at most; what is longer is cut, between two characters.
pub const MAX_BYTES: usize = 4096;

/// Stands for all values beyond a limit on their number.
pub const OTHER: &str = "~other";

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

/// How often a value was cut since start. One that comes again may count again.
pub fn cut_values() -> u64 {
    CUT.load(Relaxed)
}

pub(super) fn note_folded() {
    FOLDED.fetch_add(1, Relaxed);
}

/// How many counts had texts beyond those that one metric keeps.
pub fn folded() -> u64 {
    FOLDED.load(Relaxed)
}
