//! Parses the metrics to count from the command line.

use std::path::Path;

use webb_metrics::captures::NAME;
use webb_metrics::{Aggregator, MetricConfig, dynamic, grammar};
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
    warn_of_empty(&parsed.metrics);
    Ok(parsed.metrics.iter().map(Aggregator::new).collect())
}

/// Warns of a metric that no flow of a file counts in.
fn warn_of_empty<'a>(metrics: impl IntoIterator<Item = &'a MetricConfig>) {
    if metrics.into_iter().any(MetricConfig::connections) {
        eprintln!(
            "metric '{NAME}' stays empty, all of its families: flows of a file have neither the times nor the ends \
             of connections"
        );
    }
}

/// The metrics of a dynamic file.
fn dynamic(path: &Path) -> Result<Vec<Aggregator>, String> {
    let read = read_file(path).and_then(dynamic::read).map_err(|problems| problems.to_string())?;
    for warning in &read.warnings {
        eprintln!("{}", warning.render("warning", Some(&read.file)));
    }
    warn_of_empty(read.metrics.iter().map(|listed| &listed.config));
    Ok(read.metrics.iter().map(|listed| Aggregator::new(&listed.config)).collect())
}
