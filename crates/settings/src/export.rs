//! Settings of the export of flows to files.

use std::path::PathBuf;
use std::time::Duration;

/// Flow log files: one that is configured here, and those of a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The file, or `stdout`; none writes none.
    pub file_path: Option<PathBuf>,
    /// Size of a file at most, in MiB.
    pub file_max_size_mb: u32,
    /// Files that are kept beside the current one; 0 is all.
    pub file_max_backups: u32,
    /// Whether these are compressed.
    pub file_compress: bool,
    /// Age at which a file is closed; zero is never.
    pub file_max_age: Duration,
    /// Filters, each as JSON: one of them must match, if there are any.
    pub allow_list: Vec<String>,
    /// Filters of which none may match.
    pub deny_list: Vec<String>,
    /// Paths of the fields to write; none is all.
    pub field_mask: Vec<String>,
    /// Paths of the fields by which flows are counted together.
    pub field_aggregate: Vec<String>,
    /// Time for which they are counted; zero does not.
    pub aggregation_interval: Duration,
    /// Interval in which lines are forced to the disk; zero leaves that to the kernel.
    pub sync_interval: Duration,
    /// A file of exporters, which may change while the agent runs.
    pub config: Option<PathBuf>,
    /// The directory that all of them write in; never none.
    pub directory: Option<PathBuf>,
}

impl Export {
    /// True if flows are exported.
    pub fn is_on(&self) -> bool {
        self.file_path.is_some() || self.config.is_some()
    }
}

impl Default for Export {
    fn default() -> Self {
        Self {
            file_path: None,
            file_max_size_mb: 10,
            file_max_backups: 5,
            file_compress: false,
            file_max_age: Duration::ZERO,
            allow_list: Vec::new(),
            deny_list: Vec::new(),
            field_mask: Vec::new(),
            field_aggregate: Vec::new(),
            aggregation_interval: Duration::ZERO,
            sync_interval: Duration::ZERO,
            config: None,
            directory: Some(PathBuf::from("/var/run/cilium/hubble")),
        }
    }
}
