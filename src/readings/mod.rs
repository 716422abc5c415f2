//! Readings: the rows that the page and its API show, made of the snapshots that scrapes take.
//!
//! A [`SampleStore`] keeps a few samples of the counters that name both ends of a flow, so that a
//! rate over the last minute is known at once. A sample is taken of a snapshot that a scrape has
//! taken anyway, at most every five seconds. A [`Reading`] is made of the store when it is asked
//! for.

mod begins;
mod changes;
mod history;
mod measure;
mod moment;
mod namespaces;
mod one_way;
mod reading;
mod rows;
mod samples;
mod search_path;
mod series;
mod state;
mod store;
mod totals;
mod trend;

pub use changes::{Change, ChangeKind, Figure, MAX_CHANGE_AGE, MAX_CHANGES, Slowed};
pub use history::History;
pub use measure::{Form, Measure};
pub use moment::Moment;
pub use reading::{Reading, Watched};
pub use rows::{AnswerRow, Connections, Counted, DropRow, HttpRow, Outcome, PairRow, Times};
pub use series::By;
pub use state::{Attention, State};
pub use store::SampleStore;
pub use totals::Totals;
pub use trend::Trend;

#[cfg(test)]
pub(crate) mod tests;
