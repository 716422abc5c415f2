//! Flow log files, as Hubble's exporter writes them: one event a line, in JSON.
//!
//! ```text
//! History ──▶ Walk (filters) ──▶ mask, or groups ──▶ lines ──▶ one write of whole lines ──▶ file
//! ```
//!
//! An exporter is a reader of the history with a place of its own in it, so one whose disk is slow
//! or full holds up neither the history nor another exporter. It reads on when it can write again;
//! what the history has lost by then is counted, with the reason. [`Exporter`] does the work in
//! turns; its owner gives it a thread.

mod backups;
mod config;
mod counters;
mod directory;
mod exporter;
mod file;
mod groups;
mod lines;

pub use config::{Aggregation, ExportConfig, InvalidPath, Rotation, Target};
pub use counters::{Counters, Loss};
pub use directory::{check, resolve};
pub use exporter::{Exporter, Next, Node};
pub(crate) use lines::Lines;
