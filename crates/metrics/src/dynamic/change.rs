//! The difference between two accepted files: what a reload does to the running metrics
//! (hubble-contract §2.5.4).

use std::collections::BTreeMap;

use webb_settings::Problem;

use super::listed::{INVALID, Listed};
use crate::options::MetricOption;

/// One change from the old metrics to the new.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricChange {
    /// Removed, with its series.
    Remove(&'static str),
    /// Filters replaced; counters are kept.
    Filter(&'static str),
    /// Options changed: restarted without series.
    Restart(&'static str),
    /// Added.
    Add(&'static str),
}

impl MetricChange {
    /// The metric, and what is done to it, as labels print it.
    pub fn label(&self) -> (&'static str, &'static str) {
        match *self {
            Self::Remove(metric) => (metric, "removed"),
            Self::Filter(metric) => (metric, "filtered"),
            Self::Restart(metric) => (metric, "restarted"),
            Self::Add(metric) => (metric, "added"),
        }
    }
}

/// The steps by kind, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChangeCounts {
    pub removed: usize,
    pub filtered: usize,
    pub restarted: usize,
    pub added: usize,
}

impl ChangeCounts {
    /// Number of changes of each type.
    pub fn of(changes: &[MetricChange]) -> Self {
        let mut changed = Self::default();
        for change in changes {
            match change {
                MetricChange::Remove(_) => changed.removed += 1,
                MetricChange::Filter(_) => changed.filtered += 1,
                MetricChange::Restart(_) => changed.restarted += 1,
                MetricChange::Add(_) => changed.added += 1,
            }
        }
        changed
    }
}

/// The changes from `old` to `new`: removals first, then the rest in the order of the new file.
pub fn changes(old: &[Listed], new: &[Listed]) -> Vec<MetricChange> {
    let stays = |name| new.iter().any(|listed| listed.config.name() == name);
    let gone = old.iter().map(|listed| listed.config.name()).filter(|&name| !stays(name));
    let mut changes: Vec<MetricChange> = gone.map(MetricChange::Remove).collect();
    for listed in new {
        let name = listed.config.name();
        match old.iter().find(|other| other.config.name() == name) {
            None => changes.push(MetricChange::Add(name)),
            Some(known) if written(known) != written(listed) => changes.push(MetricChange::Restart(name)),
            Some(known) if known.config.filters() != listed.config.filters() => {
                changes.push(MetricChange::Filter(name));
            }
            Some(_) => {}
        }
    }
    changes
}

fn written(listed: &Listed) -> &[MetricOption] {
    listed.options.as_deref().unwrap_or_default()
}

/// The options that each metric was first accepted with, for `metrics_config_strict`: Hubble
/// remembers them until it ends, even those of metrics that were removed since.
#[derive(Debug, Clone, Default)]
pub struct Accepted(BTreeMap<&'static str, Option<Vec<MetricOption>>>);

impl Accepted {
    /// Problems for which Hubble would refuse `new`.
    pub fn problems(&self, new: &[Listed]) -> Vec<Problem> {
        let differs =
            |listed: &&Listed| self.0.get(listed.config.name()).is_some_and(|accepted| *accepted != listed.options);
        let refused = new.iter().filter(differs).map(|listed| {
            let name = listed.config.name();
            let message =
                format!("{INVALID} - label set cannot be changed without restarting Prometheus. metric: {name}");
            let help = "metrics_config_strict is on; without it, webb starts such a metric anew";
            Problem::new(listed.origin.clone(), message).with_help(help)
        });
        refused.collect()
    }

    /// Remembers the metrics of a file that was accepted.
    pub fn remember(&mut self, new: &[Listed]) {
        for listed in new {
            self.0.insert(listed.config.name(), listed.options.clone());
        }
    }
}
