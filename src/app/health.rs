//! Health between nodes: the listener that answers other agents, and the prober.

use std::net::TcpListener;
use std::sync::Arc;

use actix::Addr;
use webb_cluster::Cache;
use webb_settings::Settings;

use crate::actors::http::HttpActor;
use crate::actors::restart::Intensity;
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::actors::{Directory, health};
use crate::agent_metrics::node_connectivity::NodeHealth;
use crate::health::{Health, Prober};
use crate::http::hello_routes;
use crate::selfmetrics::{self as own, SelfMetrics};
use crate::server::{Connections, Limits};

/// The directory of actors, and the restarts of one of them.
type Supervision<'a> = (&'a Directory, &'a dyn Fn(&str) -> Intensity);

/// The listener that answers `GET /hello`.
pub(super) struct Responder {
    server: Addr<HttpActor>,
    connections: Arc<Connections>,
}

/// Listener and prober.
pub(super) struct BetweenNodes {
    pub(super) server: Addr<HttpActor>,
    pub(super) connections: Arc<Connections>,
    pub(super) health: Arc<Health>,
    pub(super) supervisor: Addr<ThreadSupervisor>,
}

impl BetweenNodes {
    /// Parts that the agent endpoint reads.
    pub(super) fn nodes(&self, settings: &Settings) -> NodeHealth {
        NodeHealth {
            health: Arc::clone(&self.health),
            cluster: settings.cluster_name.clone(),
            node: settings.node_name.clone(),
        }
    }
}

/// Starts to answer.
pub(super) fn respond((directory, intensity): Supervision<'_>, listener: TcpListener) -> Responder {
    let connections = Arc::new(Connections::new(Limits::default()));
    let intensity = intensity("http/health");
    let server = HttpActor::start(listener, Arc::new(hello_routes), None, Arc::clone(&connections), intensity);
    directory.add("http/health", server.clone().recipient());
    Responder { server, connections }
}

/// Starts to probe the nodes in `cache`, if this agent answers theirs.
pub(super) fn start(
    (directory, intensity): Supervision<'_>,
    responder: Option<Responder>,
    settings: &Settings,
    cache: &Arc<Cache>,
    own: &SelfMetrics,
) -> Result<Option<BetweenNodes>, prometheus::Error> {
    let (Some(Responder { server, connections }), Some(listen)) = (responder, settings.health.listen) else {
        return Ok(None);
    };
    let health = Arc::new(Health::default());
    let prober = Prober {
        health: Arc::clone(&health),
        cache: Arc::clone(cache),
        port: listen.port(),
        interval: settings.health.interval,
        icmp: settings.health.icmp,
    };
    let supervisor = health::start(prober, intensity("health"));
    directory.add("health", supervisor.clone().recipient());
    metrics(own, Arc::clone(&health))?;
    Ok(Some(BetweenNodes { server, connections, health, supervisor }))
}

/// Rows about the probes.
fn metrics(metrics: &SelfMetrics, health: Arc<Health>) -> Result<(), prometheus::Error> {
    metrics.add(
        &[&own::HEALTH_PROBES, &own::HEALTH_ECHO_IGNORED, &own::HEALTH_UNPROBED, &own::HEALTH_INTERVAL],
        Box::new(move |rows| {
            for (protocol, outcome, count) in health.probes() {
                rows.add(&own::HEALTH_PROBES, &[protocol.label(), outcome], count);
            }
            for (reason, count) in health.ignored() {
                rows.add(&own::HEALTH_ECHO_IGNORED, &[reason], count);
            }
            for (reason, count) in health.unprobed() {
                rows.add(&own::HEALTH_UNPROBED, &[reason], count);
            }
            rows.add_f64(&own::HEALTH_INTERVAL, &[], health.interval().as_secs_f64());
        }),
    )
}
