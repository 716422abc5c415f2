//! A metric as a dynamic configuration file lists it.

use webb_settings::Origin;

use crate::config::MetricConfig;
use crate::options::MetricOption;

/// Begins every error about a metric that Hubble would refuse, in its words.
pub(super) const INVALID: &str = "metric config validation failed";

/// One metric of a file.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Ready to be counted.
    pub config: MetricConfig,
    /// Its options as written; none differs from an empty list, as in Hubble.
    pub options: Option<Vec<MetricOption>>,
    /// Its position in the file.
    pub origin: Origin,
}
