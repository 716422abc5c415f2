//! Bytes out: counters as data, merged, ordered and written in Prometheus' formats. No I/O, no
//! knowledge of flows.
//!
//! A scrape has two kinds of source. A [`Snapshot`] is the bulk: the values of one metric's
//! aggregator, whose label text was rendered when each series was inserted, so writing it is
//! copying. A [`Family`] is everything small: the agent's own metrics, the ledger, the metrics
//! server. An [`Exposition`] merges both in the order of family names and writes them part by part,
//! so that a scrape needs memory for a part and not for all.

mod exemplar;
mod exposition;
mod family;
mod labels;
mod lines;
pub mod negotiate;
mod number;
pub mod openmetrics;
mod order;
mod pages;
pub mod server;
mod snapshot;
pub mod text;

pub use exemplar::{EXEMPLAR_LABEL, Exemplar, Exemplars};
pub use exposition::{Exposition, Part};
pub use family::{DEFAULT_BOUNDS, Family, FamilyType, Histogram, Sample, Value};
pub use labels::{Labels, Sheet, write_pair};
pub use snapshot::{Snapshot, Spec};

/// Format of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0; what answers to 0.0.1 reads the same.
    OpenMetrics,
}
