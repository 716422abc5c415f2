//! The API server as the source of names: watches, and a names relay beside them if there is one.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use webb_cluster::kubernetes::{self, Access};
use webb_flow::fault::{State, inject};

use super::{HEALTH_INTERVAL, INITIAL_SYNC_TIMEOUT, NOT_READ_YET, Resolver};
use crate::actors::cluster_source::Sources;
use crate::actors::thread_supervisor::Failure;
use crate::pipeline::Lifecycle;

/// Debounce: changes within this time go into one index.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Minimal time between two published indexes.
const MIN_PUBLISH_INTERVAL: Duration = Duration::from_millis(200);

impl Resolver {
    /// All watches, the publishing and the housekeeping are one task, so that a panic in any of
    /// them ends this run of the thread, and is caught and counted where every thread's is.
    pub(super) fn follow_api(
        &self,
        lifecycle: &Lifecycle,
        turn: u64,
        access: &Access,
        of: &Sources,
    ) -> Result<(), Failure> {
        self.problems.store(0, Relaxed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                never = kubernetes::follow(access, &of.timings, &self.cache, &self.watches, &self.changed) => match never {},
                never = self.publish_changes() => match never {},
                never = self.follow_relay() => match never {},
                () = self.maintain(lifecycle, turn) => {}
            }
        });
        // A credential plugin or a name server that hangs must not keep us.
        runtime.shutdown_background();
        Ok(())
    }

    async fn follow_relay(&self) -> Infallible {
        match &self.relay {
            Some(relay) => relay.run(&self.cache, &self.changed).await,
            None => std::future::pending().await,
        }
    }

    async fn publish_changes(&self) -> Infallible {
        loop {
            self.changed.notified().await;
            sleep(DEBOUNCE).await;
            let began = Instant::now();
            self.publish();
            let took = began.elapsed();
            if self.watches.complete() && !self.complete.swap(true, Relaxed) {
                let addresses = self.index.load().addresses();
                tracing::info!(pods = self.cache.counts().pods, addresses, "names are complete");
            }
            // Where indexes are expensive, most of the thread's time is still for reading.
            sleep(MIN_PUBLISH_INTERVAL.saturating_sub(DEBOUNCE).max(took * 4)).await;
        }
    }

    /// Reason for which names are incomplete or stale; empty if there is none.
    fn complaint(&self) -> String {
        let of_relay = self.relay.as_ref().map(|relay| relay.complaint());
        let all = [self.watches.complaint()].into_iter().chain(of_relay).filter(|text| !text.is_empty());
        all.collect::<Vec<_>>().join("; ")
    }

    async fn maintain(&self, lifecycle: &Lifecycle, turn: u64) {
        let began = Instant::now();
        let mut reported = None;
        while self.goes_on(lifecycle, turn) {
            inject::point("resolver");
            lifecycle.beat();
            let mut complaint = self.complaint();
            if !self.watches.synced() {
                let (synced, kinds) = self.watches.progress();
                complaint = format!("{NOT_READ_YET}: {synced} of {kinds} kinds; {complaint}");
            }
            let name = self.watches.synced().then(|| self.name_complaint()).flatten();
            if let Some(text) = name.as_ref().filter(|text| reported.as_ref() != Some(*text)) {
                tracing::warn!("{text}");
            }
            reported.clone_from(&name);
            if let Some(text) = name {
                complaint = if complaint.is_empty() { text } else { format!("{text}; {complaint}") };
            }
            let synced = self.watches.synced() && self.relay_is_known();
            let is_early = !synced && began.elapsed() < INITIAL_SYNC_TIMEOUT;
            let amiss = if is_early { State::Starting } else { State::Degraded };
            let state = if complaint.is_empty() { State::Up } else { amiss };
            self.report_state(state, complaint);
            self.apply_network_changes();
            self.check_coverage();
            self.expire_deleted_pods();
            tokio::select! {
                () = sleep(HEALTH_INTERVAL) => {}
                () = self.network.changed() => sleep(DEBOUNCE).await,
            }
        }
    }
}
