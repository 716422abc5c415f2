//! Flows in, counters out: one [`Aggregator`] per configured metric.
//!
//! A metric is a [`Plugin`]: it defines which flows count, under which fixed labels, and nothing
//! else. Around it stand the configuration ([`grammar`], [`config`]), the context labels that name
//! both ends of a flow ([`context`], [`contexts`]) and the table of counters ([`series`]). Adding a
//! metric is one new file and one line in [`plugins`].
//!
//! A flow is counted without lock, allocation or text: the plugin packs its labels into a number,
//! the context packs what it depends on into another ([`contexts`]), and one lookup in a cache with
//! both finds the counter (`cache`), for all flows of a batch together (`counter`). Label texts are
//! rendered once, when a series is created.

pub mod aggregator;
mod batch_counter;
pub mod captures;
pub mod config;
pub mod context;
pub mod contexts;
pub mod dynamic;
mod end_numbers;
mod engine;
pub mod expose;
pub mod grammar;
mod idle;
pub mod layer7;
pub mod limit;
pub mod options;
mod owners;
pub mod plugin;
pub mod plugins;
pub mod registration;
pub mod removed_pods;
pub mod series;
mod slot_cache;
mod table;
pub mod tuples;
mod value;

pub use aggregator::Aggregator;
pub use config::{ConfigError, Layer7Wishes, MetricConfig};
pub use limit::{Budget, Limits, Refusal, Share};
pub use options::{MetricOption, Options, Warning};
pub use plugin::{Emit, Plugin};
pub use registration::Registration;
pub use removed_pods::RemovedPods;
pub use table::{FAMILIES, Table, Texts};
