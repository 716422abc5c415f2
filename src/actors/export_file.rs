//! The file of exporters as it was last applied, and the outcome of each poll.
//!
//! An unusable file is reported once for each content and changes nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use webb_settings::file::{FilePoll, Followed, MIB, text};
use webb_settings::{Problems, SourceFile, unreadable};

use super::exporters::SetChanges;
use crate::exports::{self, FlowLogs, Rules};
use crate::reloads::Reloads;

/// The file of exporters; shared by all runs of its actor.
#[derive(Debug)]
pub struct ExportFile {
    path: PathBuf,
    rules: Rules,
    /// Locked while it is read, which may take long.
    followed: Mutex<Followed>,
    /// True if the file must be read again though it has not changed.
    again: AtomicBool,
    state: Mutex<State>,
    reloads: Reloads,
}

#[derive(Debug, Default)]
struct State {
    /// Error in the file, or in applying it; empty if there is none.
    complaint: String,
    /// Hash of the content that was last applied.
    hash: u64,
    changes: SetChanges,
}

impl ExportFile {
    /// A file that has not been read yet.
    pub fn new(path: PathBuf, rules: Rules) -> Self {
        Self {
            followed: Mutex::new(Followed::new([path.clone()], MIB)),
            path,
            rules,
            again: AtomicBool::new(false),
            state: Mutex::default(),
            reloads: Reloads::default(),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Polls the file: none if there is nothing new about it. Blocks.
    ///
    /// # Errors
    /// The problems of the file, the first time that they are found.
    pub fn poll(&self) -> Result<Option<FlowLogs>, Problems> {
        let mut followed = self.followed();
        if self.again.swap(false, Relaxed) {
            followed.invalidate();
        }
        let found = match followed.poll() {
            FilePoll::Unchanged => return Ok(None),
            FilePoll::Accepted => {
                self.state().complaint.clear();
                self.reloads.confirmed();
                return Ok(None);
            }
            FilePoll::Changed(contents) => self.understand(contents.into_iter().next().unwrap_or_default()),
            FilePoll::Unreadable(_, error) => Err(unreadable(&self.path, &error)),
        };
        let mut state = self.state();
        match found {
            // Whether the complaint is over is known once it is applied.
            Ok(found) => Ok(Some(found)),
            Err(problems) => {
                state.complaint = problems.to_string();
                self.reloads.rejected();
                Err(problems)
            }
        }
    }

    fn understand(&self, content: Vec<u8>) -> Result<FlowLogs, Problems> {
        let text = text(content).map_err(|error| unreadable(&self.path, &error))?;
        exports::read(SourceFile { name: self.path.display().to_string(), text }, &self.rules)
    }

    /// Records what became of a file: if some of it could not be applied, it is tried again.
    pub fn applied(&self, file: &FlowLogs, changes: SetChanges) {
        if changes.failed == 0 {
            self.followed().accept();
        } else {
            self.invalidate();
        }
        let mut state = self.state();
        state.complaint.clear();
        if changes.failed > 0 {
            state.complaint.push_str("not every exporter of the file could be started");
        }
        state.hash = exports::hash(file.file.text.as_bytes());
        state.changes.added += changes.added;
        state.changes.updated += changes.updated;
        state.changes.removed += changes.removed;
        state.changes.failed += changes.failed;
        self.reloads.applied();
    }

    /// Invalidates the last result: what became of it is not known.
    pub fn invalidate(&self) {
        self.again.store(true, Relaxed);
    }

    /// Error in the file, or in applying it; empty if there is none.
    pub fn complaint(&self) -> String {
        self.state().complaint.clone()
    }

    /// Outcomes of reloads.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// All changes so far.
    pub fn changes(&self) -> SetChanges {
        self.state().changes
    }

    /// Hash of the content that was last applied.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
