//! Metrics of a configuration: the list in it, or those of the file that it names.

use std::path::PathBuf;

use webb_metrics::config::MetricConfig;
use webb_metrics::dynamic::{self, Dynamic};
use webb_metrics::{Layer7Wishes, captures, grammar, layer7};
use webb_settings::{Capture, Layer7, Problems, Remarks, Resolved, Settings, read_file};

use super::toggles;

/// Source of the metrics' configuration.
#[derive(Debug)]
pub enum Metrics {
    /// Metrics of the configuration, which never change.
    Static(Vec<MetricConfig>),
    /// Metrics of a file of their own, which is followed.
    Dynamic(PathBuf, Dynamic),
}

impl Metrics {
    /// Reads the metrics of `resolved`. Warnings are added to its own, or to those of the file.
    ///
    /// # Errors
    /// Everything that is wrong with the list, or with the file, which may not be readable.
    pub fn read(resolved: &mut Resolved) -> Result<Self, Problems> {
        toggles::check(resolved);
        let Some(path) = resolved.settings.metrics_config.clone() else {
            return check_list(resolved).map(Self::Static);
        };
        let mut dynamic = read_file(&path).and_then(dynamic::read)?;
        let (l7, capture) = resolved.settings.seen_by_metrics();
        dynamic.check_layer7(&l7);
        dynamic.check_capture(capture);
        Ok(Self::Dynamic(path, dynamic))
    }

    /// Checks the metrics of `resolved` on any machine: a file of metrics that is not there gives a
    /// warning. Returns the warnings of the file.
    ///
    /// # Errors
    /// Everything that is wrong with the list, or with the file.
    pub fn check(resolved: &mut Resolved) -> Result<Option<Problems>, Problems> {
        if let Some(path) = &resolved.settings.metrics_config
            && path.try_exists().is_ok_and(|exists| !exists)
            && let Err(unreadable) = read_file(path)
        {
            let why = unreadable.list.into_iter().next().map(|problem| problem.message).unwrap_or_default();
            resolved.warn("metrics_config", format!("`metrics_config`: {why}; its metrics are not checked"));
            return Ok(None);
        }
        Ok(Self::read(resolved)?.warnings())
    }

    /// The warnings of the file of metrics, if there is one.
    pub(super) fn warnings(self) -> Option<Problems> {
        match self {
            Self::Static(_) => None,
            Self::Dynamic(_, Dynamic { warnings, file, .. }) => {
                Some(Problems { warnings, file: Some(file), ..Problems::default() }.sorted())
            }
        }
    }

    /// The metrics.
    pub(super) fn configs(&self) -> impl Iterator<Item = &MetricConfig> {
        let (listed, of_file) = match self {
            Self::Static(configs) => (&configs[..], &[][..]),
            Self::Dynamic(_, dynamic) => (&[][..], &dynamic.metrics[..]),
        };
        listed.iter().chain(of_file.iter().map(|listed| &listed.config))
    }

    /// Layer 7 fields that the metrics need; none if others may come.
    pub(super) fn layer7(&self) -> Option<Layer7Wishes> {
        match self {
            Self::Static(configs) => {
                Some(configs.iter().fold(Layer7Wishes::default(), |all, config| all.and(config.layer7())))
            }
            Self::Dynamic(..) => None,
        }
    }

    /// True if events of TCP connections may be counted: a metric does, or others may come.
    pub(super) fn connections(&self) -> bool {
        match self {
            Self::Static(configs) => configs.iter().any(MetricConfig::connections),
            Self::Dynamic(..) => true,
        }
    }

    /// Sentence for a configuration that switches layer 7 off, or events of connections, beside
    /// metrics that need it. The
    /// metrics of a file may change, and its component says so.
    pub(super) fn switched_off(&self, settings: &Settings) -> Option<String> {
        match self {
            Self::Static(configs) => layer7::switched_off(configs, &settings.l7, "metrics")
                .or_else(|| captures::switched_off(configs, settings.connections.capture, "metrics")),
            Self::Dynamic(..) => None,
        }
    }
}

/// Reads the list of metrics, and adds a warning for each that is odd.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check_list(resolved: &mut Resolved) -> Result<Vec<MetricConfig>, Problems> {
    let (l7, capture) = resolved.settings.seen_by_metrics();
    resolved.check_metrics(&|entry| remarks(entry, &l7, capture))?;
    Ok(grammar::parse(&resolved.settings.metrics.join(" ")).map(|parsed| parsed.metrics).unwrap_or_default())
}

fn remarks(entry: &str, l7: &Layer7, capture: Capture) -> Remarks {
    let (parsed, errors) = grammar::read(entry);
    let odd = parsed.warnings.iter().map(ToString::to_string);
    let blind = parsed.metrics.iter().filter_map(|config| config.layer7_contradiction(l7));
    let empty = parsed.metrics.iter().filter_map(|config| config.capture_contradiction(capture));
    Remarks {
        errors: errors.iter().map(ToString::to_string).collect(),
        warnings: odd.chain(blind).chain(empty).collect(),
    }
}
