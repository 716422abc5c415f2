//! Contradictions between a metric and the settings of layer 7: both are valid, and together the
//! metric stays empty or counts twice.

use webb_settings::{Capture, Layer7, Side};

use super::config::MetricConfig;

impl MetricConfig {
    /// Warning for a metric that does not count what it looks like under the settings `l7`. One
    /// reason is enough: the first hides the others.
    pub fn layer7_contradiction(&self, l7: &Layer7) -> Option<String> {
        let (name, wishes) = (self.name(), self.layer7());
        let asks_dns = ["dns", "dnsLatency"].contains(&name);
        if self.unseen(l7) {
            Some(format!("metric '{name}' needs DNS or HTTP out of packets, and `l7.capture` is off: none is seen"))
        } else if wishes.reads.names && l7.dns_side == Side::Server {
            Some(format!(
                "metric '{name}' reads names from DNS, and there are none while `l7.dns_side` is server: names come \
                 from answers at the client's side"
            ))
        } else if asks_dns && l7.dns_side == Side::Both && !self.context().uses().direction {
            Some(format!(
                "metric '{name}' counts a question between two pods twice while `l7.dns_side` is both: add \
                 `traffic_direction` to its labelsContext, or have one side report"
            ))
        } else {
            None
        }
    }

    /// True if the metric needs DNS or HTTP and `l7` has none of it read.
    pub fn unseen(&self, l7: &Layer7) -> bool {
        let wishes = self.layer7();
        l7.capture == Capture::Off && (wishes.dns || wishes.http)
    }
}

/// Sentence about all metrics that need DNS or HTTP while it is not read; none if there is no such
/// metric. `key` is the setting that lists them.
pub fn switched_off<'a>(metrics: impl IntoIterator<Item = &'a MetricConfig>, l7: &Layer7, key: &str) -> Option<String> {
    let names: Vec<_> = metrics.into_iter().filter(|config| config.unseen(l7)).map(MetricConfig::name).collect();
    (!names.is_empty()).then(|| {
        format!("DNS and HTTP are not seen: `l7.capture` is off, and `{key}` has {} of them", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar;

    fn said(metric: &str, change: impl Fn(&mut Layer7)) -> Option<String> {
        let mut l7 = Layer7::default();
        change(&mut l7);
        grammar::parse(metric).unwrap().metrics[0].layer7_contradiction(&l7)
    }

    /// The reason that is found, each with what lies just beside it and is right.
    #[test]
    fn contradictions_are_found() {
        let (off, dns) =
            (|l7: &mut Layer7| l7.capture = Capture::Off, |side| move |l7: &mut Layer7| l7.dns_side = side);
        for metric in ["dns", "http", "httpV2", "grpc", "dnsLatency", "flow:sourceContext=dns"] {
            assert!(said(metric, off).is_some_and(|text| text.contains("none is seen")), "{metric}");
        }
        assert_eq!(said("flow:sourceContext=pod", off), None);
        assert_eq!(said("httpV2", |l7| l7.capture = Capture::On), None);

        let names = "drop:sourceContext=pod;destinationContext=dns|ip";
        assert!(said(names, dns(Side::Server)).is_some_and(|text| text.contains("there are none")));
        assert_eq!(said("drop:destinationContext=ip", dns(Side::Server)), None);
        for side in [Side::Once, Side::Client, Side::Both] {
            assert_eq!(said(names, dns(side)), None, "{side:?}");
        }

        for metric in ["dns", "dnsLatency:sourceContext=pod"] {
            assert!(said(metric, dns(Side::Both)).is_some_and(|text| text.contains("twice")), "{metric}");
        }
        for metric in ["dns:labelsContext=traffic_direction", "dnsLatency:sourceEgressContext=pod", "httpV2", "flow"] {
            assert_eq!(said(metric, dns(Side::Both)), None, "{metric}");
        }
        assert_eq!(said("dns", dns(Side::Once)), None);
    }
}
