//! The `webb` program: parses the command line, runs the command, and ends with its exit code.

use std::mem::ManuallyDrop;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_appender::non_blocking::WorkerGuard;
use webb::app::{self, Metrics, Plan, Signals};
use webb::bpf_loader::{self, Loader};
use webb::cli::{Cli, Command, Exit, RunArgs, completions, environment};
use webb::logging::{self, Format};
use webb::privileges::{self, Privileges};
use webb_metrics::{dynamic, grammar};
use webb_settings::{Attach, LogFormat, Settings, read_file};

/// Allocator of the program: free memory goes back to the system within a second, also from the
/// middle of a heap, since a burst of names and series must not leave its memory behind; once
/// [`return_memory`] has been called.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    privileges::raise();
    match Cli::read(std::env::args_os()) {
        Ok(cli) => run_command(&cli.command).into(),
        Err(exit) => exit.into(),
    }
}

fn run_command(command: &Command) -> Exit {
    let out = &mut std::io::stdout().lock();
    let printed = match command {
        Command::Run(arguments) => return run(arguments),
        Command::Probe(arguments) => app::probe(arguments.json, out),
        Command::CheckConfig(arguments) => arguments.run(&check_metrics, out),
        Command::Replay(arguments) => {
            return_memory();
            app::replay(arguments, out)
        }
        Command::CheckEndpoint(arguments) => app::check_endpoint(arguments, out),
        Command::Completions { shell } => completions(*shell, out).map(|()| Exit::Success),
    };
    // A reader that has seen enough closes the pipe.
    printed.unwrap_or(Exit::Success)
}

fn run(arguments: &RunArgs) -> Exit {
    let (loader, privileges) = match lower_capabilities() {
        Ok(lowered) => lowered,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Kernel;
        }
    };
    // Never dropped: that would wait for a read of a file that hangs, and nothing else is left to
    // be done.
    let system = ManuallyDrop::new(actix::System::new());
    system.block_on(run_until_asked(arguments.clone(), loader, privileges))
}

/// Has one thread keep what loading the programs needs, before any other starts, and gives up the
/// rest.
fn lower_capabilities() -> Result<(Loader, Privileges), Box<dyn std::error::Error>> {
    let privileges = Privileges::new(bpf_loader::asks_always_for_bpf());
    let loader = Loader::start()?;
    privileges.lower()?;
    Ok((loader, privileges))
}

async fn run_until_asked(arguments: RunArgs, loader: Loader, privileges: Privileges) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return Exit::Kernel;
        }
    };
    // On another thread, as it reads files: also one that hangs must not keep signals waiting.
    let planned = tokio::select! {
        planned = tokio::task::spawn_blocking(move || plan(&arguments, loader, privileges)) => planned,
        () = signals.end() => return Exit::Success,
    };
    // The writer of the log writes its last lines when it is dropped.
    let (plan, _writer) = match planned.map_err(|panic| panic.to_string()).and_then(|planned| planned) {
        Ok(planned) => planned,
        Err(why) => {
            eprintln!("{why}");
            return Exit::Configuration;
        }
    };
    // What the configuration has it give up beyond that. Only the thread that has read it, which
    // did the same, and the loader are there.
    if let Err(error) = plan.privileges.lower() {
        tracing::error!("cannot start: capabilities cannot be given up: {error}");
        return Exit::Kernel;
    }
    return_memory();
    raise_descriptor_limit();
    match app::run(plan, signals).await {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            error.exit()
        }
    }
}

/// Starts the thread by which the allocator gives memory back. It has the capabilities of this one,
/// so it must not start before these are lowered, as it would by itself.
fn return_memory() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!("free memory goes back late: {error}");
    }
}

/// Raises the soft limit of descriptors to the hard one: container runtimes leave it at 1024, and
/// each watched interface takes two.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

/// Everything that can be wrong with what was typed, before anything starts.
fn plan(arguments: &RunArgs, loader: Loader, privileges: Privileges) -> Result<(Plan, WorkerGuard), String> {
    let layers = arguments.layers(environment());
    let mut resolved = layers.load().map_err(|problems| problems.to_string())?;
    resolved.check_metrics(&check_metrics).map_err(|problems| problems.to_string())?;
    let metrics = metrics(&resolved.settings)?;
    let possible = resolved.settings.interfaces.attach != Attach::Clsact && bpf_loader::has_tcx();
    let privileges = privileges.least(resolved.settings.privileges.least, possible);
    // Before the log starts its thread.
    privileges.lower().map_err(|error| format!("capabilities cannot be given up: {error}"))?;
    let format = match resolved.settings.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = logging::start(&resolved.settings.log.level, format).map_err(|error| error.to_string())?;
    for warning in &resolved.warnings {
        tracing::warn!("{}", warning.render("configuration", resolved.file.as_deref()));
    }
    if let Metrics::Dynamic(path, dynamic) = &metrics {
        for warning in &dynamic.warnings {
            tracing::warn!("{}", warning.render(&path.display().to_string(), Some(&dynamic.file)));
        }
    }
    Ok((Plan { layers, resolved, metrics, log: log.control, loader, privileges }, log.writer))
}

/// Metrics of the file, if there is one, or of the list.
fn metrics(settings: &Settings) -> Result<Metrics, String> {
    let Some(path) = &settings.metrics_config else {
        let parsed = grammar::parse(&settings.metrics.join(" ")).map_err(|error| error.to_string())?;
        return Ok(Metrics::Static(parsed.metrics));
    };
    let dynamic = read_file(path).and_then(dynamic::read).map_err(|problems| problems.to_string())?;
    Ok(Metrics::Dynamic(path.clone(), dynamic))
}

fn check_metrics(entry: &str) -> Result<Vec<String>, String> {
    grammar::parse(entry)
        .map(|parsed| parsed.warnings.iter().map(ToString::to_string).collect())
        .map_err(|error| error.to_string())
}
