//! The counters of one table at one moment, as a metric's aggregator hands them to a scrape.

use std::sync::Arc;

use super::labels::Labels;
use super::order::Order;

/// Name and help of a counter family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Full name, for example `hubble_tcp_flags_total`.
    pub name: &'static str,
    /// The HELP text.
    pub help: &'static str,
}

/// One table: one or more counter families whose series have the same labels, so that they share label text and order.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The families: one column of `values` each.
    pub families: &'static [Spec],
    /// By slot, then by family.
    pub values: Vec<u64>,
    /// By slot.
    pub labels: Labels,
    /// The order to write the slots in.
    pub order: Arc<Order>,
}

impl Snapshot {
    /// How many series each of the families has.
    pub fn series(&self) -> usize {
        self.labels.len()
    }

    /// The series of the family in column `column` in the order they are written: label text and value.
    pub fn rows(&self, column: usize) -> impl Iterator<Item = (&str, u64)> {
        let columns = self.families.len();
        self.order.slots(&self.labels).iter().map(move |&slot| {
            let value = self.values.get(slot as usize * columns + column).copied().unwrap_or(0);
            (self.labels.get(slot), value)
        })
    }
}
