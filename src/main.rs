//! The `webb` program: reads the command line, does what it says, ends with an exit code that says how it went.

use std::process::ExitCode;

use webb::app::{self, Plan};
use webb::cli::{Cli, Command, Exit, RunArgs, completions, environment};
use webb::logging::{self, Format};
use webb::metrics::{Aggregator, grammar};
use webb::settings::LogFormat;

fn main() -> ExitCode {
    match Cli::read(std::env::args_os()) {
        Ok(cli) => obey(&cli.command).into(),
        Err(exit) => exit.into(),
    }
}

fn obey(command: &Command) -> Exit {
    let out = &mut std::io::stdout().lock();
    let printed = match command {
        Command::Run(arguments) => return run(arguments),
        Command::Probe(arguments) => app::probe(arguments.json, out),
        Command::CheckConfig(arguments) => arguments.run(&check_metrics, out),
        Command::Replay(arguments) => app::replay(arguments, out),
        Command::Completions { shell } => completions(*shell, out).map(|()| Exit::Asked),
    };
    // A reader that has seen enough closes the pipe.
    printed.unwrap_or(Exit::Asked)
}

fn run(arguments: &RunArgs) -> Exit {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}");
            return Exit::Configuration;
        }
    };
    match actix::System::new().block_on(app::run(plan)) {
        Ok(exit) => exit,
        Err(error) => {
            tracing::error!("{error}");
            error.exit()
        }
    }
}

/// Everything that can be wrong with what was typed, before anything starts.
fn plan(arguments: &RunArgs) -> Result<Plan, String> {
    let layers = arguments.layers(environment());
    let mut resolved = layers.load().map_err(|problems| problems.to_string())?;
    resolved.check_metrics(&check_metrics).map_err(|problems| problems.to_string())?;
    let parsed = grammar::parse(&resolved.settings.metrics.join(" ")).map_err(|error| error.to_string())?;
    let format = match resolved.settings.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = logging::start(&resolved.settings.log.level, format).map_err(|error| error.to_string())?;
    for warning in &resolved.warnings {
        tracing::warn!("{}", warning.render("configuration", resolved.file.as_deref()));
    }
    let aggregators = parsed.metrics.iter().map(Aggregator::new).collect();
    Ok(Plan { layers, resolved, aggregators, log })
}

fn check_metrics(entry: &str) -> Result<Vec<String>, String> {
    grammar::parse(entry)
        .map(|parsed| parsed.warnings.iter().map(ToString::to_string).collect())
        .map_err(|error| error.to_string())
}
