//! The static configuration string (contract, section 2.5.2):
//! `dns:query;ignoreAAAA flow:sourceContext=workload-name|reserved-identity`.
//!
//! Metrics stand between white space, options behind the first `:`, separated by `;`, values behind the first `=`.
//! Hubble's releases disagree on whether `|` or `,` separates values, and no value holds either, so both do, always.

use super::config::{ConfigError, MetricConfig, MetricOption, Warning};

/// What a configuration string says.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The metrics to count, in the order written.
    pub metrics: Vec<MetricConfig>,
    /// What was left out, for the log.
    pub warnings: Vec<Warning>,
}

/// Reads a configuration string. An empty one is no metric, not an error.
pub fn parse(text: &str) -> Result<Parsed, ConfigError> {
    let mut parsed = Parsed::default();
    for metric in text.split_whitespace() {
        let (name, options) = metric.split_once(':').unwrap_or((metric, ""));
        let options: Vec<MetricOption> = options.split(';').filter(|option| !option.is_empty()).map(option).collect();
        let Some(config) = MetricConfig::new(name, &options, &mut parsed.warnings)? else { continue };
        if parsed.metrics.iter().any(|other| other.name() == name) {
            return Err(ConfigError::Duplicate { metric: name.to_owned() });
        }
        parsed.metrics.push(config);
    }
    Ok(parsed)
}

fn option(text: &str) -> MetricOption {
    let (name, values) = match text.split_once('=') {
        // A name alone has one empty value: enough for a flag, an error for a context.
        None => (text, vec![String::new()]),
        Some((name, values)) => {
            (name, values.split(['|', ',']).filter(|value| !value.is_empty()).map(str::to_owned).collect())
        }
    };
    MetricOption { name: name.to_owned(), values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(text: &str) -> Vec<&'static str> {
        parse(text).unwrap().metrics.iter().map(MetricConfig::name).collect()
    }

    fn labels(text: &str) -> Vec<&'static str> {
        parse(text).unwrap().metrics[0].context.label_names()
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn warnings(text: &str) -> Vec<String> {
        parse(text).unwrap().warnings.iter().map(Warning::to_string).collect()
    }

    /// Any white space separates, names are case-sensitive, and what Hubble skips is skipped with a word about it.
    #[test]
    fn metrics() {
        assert_eq!(names("drop tcp\n\tflow:  icmp"), ["drop", "tcp", "flow", "icmp"]);
        assert!(names(" \n").is_empty());
        assert_eq!(names("TCP tcp kafka dns nld:x;y=z :a"), ["tcp"]);
        let warned = warnings("TCP kafka dns :a");
        assert!(warned[0].starts_with("skipping unknown hubble metric 'TCP'; known: drop, "), "{warned:?}");
        assert!(warned[1].contains("'kafka'") && warned[1].contains("1.20"), "{warned:?}");
        assert!(warned[2].contains("'dns'") && warned[2].contains("does not count it yet"), "{warned:?}");
        assert!(warned[3].contains("metric ''"), "{warned:?}");
        assert_eq!(error("tcp flow tcp:x"), "metric 'tcp' is configured twice; give it all its options in one place");
    }

    /// Both separators for every key, option names in any case, empty items and options ignored, the last option wins.
    #[test]
    fn options() {
        assert_eq!(labels("flow:sourcecontext=Pod|ip;;DESTINATIONCONTEXT=POD-NAME,dns;"), ["source", "destination"]);
        assert_eq!(labels("flow:labelsContext=source_pod,source_ip,source_pod"), ["source_ip", "source_pod"]);
        assert_eq!(labels("flow:labelsContext=source_pod|source_ip"), ["source_ip", "source_pod"]);
        assert_eq!(labels("flow:sourceContext=pod;sourceContext="), [""; 0]);
        assert_eq!(labels("flow:sourceContext=||"), [""; 0]);
        assert_eq!(labels("flow:destinationIngressContext=pod"), ["destination"]);
        assert_eq!(warnings("flow:x"), ["metric 'flow' has no option 'x'; it is ignored"]);
    }

    /// Hubble's error texts, and where: the metric and the option.
    #[test]
    fn errors() {
        assert_eq!(
            error("tcp flow:sourceContext=pod|pod-short"),
            "unable to initialize metric 'flow': unknown context 'pod-short' (in option 'sourceContext')"
        );
        assert_eq!(
            error("flow:sourceContext"),
            "unable to initialize metric 'flow': unknown context '' (in option 'sourceContext')"
        );
        assert_eq!(
            error("flow:labelsContext=source_pod,Source_Ip"),
            "unable to initialize metric 'flow': invalid labelsContext value: Source_Ip (in option 'labelsContext')"
        );
        assert_eq!(
            error("traffic:labelsContext=traffic_direction"),
            "unable to initialize metric 'traffic': label 'traffic_direction' is part of the metric already; \
             leave it out of its contexts"
        );
    }

    proptest! {
        /// The string is typed by people: whatever it is, there is an answer.
        #[test]
        fn any_text(text in "((tcp|drop|flow|[a-z]{1,3})(:(sourceContext|labelsContext|[ -~]{0,9})(=[ -~]{0,12})?;?)* ?){0,4}") {
            let _answer = parse(&text);
        }
    }
}
