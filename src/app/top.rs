//! `webb top`: shows what an agent's pods do now.

use std::io::{self, IsTerminal as _, Write};

use crate::cli::{Exit, TopArgs, environment};
use crate::top::{Appearance, Failure, Outcome, Source, Start, Wanted, json, once, run};

/// Shows or prints what an agent sees.
///
/// # Errors
/// When the terminal or `out` cannot be written.
pub fn top(arguments: &TopArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let (source, start) = match read(arguments) {
        Ok(read) => read,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Configuration);
        }
    };
    let outcome = if arguments.json {
        json(&source, &start, out)?
    } else if arguments.once {
        once(&source, &start, out)?
    } else if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return run(&source, start, out).map(|()| Exit::Success);
    } else {
        eprintln!("there is no terminal here: --once prints a table, --json the API's answer");
        return Ok(Exit::Configuration);
    };
    Ok(match outcome {
        Outcome::Complete => Exit::Success,
        Outcome::Incomplete(reasons) => {
            for reason in reasons {
                eprintln!("incomplete: {reason}");
            }
            Exit::Incomplete
        }
        Outcome::NoAnswer(Failure::Token(why)) => {
            eprintln!("{why}");
            Exit::Configuration
        }
        Outcome::NoAnswer(failure) => {
            eprintln!("no answer: {failure}");
            Exit::NoAnswer
        }
    })
}

fn read(arguments: &TopArgs) -> Result<(Source, Start), String> {
    let source = Source::new(arguments.server.as_deref(), arguments.token_file.as_deref())?;
    // A screen asks for as many rows as the API sends, so that its own sorting has them all.
    let limit = if arguments.once || arguments.json { arguments.limit } else { 500 };
    let wanted = Wanted {
        workload: arguments.workload.clone(),
        problems: arguments.problems,
        by_namespace: arguments.by == "namespace",
        sort: None,
        window: arguments.window.clone(),
        limit,
    };
    let variables = environment().variables;
    let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
    let is_dumb = variables.get("TERM").is_some_and(|terminal| terminal == "dumb");
    let has_colors = !is_set("NO_COLOR") && !is_dumb;
    let appearance = Appearance { bits: arguments.bits, ascii: arguments.ascii, has_colors };
    let start = Start::new(&arguments.view, arguments.sort.as_deref(), wanted, arguments.interval, appearance)?;
    if arguments.json {
        start.check_agent_sorts()?;
    }
    Ok((source, start))
}
