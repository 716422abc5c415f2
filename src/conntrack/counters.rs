//! Counters of conntrack events.

use std::sync::atomic::AtomicU64;

/// Counters of the follower: written by its thread, read by scrapes.
#[derive(Debug, Default)]
pub struct Counters {
    /// Translated connections that began.
    pub began: AtomicU64,
    /// Translated connections that ended.
    pub ended: AtomicU64,
    /// Times that the kernel dropped events because they were not read in time.
    pub overruns: AtomicU64,
    /// Times that everything was read.
    pub dumps: AtomicU64,
    /// Questions about a packet's conversation that were answered.
    pub queries: AtomicU64,
    /// Messages that could not be read.
    pub malformed: AtomicU64,
}
