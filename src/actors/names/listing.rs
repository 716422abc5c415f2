//! Keeps the relay's pods and nodes equal to the API server's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::time::sleep;
use webb_cluster::kubernetes::{Status, WatchTimings};
use webb_cluster::{Cache, CacheSettings};
use webb_flow::fault::{State, inject};
use webb_names::{Directory, list};

use crate::actors::elector::find;
use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;

/// Interval of the thread's heartbeat and of its check for a stop.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// The pods and nodes, and what their watches say of themselves.
#[derive(Debug)]
pub struct Listing {
    kubeconfig: Option<PathBuf>,
    directory: Arc<Directory>,
    nodes: Cache,
    watch: Arc<Status>,
}

impl Listing {
    /// Keeps this directory.
    pub fn new(kubeconfig: Option<PathBuf>, directory: Arc<Directory>, watch: Arc<Status>) -> Self {
        Self { kubeconfig, directory, nodes: Cache::new(CacheSettings::default()), watch }
    }

    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        lifecycle.beat_starting("pods and nodes are not listed yet");
        let Some(access) = find(self.kubeconfig.as_deref(), lifecycle) else { return Ok(()) };
        tracing::info!("pods and nodes come from the API server, by {access}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let timings = WatchTimings::default();
        runtime.block_on(async {
            tokio::select! {
                never = list(&access, &timings, &self.directory, &self.nodes, &self.watch) => match never {},
                () = self.report(lifecycle) => {}
            }
        });
        // A credential plugin or a name server that hangs must not keep us.
        runtime.shutdown_background();
        Ok(())
    }

    async fn report(&self, lifecycle: &Lifecycle) {
        let mut listed = false;
        while !lifecycle.stopping() {
            inject::point("names/pods");
            lifecycle.beat();
            let complaint = self.watch.complaint();
            let synced = self.watch.synced() && self.directory.knows_nodes();
            if synced && !std::mem::replace(&mut listed, true) {
                let (pods, addresses, profiles) = self.directory.counts();
                tracing::info!(
                    pods,
                    addresses,
                    profiles,
                    nodes = self.directory.nodes(),
                    "all pods and nodes are listed"
                );
            }
            // Before all are listed agents are refused: the relay is not ready.
            let amiss = if listed { State::Degraded } else { State::Starting };
            let state = if complaint.is_empty() { State::Up } else { amiss };
            lifecycle.component().set_state(state, &complaint);
            sleep(HEALTH_INTERVAL).await;
        }
    }
}

/// Starts it. Its longest wait is a second.
pub fn start(listing: Arc<Listing>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    ThreadSupervisor::start(Arc::new(move |lifecycle: &Lifecycle| listing.run(lifecycle)), Arc::new(|| {}), intensity)
}
