//! Metrics of TCP connections under the setting that has their events captured. Programs cannot
//! change once they are loaded, so that is decided at the start.

use webb_settings::Capture;

use super::config::MetricConfig;
pub use super::plugins::CONNECTIONS as NAME;

impl MetricConfig {
    /// True if the metric counts events of TCP connections.
    pub fn connections(&self) -> bool {
        self.name() == NAME
    }

    /// Warning for a metric that stays empty because its events are not captured.
    pub fn capture_contradiction(&self, capture: Capture) -> Option<String> {
        (self.connections() && capture == Capture::Off).then(|| {
            format!(
                "metric '{}' needs events of TCP connections, and `connections.capture` is off: it stays empty until \
                 the agent is started with it on",
                self.name()
            )
        })
    }
}

/// Sentence about a metric of TCP connections whose events are not captured; none if there is no
/// such metric. `key` is the setting that lists them.
pub fn switched_off<'a>(
    metrics: impl IntoIterator<Item = &'a MetricConfig>,
    capture: Capture,
    key: &str,
) -> Option<String> {
    let any = capture == Capture::Off && metrics.into_iter().any(MetricConfig::connections);
    any.then(|| format!("connections are not measured: `connections.capture` is off, and `{key}` has connections"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar;

    /// The metric is found where its events are not captured, and nowhere else.
    #[test]
    fn an_empty_metric_is_found() {
        let of = |metric: &str| grammar::parse(metric).unwrap().metrics;
        let said = |metric: &str, capture| {
            let metrics = of(metric);
            let contradiction = metrics[0].capture_contradiction(capture).is_some();
            assert_eq!(contradiction, switched_off(&metrics, capture, "metrics").is_some());
            contradiction
        };
        assert!(said("connections:sourceContext=pod", Capture::Off));
        assert!(!said("connections", Capture::Auto) && !said("connections", Capture::On));
        assert!(!said("tcp", Capture::Off));
    }
}
