//! The operator: a replica in a process of its own (`webb operator`), or in the agent.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use actix::prelude::*;
use webb_cluster::kubernetes::{Candidate, Status};
use webb_cluster::lease::{ElectionTimings, Leadership};
use webb_cluster::view::{ClusterView, KINDS};
use webb_settings as settings;

use super::StartError;
use super::control::Signals;
use super::parts::{Parts, finish};
use super::process::{Process, ProcessPlan, exposition_routes, serve};
use crate::actors::cluster_view::ViewFollower;
use crate::actors::elector::Elector;
use crate::actors::http::HttpActor;
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Finish, cluster_view, elector};
use crate::cli::Exit;
use crate::families::{Category, CategorySource, Endpoint, Selection};
use crate::http::Admin;
use crate::logging::LogControl;
use crate::operator_metrics::{
    Cluster, OF_LEADER, controllers, features, ipam, leader, load_balancers, multicluster, pods, process,
};

/// Prefix of the process's families.
const PREFIX: &str = "cilium_operator";

/// The namespace of a pod's service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The namespace of the Lease outside of a pod.
const DEFAULT_NAMESPACE: &str = "kube-system";

/// A running replica.
pub(super) struct Operator {
    elector: Addr<ThreadSupervisor>,
    view: Addr<ThreadSupervisor>,
    server: Addr<HttpActor>,
}

impl Operator {
    /// Starts a replica: its part in the election, its view and its endpoint.
    pub(super) fn start(parts: &Parts, settings: &settings::Settings, socket: TcpListener, admin: &Arc<Admin>) -> Self {
        let leadership = Arc::new(Leadership::default());
        let cluster = Cluster {
            view: Arc::new(ClusterView::new(labels(&settings.operator.agent_labels))),
            watches: Arc::new(Status::of(&KINDS)),
            leadership: Arc::clone(&leadership),
        };
        let endpoint = Arc::new(endpoint(settings, &cluster, parts, admin.log.clone()));
        let follower = ViewFollower::new(settings.kubeconfig.clone(), cluster.view, cluster.watches);
        let elector = Elector::new(settings.kubeconfig.clone(), candidate(&settings.operator), leadership);
        let view = cluster_view::start(Arc::new(follower), parts.intensity("cluster_view"));
        let elector = elector::start(Arc::new(elector), parts.intensity("elector"));
        let server = serve(parts, "http/operator", socket, exposition_routes(endpoint, admin));
        let (view, elector) = (parts.register("cluster_view", view), parts.register("elector", elector));
        Self { elector, view, server }
    }

    /// Gives the Lease up, and stops.
    pub(super) async fn finish(&self) {
        finish(&self.elector).await;
        finish(&self.view).await;
        if self.server.send(Finish).await.is_err() {
            tracing::warn!("the operator's listener had ended before the stop request");
        }
    }
}

/// The endpoint. The leader's families are left out at the end of a scrape, if this replica does
/// not lead then.
fn endpoint(settings: &settings::Settings, cluster: &Cluster, parts: &Parts, log: LogControl) -> Endpoint {
    let leadership = Arc::clone(&cluster.leadership);
    let sources: [(&'static Category, CategorySource); 8] = [
        (&process::CATEGORY, process::source(log)),
        (&controllers::CATEGORY, controllers::source(Arc::clone(&leadership))),
        (&pods::CATEGORY, pods::source(cluster)),
        (&ipam::CATEGORY, ipam::source(cluster)),
        (&load_balancers::CATEGORY, load_balancers::source(cluster)),
        (&multicluster::CATEGORY, multicluster::source(cluster)),
        (&features::CATEGORY, features::source(cluster)),
        // The last, so that it is of one moment with the decision about the others.
        (
            &leader::CATEGORY,
            leader::source(Arc::clone(&leadership), Arc::clone(&cluster.watches), parts.components.clone()),
        ),
    ];
    let selection = Selection::new(settings.agent_metrics.compat, &[]);
    Endpoint::new(PREFIX, selection, sources).restricted(OF_LEADER, move || leadership.is_leading())
}

/// Labels written as `name=value`.
pub(super) fn labels(texts: &[String]) -> Vec<(String, String)> {
    let pairs = texts.iter().filter_map(|text| text.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn candidate(settings: &settings::Operator) -> Candidate {
    let own_namespace = || read(NAMESPACE_FILE).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let namespace = Some(settings.lease_namespace.clone()).filter(|name| !name.is_empty());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Another for each start: one that was killed does not come back as its own successor.
    let unique = read("/proc/sys/kernel/random/uuid").unwrap_or_else(|| std::process::id().to_string());
    Candidate {
        namespace: namespace.unwrap_or_else(own_namespace),
        name: settings.lease_name.clone(),
        identity: format!("{host}_{unique}"),
        timings: ElectionTimings {
            lease: settings.lease_duration,
            renew: settings.renew_deadline,
            retry: settings.retry_period,
        },
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Runs a replica until SIGTERM, SIGINT or an escalation.
///
/// # Errors
/// If it cannot start: a port in use.
pub async fn run_operator(plan: ProcessPlan, signals: Signals) -> Result<Exit, StartError> {
    let listen = plan.resolved.settings.operator.listen;
    let socket = StartError::listening("operator.listen", listen)?;
    let admin_socket = StartError::listening("admin_listen", plan.resolved.settings.admin_listen)?;
    let (process, resolved) = Process::start(plan, admin_socket);
    let settings = &resolved.settings;
    let operator = Operator::start(&process.parts, settings, socket, &process.admin);
    tracing::info!(
        metrics = %listen,
        admin = %settings.admin_listen,
        "webb {} is running as an operator",
        env!("CARGO_PKG_VERSION"),
    );
    Ok(process.run(signals, operator.finish()).await)
}
