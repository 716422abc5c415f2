//! Keeps an operator's view of the cluster, on every replica: one that begins to lead knows it
//! already.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::time::sleep;
use webb_cluster::kubernetes::{Status, WatchTimings, follow_view};
use webb_cluster::view::ClusterView;
use webb_flow::fault::{State, inject};

use super::elector::find;
use super::restart::Intensity;
use super::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;

/// Interval of the thread's heartbeat and of its check for a stop.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Time after which an incomplete view is reported as a fault.
const INITIAL_SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// The view, and what its watches say of themselves.
#[derive(Debug)]
pub struct ViewFollower {
    kubeconfig: Option<PathBuf>,
    view: Arc<ClusterView>,
    watches: Arc<Status>,
}

impl ViewFollower {
    /// A follower of the API server that fills this view.
    pub fn new(kubeconfig: Option<PathBuf>, view: Arc<ClusterView>, watches: Arc<Status>) -> Self {
        Self { kubeconfig, view, watches }
    }

    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        lifecycle.beat_starting("not listed yet");
        let Some(access) = find(self.kubeconfig.as_deref(), lifecycle) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let timings = WatchTimings::default();
        runtime.block_on(async {
            tokio::select! {
                never = follow_view(&access, &timings, &self.view, &self.watches) => match never {},
                () = self.report(lifecycle) => {}
            }
        });
        // A credential plugin or a name server that hangs must not keep us.
        runtime.shutdown_background();
        Ok(())
    }

    async fn report(&self, lifecycle: &Lifecycle) {
        let began = Instant::now();
        while !lifecycle.stopping() {
            inject::point("cluster_view");
            lifecycle.beat();
            let complaint = self.watches.complaint();
            let is_early = !self.watches.synced() && began.elapsed() < INITIAL_SYNC_TIMEOUT;
            let amiss = if is_early { State::Starting } else { State::Degraded };
            let state = if complaint.is_empty() { State::Up } else { amiss };
            lifecycle.component().set_state(state, &complaint);
            sleep(HEALTH_INTERVAL).await;
        }
    }
}

/// Starts the follower. Its longest wait is a second.
pub fn start(follower: Arc<ViewFollower>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    ThreadSupervisor::start(Arc::new(move |lifecycle: &Lifecycle| follower.run(lifecycle)), Arc::new(|| {}), intensity)
}
