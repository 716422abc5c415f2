//! Flows as records of OTLP logs.
//!
//! ```text
//! History ──▶ Walk (exclude, include or problems, sample) ──▶ limit ──▶ Writer ──▶ Feed, one an output
//! ```
//!
//! Attempts to connect that failed are no flows of Hubble's: they have a history of their own,
//! which nothing else reads, and a walk through that beside the other.
//!
//! A stream is a reader of a history with a place of its own in it, as an exporter of files is:
//! one that is slow holds up neither the history nor another reader, and what the history has lost
//! by then is counted. Requests that no receiver takes are the outputs' business, which have bounds
//! of their own. [`FlowStream`] does the work in turns; its owner gives it a thread.

mod attributes;
mod counts;
mod ends;
mod fuzz;
mod limit;
mod line;
#[cfg(test)]
mod samples;
mod settings;
#[path = "stream.rs"]
mod work;
mod writer;

pub use counts::FlowCounts;
pub(crate) use fuzz::fuzz_records;
pub use settings::{Body, FlowSettings, MAX_LABELS};
pub use work::{FlowOutput, FlowStream, Next, Resource, SCOPE, WantedFlows};
