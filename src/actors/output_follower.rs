//! Polls the file of outputs every five seconds and makes the outputs that run those of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use webb_settings::Problems;

use super::config_file::WatchedFile;
use super::file_follower::{ConfigFile, FileFollower};
use super::outputs::Outputs;
use crate::exports::OutputsFile;

/// Actor that applies the file of outputs.
pub type OutputFollower = FileFollower<FollowedOutputs>;

/// The file of outputs, and those that run.
#[derive(Debug, Clone)]
pub struct FollowedOutputs {
    /// The file.
    pub file: Arc<WatchedFile<OutputsFile>>,
    /// All outputs.
    pub outputs: Arc<Outputs>,
}

impl ConfigFile for FollowedOutputs {
    type Update = OutputsFile;
    const POLL_INTERVAL: Duration = Duration::from_secs(5);
    const SUBJECT: &'static str = "the outputs";
    const FAULT_POINT: &'static str = "outputs";

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn poll(&self) -> Result<Option<OutputsFile>, Problems> {
        self.file.poll()
    }

    fn invalidate(&self) {
        self.file.invalidate();
    }

    fn complaint(&self) -> String {
        self.file.complaint()
    }

    async fn apply(&self, found: OutputsFile) {
        let failed = self.outputs.change(&found).await;
        tracing::info!(outputs = found.outputs.len(), "outputs configured");
        self.file.applied(failed.as_deref());
    }
}
