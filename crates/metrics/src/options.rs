//! Options of a metric, and warnings about them.

/// The one option that has a meaning.
pub const EXEMPLARS: &str = "exemplars";

/// The bounds of a histogram's buckets, in seconds.
pub const BUCKETS: &str = "buckets";

/// Buckets that a histogram may have.
const MAX_BUCKETS: usize = 64;

/// A list of buckets that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {MAX_BUCKETS} numbers of seconds above 0, each greater than the one before, such as 0.001|0.01|0.1"
)]
pub struct BucketsError;

/// An option of a metric as written: `sourceContext=pod|ip` has two values, `query` has one empty
/// one, `x=` has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricOption {
    /// Compared without regard to case.
    pub name: String,
    /// Already split.
    pub values: Vec<String>,
}

/// Something in a configuration that is left out, though the rest works as written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Hubble skips such a name too.
    #[error("skipping unknown hubble metric '{metric}'; known: {known}")]
    UnknownMetric {
        /// Name of the metric as written; names are case-sensitive.
        metric: String,
        /// The names of all metrics.
        known: String,
    },
    /// The plugin that Cilium 1.20 took away.
    #[error("skipping hubble metric 'kafka': Cilium removed it in 1.20, and webb parses no Kafka")]
    Kafka,
    /// Hubble ignores these silently; a misspelt context option would be one.
    #[error("metric '{metric}' has no option '{option}'; it is ignored")]
    UnknownOption {
        /// The metric's name.
        metric: String,
        /// Option as written.
        option: String,
    },
    /// Hubble reads the option's name alone.
    #[error("metric '{metric}': option '{option}' is on because it is there; its value '{value}' changes nothing")]
    FlagValue {
        /// The metric's name.
        metric: String,
        /// Option as written.
        option: String,
        /// Value as written.
        value: String,
    },
    /// Only one list of bounds can be the one.
    #[error("metric '{metric}' has several options '{BUCKETS}'; the last one counts")]
    BucketsTwice {
        /// The metric's name.
        metric: String,
    },
    /// Hubble reads the first value and takes `true` alone for yes.
    #[error("metric '{metric}': exemplars are off: the first option '{option}' must have exactly the value 'true'")]
    ExemplarsOff {
        /// The metric's name.
        metric: String,
        /// Option as written.
        option: String,
    },
}

/// The options of one metric that are its own, as written. Names are compared without regard to
/// case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(Vec<MetricOption>);

impl Options {
    /// Takes one more.
    pub(super) fn push(&mut self, option: MetricOption) {
        self.0.push(option);
    }

    /// True if the option is there, whatever its value: `query=false` switches `query` on, as in
    /// Hubble (quirk 3).
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|option| option.name.eq_ignore_ascii_case(name))
    }

    /// True if the first value of the first option of that name is `true`, exactly (quirk 4).
    pub fn is_true(&self, name: &str) -> bool {
        let first = self.0.iter().find(|option| option.name.eq_ignore_ascii_case(name));
        first.and_then(|option| option.values.first()).is_some_and(|value| value == "true")
    }

    /// The bounds that the last `buckets` lists; none without one.
    pub fn buckets(&self) -> Result<Option<Vec<f64>>, BucketsError> {
        let Some(option) = self.0.iter().rfind(|option| option.name.eq_ignore_ascii_case(BUCKETS)) else {
            return Ok(None);
        };
        // A file may have them in one value, as the static grammar writes them.
        let written = option.values.iter().flat_map(|value| value.split('|'));
        let bounds: Vec<f64> =
            written.map(|bound| bound.trim().parse().map_err(|_| BucketsError)).collect::<Result<_, _>>()?;
        let ascend = bounds.is_sorted_by(|one, other| one < other);
        let fit = bounds.iter().all(|bound| bound.is_finite() && *bound > 0.0);
        if ascend && fit && (1..=MAX_BUCKETS).contains(&bounds.len()) { Ok(Some(bounds)) } else { Err(BucketsError) }
    }

    /// Options of `metric` that may not do what their author meant, by their numbers.
    pub(super) fn oddities(&self, metric: &str) -> Vec<(usize, Warning)> {
        let mut odd = Vec::new();
        let (mut exemplars, mut buckets) = (0, 0);
        for (at, option) in self.0.iter().enumerate() {
            let value = option.values.first().map_or("", String::as_str);
            let (metric, name) = (metric.to_owned(), option.name.clone());
            if option.name.eq_ignore_ascii_case(EXEMPLARS) {
                exemplars += 1;
                if exemplars == 1 && value != "true" && value != "false" {
                    odd.push((at, Warning::ExemplarsOff { metric, option: name }));
                }
            } else if option.name.eq_ignore_ascii_case(BUCKETS) {
                // Its values are checked.
                buckets += 1;
                if buckets == 2 {
                    odd.push((at, Warning::BucketsTwice { metric }));
                }
            } else if !value.is_empty() && value != "true" {
                odd.push((at, Warning::FlagValue { metric, option: name, value: value.to_owned() }));
            }
        }
        odd
    }
}
