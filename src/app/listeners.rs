//! The listeners of the running agent.

use std::net::TcpListener;
use std::sync::Arc;

use actix::prelude::*;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, scope};
use webb_flow::fault::Components;
use webb_settings as settings;

use super::health::BetweenNodes;
use super::{StartError, metrics};
use crate::actors::Directory;
use crate::actors::http::HttpActor;
use crate::actors::restart::Intensity;
use crate::families::Endpoint;
use crate::http::{
    Access, Admin, AgentInfo, Explain, Scrape, ViewCache, admin_routes, explain_routes, families_routes, guard,
    health_routes, metrics_routes, view_routes,
};
use crate::selfmetrics::SelfMetrics;
use crate::server::{ApiTimes, Connections, Limits, Routes, time};
use crate::tls::{Paths, TlsFiles};

/// Listening sockets, bound before anything else starts.
pub(super) struct Sockets {
    metrics: TcpListener,
    admin: TcpListener,
    agent: Option<TcpListener>,
    pub(super) health: Option<TcpListener>,
    /// Of the operator, if it runs in the agent.
    pub(super) operator: Option<TcpListener>,
}

impl Sockets {
    /// Binds those that are configured.
    pub(super) fn bind(settings: &settings::Settings) -> Result<Self, StartError> {
        let (agent, health) = (settings.agent_metrics.listen, settings.health.listen);
        let operator = settings.operator.election.then_some(settings.operator.listen);
        Ok(Self {
            metrics: StartError::listening("metrics_listen", settings.metrics_listen)?,
            admin: StartError::listening("admin_listen", settings.admin_listen)?,
            agent: agent.map(|address| StartError::listening("agent_metrics.listen", address)).transpose()?,
            health: health.map(|address| StartError::listening("health.listen", address)).transpose()?,
            operator: operator.map(|address| StartError::listening("operator.listen", address)).transpose()?,
        })
    }
}

/// Certificate files of the listeners that have TLS.
pub(super) struct Certificates {
    pub(super) metrics: Option<Arc<TlsFiles>>,
    pub(super) agent: Option<Arc<TlsFiles>>,
}

/// Who may ask the admin listener, and the node that it shows.
pub(super) struct Asked {
    access: settings::AdminAccess,
    node: String,
    slow: std::time::Duration,
}

/// Starts all of them.
pub(super) fn serve(
    (directory, intensity): (&Directory, impl Fn(&str) -> Intensity),
    (sockets, tls): (Sockets, Certificates),
    (scrape, agent): (&Arc<Scrape>, Option<Arc<Endpoint>>),
    (admin, explain, times, asked): (&Arc<Admin>, Arc<Explain>, ApiTimes, Asked),
    between: Option<&BetweenNodes>,
    own: &SelfMetrics,
) -> Result<Vec<Addr<HttpActor>>, prometheus::Error> {
    let (scrape, admin, Asked { access, node, slow }) = (Arc::clone(scrape), Arc::clone(admin), asked);
    let (components, version) = (admin.components.clone(), admin.version.clone());
    let access = Arc::new(self::access(&access, &components));
    let names = Some(Arc::clone(&explain));
    let views = Arc::new(ViewCache::new(&scrape, AgentInfo { node, components, version, slow, names }));
    let health = between.map(|between| Arc::clone(&between.health));
    let connections = |limits| Arc::new(Connections::new(limits));
    let (of_metrics, of_agent) = (connections(Limits::default()), connections(Limits::default()));
    let of_admin = connections(Limits::of_page());
    let mut counted = vec![("metrics", Arc::clone(&of_metrics)), ("admin", Arc::clone(&of_admin))];
    if agent.is_some() {
        counted.push(("agent", Arc::clone(&of_agent)));
    }
    counted.extend(between.map(|between| ("health", Arc::clone(&between.connections))));
    metrics::connections(own, counted)?;
    let start = |name: &str, listener, tls, connections, routes: Routes| {
        let server = HttpActor::start(listener, routes, tls, connections, intensity(name));
        directory.add(name, server.clone().recipient());
        server
    };
    let metrics: Routes = Arc::new(move |config| metrics_routes(config, &scrape));
    let admin: Routes = Arc::new(move |config| {
        config.app_data(Data::new(times.clone()));
        let access = Arc::clone(&access);
        let guarded = from_fn(move |request, next| guard(Arc::clone(&access), request, next));
        config.service(scope("").wrap(guarded).wrap(from_fn(time)).configure(|config| {
            admin_routes(config, &admin);
            explain_routes(config, &explain);
            health_routes(config, health.as_ref());
            view_routes(config, &views);
        }));
    });
    let mut servers = vec![
        start("http/metrics", sockets.metrics, tls.metrics, of_metrics, metrics),
        start("http/admin", sockets.admin, None, of_admin, admin),
    ];
    if let (Some(socket), Some(endpoint)) = (sockets.agent, agent) {
        servers.push(start("http/agent", socket, tls.agent, of_agent, Arc::new(families_routes(endpoint))));
    }
    Ok(servers)
}

/// The certificate files, if TLS is on.
pub(super) fn tls_files(settings: &settings::Tls) -> Option<Arc<TlsFiles>> {
    let (certificate, key) = (settings.certificate.clone()?, settings.key.clone()?);
    Some(Arc::new(TlsFiles::new(Paths { certificate, key, client_ca: settings.client_ca.clone() })))
}

/// Who may ask the admin listener.
pub(super) fn access(settings: &settings::AdminAccess, components: &Components) -> Access {
    let settings::AdminAccess { hosts, token_file, insecure: _, read_only } = settings.clone();
    let component = token_file.is_some().then(|| components.component("admin_token"));
    Access { hosts, token_file, read_only, component }
}

/// How the admin listener is asked.
pub(super) fn asked(settings: &settings::Settings) -> Asked {
    Asked { access: settings.admin.clone(), node: settings.node_name.clone(), slow: settings.page.slow }
}
