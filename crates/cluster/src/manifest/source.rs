//! The manifest as a source: read again when its content has changed.
//!
//! The file may be hundreds of megabytes, so it is never in memory as a whole. A poll reads it once
//! for its hash, since only the content says whether a file has changed; only if it has changed is
//! it read again, object by object.

use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use webb_flow::hash::RandomState;
use webb_settings::file::{FileError, open};

use super::document::LOCATED;
use super::{ManifestError, Report, read};
use crate::{Object, OtherKinds};

/// Twenty thousand pods as `kubectl` prints them in JSON are a fifth of this.
const MAX_BYTES: u64 = 1 << 30;

/// Bytes that are hashed at a time.
const PIECE: u64 = 64 << 10;

/// Progress of reading a manifest, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes read so far.
    pub read: u64,
    /// Size of the file.
    pub of: u64,
}

/// A manifest file that is polled.
#[derive(Debug)]
pub struct ManifestSource {
    path: PathBuf,
    others: OtherKinds,
    hasher: RandomState,
    last: Option<LastPoll>,
    took: Duration,
}

/// The result of the last poll.
#[derive(Debug, PartialEq, Eq)]
enum LastPoll {
    Content(u64),
    Unreadable(String),
}

/// A file's content, as far as a poll needs it.
struct Content {
    hash: u64,
    length: u64,
    is_blank: bool,
}

impl ManifestSource {
    /// A source that has not been polled yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_kinds(path, OtherKinds::default())
    }

    /// Opens like [`ManifestSource::new`], with these other kinds of policy.
    pub fn with_kinds(path: impl Into<PathBuf>, others: OtherKinds) -> Self {
        let (hasher, took) = (RandomState::default(), Duration::ZERO);
        Self { path: path.into(), others, hasher, last: None, took }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Duration of the last poll, without the reading of objects.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Polls the file, and hands its objects to `take` one by one if it has changed. `None`: as at
    /// the last poll. `progress` is called before every piece, and may break the reading off.
    ///
    /// # Errors
    /// A file that can't be used is an error once, then `None` until something about it changes;
    /// what was loaded from it before remains good. Empty, or without one object that can be used,
    /// it can't be used either: a file that is being written is empty at first. One that was gone
    /// and comes back is loaded again. Objects before an error in the middle have been handed
    /// over.
    pub fn poll(
        &mut self,
        take: &mut dyn FnMut(Object),
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Report>, ManifestError> {
        let file = self.path.display().to_string();
        let began = Instant::now();
        let polled = open(&self.path, MAX_BYTES).and_then(|from| self.hash(from, progress));
        self.took = began.elapsed();
        let found = match &polled {
            Ok(content) => LastPoll::Content(content.hash),
            Err(why) => LastPoll::Unreadable(why.to_string()),
        };
        if self.last.as_ref() == Some(&found) {
            return Ok(None);
        }
        self.last = Some(found);
        let (from, of) = match polled.and_then(|content| Ok((open(&self.path, MAX_BYTES)?, content))) {
            Ok((_, Content { is_blank: true, .. })) => return Err(ManifestError::Empty { file }),
            Ok((from, content)) => (from.take(MAX_BYTES), content.length),
            Err(why) => return Err(ManifestError::Unreadable { file, why }),
        };
        let from = Watched { from, at: Progress { read: 0, of }, progress };
        let report = read(&file, from, &self.others, LOCATED, take)?;
        // As a list without its `kind`, or a page of something else: using it would delete every
        // name.
        match report.problems.first() {
            Some(first) if report.listed.is_empty() => Err(ManifestError::Useless { file, first: first.clone() }),
            _ => Ok(Some(report)),
        }
    }

    fn hash(&self, from: File, progress: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<Content, FileError> {
        let (mut hasher, mut length, mut is_blank) = (self.hasher.build_hasher(), 0, true);
        let mut from = Watched { from: from.take(MAX_BYTES + 1), at: Progress::default(), progress };
        let mut piece = Vec::new();
        loop {
            piece.clear();
            // Pieces are whole, wherever a read ends: the hash depends on their ends.
            let read = (&mut from).take(PIECE).read_to_end(&mut piece)?;
            if read == 0 {
                break;
            }
            length += read as u64;
            is_blank = is_blank && piece.trim_ascii().is_empty();
            hasher.write(&piece);
        }
        hasher.write_u64(length);
        let hash = hasher.finish();
        if length > MAX_BYTES { Err(FileError::TooLong(MAX_BYTES)) } else { Ok(Content { hash, length, is_blank }) }
    }
}

/// A reader that reports its position.
struct Watched<'a, R> {
    from: R,
    at: Progress,
    progress: &'a mut dyn FnMut(Progress) -> ControlFlow<()>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if (self.progress)(self.at).is_break() {
            return Err(io::Error::other("the reading was broken off"));
        }
        let read = self.from.read(to)?;
        self.at.read += read as u64;
        Ok(read)
    }
}
