//! A process that is no agent (`webb operator`, `webb names`): its supervision, its listeners, its
//! end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use actix::Addr;
use actix_web::middleware::from_fn;
use actix_web::web::scope;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use webb_flow::fault::State;
use webb_settings::Resolved;

use super::control::{Signals, beat};
use super::listeners;
use super::parts::{Parts, admin};
use super::privileges::say_out_of_reach;
use crate::actors::Finish;
use crate::actors::http::HttpActor;
use crate::cli::Exit;
use crate::families::Endpoint;
use crate::http::{Admin, CONTROL, admin_routes, families_routes, guard, probe_routes};
use crate::logging::LogControl;
use crate::privileges::{Confinement, Privileges};
use crate::reloads::Reloads;
use crate::server::{Connections, Limits, Routes};
use crate::startup::Startup;

/// Time for open connections of a listener that ends.
const LAST_ANSWERS: Duration = Duration::from_secs(3);

/// Everything that was decided before such a process starts.
#[derive(Debug)]
pub struct ProcessPlan {
    /// The configuration.
    pub resolved: Resolved,
    /// The log's level.
    pub log: LogControl,
    /// No capability at all.
    pub privileges: Privileges,
    /// What the process denies itself.
    pub confinement: Confinement,
}

/// A process with its supervision and its admin listener.
pub(super) struct Process {
    pub(super) parts: Parts,
    pub(super) admin: Arc<Admin>,
    escalated: UnboundedReceiver<String>,
    /// In the order of their start.
    servers: Vec<Addr<HttpActor>>,
    shutdown_budget: Duration,
}

impl Process {
    /// Confines the process, and starts the admin listener at a bound socket. Returns the
    /// configuration beside it.
    pub(super) fn start(plan: ProcessPlan, socket: TcpListener) -> (Self, Resolved) {
        let ProcessPlan { resolved, log, privileges, confinement } = plan;
        confinement.enforce_seccomp();
        say_out_of_reach(&confinement);
        let settings = &resolved.settings;
        let (parts, escalated) = Parts::new(settings, Arc::new(Startup::default()));
        let given_up = (privileges, Arc::new(confinement));
        let admin = Arc::new(admin(&parts, &resolved, (log, Arc::new(Reloads::loaded())), given_up));
        let access = Arc::new(listeners::access(&settings.admin, &parts.components));
        let of_admin = Arc::clone(&admin);
        let routes: Routes = Arc::new(move |config| {
            let admin = Arc::clone(&of_admin);
            let access = Arc::clone(&access);
            let guarded = from_fn(move |request, next| guard(Arc::clone(&access), request, next));
            config.service(scope("").wrap(guarded).configure(move |config| admin_routes(config, &admin)));
        });
        let servers = vec![serve(&parts, "http/admin", socket, routes)];
        let shutdown_budget = settings.shutdown.budget;
        (Self { parts, admin, escalated, servers, shutdown_budget }, resolved)
    }

    /// Starts a listener of families that ends after all other parts.
    pub(super) fn expose(&mut self, name: &str, socket: TcpListener, endpoint: Arc<Endpoint>) {
        let server = serve(&self.parts, name, socket, exposition_routes(endpoint, &self.admin));
        self.servers.push(server);
    }

    /// Runs until SIGTERM, SIGINT or an escalation; then ends all parts by `stop`, and the
    /// listeners.
    pub(super) async fn run(mut self, mut signals: Signals, stop: impl Future<Output = ()>) -> Exit {
        let control = self.parts.components.component(CONTROL);
        control.set_state(State::Up, "");
        let exit = tokio::select! {
            exit = wait(&mut signals, &mut self.escalated) => exit,
            never = beat(&control) => match never {},
        };
        self.admin.stopping.store(true, Relaxed);
        tracing::info!("stopping");
        tokio::select! {
            done = timeout(self.shutdown_budget, stop) => {
                if done.is_err() {
                    tracing::error!("not everything stopped within {} s", self.shutdown_budget.as_secs());
                }
            }
            () = signals.end() => tracing::warn!("second signal: exiting at once"),
            never = beat(&control) => match never {},
        }
        for server in self.servers.into_iter().rev() {
            if timeout(LAST_ANSWERS, server.send(Finish)).await.is_err() {
                tracing::warn!("a listener had open connections; they are closed");
            }
        }
        tracing::info!("stopped");
        exit
    }
}

/// Routes of an endpoint of families, with the probes beside them.
pub(super) fn exposition_routes(endpoint: Arc<Endpoint>, admin: &Arc<Admin>) -> Routes {
    let (families, admin) = (families_routes(endpoint), Arc::clone(admin));
    Arc::new(move |config| {
        probe_routes(config, &admin);
        families(config);
    })
}

/// Starts a listener without TLS.
pub(super) fn serve(parts: &Parts, name: &str, socket: TcpListener, routes: Routes) -> Addr<HttpActor> {
    let connections = Arc::new(Connections::new(Limits::default()));
    let server = HttpActor::start(socket, routes, None, connections, parts.intensity(name));
    parts.directory.add(name, server.clone().recipient());
    server
}

/// Waits for a reason to end.
async fn wait(signals: &mut Signals, escalated: &mut UnboundedReceiver<String>) -> Exit {
    tokio::select! {
        () = signals.end() => Exit::Success,
        Some(component) = escalated.recv() => {
            tracing::error!(%component, "failed too often; this process ends so that it can be started afresh");
            Exit::GaveUp
        }
    }
}
