//! The configuration of one exporter.

use std::path::PathBuf;
use std::time::Duration;

use webb_index::filters::{Filters, FlowFilter};

use crate::mask::{InvalidMask, Mask};

/// What an exporter writes, and where.
#[derive(Debug, Clone)]
pub struct ExportConfig {
    /// Its name, unique among the exporters.
    pub name: String,
    /// Where it writes.
    pub target: Target,
    /// The events that it writes.
    pub filters: Filters,
    /// Paths of the fields of a flow that it writes; none is all of them.
    pub fields: Vec<String>,
    /// Flows are counted in groups, and not written one by one.
    pub aggregation: Option<Aggregation>,
    /// When a file is closed and another begun.
    pub rotation: Rotation,
    /// Interval in which written lines are forced to the disk; none leaves that to the kernel.
    pub sync: Option<Duration>,
    /// Unix time in nanoseconds from which on nothing is written.
    pub end_ns: Option<u64>,
}

/// Where lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, below this directory.
    File {
        /// Path of the file, as it was written.
        path: PathBuf,
        /// The directory that it must be in, behind all links.
        directory: PathBuf,
    },
}

/// Counts of flows with equal fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregation {
    /// Paths of these fields.
    pub fields: Vec<String>,
    /// Time after which the groups are written and begun anew.
    pub interval: Duration,
}

/// Limits of a file, and what becomes of the files before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file at most; a line that is longer is lost.
    pub max_bytes: u64,
    /// Files that are kept beside the current one; 0 is all.
    pub backups: u32,
    /// True if those are compressed.
    pub compress: bool,
    /// Age at which a file is closed.
    pub max_age: Option<Duration>,
}

/// A path that an exporter must not write to.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPath {
    /// It leads out of the directory.
    #[error("{path} is outside of {directory}", path = .0.display(), directory = .1.display())]
    Outside(PathBuf, PathBuf),
    /// It is the directory, or no path of a file.
    #[error("expected the path of a file, found {:?}", .0.display().to_string())]
    NoFile(PathBuf),
    /// There is something else.
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// It cannot be looked at.
    #[error("{}: {error}", path.display())]
    System {
        /// What was looked at.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
}

impl ExportConfig {
    /// Checks the fields, and compiles the mask of what is written; none is all of a flow.
    ///
    /// # Errors
    /// If a path of a field leads nowhere.
    pub fn mask(&self) -> Result<Option<Mask>, InvalidMask> {
        let paths = self.aggregation.as_ref().map_or(&self.fields, |aggregation| &aggregation.fields);
        if paths.is_empty() { Ok(None) } else { Mask::new(paths.iter().map(String::as_str)).map(Some) }
    }

    /// True if both write the same to the same place: lists of fields and filters are sets.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_fields = |a: &[String], b: &[String]| is_same_set(a, b);
        let same_filters = |a: &[FlowFilter], b: &[FlowFilter]| is_same_set(a, b);
        let same_groups = match (&self.aggregation, &other.aggregation) {
            (None, None) => true,
            (Some(a), Some(b)) => a.interval == b.interval && same_fields(&a.fields, &b.fields),
            _ => false,
        };
        self.name == other.name
            && self.target == other.target
            && same_filters(&self.filters.include, &other.filters.include)
            && same_filters(&self.filters.exclude, &other.filters.exclude)
            && same_fields(&self.fields, &other.fields)
            && same_groups
            && self.rotation == other.rotation
            && self.sync == other.sync
            && self.end_ns == other.end_ns
    }
}

fn is_same_set<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.iter().all(|item| b.contains(item)) && b.iter().all(|item| a.contains(item))
}
