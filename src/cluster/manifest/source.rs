//! The manifest as a source: read again when its content has changed.

use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Manifest, ManifestError, parse_with};
use crate::cluster::OtherKinds;

/// Twenty thousand pods as `kubectl` prints them are about half of this.
const MAX_BYTES: u64 = 256 << 20;

/// A manifest file that is looked at now and then.
///
/// The content decides, not times: a `ConfigMap` volume swaps a link under the file's name, and editors write anew.
#[derive(Debug)]
pub struct ManifestSource {
    path: PathBuf,
    hasher: foldhash::quality::RandomState,
    last: Option<Seen>,
    others: OtherKinds,
}

/// What the last look found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content(u64),
    Unreadable(io::ErrorKind),
}

impl ManifestSource {
    /// A source that hasn't looked yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_kinds(path, OtherKinds::default())
    }

    /// As [`ManifestSource::new`], where these are the other kinds of policy.
    pub fn with_kinds(path: impl Into<PathBuf>, others: OtherKinds) -> Self {
        Self { path: path.into(), hasher: foldhash::quality::RandomState::default(), last: None, others }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks at the file. `None`: as at the last look. A file that can't be used is an error once, then `None` until
    /// something about it changes; what was loaded from it before remains good.
    pub fn poll(&mut self) -> Result<Option<Manifest>, ManifestError> {
        let file = || self.path.display().to_string();
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(why) => {
                let seen = Some(Seen::Unreadable(why.kind()));
                if self.last == seen {
                    return Ok(None);
                }
                let error = if why.kind() == io::ErrorKind::FileTooLarge {
                    ManifestError::TooLong { file: file(), limit: MAX_BYTES }
                } else {
                    ManifestError::Unreadable { file: file(), why }
                };
                self.last = seen;
                return Err(error);
            }
        };
        let seen = Some(Seen::Content(self.hasher.hash_one(&text)));
        if self.last == seen {
            return Ok(None);
        }
        let parsed = parse_with(&file(), &text, &self.others);
        self.last = seen;
        parsed.map(Some)
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    String::from_utf8(bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.utf8_error()))
}
