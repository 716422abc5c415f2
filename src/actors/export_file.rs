//! The file of exporters, and what its reloads have changed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::config_file::WatchedFile;
use super::exporters::SetChanges;
use crate::exports::{self, FlowLogs, Rules};

/// The file of exporters; shared by all runs of its actor.
#[derive(Debug)]
pub struct ExportFile {
    watched: WatchedFile<FlowLogs>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Hash of the content that was last applied.
    hash: u64,
    changes: SetChanges,
}

impl ExportFile {
    /// A file that has not been read yet.
    pub fn new(path: PathBuf, rules: Rules) -> Self {
        let watched = WatchedFile::new(path, move |file| exports::read(file, &rules));
        Self { watched, state: Mutex::default() }
    }

    /// The file itself.
    pub fn watched(&self) -> &WatchedFile<FlowLogs> {
        &self.watched
    }

    /// Records what became of a file: if some of it could not be applied, it is tried again.
    pub fn applied(&self, file: &FlowLogs, changes: SetChanges) {
        self.watched.applied((changes.failed > 0).then_some("not every exporter of the file could be started"));
        let mut state = self.state();
        state.hash = exports::hash(file.file.text.as_bytes());
        state.changes.added += changes.added;
        state.changes.updated += changes.updated;
        state.changes.removed += changes.removed;
        state.changes.failed += changes.failed;
    }

    /// All changes so far.
    pub fn changes(&self) -> SetChanges {
        self.state().changes
    }

    /// Hash of the content that was last applied.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
