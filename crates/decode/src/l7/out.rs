//! Output of the parsers.

use super::event::{Sink, Wants};
use super::ledger::Ledger;

/// The consumer, the counts, and what is wanted.
pub(super) struct Out<'a> {
    pub(super) wants: Wants,
    pub(super) ledger: &'a mut Ledger,
    pub(super) sink: &'a mut dyn Sink,
}
