//! How a cluster is reached: a configuration that was checked.

use std::fmt;
use std::time::Duration;

use super::messages::Broker;
use crate::config::{
    InvalidConfig, KafkaConfig, MAX_MESSAGE_BYTES, MessageForm, OutputConfig, SaslConfig, TIMEOUT, TlsConfig,
};
use crate::request::Stream;
use crate::target::is_near;

/// Brokers of a configuration at most.
const MAX_BROKERS: usize = 16;

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    pub(super) brokers: Vec<Broker>,
    pub(super) topics: [String; 2],
    pub(super) form: MessageForm,
    pub(super) is_tls: bool,
    pub(super) insecure: bool,
    pub(super) tls: TlsConfig,
    pub(super) sasl: Option<SaslConfig>,
    pub(super) timeout: Duration,
}

impl fmt::Display for Kafka {
    /// The first broker of the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.brokers.first() {
            Some(Broker { host, port }) if host.contains(':') => write!(f, "kafka://[{host}]:{port}"),
            Some(Broker { host, port }) => write!(f, "kafka://{host}:{port}"),
            None => f.write_str("kafka://"),
        }
    }
}

impl Kafka {
    /// Checks a configuration. Reads no file.
    pub(crate) fn resolve(config: &OutputConfig, kafka: &KafkaConfig) -> Result<Self, InvalidConfig> {
        let within = |field: &str, fits: bool, expected: &str| {
            if fits { Ok(()) } else { Err(InvalidConfig::new(field, format!("expected {expected}"))) }
        };
        let expected = "1 to 16 brokers, each `host:port`";
        within("brokers", (1..=MAX_BROKERS).contains(&kafka.brokers.len()), expected)?;
        let brokers = kafka.brokers.iter().map(|text| {
            // Before an `@` there may be a password.
            let shown = if text.contains('@') { "one with an `@`".to_owned() } else { format!("{text:?}") };
            broker(text).ok_or_else(|| InvalidConfig::new("brokers", format!("expected {expected}; found {shown}")))
        });
        let brokers: Vec<Broker> = brokers.collect::<Result<_, _>>()?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        let is_topic = |name: &String| (1..=249).contains(&name.len()) && name.chars().all(is_plain);
        let expected = "1 to 249 letters, digits, `.`, `_` and `-` for each";
        within("topics", kafka.topics.iter().all(is_topic), expected)?;
        within("topics", kafka.topics.iter().all(|name| name != "." && name != ".."), expected)?;
        let is_small = config.batch.max_bytes <= MAX_MESSAGE_BYTES;
        within("batch.max_bytes", is_small, &format!("at most {MAX_MESSAGE_BYTES}B"))?;
        within("in_flight", config.in_flight == 1, "1")?;
        if let Some(sasl) = &kafka.sasl {
            // What is no path may be a secret, which would be in every complaint.
            let expected = "the absolute path of a directory with the files `username` and `password`";
            within("sasl.directory", sasl.directory.is_absolute(), expected)?;
        }
        let insecure = config.insecure.unwrap_or(false);
        let is_reachable = kafka.tls || insecure || brokers.iter().all(|broker| is_near(&broker.host));
        let expected = "`tls: {}`, or `insecure: true`: another host would be reached without encryption";
        within("tls", is_reachable, expected)?;
        Ok(Self {
            brokers,
            topics: kafka.topics.clone(),
            form: kafka.form,
            is_tls: kafka.tls,
            insecure,
            tls: config.tls.clone(),
            sasl: kafka.sasl.clone(),
            timeout: config.timeout.unwrap_or(TIMEOUT),
        })
    }

    /// The topic of a stream.
    pub(super) fn topic(&self, stream: Stream) -> &str {
        let [rollups, flows] = &self.topics;
        match stream {
            Stream::Rollups => rollups,
            Stream::Flows => flows,
        }
    }
}

/// A broker of `host:port`, where an IPv6 address is in brackets.
fn broker(text: &str) -> Option<Broker> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    let host = if is_bracketed { host.trim_matches(['[', ']']) } else { host };
    let has_signs = host.chars().any(|letter| letter.is_whitespace() || matches!(letter, '/' | '@' | '[' | ']'));
    let fits = !host.is_empty() && !has_signs && is_bracketed == host.contains(':');
    fits.then(|| Broker { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brokers are hosts with ports.
    #[test]
    fn brokers_are_read() {
        for (text, host, port) in [("a.b:9092", "a.b", 9092), ("10.0.0.1:1", "10.0.0.1", 1), ("[::1]:9", "::1", 9)] {
            assert_eq!(broker(text), Some(Broker { host: host.to_owned(), port }), "{text}");
        }
        for text in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:9", "http://a:1", "u@a:1", "a b:1", "[a]:1", "[]:1"] {
            assert_eq!(broker(text), None, "{text}");
        }
    }

    fn check(change: impl FnOnce(&mut OutputConfig, &mut KafkaConfig)) -> Result<(), String> {
        let mut config = OutputConfig::kafka_named("main");
        let mut kafka = config.kafka.take().unwrap();
        kafka.brokers = vec!["kafka-0.kafka:9093".to_owned()];
        kafka.tls = true;
        change(&mut config, &mut kafka);
        config.kafka = Some(kafka);
        config.check(&crate::Environment::default()).map_err(|error| error.to_string())
    }

    /// Each field that cannot be used is named with what was expected.
    #[test]
    fn configurations_are_checked() {
        assert_eq!(check(|_, _| {}), Ok(()));
        assert_eq!(check(|config, kafka| (config.insecure, kafka.tls) = (Some(true), false)), Ok(()));
        let local = vec!["127.0.0.1:9092".to_owned(), "localhost:9092".to_owned()];
        assert_eq!(check(|_, kafka| (kafka.tls, kafka.brokers) = (false, local)), Ok(()));
        for (why, expected) in [
            (check(|_, kafka| kafka.brokers.clear()), "brokers: expected 1 to 16 brokers, each `host:port`"),
            (
                check(|_, kafka| kafka.brokers.push("kafka".to_owned())),
                "brokers: expected 1 to 16 brokers, each `host:port`; found \"kafka\"",
            ),
            (
                check(|_, kafka| kafka.brokers.push("user:pass@kafka:9092".to_owned())),
                "brokers: expected 1 to 16 brokers, each `host:port`; found one with an `@`",
            ),
            (check(|_, kafka| kafka.topics[1] = "a b".to_owned()), "topics: expected 1 to 249 letters"),
            (check(|_, kafka| kafka.topics[0] = "..".to_owned()), "topics: expected 1 to 249 letters"),
            (check(|_, kafka| kafka.tls = false), "tls: expected `tls: {}`, or `insecure: true`"),
            (check(|config, _| config.batch.max_bytes = 1 << 20), "batch.max_bytes: expected at most 900000B"),
            (check(|config, _| config.in_flight = 2), "in_flight: expected 1"),
            (
                check(|_, kafka| {
                    let mechanism = crate::Mechanism::Plain;
                    kafka.sasl = Some(SaslConfig { mechanism, directory: "user:pass".into() });
                }),
                "sasl.directory: expected the absolute path of a directory with the files",
            ),
        ] {
            let why = why.unwrap_err();
            assert!(why.starts_with(expected) && !why.contains("user:pass"), "{why}");
        }
    }
}
