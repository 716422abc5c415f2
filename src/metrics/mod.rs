//! Flows in, counters out: one [`Aggregator`] per configured metric.
//!
//! A metric is a [`Plugin`]: it says which flows count, under which fixed labels, and nothing else. Around it stand the
//! configuration ([`grammar`], [`config`]), the context labels that name both ends of a flow ([`context`],
//! [`contexts`]) and the table of counters ([`series`]). Adding a metric is one new file and one line in [`registry`].
//!
//! The way of a flow, all of it without lock, allocation or text: the plugin packs its labels into a number, the
//! context memo turns both ends into a [`contexts::ContextId`], and one hash probe with both finds the counter. Texts
//! are looked up and put together once, when a series is born.

pub mod aggregator;
pub mod config;
pub mod context;
pub mod contexts;
pub mod dynamic;
pub mod filters;
pub mod grammar;
pub mod hubble;
pub mod limit;
pub mod options;
pub mod plugin;
pub mod registry;
pub mod series;
pub mod traffic;
pub mod tuples;

pub use aggregator::{Aggregator, Flows};
pub use config::{ConfigError, MetricConfig, MetricOption, Warning};
pub use options::Options;
pub use plugin::{Emit, Plugin, Table};
