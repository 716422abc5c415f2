//! The dynamic file as it was last accepted, and the outcome of each poll.
//!
//! An unusable file is reported once for each content and changes nothing. Accepted content is
//! recognised when it comes back, and clears the error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use webb_metrics::dynamic::{self, Dynamic, Listed, MetricChange, change::Accepted};
use webb_metrics::{captures, layer7};
use webb_settings::file::{FileError, FilePoll, Followed, MIB, text};
use webb_settings::{Capture, Layer7, Problems, Settings, SourceFile, unreadable};

use crate::reloads::Reloads;

/// The dynamic metrics file; shared by all runs of its actor.
#[derive(Debug)]
pub struct MetricsFile {
    path: PathBuf,
    /// Locked while it is read, which may take long: never on the thread that answers requests.
    followed: Mutex<Followed>,
    rules: Mutex<FileRules>,
    /// True if the file must be read again though it has not changed.
    again: AtomicBool,
    state: Mutex<State>,
    reloads: Reloads,
}

/// Settings that decide over the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRules {
    /// Hubble's rule: a metric that was accepted once never gets other options.
    pub strict: bool,
    /// Settings that metrics of DNS and HTTP may contradict.
    pub l7: Layer7,
    /// Setting without which metrics of connections stay empty.
    pub connections: Capture,
}

impl From<&Settings> for FileRules {
    fn from(settings: &Settings) -> Self {
        let (l7, connections) = settings.seen_by_metrics();
        Self { strict: settings.metrics_config_strict, l7, connections }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Error in the file; empty if there is none.
    complaint: String,
    current: Vec<Listed>,
    accepted: Accepted,
    changes: BTreeMap<(&'static str, &'static str), u64>,
}

/// A file that differs from the last and can be used.
#[derive(Debug)]
pub struct FileUpdate {
    /// Changes to apply.
    pub changes: Vec<MetricChange>,
    /// Parsed content of the file.
    pub dynamic: Dynamic,
}

impl MetricsFile {
    /// A file with `dynamic` as its accepted content.
    pub fn new(path: PathBuf, dynamic: &Dynamic, rules: FileRules) -> Self {
        let mut state = State::default();
        state.accepted.remember(&dynamic.metrics);
        state.current.clone_from(&dynamic.metrics);
        Self {
            followed: Mutex::new(Followed::new([path.clone()], MIB).accepted_as(&[dynamic.file.text.as_bytes()])),
            path,
            rules: Mutex::new(rules),
            again: AtomicBool::new(false),
            state: Mutex::new(state),
            reloads: Reloads::loaded(),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the rules. If they are new, the file is decided over again at the next poll.
    pub fn set_rules(&self, rules: FileRules) {
        let mut current = self.rules();
        if *current != rules {
            *current = rules;
            self.invalidate();
        }
    }

    /// Polls the file: none if there is nothing new about it. Blocks.
    ///
    /// # Errors
    /// The problems of the file, the first time that they are found.
    pub fn poll(&self) -> Result<Option<FileUpdate>, Problems> {
        let mut followed = self.followed();
        if self.again.swap(false, Relaxed) {
            followed.invalidate();
        }
        let understood = match followed.poll() {
            FilePoll::Unchanged => return Ok(None),
            FilePoll::Accepted => {
                self.state().complaint.clear();
                self.reloads.confirmed();
                return Ok(None);
            }
            FilePoll::Changed(contents) => self.understand(contents.into_iter().next().unwrap_or_default()),
            FilePoll::Unreadable(_, error) => Err(self.unreadable(&error)),
        };
        let mut state = self.state();
        match understood {
            Ok(dynamic) => {
                state.complaint.clear();
                Ok(Some(FileUpdate { changes: dynamic::change::changes(&state.current, &dynamic.metrics), dynamic }))
            }
            Err(problems) => {
                state.complaint = problems.to_string();
                self.reloads.rejected();
                Err(problems)
            }
        }
    }

    fn unreadable(&self, error: &FileError) -> Problems {
        unreadable(&self.path, error)
    }

    fn understand(&self, content: Vec<u8>) -> Result<Dynamic, Problems> {
        let text = text(content).map_err(|error| self.unreadable(&error))?;
        let mut dynamic = dynamic::read(SourceFile { name: self.path.display().to_string(), text })?;
        let FileRules { strict, l7, connections } = self.rules().clone();
        dynamic.check_layer7(&l7);
        let state = self.state();
        let had: Vec<_> = state.current.iter().map(|listed| listed.config.name()).collect();
        let mut refused = dynamic.not_captured(connections, &had);
        if strict {
            refused.extend(state.accepted.problems(&dynamic.metrics));
        }
        drop(state);
        if refused.is_empty() {
            return Ok(dynamic);
        }
        Err(Problems { list: refused, warnings: dynamic.warnings, file: Some(dynamic.file) })
    }

    /// Records that the update is in force.
    pub fn accept(&self, update: FileUpdate) {
        self.followed().accept();
        let mut state = self.state();
        state.accepted.remember(&update.dynamic.metrics);
        state.current = update.dynamic.metrics;
        for change in &update.changes {
            let (metric, kind) = change.label();
            *state.changes.entry((metric, kind)).or_default() += 1;
        }
        self.reloads.applied();
    }

    /// Invalidates the last result: what became of it is not known.
    pub fn invalidate(&self) {
        self.again.store(true, Relaxed);
    }

    /// Error in the file, or else what its metrics need and is switched off; empty if there is
    /// neither.
    pub fn complaint(&self) -> String {
        let (state, FileRules { l7, connections, .. }) = (self.state(), self.rules().clone());
        if !state.complaint.is_empty() {
            return state.complaint.clone();
        }
        let metrics = || state.current.iter().map(|listed| &listed.config);
        let blind = layer7::switched_off(metrics(), &l7, "metrics_config");
        blind.or_else(|| captures::switched_off(metrics(), connections, "metrics_config")).unwrap_or_default()
    }

    /// Outcomes of reloads.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Changes of metrics by metric and kind.
    pub fn changes(&self) -> Vec<((&'static str, &'static str), u64)> {
        self.state().changes.iter().map(|(key, count)| (*key, *count)).collect()
    }

    fn rules(&self) -> MutexGuard<'_, FileRules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
