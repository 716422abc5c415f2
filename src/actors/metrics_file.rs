//! The dynamic file as it was last accepted, and what became of each look at it.
//!
//! Looked at by content, since a ConfigMap is exchanged by turning a link round: neither the file's time nor its inode
//! says anything. What cannot be used is said once for each content and changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::dynamic::{self, Change, Dynamic, Listed, change::Accepted};
use crate::settings::{Problems, read_file};

/// The file, shared by all lives of its actor.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    strict: AtomicBool,
    state: Mutex<State>,
    applied: AtomicU64,
    rejected: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// What was read last, good or bad.
    last: Option<String>,
    /// What is wrong with it; empty if nothing is.
    complaint: String,
    current: Vec<Listed>,
    accepted: Accepted,
    changes: BTreeMap<(&'static str, &'static str), u64>,
}

/// A file that differs from the last and can be used.
#[derive(Debug)]
pub struct News {
    /// What is to be done.
    pub changes: Vec<Change>,
    /// What it says.
    pub dynamic: Dynamic,
}

impl MetricsFile {
    /// The file whose content has been accepted as `dynamic`. `strict` is Hubble's rule: a metric that was accepted
    /// once never gets other options.
    pub fn new(path: PathBuf, dynamic: &Dynamic, strict: bool) -> Self {
        let mut state = State { last: Some(dynamic.file.text.clone()), ..State::default() };
        state.accepted.remember(&dynamic.metrics);
        state.current.clone_from(&dynamic.metrics);
        Self {
            path,
            strict: AtomicBool::new(strict),
            state: Mutex::new(state),
            applied: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Turns Hubble's rule on or off.
    pub fn set_strict(&self, strict: bool) {
        self.strict.store(strict, Relaxed);
    }

    /// Looks at the file: none if there is nothing new about it. Blocks.
    ///
    /// # Errors
    /// What is wrong with it, the first time that this is seen.
    pub fn look(&self) -> Result<Option<News>, Problems> {
        let mut state = self.state();
        let read = read_file(&self.path);
        if let Ok(file) = &read {
            if state.last.as_ref() == Some(&file.text) {
                return Ok(None);
            }
            state.last = Some(file.text.clone());
        }
        let understood = read.and_then(dynamic::read).and_then(|dynamic| {
            let refused =
                if self.strict.load(Relaxed) { state.accepted.problems(&dynamic.metrics) } else { Vec::new() };
            if refused.is_empty() { Ok(dynamic) } else { Err(Problems { list: refused, file: Some(dynamic.file) }) }
        });
        match understood {
            Ok(dynamic) => {
                state.complaint.clear();
                Ok(Some(News { changes: dynamic::change::changes(&state.current, &dynamic.metrics), dynamic }))
            }
            Err(problems) => {
                let complaint = problems.to_string();
                if complaint == state.complaint {
                    return Ok(None);
                }
                state.complaint = complaint;
                self.rejected.fetch_add(1, Relaxed);
                Err(problems)
            }
        }
    }

    /// Notes that the news are in force.
    pub fn accept(&self, news: News) {
        let mut state = self.state();
        state.accepted.remember(&news.dynamic.metrics);
        state.current = news.dynamic.metrics;
        for change in &news.changes {
            let (metric, kind) = change.label();
            *state.changes.entry((metric, kind)).or_default() += 1;
        }
        self.applied.fetch_add(1, Relaxed);
    }

    /// Forgets what was read: what came of it is not known.
    pub fn look_again(&self) {
        self.state().last = None;
    }

    /// What is wrong with the file; empty if nothing is.
    pub fn complaint(&self) -> String {
        self.state().complaint.clone()
    }

    /// New contents by what became of them.
    pub fn results(&self) -> [(&'static str, u64); 2] {
        [("applied", self.applied.load(Relaxed)), ("rejected", self.rejected.load(Relaxed))]
    }

    /// Changes of metrics by metric and kind.
    pub fn changes(&self) -> Vec<((&'static str, &'static str), u64)> {
        self.state().changes.iter().map(|(key, count)| (*key, *count)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
