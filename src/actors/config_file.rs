//! A followed file of the configuration as it was last applied, and the outcome of each poll.
//!
//! An unusable file is reported once for each content and changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use webb_settings::file::{FilePoll, Followed, MIB, text};
use webb_settings::{Problems, SourceFile, unreadable};

use crate::reloads::Reloads;

/// Reads a file's content.
type Read<T> = Box<dyn Fn(SourceFile) -> Result<T, Problems> + Send + Sync>;

/// A followed file with content of one type; shared by all runs of its actor.
pub struct WatchedFile<T> {
    path: PathBuf,
    read: Read<T>,
    /// Locked while it is read, which may take long.
    followed: Mutex<Followed>,
    /// True if the file must be read again though it has not changed.
    again: AtomicBool,
    /// Error in the file, or in applying it; empty if there is none.
    complaint: Mutex<String>,
    reloads: Reloads,
}

impl<T> fmt::Debug for WatchedFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> WatchedFile<T> {
    /// A file that has not been read yet.
    pub fn new(path: PathBuf, read: impl Fn(SourceFile) -> Result<T, Problems> + Send + Sync + 'static) -> Self {
        Self {
            followed: Mutex::new(Followed::new([path.clone()], MIB)),
            path,
            read: Box::new(read),
            again: AtomicBool::new(false),
            complaint: Mutex::default(),
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
    pub fn poll(&self) -> Result<Option<T>, Problems> {
        let mut followed = self.followed();
        if self.again.swap(false, Relaxed) {
            followed.invalidate();
        }
        let found = match followed.poll() {
            FilePoll::Unchanged => return Ok(None),
            FilePoll::Accepted => {
                self.held().clear();
                self.reloads.confirmed();
                return Ok(None);
            }
            FilePoll::Changed(contents) => self.understand(contents.into_iter().next().unwrap_or_default()),
            FilePoll::Unreadable(_, error) => Err(unreadable(&self.path, &error)),
        };
        match found {
            // Whether the complaint is over is known once it is applied.
            Ok(found) => Ok(Some(found)),
            Err(problems) => {
                *self.held() = problems.to_string();
                self.reloads.rejected();
                Err(problems)
            }
        }
    }

    fn understand(&self, content: Vec<u8>) -> Result<T, Problems> {
        let text = text(content).map_err(|error| unreadable(&self.path, &error))?;
        (self.read)(SourceFile { name: self.path.display().to_string(), text })
    }

    /// Records what became of a file: if some of it could not be applied, for the reason given, it
    /// is tried again.
    pub fn applied(&self, failed: Option<&str>) {
        if failed.is_none() {
            self.followed().accept();
        } else {
            self.invalidate();
        }
        failed.unwrap_or_default().clone_into(&mut self.held());
        self.reloads.applied();
    }

    /// Invalidates the last result: what became of it is not known.
    pub fn invalidate(&self) {
        self.again.store(true, Relaxed);
    }

    /// Error in the file, or in applying it; empty if there is none.
    pub fn complaint(&self) -> String {
        self.held().clone()
    }

    /// Outcomes of reloads.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
