//! `webb names`: a names relay, which lists pods and serves agents.

use std::net::TcpListener;
use std::sync::Arc;

use actix::prelude::*;
use webb_cluster::Kind;
use webb_cluster::kubernetes::Status;
use webb_names::Directory;
use webb_settings as settings;

use super::control::Signals;
use super::parts::{Parts, finish};
use super::process::{Process, ProcessPlan};
use super::{StartError, listeners};
use crate::actors::names::{listing, server};
use crate::actors::thread_supervisor::ThreadSupervisor;
use crate::cli::Exit;
use crate::families::{Category, CategorySource, Endpoint, Selection};
use crate::relay_metrics;

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
        let watch = Arc::new(Status::of(&[Kind::Pod, Kind::Node]));
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
        // The families are webb's own, the same for every version of Cilium.
        let selection = Selection::new(settings::Compat::V1_20, &[]);
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
pub async fn run_names(plan: ProcessPlan, signals: Signals) -> Result<Exit, StartError> {
    let settings = &plan.resolved.settings;
    let socket = StartError::listening("names.listen", settings.names.listen)?;
    let metrics_socket = StartError::listening("metrics_listen", settings.metrics_listen)?;
    let admin_socket = StartError::listening("admin_listen", settings.admin_listen)?;
    let (mut process, resolved) = Process::start(plan, admin_socket);
    let settings = &resolved.settings;
    let relay = Relay::start(&process.parts, settings, socket);
    process.expose("http/metrics", metrics_socket, Arc::clone(&relay.endpoint));
    tracing::info!(
        listen = %settings.names.listen,
        metrics = %settings.metrics_listen,
        admin = %settings.admin_listen,
        "webb {} is running as a names relay",
        env!("CARGO_PKG_VERSION"),
    );
    let stop = async {
        finish(&relay.server).await;
        finish(&relay.listing).await;
    };
    Ok(process.run(signals, stop).await)
}
