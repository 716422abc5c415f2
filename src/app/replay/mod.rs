//! `webb replay`: flows of files through the same metrics and the same exposition as the agent's,
//! or behind the same API.

mod count;
mod exposition;
mod files;
mod metrics;
mod observe;
mod serve;

use std::io::{self, Write};

use webb_flowlog::cardinality;

use self::count::Counting;
use self::files::Outcome;
use crate::cli::{Exit, ReplayArgs, ReplayFormat};

/// Reads the files and prints, or serves, what their flows count, or serves the flows.
///
/// # Errors
/// When `out` cannot be written.
pub fn replay(arguments: &ReplayArgs, out: &mut dyn Write) -> io::Result<Exit> {
    if let Some(address) = &arguments.observe {
        return Ok(observe::observe(arguments, address));
    }
    let aggregators = match metrics::aggregators(arguments) {
        Ok(aggregators) => aggregators,
        Err(why) => {
            eprintln!("{why}");
            return Ok(Exit::Configuration);
        }
    };
    let mut counting = Counting::new(aggregators);
    let outcome = files::read(&arguments.files, arguments.strict, &mut counting);
    if outcome == Outcome::Refused {
        return Ok(Exit::Data);
    }
    let incomplete = outcome == Outcome::Incomplete;
    let exposition = counting.exposition();
    if let Some(address) = arguments.serve {
        // A server has no exit status that would say so later.
        if incomplete {
            eprintln!("not served: not every file could be read to its end");
            return Ok(Exit::NoInput);
        }
        if let Err(error) = serve::serve(address, exposition) {
            eprintln!("cannot serve {address}: {error}");
            return Ok(Exit::Configuration);
        }
    } else if arguments.cardinality {
        out.write_all(cardinality::table(&exposition.render(ReplayFormat::Text)).as_bytes())?;
    } else {
        out.write_all(&exposition.render(arguments.format))?;
    }
    out.flush()?;
    Ok(if incomplete { Exit::NoInput } else { Exit::Success })
}
