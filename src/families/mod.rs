//! Metric families that are read from counters when Prometheus asks: their definitions, the rows of
//! one read, and the endpoints that speak Cilium's language.

mod build;
mod cilium;
mod endpoint;
mod problems;
mod process;
mod selection;

pub use build::build_row;
pub(crate) use cilium::cilium_families;
pub use cilium::{Absent, Category, Family, Versions};
pub use endpoint::{CategorySource, Endpoint};
pub use problems::log_rows;
pub use process::{PROCESS_FAMILIES, Process};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram as Observed, LabelPair, Metric, MetricFamily, MetricType};
#[cfg(test)]
pub(crate) use selection::listed;
pub use selection::{SelectedRows, Selection};
use webb_metrics::expose::{FamilyType, Histogram};

/// One family.
#[derive(Debug)]
pub struct Def {
    /// Full name.
    pub name: &'static str,
    /// HELP text.
    pub help: &'static str,
    /// TYPE.
    pub kind: FamilyType,
    /// Label names.
    pub labels: &'static [&'static str],
}

/// The rows of one read of the counters.
#[derive(Debug, Default)]
pub struct Rows(Vec<MetricFamily>);

/// Fills rows. Called by a scrape, so it must not block.
pub type Source = Box<dyn Fn(&mut Rows) + Send + Sync>;

impl Rows {
    /// Adds a row: the values of `def`'s labels, in its order, and the number.
    #[allow(clippy::cast_precision_loss, reason = "Prometheus numbers are doubles")]
    pub fn add(&mut self, def: &Def, labels: &[&str], value: u64) {
        self.add_f64(def, labels, value as f64);
    }

    /// Adds like [`Rows::add`], for seconds and other fractions.
    pub fn add_f64(&mut self, def: &Def, labels: &[&str], value: f64) {
        let mut metric = labelled(def, labels);
        if def.kind == FamilyType::Counter {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(def, metric);
    }

    /// Adds like [`Rows::add`], for a family of the type histogram.
    pub fn add_histogram(&mut self, def: &Def, labels: &[&str], value: &Histogram) {
        let mut metric = labelled(def, labels);
        let mut histogram = Observed::default();
        histogram.set_sample_sum(value.sum);
        histogram.set_sample_count(value.count);
        let buckets = value.buckets.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        metric.set_histogram(histogram);
        self.push(def, metric);
    }

    /// The families that have a row, in the order of their first.
    #[must_use]
    pub fn into_families(self) -> Vec<MetricFamily> {
        self.0
    }

    fn push(&mut self, def: &Def, metric: Metric) {
        // Rows of a family follow each other, most often.
        let at = self.0.iter().rposition(|family| family.name() == def.name).unwrap_or_else(|| {
            let mut family = MetricFamily::default();
            family.set_name(def.name.to_owned());
            family.set_help(def.help.to_owned());
            family.set_field_type(match def.kind {
                FamilyType::Counter => MetricType::COUNTER,
                FamilyType::Gauge => MetricType::GAUGE,
                FamilyType::Histogram => MetricType::HISTOGRAM,
            });
            self.0.push(family);
            self.0.len() - 1
        });
        if let Some(family) = self.0.get_mut(at) {
            family.mut_metric().push(metric);
        }
    }
}

fn labelled(def: &Def, values: &[&str]) -> Metric {
    let mut metric = Metric::default();
    let pairs = def.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    metric.set_label(pairs.collect());
    metric
}
