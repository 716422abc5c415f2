//! A metric family as plain data: for everything that is not a table of Hubble series.

/// The TYPE of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyType {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

impl FamilyType {
    /// Name in the TYPE line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Full name.
    pub name: String,
    /// The HELP text.
    pub help: String,
    /// The TYPE.
    pub kind: FamilyType,
    /// Samples in any order. Without one, the family is not exposed.
    pub samples: Vec<Sample>,
}

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name and value of each label, in any order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: Value,
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number, exact until it is written.
    Count(u64),
    /// Any number.
    Number(f64),
    /// Only in a family of [`FamilyType::Histogram`].
    Histogram(Histogram),
}

/// A histogram: how many observations fell at or below each bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Upper bound and number of observations at or below it, ascending; `+Inf` is `count` and not
    /// listed.
    pub buckets: Vec<(f64, u64)>,
    /// All observations added up.
    pub sum: f64,
    /// Number of observations.
    pub count: u64,
}

/// The Go client's default bounds, in seconds (hubble-contract §1.5).
pub const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Default for Histogram {
    /// Empty, with the Go client's default bounds.
    fn default() -> Self {
        Self { buckets: DEFAULT_BOUNDS.map(|bound| (bound, 0)).to_vec(), sum: 0.0, count: 0 }
    }
}

impl Histogram {
    /// Adds one observation.
    pub fn observe(&mut self, value: f64) {
        for (bound, count) in &mut self.buckets {
            if value <= *bound {
                *count += 1;
            }
        }
        self.sum += value;
        self.count += 1;
    }
}

impl Family {
    /// A family without samples yet.
    pub fn new(name: &str, help: &str, kind: FamilyType) -> Self {
        Self { name: name.to_owned(), help: help.to_owned(), kind, samples: Vec::new() }
    }

    /// The family with one more sample.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a sample.
    pub fn push(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.samples.push(Sample { labels, value: value.into() });
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(histogram)
    }
}

/// Converts a family of the `prometheus` crate, which makes neither summaries nor untyped metrics;
/// such a family would come out without samples.
impl From<&prometheus::proto::MetricFamily> for Family {
    fn from(gathered: &prometheus::proto::MetricFamily) -> Self {
        use prometheus::proto::{Metric, MetricType};
        let kind = match gathered.get_field_type() {
            MetricType::COUNTER => FamilyType::Counter,
            MetricType::HISTOGRAM => FamilyType::Histogram,
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => FamilyType::Gauge,
        };
        let value = |metric: &Metric| match gathered.get_field_type() {
            MetricType::COUNTER => Some(Value::Number(metric.get_counter().get_value())),
            MetricType::GAUGE => Some(Value::Number(metric.get_gauge().get_value())),
            MetricType::HISTOGRAM => Some(Value::Histogram(metric.get_histogram().into())),
            MetricType::SUMMARY | MetricType::UNTYPED => None,
        };
        let samples = gathered.get_metric().iter().filter_map(|metric| {
            let labels = metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
            Some(Sample { labels: labels.collect(), value: value(metric)? })
        });
        Self { name: gathered.name().to_owned(), help: gathered.help().to_owned(), kind, samples: samples.collect() }
    }
}

impl From<&prometheus::proto::Histogram> for Histogram {
    fn from(gathered: &prometheus::proto::Histogram) -> Self {
        let buckets = gathered.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        Self {
            buckets: buckets.filter(|(bound, _)| bound.is_finite()).collect(),
            sum: gathered.get_sample_sum(),
            count: gathered.get_sample_count(),
        }
    }
}
