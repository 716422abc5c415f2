//! Settings: the configuration, and the source of each value.
//!
//! Two kinds of types. *Raw* is what was written: a [`Value`] and its place, from the file, a
//! variable or a flag. *Resolved* is what it means: [`Settings`], plain types without a trace of
//! syntax. One table ([`KEYS`]) leads from one to the other.
//!
//! ```text
//!   file ──yaml──┐
//!   WEBB_* ──────┼── Value + place ──KEYS──▶ Settings   (Resolved: the same, with where each value came from)
//!   flags ───────┘                    └────▶ Problems   (all of them, each at its line)
//! ```
//!
//! Nothing here reads the machine: the configuration file is the only I/O, the environment is
//! passed in.

mod admin;
mod check;
mod clusters;
pub mod confinement;
mod diff;
mod export;
pub mod file;
mod flow_source;
mod flow_source_rules;
mod keys;
mod kinds;
mod labels;
mod log_filter;
mod model;
mod objects;
mod observer;
mod operator;
mod policies;
mod problem;
mod relay;
mod relay_rules;
mod resolve;
mod tls;
mod toggle;
pub mod token;
pub mod units;
mod value;
mod yaml;
mod yaml_words;
mod zones;

#[cfg(test)]
mod tests;

pub use admin::{AdminAccess, PageSettings};
pub use check::{Attempt, CheckRest, Checked, Trial, by_file, check_file};
pub use clusters::RemoteCluster;
pub use diff::{Diff, KeyChange, diff, reloaded};
pub use export::Export;
pub use flow_source::{ClientTls, FlowSource, HubbleServer};
pub use keys::{KEYS, Key, Reload};
pub use log_filter::{NoFilter, log_filter};
pub use model::{
    AgentMetrics, Aggregation, Attach, Capture, ClusterSource, Compat, Connections, Health, Interfaces, Layer7, Log,
    LogFormat, Pods, Privileges, Rings, Scrape, Settings, Shutdown, Side, Supervision,
};
pub use observer::{ListenAddress, Observer};
pub use operator::Operator;
pub use policies::{KindEffect, MoreKind, OtherKinds, Policies};
pub use problem::{Origin, Problem, Problems, Report, SourceFile, did_you_mean};
pub use relay::{Names, RelayAddress};
pub use resolve::{Entry, Environment, Flag, Layers, Resolved, read_file, resolve, unreadable};
pub use tls::Tls;
pub use toggle::Toggle;
pub use value::{CheckEntry, Item, Mark, Remarks, Value};
pub use yaml_words::yaml_words;
pub use zones::{ZoneCidr, Zones};
