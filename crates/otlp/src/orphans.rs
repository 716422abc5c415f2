//! Spool directories that no output uses any more: an output was renamed or removed while requests
//! waited. They are looked for beside those of the outputs that there are.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::config::OutputConfig;
use crate::spool::{LOCK, MAX_FILES, parse};

/// Directories that are looked into at most.
const MAX_DIRECTORIES: usize = 256;

/// A directory with requests that no output sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The directory.
    pub directory: PathBuf,
    /// Number of its requests, each a file.
    pub files: usize,
    /// Number of their records.
    pub records: u64,
}

impl std::fmt::Display for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { directory, files, records } = self;
        let directory = directory.display();
        write!(f, "{directory} has {files} requests ({records} records) that no output sends: ")?;
        write!(f, "move its files to the directory of an output before the agent starts, or remove it")
    }
}

/// The directories beside those of these outputs that have requests and are in use by no process.
/// What cannot be read is passed over. Blocks.
pub fn orphans<'a>(outputs: impl IntoIterator<Item = &'a OutputConfig>) -> Vec<Orphan> {
    let outputs = outputs.into_iter().filter_map(|output| Some((&output.spool.as_ref()?.directory, &output.name)));
    let used: BTreeSet<(&PathBuf, &String)> = outputs.collect();
    let places: BTreeSet<&PathBuf> = used.iter().map(|(directory, _)| *directory).collect();
    let beside = places.iter().flat_map(|place| fs::read_dir(place).into_iter().flatten().flatten());
    let mut directories: Vec<PathBuf> = beside
        .take(MAX_DIRECTORIES)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|path| !used.iter().any(|(directory, name)| directory.join(name) == *path))
        .collect();
    directories.sort();
    directories.into_iter().filter(|directory| !is_in_use(directory)).filter_map(orphan).collect()
}

fn is_in_use(directory: &Path) -> bool {
    let Ok(lock) = File::open(directory.join(LOCK)) else { return false };
    // Shared: two of these checks do not take each other for an output.
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

fn orphan(directory: PathBuf) -> Option<Orphan> {
    let entries = fs::read_dir(&directory).ok()?.flatten().take(MAX_FILES);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let records: Vec<u64> = names.filter_map(|name| Some(u64::from(parse(&name)?.1))).collect();
    (!records.is_empty()).then(|| Orphan { directory, files: records.len(), records: records.iter().sum() })
}
