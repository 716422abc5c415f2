//! A snapshot of one table: the values of a metric's series at one moment.

use std::borrow::Cow;

use super::exemplar::{Exemplar, Exemplars};
use super::family::{FamilyType, Histogram};
use super::labels::Sheet;

/// Name and help of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Full name, for example `hubble_tcp_flags_total`.
    pub name: &'static str,
    /// The HELP text.
    pub help: &'static str,
}

/// One table: one or more counter families with the same labels, so that they share label text and
/// order; or one histogram family; or one gauge.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The families: one column of `values` each, or the one histogram.
    pub families: &'static [Spec],
    /// Upper bounds of a histogram's buckets, ascending, without `+Inf`. Empty for counters.
    pub bounds: Cow<'static, [f64]>,
    /// True for a gauge.
    pub gauge: bool,
    /// Values of counters by slot, then by family. Of a histogram by slot, then by bucket, `+Inf`
    /// last; an observation is in one bucket only.
    pub values: Vec<u64>,
    /// Sums of a histogram's observations, by slot.
    pub sums: Vec<f64>,
    /// Exemplars by place in `values`.
    pub exemplars: Exemplars,
    /// Slots in use, and the labels of each.
    pub labels: Sheet,
}

impl Snapshot {
    /// The TYPE of its families.
    pub fn kind(&self) -> FamilyType {
        match (self.bounds.is_empty(), self.gauge) {
            (false, _) => FamilyType::Histogram,
            (true, true) => FamilyType::Gauge,
            (true, false) => FamilyType::Counter,
        }
    }

    /// Number of values in a slot.
    pub fn width(&self) -> usize {
        if self.bounds.is_empty() { self.families.len() } else { self.bounds.len() + 1 }
    }

    /// Number of series in each family.
    pub fn series(&self) -> usize {
        self.labels.len()
    }

    /// The values of a slot: one for each counter family, or one for each bucket.
    pub fn values(&self, slot: u32) -> &[u64] {
        let first = slot as usize * self.width();
        self.values.get(first..first + self.width()).unwrap_or_default()
    }

    /// The exemplar of one value of a slot.
    pub fn exemplar(&self, slot: u32, column: usize) -> Option<&Exemplar> {
        self.exemplars.get(slot as usize * self.width() + column)
    }

    /// The value of a slot in the counter family of column `column`.
    #[inline]
    pub(super) fn value(&self, slot: u32, column: usize) -> u64 {
        self.values.get(slot as usize * self.families.len() + column).copied().unwrap_or(0)
    }

    /// The series of the counter family in column `column` in the order they are written: label
    /// text and value. For tests and reports; the formats write page by page.
    pub fn rows(&self, column: usize) -> impl Iterator<Item = (String, u64)> {
        self.labels.rows().map(move |(slot, text)| (text, self.value(slot, column)))
    }

    /// The histogram of a slot in Prometheus' form: each bucket counts those below it too.
    pub fn histogram(&self, slot: u32) -> Histogram {
        let mut count = 0_u64;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (at, &observed) in self.values(slot).iter().enumerate() {
            count = count.wrapping_add(observed);
            if let Some(&bound) = self.bounds.get(at) {
                buckets.push((bound, count));
            }
        }
        Histogram { buckets, sum: self.sums.get(slot as usize).copied().unwrap_or(0.0), count }
    }
}
