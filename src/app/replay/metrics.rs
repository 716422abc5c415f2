//! Parses the metrics to count from the command line.

use std::path::Path;

use webb_metrics::{Aggregator, dynamic, grammar};
use webb_settings::{Settings, read_file};

use crate::cli::ReplayArgs;

/// The requested metrics, or an agent's defaults.
pub(super) fn aggregators(arguments: &ReplayArgs) -> Result<Vec<Aggregator>, String> {
    if let Some(path) = &arguments.metrics_config {
        return dynamic(path);
    }
    let text = arguments.metrics.clone().unwrap_or_else(|| Settings::default().metrics.join(" "));
    let parsed = grammar::parse(&text).map_err(|error| error.to_string())?;
    for warning in &parsed.warnings {
        eprintln!("{warning}");
    }
    Ok(parsed.metrics.iter().map(Aggregator::new).collect())
}

/// The metrics of a dynamic file.
fn dynamic(path: &Path) -> Result<Vec<Aggregator>, String> {
    let read = read_file(path).and_then(dynamic::read).map_err(|problems| problems.to_string())?;
    for warning in &read.warnings {
        eprintln!("{}", warning.render("warning", Some(&read.file)));
    }
    Ok(read.metrics.iter().map(|listed| Aggregator::new(&listed.config)).collect())
}
