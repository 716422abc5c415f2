//! Polls the dynamic file every ten seconds and applies its metrics to the fleet of aggregators.
//!
//! ```text
//! file ──poll──▶ unchanged │ problems: said once, all stays as it is │ changes ──▶ Fleet::change ──▶ accepted
//! ```
//!
//! Changing waits for the reader.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use webb_metrics::dynamic::{ChangeCounts, MetricChange};
use webb_settings::Problems;

use super::file_follower::{ConfigFile, FileFollower};
use super::fleet::Fleet;
use super::metrics_file::{FileUpdate, MetricsFile};

/// Actor that applies the dynamic metrics file.
pub type Configurator = FileFollower<FleetFile>;

/// The dynamic metrics file, and the fleet that it configures.
#[derive(Debug, Clone)]
pub struct FleetFile {
    /// The file.
    pub file: Arc<MetricsFile>,
    /// The aggregators.
    pub fleet: Arc<Fleet>,
}

impl ConfigFile for FleetFile {
    type Update = FileUpdate;
    /// Of hubble-contract §2.5.4.
    const POLL_INTERVAL: Duration = Duration::from_secs(10);
    const SUBJECT: &'static str = "the metrics";
    const FAULT_POINT: &'static str = "configurator";

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn poll(&self) -> Result<Option<FileUpdate>, Problems> {
        self.file.poll()
    }

    fn invalidate(&self) {
        self.file.invalidate();
    }

    fn complaint(&self) -> String {
        self.file.complaint()
    }

    async fn apply(&self, update: FileUpdate) {
        for warning in &update.dynamic.warnings {
            tracing::warn!("{}", warning.render("metrics", Some(&update.dynamic.file)));
        }
        for change in &update.changes {
            if let MetricChange::Restart(metric) = change {
                tracing::warn!(metric, "its context options changed: its series begin anew under other labels");
            }
        }
        let configs: Vec<_> = update.dynamic.metrics.iter().map(|listed| &listed.config).collect();
        if !update.changes.is_empty() {
            self.fleet.change(&update.changes, &configs).await;
        }
        let ChangeCounts { added, removed, filtered, restarted } = ChangeCounts::of(&update.changes);
        tracing::info!(added, removed, filtered, restarted, metrics = configs.len(), "metrics configured");
        self.file.accept(update);
    }
}
