//! A reload: which of the new values take effect now, and which wait for the next start.

use serde::Serialize;

use super::keys::{KEYS, Reload};
use super::model::Settings;
use super::value::json;

/// One key with a changed value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// The key.
    pub key: &'static str,
    /// The value so far.
    pub from: serde_json::Value,
    /// The value in the new configuration.
    pub to: serde_json::Value,
}

/// Effects of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Diff {
    /// Takes effect now.
    pub applied: Vec<KeyChange>,
    /// Keeps its old value until the agent is started again.
    pub needs_restart: Vec<KeyChange>,
}

impl Diff {
    /// Every change, in the order of the documentation.
    pub(super) fn all(self) -> Vec<KeyChange> {
        let mut changes: Vec<KeyChange> = self.applied.into_iter().chain(self.needs_restart).collect();
        changes.sort_by_key(|change| KEYS.iter().position(|key| key.name == change.key));
        changes
    }

    /// True if the new configuration means the same as the old one.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

/// Compares two configurations, key by key.
pub fn diff(old: &Settings, new: &Settings) -> Diff {
    let mut diff = Diff::default();
    for key in &KEYS {
        let (from, to) = ((key.get)(old), (key.get)(new));
        if from != to {
            let change = KeyChange { key: key.name, from: json(&from), to: json(&to) };
            match key.reload {
                Reload::Live => diff.applied.push(change),
                Reload::Restart => diff.needs_restart.push(change),
            }
        }
    }
    diff
}

/// The settings to run with after a reload: `old`, with the new value of every key that can change
/// while running.
pub fn reloaded(old: &Settings, new: &Settings) -> Settings {
    let mut settings = old.clone();
    for key in KEYS.iter().filter(|key| key.reload == Reload::Live) {
        // What a key shows it also reads (a test holds it to that), so nothing can be refused here.
        let _read = (key.set)(&mut settings, &(key.get)(new));
    }
    settings
}
