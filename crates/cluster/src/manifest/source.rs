//! The manifest as a source: read again when its content has changed.

use std::path::{Path, PathBuf};

use webb_settings::file::{FilePoll, Followed, text};

use super::{Manifest, ManifestError, parse_with};
use crate::OtherKinds;

/// Twenty thousand pods as `kubectl` prints them are about half of this.
const MAX_BYTES: u64 = 256 << 20;

/// A manifest file that is polled.
#[derive(Debug)]
pub struct ManifestSource {
    path: PathBuf,
    followed: Followed,
    others: OtherKinds,
}

impl ManifestSource {
    /// A source that has not been polled yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_kinds(path, OtherKinds::default())
    }

    /// As [`ManifestSource::new`], where these are the other kinds of policy.
    pub fn with_kinds(path: impl Into<PathBuf>, others: OtherKinds) -> Self {
        let path = path.into();
        Self { followed: Followed::new([path.clone()], MAX_BYTES), path, others }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Polls the file. `None`: as at the last poll. A file that can't be used is an error once,
    /// then `None` until something about it changes; what was loaded from it before remains
    /// good. Empty it can't be used either: a file that is being written is empty at first. One
    /// that was gone and comes back is loaded again.
    pub fn poll(&mut self) -> Result<Option<Manifest>, ManifestError> {
        let file = self.path.display().to_string();
        match self.followed.poll() {
            FilePoll::Unchanged | FilePoll::Accepted => Ok(None),
            FilePoll::Unreadable(_, why) => Err(ManifestError::Unreadable { file, why }),
            FilePoll::Changed(contents) => {
                let content = contents.into_iter().next().unwrap_or_default();
                match text(content) {
                    Ok(text) if text.trim().is_empty() => Err(ManifestError::Empty { file }),
                    Ok(text) => parse_with(&file, &text, &self.others).map(Some),
                    Err(why) => Err(ManifestError::Unreadable { file, why }),
                }
            }
        }
    }
}
