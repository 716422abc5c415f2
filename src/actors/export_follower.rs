//! Polls the file of exporters every five seconds and makes the exporters that run those of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use webb_settings::Problems;

use super::export_file::ExportFile;
use super::exporters::{Exporters, SetChanges};
use super::file_follower::{ConfigFile, FileFollower};
use crate::exports::{FlowLogs, STATIC};

/// Actor that applies the file of exporters.
pub type ExportFollower = FileFollower<FlowLogFile>;

/// The file of exporters, and those that run. The exporter of the settings is left alone.
#[derive(Debug, Clone)]
pub struct FlowLogFile {
    /// The file.
    pub file: Arc<ExportFile>,
    /// All exporters.
    pub exporters: Arc<Exporters>,
}

impl ConfigFile for FlowLogFile {
    type Update = FlowLogs;
    /// As Hubble polls.
    const POLL_INTERVAL: Duration = Duration::from_secs(5);
    const SUBJECT: &'static str = "the exporters";
    const FAULT_POINT: &'static str = "export";

    fn path(&self) -> &Path {
        self.file.watched().path()
    }

    fn poll(&self) -> Result<Option<FlowLogs>, Problems> {
        self.file.watched().poll()
    }

    fn invalidate(&self) {
        self.file.watched().invalidate();
    }

    fn complaint(&self) -> String {
        self.file.watched().complaint()
    }

    async fn apply(&self, found: FlowLogs) {
        for warning in &found.warnings {
            tracing::warn!("{}", warning.render("exporters", Some(&found.file)));
        }
        let wanted: Vec<_> = found.exporters.iter().map(|listed| listed.config.clone()).collect();
        let changes = self.exporters.change(&wanted, |name| name != STATIC).await;
        let SetChanges { added, updated, removed, failed } = changes;
        tracing::info!(added, updated, removed, failed, exporters = wanted.len(), "exporters configured");
        self.file.applied(&found, changes);
    }
}
