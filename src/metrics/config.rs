//! One metric's configuration, checked: the same from the static string, a flag or a file.

use super::context::{ContextError, ContextSpec};
use super::filters::Filters;
use super::registry::{self, Registration};

/// An option of a metric as written: `sourceContext=pod|ip` has two values, `query` has one empty one, `x=` has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricOption {
    /// Compared without regard to case.
    pub name: String,
    /// Already split.
    pub values: Vec<String>,
}

/// A metric that can be built.
#[derive(Debug, Clone)]
pub struct MetricConfig {
    pub(super) registration: &'static Registration,
    pub(super) context: ContextSpec,
    pub(super) filters: Filters,
}

/// Something in a configuration that is left out, though the rest works as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Hubble skips such a name too.
    #[error("skipping unknown hubble metric '{metric}'; known: {}", registry::names())]
    UnknownMetric {
        /// As written; names are case-sensitive.
        metric: String,
    },
    /// One of Hubble's that this version does not count.
    #[error(
        "skipping hubble metric '{metric}': this version of webb does not count it yet; it counts: {}",
        registry::names()
    )]
    NotCounted {
        /// As written.
        metric: String,
    },
    /// The plugin that Cilium 1.20 took away.
    #[error("skipping hubble metric 'kafka': Cilium removed it in 1.20, and webb parses no Kafka")]
    Kafka,
    /// Hubble ignores these silently; a misspelt context option would be one.
    #[error("metric '{metric}' has no option '{option}'; it is ignored")]
    UnknownOption {
        /// The metric's name.
        metric: String,
        /// As written.
        option: String,
    },
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Hubble's words, then where.
    #[error("unable to initialize metric '{metric}': {error} (in option '{option}')")]
    Context {
        /// The metric's name.
        metric: String,
        /// The option's name as written.
        option: String,
        /// What is wrong with its values.
        error: ContextError,
    },
    /// Two of one name would count into the same families.
    #[error("metric '{metric}' is configured twice; give it all its options in one place")]
    Duplicate {
        /// The metric's name.
        metric: String,
    },
    /// A context would add a label that the metric already has.
    #[error(
        "unable to initialize metric '{metric}': label '{label}' is part of the metric already; leave it out of its contexts"
    )]
    LabelTwice {
        /// The metric's name.
        metric: String,
        /// The label's name.
        label: &'static str,
    },
}

impl MetricConfig {
    /// Checks one metric. `None` where Hubble would skip it; what is odd goes to `warnings`.
    pub fn new(name: &str, options: &[MetricOption], warnings: &mut Vec<Warning>) -> Result<Option<Self>, ConfigError> {
        let metric = || name.to_owned();
        let Some(registration) = registry::find(name) else {
            warnings.push(match name {
                "kafka" => Warning::Kafka,
                "dns" | "flows-to-world" | "http" | "httpV2" | "policy" | "sctp" => {
                    Warning::NotCounted { metric: metric() }
                }
                _ => Warning::UnknownMetric { metric: metric() },
            });
            return Ok(None);
        };
        let mut context = ContextSpec::default();
        for option in options {
            let known = context.set(&option.name, &option.values).map_err(|error| ConfigError::Context {
                metric: metric(),
                option: option.name.clone(),
                error,
            })?;
            if !known {
                warnings.push(Warning::UnknownOption { metric: metric(), option: option.name.clone() });
            }
        }
        for label in context.label_names() {
            if registration.tables.iter().any(|table| table.labels.contains(&label)) {
                return Err(ConfigError::LabelTwice { metric: metric(), label });
            }
        }
        Ok(Some(Self { registration, context, filters: Filters::default() }))
    }

    /// The metric's name, for example `port-distribution`.
    pub fn name(&self) -> &'static str {
        self.registration.name
    }

    /// With filters; the static grammar has none.
    #[must_use]
    pub fn with_filters(self, filters: Filters) -> Self {
        Self { filters, ..self }
    }

    /// Which flows it looks at.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Tells its filters which node this is, as `cluster/node`.
    pub fn at_home(&mut self, node: &str) {
        self.filters.at_home(node);
    }
}
