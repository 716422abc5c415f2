//! SIGHUP: reads the configuration again and applies what can change while the agent runs.

use std::sync::Arc;

use serde_json::json;

use super::loader;
use super::start::{Running, policy};
use crate::actors::cluster_source::Sources;
use crate::actors::configurator::Look;

/// Applies a new configuration, or keeps the old one whole and says why.
pub(super) fn reload(running: &mut Running) {
    let new = match running.layers.load() {
        Ok(new) => new,
        Err(problems) => {
            running.admin.reloads.rejected();
            tracing::error!("the configuration stays as it is, because the new one has problems:\n{problems}");
            return;
        }
    };
    let (resolved, changes) = running.resolved.reload(new);
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
    if settings.interfaces != old.interfaces {
        running.watch.select(loader::selection(&settings.interfaces));
    }
    running.scrape.set_pace(settings.scrape.min_interval, settings.scrape.timeout);
    running.scrape.set_open_metrics(settings.open_metrics);
    if let Some((file, configurator)) = &running.configurator {
        file.set_strict(settings.metrics_config_strict);
        configurator.do_send(Look);
    }
    running.parts.policy.store(Arc::new(policy(&settings.supervision)));
    running.admin.config.store(Arc::new(json!(resolved.entries())));
    running.admin.reloads.applied();
    running.resolved = resolved;
    tracing::info!(
        applied = changes.applied.len(),
        waiting_for_restart = changes.needs_restart.len(),
        "configuration read again"
    );
}
