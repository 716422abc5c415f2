//! Stopping, in the reverse order of the pipeline, within one budget.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::timeout;

use super::parts::finish;
use super::start::Running;
use crate::actors::{Finish, Resume};

/// Stops everything within the budget; the log names what is still running then.
pub(super) async fn stop(running: Running) {
    let (budget, linger) = (running.resolved.settings.shutdown.budget, running.resolved.settings.shutdown.linger);
    running.admin.stopping.store(true, Relaxed);
    tracing::info!("stopping");
    if timeout(budget.saturating_sub(linger), drain(&running)).await.is_err() {
        tracing::error!("not everything stopped within {} s; the rest is left behind", budget.as_secs());
    }
    if !linger.is_zero() {
        tracing::info!("the last counters stay at /metrics for {} s", linger.as_secs());
        tokio::time::sleep(linger).await;
    }
    if let Some(server) = running.observing.as_ref().and_then(|observing| observing.server.as_ref())
        && timeout(Duration::from_secs(3), finish(server)).await.is_err()
    {
        tracing::warn!("the observer had open connections; they are closed");
    }
    let servers = futures::future::join_all(running.servers.iter().map(|server| server.send(Finish)));
    if timeout(Duration::from_secs(3), servers).await.is_err() {
        tracing::warn!("a listener had open connections; they are closed");
    }
    // The last one: until then other nodes find the agent at work.
    if let Some(health) = &running.health
        && timeout(Duration::from_secs(3), health.server.send(Finish)).await.is_err()
    {
        tracing::warn!("the listener for other nodes had open connections; they are closed");
    }
    tracing::info!("stopped");
}

/// Follows the data: nothing new, nothing pending, rings empty, lanes empty, a last cut.
async fn drain(running: &Running) {
    // Another replica need not wait until all of this is done.
    if let Some(operator) = &running.operator {
        operator.finish().await;
    }
    if let Some((_, configurator)) = &running.configurator
        && configurator.send(Finish).await.is_err()
    {
        tracing::warn!("the configurator had ended before the stop request");
    }
    if let Some(kernel) = &running.kernel {
        finish(&kernel.probes).await;
        kernel.watch.detach_all();
        // The last sweep needs room in the rings: reader and decoder may be waiting out a backoff.
        if kernel.decoder.send(Finish).await.is_err() {
            tracing::warn!("the decoder's actor had ended before the stop request");
        }
        running.reader.do_send(Resume);
        finish(&kernel.sweeper).await;
    }
    if let Some((dissector, _)) = &running.dissector {
        dissector.do_send(Resume);
        finish(dissector).await;
    }
    finish(&running.reader).await;
    if let Some(observing) = &running.observing {
        finish(&observing.recorder).await;
        if let Some(exporting) = &observing.exporting {
            exporting.finish().await;
        }
    }
    if let Some(sending) = &running.sending {
        sending.finish().await;
    }
    let scrape = Arc::clone(&running.scrape);
    let cut = tokio::task::spawn_blocking(move || scrape.collect_last());
    if cut.await.is_err() {
        tracing::warn!("no final cut: a last scrape shows the one before");
    }
    running.fleet.finish().await;
    for cluster in &running.mesh.supervisors {
        finish(cluster).await;
    }
    finish(&running.resolver).await;
    for thread in &running.counting {
        finish(thread).await;
    }
    if let Some(conntrack) = &running.conntrack {
        finish(conntrack).await;
    }
    if let Some(health) = &running.health {
        finish(&health.supervisor).await;
    }
}
