//! Flow log files: the exporter of the settings, and those of the file of exporters.

use std::path::Path;
use std::sync::Arc;

use actix::Addr;
use webb_observer::History;
use webb_observer::export::{ExportConfig, Loss, Node};
use webb_settings::{Problems, Resolved, Settings, read_file};

use super::metrics::Added;
use super::parts::Parts;
use crate::actors::Finish;
use crate::actors::export_file::ExportFile;
use crate::actors::export_follower::{ExportFollower, FlowLogFile};
use crate::actors::exporters::{ExporterFactory, Exporters, SetChanges};
use crate::actors::file_follower::PollFile;
use crate::exports::metrics::{ALL, CONFIG_HASH, CONFIG_LAST_APPLIED, EXPORTERS, RECONFIGURATIONS, UP};
use crate::exports::{self, Rules, STATIC};
use crate::families::Rows;
use crate::selfmetrics::{self as own, SelfMetrics};

/// Checks the file of exporters where there is one; returns its warnings.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check(resolved: &mut Resolved) -> Result<Option<Problems>, Problems> {
    let Some(path) = resolved.settings.export.config.clone() else { return Ok(None) };
    if path.try_exists().is_ok_and(|exists| !exists) {
        let message = format!("`export.config`: {} is not there; its exporters are not checked", path.display());
        resolved.warn("export.config", message);
        return Ok(None);
    }
    let found = exports::read(read_file(&path)?, &Rules::from(&resolved.settings.export))?;
    Ok(Some(Problems { warnings: found.warnings, file: Some(found.file), ..Problems::default() }.sorted()))
}

/// The running exporters.
pub(super) struct Exporting {
    exporters: Arc<Exporters>,
    followed: Option<(Arc<ExportFile>, Addr<ExportFollower>)>,
}

impl Exporting {
    /// Starts them, if any are configured. All read the history from its first event on.
    pub(super) fn start(
        parts: &Parts,
        settings: &Settings,
        configured: Option<ExportConfig>,
        (history, node): (&Arc<History>, Node),
    ) -> Option<Self> {
        if !settings.export.is_on() {
            return None;
        }
        let factory = ExporterFactory {
            components: parts.components.clone(),
            directory: parts.directory.clone(),
            policy: Arc::clone(&parts.policy),
            escalations: parts.escalations(),
            history: Arc::clone(history),
            node,
        };
        let exporters = Arc::new(Exporters::new(factory));
        if let Some(config) = configured
            && let Err(why) = exporters.start(config, 0)
        {
            tracing::error!(exporter = STATIC, "not started: {why}");
        }
        let followed = settings.export.config.as_deref().map(|path| follow(parts, settings, path, &exporters));
        Some(Self { exporters, followed })
    }

    /// Reads the file of exporters again.
    pub(super) fn poll(&self) {
        if let Some((_, follower)) = &self.followed {
            follower.do_send(PollFile);
        }
    }

    /// Has all exporters write what the history has, and end. No event comes any more.
    pub(super) async fn finish(&self) {
        if let Some((_, follower)) = &self.followed
            && follower.send(Finish).await.is_err()
        {
            tracing::warn!("the follower of the file of exporters had ended before the stop request");
        }
        self.exporters.finish().await;
    }
}

fn follow(
    parts: &Parts,
    settings: &Settings,
    path: &Path,
    exporters: &Arc<Exporters>,
) -> (Arc<ExportFile>, Addr<ExportFollower>) {
    let file = Arc::new(ExportFile::new(path.to_owned(), Rules::from(&settings.export)));
    let followed = FlowLogFile { file: Arc::clone(&file), exporters: Arc::clone(exporters) };
    let follower = ExportFollower::start(followed, parts.intensity("export"));
    parts.directory.add("export", follower.clone().recipient());
    (file, follower)
}

/// Rows about exporters; none without any.
pub(super) fn metrics(metrics: &SelfMetrics, exporting: Option<&Exporting>) -> Added {
    let Some(exporting) = exporting else { return Ok(()) };
    let exporters = Arc::clone(&exporting.exporters);
    metrics.add(
        &[&own::EXPORT_LINES, &own::EXPORT_BYTES, &own::EXPORT_LOST, &own::EXPORT_ROTATIONS],
        Box::new(move |rows| {
            for one in exporters.status() {
                let (name, counters) = (one.name.as_str(), one.counters);
                rows.add(&own::EXPORT_LINES, &[name], counters.lines());
                rows.add(&own::EXPORT_BYTES, &[name], counters.bytes());
                rows.add(&own::EXPORT_ROTATIONS, &[name], counters.rotations());
                for reason in Loss::ALL {
                    rows.add(&own::EXPORT_LOST, &[name, reason.label()], counters.lost(reason));
                }
            }
        }),
    )?;
    let Some((file, _)) = &exporting.followed else { return Ok(()) };
    let (file, exporters) = (Arc::clone(file), Arc::clone(&exporting.exporters));
    let reloads = Arc::clone(&file);
    metrics.add(
        &[&own::EXPORT_CONFIG_RELOADS],
        Box::new(move |rows| {
            for (outcome, count) in reloads.watched().reloads().counts() {
                rows.add(&own::EXPORT_CONFIG_RELOADS, &[outcome], count);
            }
        }),
    )?;
    metrics.add(&ALL, Box::new(move |rows| hubble(rows, &exporters, &file)))
}

/// Rows under Hubble's names: of the exporters of the file.
fn hubble(rows: &mut Rows, exporters: &Exporters, file: &ExportFile) {
    let mut counts = [0; 2];
    for one in exporters.status().into_iter().filter(|one| one.name != STATIC) {
        let [active, inactive] = &mut counts;
        *(if one.active { active } else { inactive }) += 1;
        rows.add(&UP, &[&one.name], u64::from(one.active));
    }
    for (status, count) in ["active", "inactive"].into_iter().zip(counts) {
        rows.add(&EXPORTERS, &[status], count);
    }
    let SetChanges { added, updated, removed, failed } = file.changes();
    for (op, count) in [("add", added), ("update", updated), ("remove", removed), ("failure", failed)] {
        rows.add(&RECONFIGURATIONS, &[op], count);
    }
    #[allow(clippy::cast_precision_loss, reason = "Hubble's is a float as well")]
    rows.add_f64(&CONFIG_HASH, &[], file.hash() as f64);
    rows.add(&CONFIG_LAST_APPLIED, &[], file.watched().reloads().success_seconds());
}
