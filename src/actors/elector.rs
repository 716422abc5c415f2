//! Takes part in the election of the operator that leads. What the leader may do is decided by its
//! [`Leadership`], which needs no thread for that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::Notify;
use tokio::time::sleep;
use webb_cluster::kubernetes::{Access, Candidate, elect};
use webb_cluster::lease::{Leadership, Outcome};
use webb_flow::fault::{State, inject};

use super::restart::Intensity;
use super::thread_supervisor::{Failure, ThreadSupervisor};
use crate::pipeline::Lifecycle;

/// Interval of the thread's heartbeat.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Interval of the search for a way to the API server.
const ACCESS_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// State text without a way to the API server.
pub(super) const NO_ACCESS: &str =
    "no way to the API server: not in a pod with a service account, and no kubeconfig; set `kubeconfig`";

/// One replica's part in the election.
#[derive(Debug)]
pub struct Elector {
    kubeconfig: Option<PathBuf>,
    candidate: Candidate,
    leadership: Arc<Leadership>,
    stop: Notify,
}

impl Elector {
    /// A replica whose leadership others ask for.
    pub fn new(kubeconfig: Option<PathBuf>, candidate: Candidate, leadership: Arc<Leadership>) -> Self {
        Self { kubeconfig, candidate, leadership, stop: Notify::new() }
    }

    fn run(&self, lifecycle: &Lifecycle) -> Result<(), Failure> {
        lifecycle.beat_starting("the Lease was not read yet");
        let Some(access) = find(self.kubeconfig.as_deref(), lifecycle) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                () = elect(&access, &self.candidate, &self.leadership, self.stopped(lifecycle)) => {}
                never = self.report(lifecycle) => match never {},
            }
        });
        // A credential plugin or a name server that hangs must not keep us.
        runtime.shutdown_background();
        Ok(())
    }

    async fn stopped(&self, lifecycle: &Lifecycle) {
        while !lifecycle.stopping() {
            tokio::select! {
                () = self.stop.notified() => {}
                () = sleep(HEALTH_INTERVAL) => {}
            }
        }
    }

    async fn report(&self, lifecycle: &Lifecycle) -> std::convert::Infallible {
        let began = Instant::now();
        loop {
            inject::point("elector");
            lifecycle.beat();
            let was_read = Outcome::ALL
                .iter()
                .any(|outcome| *outcome != Outcome::Failed && self.leadership.requests(*outcome) > 0);
            let (state, why) = match self.leadership.problem() {
                Some(problem) => (State::Degraded, problem),
                None if was_read => (State::Up, String::new()),
                None if began.elapsed() < self.candidate.timings.renew => (State::Starting, String::new()),
                None => (State::Degraded, "the Lease was not read yet".to_owned()),
            };
            lifecycle.component().set_state(state, &why);
            sleep(HEALTH_INTERVAL).await;
        }
    }
}

/// Looks for a way to the API server until there is one; none once a stop is requested.
pub(super) fn find(kubeconfig: Option<&std::path::Path>, lifecycle: &Lifecycle) -> Option<Access> {
    loop {
        if let Some(access) = Access::find(kubeconfig) {
            return Some(access);
        }
        lifecycle.component().set_state(State::Degraded, NO_ACCESS);
        let until = Instant::now() + ACCESS_RETRY_INTERVAL;
        while Instant::now() < until {
            if lifecycle.stopping() {
                return None;
            }
            lifecycle.wait(HEALTH_INTERVAL);
            lifecycle.component().beat();
        }
    }
}

/// Starts a replica. When it is stopped it gives the Lease up.
pub fn start(elector: Arc<Elector>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let woken = Arc::clone(&elector);
    ThreadSupervisor::start(
        Arc::new(move |lifecycle: &Lifecycle| elector.run(lifecycle)),
        Arc::new(move || woken.stop.notify_one()),
        intensity,
    )
}
