//! `webb observe`: asks a server for flows and prints them, until the end or Ctrl-C.

use std::io::{self, IsTerminal, Write};

use tokio::signal::unix::{SignalKind, signal};
use webb_observer::observe::{Failure, observe as ask};

use crate::cli::{Exit, ObserveArgs, environment};

/// Asks the server and prints its answer.
///
/// # Errors
/// When `out` cannot be written.
pub fn observe(arguments: &ObserveArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let environment = environment();
    let variable = |name: &str| environment.variables.get(name).map(String::as_str);
    let mut options = arguments.options.clone();
    options.color = match arguments.color.to_ascii_lowercase().as_str() {
        "always" => true,
        "never" => false,
        _ => io::stdout().is_terminal() && variable("NO_COLOR").is_none() && variable("TERM") != Some("dumb"),
    };
    let address = match arguments.address(variable("HUBBLE_SERVER")) {
        Ok(address) => address,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Configuration);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        // A file is read by this thread: a signal ends the process as it does by default.
        if options.input_file.is_some() {
            return ask(arguments.question, &options, &address, out).await;
        }
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            ended = ask(arguments.question, &options, &address, out) => ended,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    });
    // A file that is read by a thread of its own, and hangs, is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(Exit::Success),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Text(text)) => {
            eprintln!("{text}");
            Ok(Exit::Refused)
        }
    }
}
