//! The `webb` program: parses the command line, runs the command, and ends with its exit code.

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_appender::non_blocking::WorkerGuard;
use webb::app::{self, Metrics, Plan, ProcessPlan, Signals, StartError};
use webb::bpf_loader::{self, Loader};
use webb::cli::{Cli, Command, Exit, RunArgs, completions, environment, manual};
use webb::logging::{self, Format, Log};
use webb::output::UntilClosed;
use webb::privileges::{self, Confinement, Needs, Privileges};
use webb_settings::{Attach, Layers, LogFormat, Resolved, Settings};

/// Threads that the agent has at least, with a metric or two; it does not start with fewer.
const MIN_THREADS: usize = 24;

/// Threads that an operator or a names relay has at least.
const MIN_OPERATOR_THREADS: usize = 12;

/// Allocator of the program: free memory goes back to the system within a second, also from the
/// middle of a heap, since a burst of names and series must not leave its memory behind; once
/// [`return_memory`] has been called.
#[cfg(feature = "jemalloc")]
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
    let verdict = match command {
        Command::Run(arguments) => return run(arguments),
        Command::Operator(arguments) => {
            let layers = arguments.layers(environment());
            return without_programs(&layers, app::needs_of_operator, app::run_operator);
        }
        Command::Names(arguments) => {
            return without_programs(&arguments.layers(environment()), app::needs_of_names, app::run_names);
        }
        Command::Probe(arguments) => app::probe(arguments.json, &mut UntilClosed(&mut *out)),
        Command::CheckConfig(arguments) => {
            arguments.run(&app::check, &app::send_heartbeats, &mut UntilClosed(&mut *out))
        }
        Command::Replay(arguments) => {
            return_memory();
            app::replay(arguments, out)
        }
        Command::Observe(arguments) => app::observe(arguments, out),
        Command::Top(arguments) => app::top(arguments, out),
        Command::CheckEndpoint(arguments) => app::check_endpoint(arguments, &mut UntilClosed(&mut *out)),
        Command::ShareDirectory(arguments) => app::share_directory(arguments, &mut UntilClosed(&mut *out)),
        Command::Completions { shell } => completions(*shell, out).map(|()| Exit::Success),
        Command::Manual { directory } => manual(directory).map(|()| Exit::Success),
    };
    match verdict.and_then(|exit| UntilClosed(out).flush().map(|()| exit)) {
        Ok(exit) => exit,
        // A reader that has seen enough of a replay closes the pipe, and flows may come for ever.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            eprintln!("the output is not whole: {error}");
            Exit::Output
        }
    }
}

fn run(arguments: &RunArgs) -> Exit {
    // The runtime's threads would panic for want of others, each by itself.
    if let Err(error) = have_threads(MIN_THREADS) {
        eprintln!(
            "cannot start: this user may have too few threads: {error}; webb needs {MIN_THREADS} and more (RLIMIT_NPROC: \
             ulimit -u, LimitNPROC=; pids.max of its cgroup: TasksMax=, podPidsLimit)"
        );
        return Exit::Kernel;
    }
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

/// Runs an operator or a names relay. It is given neither the thread that loads programs nor a
/// capability.
fn without_programs(
    layers: &Layers,
    needs: fn(&Settings, Option<&Path>) -> Needs,
    run: impl AsyncFnOnce(ProcessPlan, Signals) -> Result<Exit, StartError>,
) -> Exit {
    if let Err(error) = have_threads(MIN_OPERATOR_THREADS) {
        eprintln!("cannot start: this user may have too few threads: {error}");
        return Exit::Kernel;
    }
    let privileges = Privileges::none();
    if let Err(error) = privileges.lower() {
        eprintln!("cannot start: capabilities cannot be given up: {error}");
        return Exit::Kernel;
    }
    let (plan, _writer) = match plan_operator(layers, needs, privileges) {
        Ok(planned) => planned,
        Err(why) => {
            eprintln!("{why}");
            return Exit::Configuration;
        }
    };
    return_memory();
    // Never dropped, as that of an agent.
    let system = ManuallyDrop::new(actix::System::new());
    system.block_on(async {
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("cannot start: {error}");
                return Exit::Kernel;
            }
        };
        match run(plan, signals).await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::error!("{error}");
                error.exit()
            }
        }
    })
}

/// Everything that can be wrong with its configuration, before anything starts.
fn plan_operator(
    layers: &Layers,
    needs: fn(&Settings, Option<&Path>) -> Needs,
    privileges: Privileges,
) -> Result<(ProcessPlan, WorkerGuard), String> {
    let resolved = layers.load().map_err(|problems| problems.to_string())?;
    let wanted = (resolved.settings.privileges.landlock, resolved.settings.privileges.seccomp);
    let mut confinement = Confinement::new(&needs(&resolved.settings, layers.file.as_deref()), wanted);
    confinement.enforce_landlock();
    let log = start_log(&resolved)?;
    Ok((ProcessPlan { resolved, log: log.control, privileges, confinement }, log.writer))
}

/// Starts so many threads that are there at once, and has all of them end.
fn have_threads(count: usize) -> std::io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // Until it is dropped, none of them comes to its end.
        let _closed = gate.lock();
        for _ in 0..count {
            thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, || drop(gate.lock()))?;
        }
        Ok(())
    })
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
    let (mut plan, _writer) = match planned.map_err(|panic| panic.to_string()).and_then(|planned| planned) {
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
    plan.confinement.enforce_landlock();
    return_memory();
    raise_descriptor_limit();
    match Box::pin(app::run(plan, signals)).await {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            error.exit()
        }
    }
}

/// Starts the thread by which the allocator gives memory back. It has the capabilities of this one,
/// so it must not start before these are lowered, as it would by itself.
#[cfg(feature = "jemalloc")]
fn return_memory() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!("free memory goes back late: {error}");
    }
}

#[cfg(not(feature = "jemalloc"))]
fn return_memory() {}

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
    let (resolved, list) = layers.read().map_err(|problems| problems.to_string())?;
    let (resolved, metrics, export) = app::read(resolved, list)?;
    let privileges = if resolved.settings.hubble_server().is_some() {
        Privileges::none()
    } else {
        let possible = resolved.settings.interfaces.attach != Attach::Clsact && bpf_loader::has_tcx();
        privileges.least(resolved.settings.privileges.least, possible)
    };
    // Before the log starts its thread.
    privileges.lower().map_err(|error| format!("capabilities cannot be given up: {error}"))?;
    // The ruleset of Landlock needs a directory that is there.
    if resolved.settings.handover
        && resolved.settings.hubble_server().is_none()
        && let Some(directory) = &resolved.settings.handover_dir
    {
        bpf_loader::handover::make_directory(directory).map_err(|error| error.to_string())?;
    }
    make_export_directory(&resolved)?;
    let needs = app::needs(&resolved.settings, layers.file.as_deref());
    make_spool_directories(&needs.writable);
    let wanted = (resolved.settings.privileges.landlock, resolved.settings.privileges.seccomp);
    let mut confinement = Confinement::new(&needs, wanted);
    confinement.enforce_landlock();
    let log = start_log(&resolved)?;
    if let Metrics::Dynamic(path, dynamic) = &metrics {
        for warning in &dynamic.warnings {
            tracing::warn!("{}", warning.render(&path.display().to_string(), Some(&dynamic.file)));
        }
    }
    Ok((Plan { layers, resolved, metrics, export, log: log.control, loader, privileges, confinement }, log.writer))
}

/// Makes the directory of flow logs, if there is to be one. Where that is refused the exporters say
/// so, and try again.
fn make_export_directory(resolved: &Resolved) -> Result<(), String> {
    let export = &resolved.settings.export;
    let Some(directory) = export.directory.as_ref().filter(|_| export.is_on()) else { return Ok(()) };
    match DirBuilder::new().recursive(true).mode(0o755).create(directory) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        made => made.map_err(|error| format!("cannot make {}, of export.directory: {error}", directory.display())),
    }
}

/// Makes the spool directories of outputs, which are the others among these. Where that fails the
/// output says so, and its requests wait in memory.
fn make_spool_directories(writable: &[PathBuf]) {
    for directory in writable {
        let _output_says_so = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    }
}

/// Starts the log, and warns of what is odd in the configuration.
fn start_log(resolved: &Resolved) -> Result<Log, String> {
    let format = match resolved.settings.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = logging::start(&resolved.settings.log.level, format).map_err(|error| error.to_string())?;
    for warning in &resolved.warnings {
        tracing::warn!("{}", warning.render("configuration", resolved.file.as_deref()));
    }
    Ok(log)
}
