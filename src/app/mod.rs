//! The composition root: builds every part, connects them, starts them in order and stops them in
//! reverse.
//!
//! Start: listeners (a port in use must show at once), resolver, aggregators, decoder, reader, and
//! the probes last, so that no record waits for a thread that is not there. Nothing waits for names
//! but the first records, which stay in the rings for them. Stop: probes first, a last sweep so
//! that nothing is pending, the reader drains the rings, the aggregators their lanes, a final cut
//! is kept for a last scrape, then the listeners. One budget for all of it; a second signal ends at
//! once.

mod agent_metrics;
mod check_endpoint;
mod configured;
mod connections;
mod control;
mod error;
mod exports;
mod flow_source;
mod health;
mod kernel_metrics;
mod layer7;
mod ledger;
mod listeners;
mod loader;
mod mesh;
mod metrics;
mod names;
mod needs;
mod observe;
mod observer;
mod operator;
mod outputs;
mod parts;
mod privileges;
mod probe;
mod process;
mod relay;
mod reload;
mod replay;
mod send;
mod share_directory;
mod site;
mod start;
mod stop;
mod toggles;
mod top;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

pub use check_endpoint::check_endpoint;
pub use configured::Metrics;
pub use control::Signals;
use control::beat;
pub use error::StartError;
pub use names::run_names;
pub use needs::{needs, needs_of_names, needs_of_operator};
pub use observe::observe;
pub use operator::run_operator;
pub use probe::probe;
pub use process::ProcessPlan;
use reload::PendingReload;
pub use replay::replay;
pub use send::send_heartbeats;
pub use share_directory::share_directory;
pub use start::Plan;
use start::Running;
pub use top::top;
use webb_flow::fault::State;
use webb_observer::export::ExportConfig;
use webb_settings::{Problem, Problems, Resolved, by_file};

use crate::cli::Exit;
use crate::exports::of_settings;
use crate::http::Admin;
use crate::startup::{Stage, Startup};

/// Interval of the readiness check until the agent is ready for the first time.
const READINESS_INTERVAL: Duration = Duration::from_millis(20);

/// Checks what the settings say about metrics, exporters and outputs, and the files that they name,
/// each whatever is wrong with another. Returns problems of the settings, and problems and warnings
/// of each file.
pub fn check(resolved: &mut Resolved) -> Vec<Problems> {
    let (metrics, export) = (Metrics::check(resolved), of_settings(resolved).map(|_| None));
    with_files([metrics, export], resolved)
}

/// What was found of metrics and exporters, and what is found in the other files.
fn with_files(found: [Found; 2], resolved: &mut Resolved) -> Vec<Problems> {
    let files = [exports::check(resolved), outputs::check(resolved).map(|()| None)];
    found.into_iter().chain(files).filter_map(|found| found.unwrap_or_else(Some)).collect()
}

/// Warnings of a file, or what is wrong with it.
type Found = Result<Option<Problems>, Problems>;

/// Reads the metrics, and the exporter of the settings, for an agent that starts. `list`: problems
/// of the settings.
///
/// # Errors
/// If one of them cannot be used, the problems and warnings of all files, as text.
pub fn read(mut resolved: Resolved, list: Vec<Problem>) -> Result<(Resolved, Metrics, Option<ExportConfig>), String> {
    let (metrics, export) = (Metrics::read(&mut resolved), of_settings(&mut resolved));
    match (metrics, export) {
        (Ok(metrics), Ok(export)) if list.is_empty() => Ok((resolved, metrics, export)),
        (metrics, export) => {
            let found = [metrics.map(Metrics::warnings), export.map(|_| None)];
            let found = with_files(found, &mut resolved);
            let texts: Vec<String> = by_file(&resolved, list, found).iter().map(ToString::to_string).collect();
            Err(texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// Runs the agent until SIGTERM, SIGINT or an escalation.
///
/// # Errors
/// If it cannot start: a port in use, privileges, a kernel that lacks a must-have.
pub async fn run(plan: Plan, mut signals: Signals) -> Result<Exit, StartError> {
    let startup = Arc::new(Startup::default());
    let mut running = tokio::select! {
        running = start(plan, Arc::clone(&startup)) => running?,
        () = signals.end() => {
            tracing::info!("asked to stop before everything was started");
            return Ok(Exit::Success);
        }
    };
    let control = running.control();
    control.set_state(State::Up, "");
    let admin = Arc::clone(&running.admin);
    let exit = tokio::select! {
        exit = watch(&mut running, &mut signals) => exit,
        never = beat(&control) => match never {},
        never = note_readiness(&admin, &startup) => match never {},
    };
    tokio::select! {
        () = stop::stop(running) => {}
        () = signals.end() => tracing::warn!("second signal: exiting at once"),
        never = beat(&control) => match never {},
    }
    Ok(exit)
}

/// Starts the agent with the source of flows that it is to have.
async fn start(plan: Plan, startup: Arc<Startup>) -> Result<Running, StartError> {
    match plan.resolved.settings.hubble_server().cloned() {
        Some(server) => flow_source::start(plan, &server, startup).await,
        None => start::start(plan, startup).await,
    }
}

/// Notes when the agent is ready for the first time.
async fn note_readiness(admin: &Admin, startup: &Startup) -> Infallible {
    while !admin.is_ready() {
        tokio::time::sleep(READINESS_INTERVAL).await;
    }
    startup.reach(Stage::Ready);
    std::future::pending().await
}

/// The agent's steady state: reloads, and waits for a reason to end.
async fn watch(running: &mut Running, signals: &mut Signals) -> Exit {
    let mut reading = PendingReload::default();
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reading.begin(&running.layers),
            progress = reading.progress() => match progress {
                None => reload::say_late(running),
                Some(read) => {
                    reload::apply(running, read);
                    if reading.again() {
                        reading.begin(&running.layers);
                    }
                }
            },
            _ = signals.terminate.recv() => return Exit::Success,
            _ = signals.interrupt.recv() => return Exit::Success,
            Some(component) = running.escalated.recv() => {
                tracing::error!(%component, "failed too often; the agent ends so that it can be started afresh");
                return Exit::GaveUp;
            }
        }
    }
}
