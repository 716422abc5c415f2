//! Tables of a metric: families with the same labels.

use std::borrow::Cow;

use crate::expose::{DEFAULT_BOUNDS, Spec};

/// The most counter families that a table may have.
pub const FAMILIES: usize = 2;

/// Families that always have the same labels: they share one table, a column each. Or one
/// histogram.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Families in the order of the amounts that a flow adds; [`FAMILIES`] at most.
    pub families: &'static [Spec],
    /// The fixed labels, without the context's, in the order of [`Texts`].
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram's buckets; empty for counters.
    pub bounds: &'static [f64],
    /// True for a gauge of open connections.
    pub gauge: bool,
    /// True if its context takes the receiver of a flow for its source.
    pub of_receiver: bool,
}

impl Table {
    /// A table of counters.
    pub const fn counters(families: &'static [Spec], labels: &'static [&'static str]) -> Self {
        Self { families, labels, bounds: &[], gauge: false, of_receiver: false }
    }

    /// The same table with a context that takes the receiver of a flow for its source.
    #[must_use]
    pub const fn of_receiver(self) -> Self {
        Self { of_receiver: true, ..self }
    }

    /// A histogram of seconds, with the Go client's default bounds.
    pub const fn seconds(family: &'static [Spec; 1], labels: &'static [&'static str]) -> Self {
        Self::histogram(family, labels, &DEFAULT_BOUNDS)
    }

    /// A histogram with bounds of its own.
    pub const fn histogram(
        family: &'static [Spec; 1],
        labels: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Self {
        Self { families: family, labels, bounds, gauge: false, of_receiver: false }
    }

    /// A gauge of open connections.
    pub const fn gauge(family: &'static [Spec; 1], labels: &'static [&'static str]) -> Self {
        Self { families: family, labels, bounds: &[], gauge: true, of_receiver: false }
    }
}

/// Texts of a table's fixed labels.
pub type Texts = Vec<Cow<'static, str>>;
