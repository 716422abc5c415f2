//! The static configuration string (hubble-contract §2.5.2):
//! `dns:query;ignoreAAAA flow:sourceContext=workload-name|reserved-identity`.
//!
//! Metrics stand between white space, options behind the first `:`, separated by `;`, values behind
//! the first `=`. Hubble's releases disagree on whether `|` or `,` separates values, and no value
//! holds either, so both do, always.

use super::config::{ConfigError, MetricConfig, MetricFindings};
use super::options::{MetricOption, Warning};

/// A parsed configuration string.
#[derive(Debug, Clone, Default)]
pub struct Parsed {
    /// The metrics to count, in the order written.
    pub metrics: Vec<MetricConfig>,
    /// Parts that were left out, for the log.
    pub warnings: Vec<Warning>,
}

/// Reads a configuration string. An empty one is no metric, not an error.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Parsed, ConfigError> {
    let (parsed, errors) = read(text);
    errors.into_iter().next().map_or(Ok(parsed), Err)
}

/// Reads a configuration string, and finds everything that is wrong with it.
pub fn read(text: &str) -> (Parsed, Vec<ConfigError>) {
    let (mut parsed, mut errors) = (Parsed::default(), Vec::new());
    for metric in text.split_whitespace() {
        let (name, options) = metric.split_once(':').unwrap_or((metric, ""));
        let options: Vec<MetricOption> = options.split(';').filter(|option| !option.is_empty()).map(option).collect();
        let mut found = MetricFindings::default();
        let config = MetricConfig::new(name, &options, &mut found);
        errors.extend(found.errors.into_iter().map(|(_, error)| error));
        parsed.warnings.extend(found.warnings.into_iter().map(|(_, warning)| warning));
        let Some(config) = config else { continue };
        if parsed.metrics.iter().any(|other| other.name() == name) {
            errors.push(ConfigError::Duplicate { metric: name.to_owned() });
        } else if let Some(conflict) = parsed.metrics.iter().find_map(|other| other.conflict(&config)) {
            errors.push(conflict);
        } else {
            parsed.metrics.push(config);
        }
    }
    (parsed, errors)
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
    use proptest::prelude::*;

    use super::*;

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

    /// Any white space separates, names are case-sensitive, and what Hubble skips is skipped with a
    /// word about it.
    #[test]
    fn metrics() {
        assert_eq!(names("drop tcp\n\tflow:  icmp"), ["drop", "tcp", "flow", "icmp"]);
        assert!(names(" \n").is_empty());
        assert_eq!(names("TCP tcp kafka httpv2 nld:x;y=z :a"), ["tcp"]);
        let warned = warnings("TCP kafka :a");
        let known = super::super::plugins::names();
        assert_eq!(warned[0], format!("skipping unknown hubble metric 'TCP'; known: {known}"));
        assert!(warned[1].contains("'kafka'") && warned[1].contains("1.20"), "{warned:?}");
        assert!(warned[2].contains("metric ''"), "{warned:?}");
        assert_eq!(error("tcp flow tcp:x"), "metric 'tcp' is configured twice; give it all its options in one place");
    }

    /// Both separators for every key, option names in any case, empty items and options ignored,
    /// the last option wins.
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

    /// All of Hubble's plugins, by its names.
    #[test]
    fn plugins() {
        let all =
            ["dns", "drop", "flow", "flows-to-world", "httpV2", "icmp", "policy", "port-distribution", "sctp", "tcp"];
        assert_eq!(names(&all.join(" ")), all);
        assert_eq!(names("http"), ["http"]);
        assert_eq!(error("tcp http flow httpV2"), "plugin http conflicts with plugin httpV2");
        assert_eq!(error("httpV2:exemplars=true http"), "plugin httpV2 conflicts with plugin http");
    }

    /// A plugin's own options: in any case, by being there alone, but for `exemplars`. What may not
    /// do what was meant is said.
    #[test]
    fn own_options() {
        let has = |text: &str, option: &str| parse(text).unwrap().metrics[0].options.has(option);
        assert!(has("dns:QUERY", "query") && has("dns:query=false", "query") && has("dns:query=", "query"));
        assert!(!has("dns:ignoreAAAA", "query"));
        let exemplars = |text: &str| parse(text).unwrap().metrics[0].options.is_true("exemplars");
        assert!(exemplars("http:EXEMPLARS=true") && exemplars("httpV2:exemplars=true;exemplars=false"));
        assert!(!exemplars("http:exemplars") && !exemplars("http:exemplars=True"));
        assert!(!exemplars("http:exemplars=false;exemplars=true") && !exemplars("http"));
        assert_eq!(
            warnings("flows-to-world:port=no;any-drop;syn-only=true dns:port"),
            [
                "metric 'flows-to-world': option 'port' is on because it is there; its value 'no' changes nothing",
                "metric 'dns' has no option 'port'; it is ignored",
            ]
        );
        assert_eq!(
            warnings("http:exemplars=True"),
            ["metric 'http': exemplars are off: the first option 'exemplars' must have exactly the value 'true'"]
        );
        assert_eq!(warnings("http:exemplars=false;exemplars=1"), [""; 0]);
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
