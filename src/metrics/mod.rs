//! Flows in, counters out: one [`Aggregator`] per configured metric.
//!
//! A metric is a [`Plugin`]: it says which flows count, under which fixed labels, and nothing else. Around it stand the
//! configuration ([`grammar`], [`config`]), the context labels that name both ends of a flow ([`context`],
//! [`contexts`]) and the table of counters ([`series`]). Adding a metric is one new file and one line in [`registry`].
//!
//! The way of a flow, all of it without lock, allocation or text: the plugin packs its labels into a number, the
//! context packs what it depends on into another ([`contexts`]), and one look into a memo with both finds the counter
//! ([`memo`]), for all flows of a batch together ([`tally`]). Texts are looked up and put together once, when a series
//! is born.

pub mod aggregator;
pub mod config;
pub mod context;
pub mod contexts;
pub mod dynamic;
pub mod gone;
pub mod grammar;
pub mod hubble;
pub mod limit;
mod memo;
pub mod options;
pub mod plugin;
pub mod registry;
pub mod series;
mod tally;
pub mod traffic;
pub mod tuples;

pub use aggregator::Aggregator;
pub use config::{ConfigError, MetricConfig, MetricOption, Warning};
pub use gone::Gone;
pub use limit::{Budget, Limits};
pub use options::Options;
pub use plugin::{Emit, Plugin, Table};
