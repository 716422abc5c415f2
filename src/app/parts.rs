//! [`Parts`]: what every actor is built with.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use webb_flow::fault::Components;
use webb_metrics::{Budget, Limits};
use webb_settings::{self as settings, Resolved};

use super::metrics;
use crate::actors::fleet::AggregatorFactory;
use crate::actors::restart::{Escalations, Intensity, RestartPolicy, SharedRestartPolicy};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Directory, Finish, periodic};
use crate::http::Admin;
use crate::logging::LogControl;
use crate::pipeline::Looks;
use crate::privileges::{Confinement, Privileges};
use crate::reloads::Reloads;
use crate::startup::Startup;

/// Number of checks within a `series_ttl`: an idle series is removed after it and at most a quarter
/// more.
const IDLE_CHECKS_PER_TTL: u32 = 4;

/// Interval of the search for series that are still refused, where none makes room for others.
const STANDING_EVERY: Duration = Duration::from_secs(75);

/// Shared parts that the actors are built with.
pub(super) struct Parts {
    pub(super) components: Components,
    pub(super) directory: Directory,
    pub(super) policy: SharedRestartPolicy,
    escalations: Escalations,
    pub(super) startup: Arc<Startup>,
}

impl Parts {
    pub(super) fn new(settings: &settings::Settings, startup: Arc<Startup>) -> (Self, UnboundedReceiver<String>) {
        let (escalations, escalated) = mpsc::unbounded_channel();
        let policy = Arc::new(ArcSwap::from_pointee(policy(&settings.supervision)));
        let (components, directory) = (Components::default(), Directory::default());
        (Self { components, directory, policy, escalations, startup }, escalated)
    }

    /// `capacity` is the number of connections that the kernel's table holds.
    pub(super) fn factory(&self, settings: &settings::Settings, capacity: u32) -> AggregatorFactory {
        AggregatorFactory {
            components: self.components.clone(),
            directory: self.directory.clone(),
            policy: Arc::clone(&self.policy),
            escalations: self.escalations.clone(),
            home: format!("{}/{}", settings.cluster_name, settings.node_name),
            limits: Limits {
                per_family: settings.max_series as usize,
                budget: Arc::new(Budget::new(settings.max_series_total as usize)),
                idle_looks: Some(IDLE_CHECKS_PER_TTL),
                room_looks: (!settings.series_room_ttl.is_zero()).then_some(IDLE_CHECKS_PER_TTL),
                open_connections: capacity as usize,
            },
            listings: Arc::default(),
            looks: Looks {
                expire_every: looks(settings.series_ttl),
                room_every: looks(settings.series_room_ttl).or(Some(STANDING_EVERY)),
            },
        }
    }

    pub(super) fn intensity(&self, name: &str) -> Intensity {
        Intensity::new(self.components.component(name), Arc::clone(&self.policy), self.escalations.clone())
    }

    /// The channel that reports components beyond their restart limit.
    pub(super) fn escalations(&self) -> Escalations {
        self.escalations.clone()
    }

    /// Starts a thread that does a task at an interval.
    pub(super) fn periodic(&self, name: &str, task: periodic::Task, interval: Duration) -> Addr<ThreadSupervisor> {
        self.register(name, periodic::start(task, interval, self.intensity(name)))
    }

    /// Makes a supervisor known to the admin listener.
    pub(super) fn register(&self, name: &str, supervisor: Addr<ThreadSupervisor>) -> Addr<ThreadSupervisor> {
        self.directory.add(name, supervisor.clone().recipient());
        supervisor
    }
}

/// Interval of the search for series that expire after `ttl`.
fn looks(ttl: Duration) -> Option<Duration> {
    (!ttl.is_zero()).then(|| ttl / IDLE_CHECKS_PER_TTL)
}

/// The rules of supervision, as configured.
pub(super) fn policy(settings: &settings::Supervision) -> RestartPolicy {
    RestartPolicy {
        max_restarts: settings.max_restarts,
        window: settings.window,
        backoff_min: settings.backoff_min,
        backoff_max: settings.backoff_max,
        stall_after: settings.stall_after,
    }
}

/// State of the admin endpoints.
pub(super) fn admin(
    parts: &Parts,
    resolved: &Resolved,
    (log, reloads): (LogControl, Arc<Reloads>),
    (privileges, confinement): (Privileges, Arc<Confinement>),
) -> Admin {
    Admin {
        components: parts.components.clone(),
        directory: parts.directory.clone(),
        config: ArcSwap::from_pointee(json!(resolved.entries())),
        log,
        reloads,
        stopping: AtomicBool::new(false),
        privileges,
        confinement,
        version: metrics::version(),
    }
}

/// Stops a thread, and waits for its end.
pub(super) async fn finish(supervisor: &Addr<ThreadSupervisor>) {
    if supervisor.send(Finish).await.is_err() {
        tracing::warn!("a supervisor had ended before the stop request");
    }
}
