//! SIGHUP: reads the configuration again and applies what can change while the agent runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinError, JoinHandle};
use webb_flow::fault::State;
use webb_settings::{Layers, Problems, Resolved};

use super::configured::check_list;
use super::parts::policy;
use super::start::{Running, zone_cidrs};
use super::{agent_metrics, layer7, loader, toggles};
use crate::actors::cluster_source::Sources;
use crate::actors::file_follower::PollFile;

/// Time after which a file system counts as one that does not answer.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Outcome of reading the configuration.
pub(super) type Read = Result<Resolved, Problems>;

/// A configuration that is being read, on another thread: a file system that hangs must not keep
/// the agent from being stopped.
#[derive(Debug, Default)]
pub(super) struct PendingReload {
    under_way: Option<JoinHandle<Read>>,
    /// The time from which the read is late; none once that was said.
    late_from: Option<Instant>,
    again: bool,
}

impl PendingReload {
    /// Reads the configuration, or once more if that is being done already.
    pub(super) fn begin(&mut self, layers: &Layers) {
        self.again = self.under_way.is_some();
        if !self.again {
            let layers = layers.clone();
            self.under_way = Some(tokio::task::spawn_blocking(move || layers.load()));
            self.late_from = Some(Instant::now() + READ_LIMIT);
        }
    }

    /// Waits until it has been read; none once when it is late. For ever without a request.
    pub(super) async fn progress(&mut self) -> Option<Result<Read, JoinError>> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        if let Some(late) = self.late_from {
            tokio::select! {
                read = &mut *under_way => {
                    self.under_way = None;
                    return Some(read);
                }
                () = tokio::time::sleep_until(late.into()) => {
                    self.late_from = None;
                    return None;
                }
            }
        }
        let read = under_way.await;
        self.under_way = None;
        Some(read)
    }

    /// True, once, if a reload was requested while one was in progress.
    pub(super) fn again(&mut self) -> bool {
        std::mem::take(&mut self.again)
    }
}

/// Reports a configuration that cannot be read in time; the read goes on.
pub(super) fn say_late(running: &Running) {
    let file = running.layers.file.as_deref().map_or("the configuration".into(), |file| file.display().to_string());
    let why = format!("{file} does not answer: it could not be read in {} s", READ_LIMIT.as_secs());
    running.control().set_state(State::Degraded, &why);
    tracing::error!("the configuration stays as it is: {why}");
}

/// Applies a new configuration, or keeps the old one whole and logs the reason.
pub(super) fn apply(running: &mut Running, read: Result<Read, JoinError>) {
    let why = match read {
        Ok(Ok(new)) => return take(running, new),
        Ok(Err(problems)) => problems.to_string(),
        Err(panic) => panic.to_string(),
    };
    running.admin.reloads.rejected();
    let first = why.lines().next().unwrap_or_default();
    running.control().set_state(State::Degraded, &format!("the last reload was rejected: {first}"));
    tracing::error!("the configuration stays as it is, because the new one has problems:\n{why}");
}

fn take(running: &mut Running, new: Resolved) {
    let (mut resolved, changes) = running.resolved.reload(new);
    if running.configurator.is_none() {
        // The list itself waits for the next start; what it needs of other keys may have changed.
        if let Err(problems) = check_list(&mut resolved) {
            tracing::error!("{problems}");
        }
    }
    toggles::check(&mut resolved);
    for warning in &resolved.warnings {
        tracing::warn!("{}", warning.render("configuration", resolved.file.as_deref()));
    }
    for change in &changes.applied {
        tracing::info!(key = change.key, from = %change.from, to = %change.to, "configuration changed");
    }
    for change in &changes.needs_restart {
        tracing::warn!(key = change.key, to = %change.to, "this change waits for the next start");
    }
    let (old, settings) = (&running.resolved.settings, &resolved.settings);
    if settings.log.level != old.log.level
        && let Err(error) = running.admin.log.set(&settings.log.level)
    {
        tracing::error!("{error}");
    }
    let sources = Sources::from(settings);
    if sources != Sources::from(old) {
        running.names.read_from(sources);
    }
    if settings.zones != old.zones {
        running.names.cache().set_places(zone_cidrs(&settings.zones), settings.zones.overhead);
    }
    if let Some(kernel) = &running.kernel
        && settings.interfaces != old.interfaces
    {
        kernel.watch.select(loader::selection(&settings.interfaces));
    }
    if let Some((_, config)) = &running.dissector
        && settings.l7 != old.l7
    {
        config.store(Arc::new(layer7::config(&settings.l7)));
    }
    running.scrape.set_pace(settings.scrape.min_interval, settings.scrape.timeout);
    running.scrape.set_open_metrics(settings.open_metrics);
    if let Some(agent) = &running.agent {
        agent.select(agent_metrics::selection(&settings.agent_metrics));
    }
    if let Some((file, configurator)) = &running.configurator {
        file.set_rules(settings.into());
        configurator.do_send(PollFile);
    }
    if let Some(exporting) = running.observing.as_ref().and_then(|observing| observing.exporting.as_ref()) {
        exporting.poll();
    }
    if let Some(sending) = &running.sending {
        sending.poll();
    }
    running.parts.policy.store(Arc::new(policy(&settings.supervision)));
    running.admin.config.store(Arc::new(json!(resolved.entries())));
    running.admin.reloads.set_waiting(changes.needs_restart.len());
    running.admin.reloads.applied();
    running.control().set_state(State::Up, "");
    running.resolved = resolved;
    tracing::info!(
        applied = changes.applied.len(),
        waiting_for_restart = changes.needs_restart.len(),
        "configuration read again"
    );
}
