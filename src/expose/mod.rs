//! Bytes out: counters as data, merged, ordered and written in Prometheus' formats. No I/O, no knowledge of flows.
//!
//! A scrape has two kinds of source. A [`Snapshot`] is the bulk: the counters of one metric's aggregator, whose label
//! text was rendered when each series was born, so writing it is copying. A [`Family`] is everything small: the
//! agent's own metrics, the ledger, the metrics server. [`text::render`] merges both in the order of family names.

mod exemplar;
mod family;
mod labels;
pub mod negotiate;
mod number;
mod order;
pub mod server;
mod snapshot;
pub mod text;

pub use exemplar::{EXEMPLAR_LABEL, Exemplar, Exemplars};
pub use family::{DEFAULT_BOUNDS, Family, Histogram, Kind, Sample, Value};
pub use labels::{Labels, write_pair};
pub use order::Order;
pub use snapshot::{Snapshot, Spec};
