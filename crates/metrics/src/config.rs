//! The validated configuration of a metric: the same from the static string, a flag or a file.

use webb_index::filters::{Filters, Layer7Reads};

use super::context::{ContextError, ContextSpec};
use super::options::{BUCKETS, BucketsError, EXEMPLARS, MetricOption, Options, Warning};
use super::plugins::{self, METHOD, PATH};
use super::registration::Registration;

/// Layer 7 fields that metrics need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct Layer7Wishes {
    /// DNS at all.
    pub dns: bool,
    /// HTTP at all.
    pub http: bool,
    /// DNS questions that are given up without an answer.
    pub unanswered: bool,
    /// The ends of gRPC calls.
    pub grpc: bool,
    /// The paths of gRPC calls.
    pub grpc_path: bool,
    /// Fields beyond those that every metric reads.
    pub reads: Layer7Reads,
}

impl Layer7Wishes {
    /// Union of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            dns: self.dns || other.dns,
            http: self.http || other.http,
            unanswered: self.unanswered || other.unanswered,
            grpc: self.grpc || other.grpc,
            grpc_path: self.grpc_path || other.grpc_path,
            reads: Layer7Reads {
                query: self.reads.query || other.reads.query,
                url: self.reads.url || other.reads.url,
                headers: self.reads.headers || other.reads.headers,
                trace: self.reads.trace || other.reads.trace,
                names: self.reads.names || other.reads.names,
                answers: self.reads.answers || other.reads.answers,
            },
        }
    }
}

/// A metric that can be built.
#[derive(Debug, Clone)]
pub struct MetricConfig {
    pub(super) registration: &'static Registration,
    pub(super) context: ContextSpec,
    pub(super) filters: Filters,
    pub(super) options: Options,
}

/// Error that makes a configuration unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Hubble's words, then where.
    #[error("unable to initialize metric '{metric}': {error} (in option '{option}')")]
    Context {
        /// The metric's name.
        metric: String,
        /// The option's name as written.
        option: String,
        /// Error in its values.
        error: ContextError,
    },
    /// Bounds of buckets that are none.
    #[error("unable to initialize metric '{metric}': {error} (in option '{BUCKETS}')")]
    Buckets {
        /// The metric's name.
        metric: String,
        /// What was expected.
        error: BucketsError,
    },
    /// Two of one name would count into the same families.
    #[error("metric '{metric}' is configured twice; give it all its options in one place")]
    Duplicate {
        /// The metric's name.
        metric: String,
    },
    /// Two that count into the same families, in Hubble's words.
    #[error("plugin {metric} conflicts with plugin {other}")]
    Conflict {
        /// The metric's name.
        metric: &'static str,
        /// The other's.
        other: &'static str,
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

/// Place of a finding among a metric's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The metric itself.
    Metric,
    /// The option of this number.
    Option(usize),
    /// A value: the number of its option, and its own in that.
    Value(usize, usize),
}

/// MetricFindings about one metric, each with its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricFindings {
    /// What makes the metric unusable.
    pub errors: Vec<(Place, ConfigError)>,
    /// What is left out.
    pub warnings: Vec<(Place, Warning)>,
}

impl MetricConfig {
    /// Checks one metric. `None` where Hubble would skip it, and where errors were found.
    pub fn new(name: &str, options: &[MetricOption], found: &mut MetricFindings) -> Option<Self> {
        let metric = || name.to_owned();
        let Some(registration) = plugins::find(name) else {
            let warning = match name {
                "kafka" => Warning::Kafka,
                _ => Warning::UnknownMetric { metric: metric(), known: plugins::names() },
            };
            found.warnings.push((Place::Metric, warning));
            return None;
        };
        let before = found.errors.len();
        let (mut context, mut own, mut own_at) = (ContextSpec::default(), Options::default(), Vec::new());
        for (at, option) in options.iter().enumerate() {
            match context.set(&option.name, &option.values) {
                Ok(true) if !registration.fixed_context => continue,
                Ok(_) => {}
                Err(wrong) => {
                    found.errors.extend(wrong.into_iter().map(|(item, error)| {
                        let (metric, option) = (metric(), option.name.clone());
                        (Place::Value(at, item), ConfigError::Context { metric, option, error })
                    }));
                    continue;
                }
            }
            if registration.options.iter().any(|own| own.eq_ignore_ascii_case(&option.name)) {
                own.push(option.clone());
                own_at.push(at);
            } else {
                let warning = Warning::UnknownOption { metric: metric(), option: option.name.clone() };
                found.warnings.push((Place::Option(at), warning));
            }
        }
        let context = if registration.fixed_context { ContextSpec::default() } else { context };
        let context = context.with_labels(registration.context);
        if let Err(error) = own.buckets() {
            let at = options.iter().rposition(|option| option.name.eq_ignore_ascii_case(BUCKETS));
            let place = at.map_or(Place::Metric, Place::Option);
            found.errors.push((place, ConfigError::Buckets { metric: metric(), error }));
        }
        let odd = own.oddities(registration.name).into_iter();
        found
            .warnings
            .extend(odd.map(|(at, warning)| (own_at.get(at).map_or(Place::Metric, |at| Place::Option(*at)), warning)));
        for label in context.label_names() {
            if (registration.configured)(&own).iter().any(|table| table.labels.contains(&label)) {
                let at = options.iter().rposition(|option| option.values.iter().any(|value| value == label));
                let place = at.map_or(Place::Metric, Place::Option);
                found.errors.push((place, ConfigError::LabelTwice { metric: metric(), label }));
            }
        }
        (found.errors.len() == before).then_some(Self {
            registration,
            context,
            options: own,
            filters: Filters::default(),
        })
    }

    /// The metric's name, for example `port-distribution`.
    pub fn name(&self) -> &'static str {
        self.registration.name
    }

    /// Adds filters; the static grammar has none.
    #[must_use]
    pub fn with_filters(self, filters: Filters) -> Self {
        Self { filters, ..self }
    }

    /// Its filters.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }

    /// Its context.
    pub(super) fn context(&self) -> &ContextSpec {
        &self.context
    }

    /// Layer 7 fields that the metric needs.
    pub fn layer7(&self) -> Layer7Wishes {
        let mut reads = self.filters.layer7_reads();
        reads.query |= self.name() == "dns" && self.options.has("query");
        let (dns, http) = (["dns", "dnsLatency"].contains(&self.name()), ["http", "httpV2"].contains(&self.name()));
        let uses = self.context.uses();
        reads.names |= uses.source_dns || uses.destination_dns;
        reads.url |= self.name() == "httpV2" && self.options.has(PATH);
        let grpc = self.name() == "grpc";
        reads.trace |= http && self.options.is_true(EXEMPLARS);
        Layer7Wishes {
            dns: dns || reads.query || reads.names,
            http: http || grpc || reads.url || reads.headers || reads.trace,
            unanswered: self.name() == "dnsLatency",
            grpc,
            grpc_path: grpc && self.options.has(METHOD),
            reads,
        }
    }

    /// Sets the name of this node in its filters, as `cluster/node`.
    pub fn set_local_node(&mut self, node: &str) {
        self.filters.set_local_node(node);
    }

    /// Reason for which it conflicts with `other`, if it does: Hubble names the one that comes
    /// first.
    pub fn conflict(&self, other: &Self) -> Option<ConfigError> {
        let conflicts = self.registration.conflict == Some(other.name());
        conflicts.then_some(ConfigError::Conflict { metric: self.name(), other: other.name() })
    }
}
