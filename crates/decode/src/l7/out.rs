//! Output of the parsers.

use super::event::{Sink, Wants};
use super::ledger::Ledger;

/// The consumer, the counts, the time, and what is wanted.
pub(super) struct Out<'a> {
    pub(super) wants: Wants,
    /// `CLOCK_MONOTONIC` nanoseconds of the record that is read, or of the check for what is over.
    pub(super) now_ns: u64,
    pub(super) ledger: &'a mut Ledger,
    pub(super) sink: &'a mut dyn Sink,
}
