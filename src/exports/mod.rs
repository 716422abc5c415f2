//! The configuration of what leaves the agent: flow log files, from the settings and from
//! `flowlogs.yaml`, and outputs of rows and flows.
//!
//! ```text
//! export.file_path, ... ──▶ settings ──┐
//! export.config ──▶ flowlogs ──────────┴──▶ ExportConfig ──▶ actors::exporters
//! outputs_config ──▶ outputs ────────────▶ OutputsFile  ──▶ actors::outputs
//! ```

#[cfg(test)]
mod chart_tests;
mod filters;
mod flowlogs;
mod flows;
mod kafka;
mod md5;
pub mod metrics;
mod output;
mod outputs;
mod rollups;
mod settings;
mod values;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use flowlogs::{FlowLogs, Listed, fuzz, read};
pub(crate) use md5::first_half as hash;
pub use output::Output;
pub use outputs::{MAX_OUTPUTS, OutputsFile, read as read_outputs};
pub use settings::{Rules, of_settings};
use webb_observer::export::{InvalidPath, Target, check};

/// Exporters at most: each has a thread.
pub const MAX_EXPORTERS: usize = 16;

/// The name of the exporter of the settings.
pub const STATIC: &str = "static";

/// The path that is no file.
const STDOUT: &str = "stdout";

/// Shortest interval of groups.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The target that a path stands for, checked by its letters.
fn target(path: &Path, directory: &Path) -> Result<Target, InvalidPath> {
    if path == Path::new(STDOUT) {
        return Ok(Target::Stdout);
    }
    check(path, directory)?;
    Ok(Target::File { path: path.to_owned(), directory: directory.to_owned() })
}

/// Bytes of so many MiB.
fn mebibytes(count: u64) -> u64 {
    count.saturating_mul(1 << 20)
}

/// The directory of a setting that is never none.
fn directory(setting: Option<&PathBuf>) -> PathBuf {
    setting.cloned().unwrap_or_default()
}
