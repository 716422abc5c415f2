//! Which metrics to count: from the command line.

use crate::cli::ReplayArgs;
use crate::metrics::{Aggregator, grammar};
use crate::settings::Settings;

/// The metrics that were asked for, or those that an agent counts unless told otherwise.
pub(super) fn aggregators(arguments: &ReplayArgs) -> Result<Vec<Aggregator>, String> {
    if arguments.metrics_config.is_some() {
        return Err("--metrics-config: dynamic metrics cannot be replayed yet; use --metrics".to_owned());
    }
    let text = arguments.metrics.clone().unwrap_or_else(|| Settings::default().metrics.join(" "));
    let parsed = grammar::parse(&text).map_err(|error| error.to_string())?;
    for warning in &parsed.warnings {
        eprintln!("{warning}");
    }
    Ok(parsed.metrics.iter().map(Aggregator::new).collect())
}
