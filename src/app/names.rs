//! `webb names`: a names relay, which lists pods and serves agents.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::prelude::*;
use actix_web::middleware::from_fn;
use actix_web::web::scope;
use tokio::time::timeout;
use webb_cluster::Kind;
use webb_cluster::kubernetes::Status;
use webb_flow::fault::State;
use webb_names::Directory;
use webb_settings as settings;

use super::control::{Signals, beat};
use super::operator::{serve, wait};
use super::parts::{Parts, admin, finish};
use super::{OperatorPlan, StartError, listeners};
use crate::actors::Finish;
use crate::actors::names::{listing, server};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::cli::Exit;
use crate::families::{Category, CategorySource, Endpoint, Selection};
use crate::http::{CONTROL, admin_routes, families_routes, guard, probe_routes};
use crate::relay_metrics;
use crate::reloads::Reloads;
use crate::server::Routes;
use crate::startup::Startup;

/// Prefix of the process's families.
const PREFIX: &str = "webb_names";

/// The parts of a relay.
struct Relay {
    listing: Addr<ThreadSupervisor>,
    server: Addr<ThreadSupervisor>,
    endpoint: Arc<Endpoint>,
}

impl Relay {
    fn start(parts: &Parts, settings: &settings::Settings, socket: TcpListener) -> Self {
        let directory = Arc::new(Directory::default());
        let watch = Arc::new(Status::of(&[Kind::Pod]));
        let listing = listing::Listing::new(settings.kubeconfig.clone(), Arc::clone(&directory), Arc::clone(&watch));
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let served = Arc::new(server::Server::new(
            socket,
            listeners::tls_files(&settings.names.tls),
            (Arc::clone(&directory), Arc::clone(&watch)),
            (settings.cluster_name.clone(), host),
        ));
        let rows = relay_metrics::source(directory, watch, Arc::clone(served.admission()), parts.components.clone());
        let sources: [(&'static Category, CategorySource); 1] = [(&relay_metrics::CATEGORY, rows)];
        let selection = Selection::new(settings.agent_metrics.compat, &[]);
        let endpoint = Arc::new(Endpoint::new(PREFIX, selection, sources));
        let listing = listing::start(Arc::new(listing), parts.intensity("names/pods"));
        let server = server::start(served, parts.intensity("names/server"));
        Self {
            listing: parts.register("names/pods", listing),
            server: parts.register("names/server", server),
            endpoint,
        }
    }
}

/// Runs a relay until SIGTERM, SIGINT or an escalation.
///
/// # Errors
/// If it cannot start: a port in use.
pub async fn run_names(plan: OperatorPlan, mut signals: Signals) -> Result<Exit, StartError> {
    let OperatorPlan { resolved, log, privileges, confinement } = plan;
    let settings = &resolved.settings;
    let socket = StartError::listening("names.listen", settings.names.listen)?;
    let metrics_socket = StartError::listening("metrics_listen", settings.metrics_listen)?;
    let admin_socket = StartError::listening("admin_listen", settings.admin_listen)?;
    confinement.enforce_seccomp();
    let (parts, mut escalated) = Parts::new(settings, Arc::new(Startup::default()));
    let given_up = (privileges, Arc::new(confinement));
    let admin = Arc::new(admin(&parts, &resolved, (log, Arc::new(Reloads::loaded())), given_up));
    let relay = Relay::start(&parts, settings, socket);
    let (families, of_metrics) = (families_routes(Arc::clone(&relay.endpoint)), Arc::clone(&admin));
    let routes: Routes = Arc::new(move |config| {
        probe_routes(config, &of_metrics);
        families(config);
    });
    let metrics_server = serve(&parts, "http/metrics", metrics_socket, routes);
    let access = Arc::new(listeners::access(&settings.admin, &parts.components));
    let of_admin = Arc::clone(&admin);
    let routes: Routes = Arc::new(move |config| {
        let admin = Arc::clone(&of_admin);
        let access = Arc::clone(&access);
        let guarded = from_fn(move |request, next| guard(Arc::clone(&access), request, next));
        config.service(scope("").wrap(guarded).configure(move |config| admin_routes(config, &admin)));
    });
    let admin_server = serve(&parts, "http/admin", admin_socket, routes);
    let control = parts.components.component(CONTROL);
    control.set_state(State::Up, "");
    tracing::info!(
        listen = %settings.names.listen,
        metrics = %settings.metrics_listen,
        admin = %settings.admin_listen,
        "webb {} is running as a names relay",
        env!("CARGO_PKG_VERSION"),
    );
    let exit = tokio::select! {
        exit = wait(&mut signals, &mut escalated) => exit,
        never = beat(&control) => match never {},
    };
    admin.stopping.store(true, Relaxed);
    tracing::info!("stopping");
    let stopped = async {
        finish(&relay.server).await;
        finish(&relay.listing).await;
    };
    tokio::select! {
        done = timeout(settings.shutdown.budget, stopped) => {
            if done.is_err() {
                tracing::error!("not everything stopped within {} s", settings.shutdown.budget.as_secs());
            }
        }
        () = signals.end() => tracing::warn!("second signal: exiting at once"),
        never = beat(&control) => match never {},
    }
    for server in [metrics_server, admin_server] {
        if timeout(Duration::from_secs(3), server.send(Finish)).await.is_err() {
            tracing::warn!("a listener had open connections; they are closed");
        }
    }
    tracing::info!("stopped");
    Ok(exit)
}
