//! Reads outputs to Kafka of a file of outputs.

use std::path::PathBuf;

use webb_metrics::dynamic::tree::{Node, Value};
use webb_otlp::{Encoding, KafkaConfig, MAX_MESSAGE_BYTES, Mechanism, MessageForm, OutputConfig, SaslConfig, Stream};

use super::output::{
    Configured, Output, read_batch, read_own_body, read_queue, read_retry, read_spool, read_streams, read_timeout,
    read_tls,
};
use super::values::Values;

/// Reads one output. Values that are missing are those of [`OutputConfig::kafka_named`].
pub(super) fn read(values: &mut Values<'_>, node: &Node, configured: Configured) -> Output {
    let [
        name,
        streams,
        body,
        brokers,
        topics,
        encoding,
        insecure,
        compression,
        tls,
        sasl,
        timeout,
        batch,
        retry,
        queue,
        spool,
    ] = values.fields(
        Some(node),
        "an output to Kafka",
        [
            "name",
            "streams",
            "body",
            "brokers",
            "topics",
            "encoding",
            "insecure",
            "compression",
            "tls",
            "sasl",
            "timeout",
            "batch",
            "retry",
            "queue",
            "spool",
        ],
    );
    let config = OutputConfig::kafka_named(&values.text(name, "name").unwrap_or_default());
    let forms = [("otlp_proto", MessageForm::OtlpProto), ("json", MessageForm::Json)];
    let encodings = Encoding::ALL.map(|encoding| (encoding.label(), encoding));
    let kafka = config.kafka.map(|defaults| KafkaConfig {
        brokers: read_brokers(values, brokers),
        topics: read_topics(values, topics, defaults.topics),
        form: values.choice(encoding, "encoding", &forms).unwrap_or(defaults.form),
        tls: tls.is_some_and(|tls| !matches!(tls.value, Value::Null)),
        sasl: read_sasl(values, sasl),
    });
    let config = OutputConfig {
        insecure: insecure.map(|node| values.boolean(Some(node), "insecure", false)),
        compression: values.choice(compression, "compression", &encodings),
        tls: read_tls(values, tls),
        timeout: read_timeout(values, timeout),
        batch: read_batch(values, batch, config.batch, MAX_MESSAGE_BYTES as u64),
        retry: read_retry(values, retry, config.retry),
        queue_bytes: read_queue(values, queue, config.queue_bytes),
        spool: read_spool(values, spool),
        kafka,
        ..config
    };
    let streams = read_streams(values, streams, configured);
    let body = read_own_body(values, body, &streams, configured);
    Output { config, streams, body, mark: node.mark }
}

fn read_brokers(values: &mut Values<'_>, node: Option<&Node>) -> Vec<String> {
    let nodes = node.map(|node| values.found.list(node, "brokers")).unwrap_or_default();
    nodes.iter().filter_map(|node| values.text(Some(node), "brokers")).collect()
}

/// The topics by streams.
fn read_topics(values: &mut Values<'_>, node: Option<&Node>, defaults: [String; 2]) -> [String; 2] {
    let named = values.fields(node, "topics", Stream::ALL.map(Stream::label));
    let mut topics = defaults;
    for (topic, node) in topics.iter_mut().zip(named) {
        if let Some(name) = values.text(node, "topics") {
            *topic = name;
        }
    }
    topics
}

fn read_sasl(values: &mut Values<'_>, node: Option<&Node>) -> Option<SaslConfig> {
    let node = node.filter(|node| !matches!(node.value, Value::Null))?;
    let [mechanism, directory] = values.fields(Some(node), "sasl", ["mechanism", "directory"]);
    let mechanisms = Mechanism::ALL.map(|mechanism| (mechanism.label(), mechanism));
    let chosen = values.choice(mechanism, "mechanism", &mechanisms);
    let directory = values.text(directory, "directory").map(PathBuf::from);
    if mechanism.is_none() {
        let names = Mechanism::ALL.map(Mechanism::label).join(", ");
        values.found.problems.push(node.problem(format!("sasl: expected a `mechanism`: {names}")));
    }
    if directory.is_none() {
        values.found.problems.push(node.problem("sasl: expected a `directory` with `username` and `password`"));
    }
    Some(SaslConfig { mechanism: chosen?, directory: directory? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use webb_otlp::Environment;
    use webb_settings::SourceFile;

    use super::*;

    fn read(text: &str) -> Result<Vec<Output>, String> {
        let file = SourceFile { name: "outputs.yaml".to_owned(), text: text.to_owned() };
        // Variables of OTLP say nothing of Kafka.
        let environment = Environment::new(|name| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| "no".to_owned()));
        let read = super::super::outputs::read(file, &environment);
        read.map(|file| file.outputs).map_err(|problems| problems.to_string())
    }

    /// A short output has defaults, and a long one has all that it says.
    #[test]
    fn a_file_says_what_it_says() {
        let short = read("kafka:\n- {name: events, brokers: ['localhost:9092']}\n").unwrap();
        let mut expected = OutputConfig::kafka_named("events");
        if let Some(kafka) = &mut expected.kafka {
            kafka.brokers = vec!["localhost:9092".to_owned()];
        }
        assert_eq!((short[0].config.clone(), &short[0].streams[..]), (expected, &Stream::ALL[..]));

        let long = read(
            "kafka:\n- name: events\n  brokers: [kafka-0.kafka:9093, '[fd00::1]:9093']\n  \
             topics: {flows: net.flows}\n  encoding: json\n  compression: gzip\n  streams: [rollups]\n  \
             tls: {ca_file: /a, server_name: d}\n  sasl: {mechanism: SCRAM-SHA-512, directory: /etc/webb/kafka}\n  \
             timeout: 3s\n  batch: {max_records: 10, max_bytes: 100KiB}\n  retry: {min: 2s, max: 3s}\n  \
             queue: {max_bytes: 2MiB}\n  spool: {directory: /spool}\n",
        )
        .unwrap();
        let config = &long[0].config;
        let kafka = config.kafka.as_ref().unwrap();
        assert_eq!(kafka.brokers, ["kafka-0.kafka:9093", "[fd00::1]:9093"]);
        assert_eq!(kafka.topics, ["webb.rollups", "net.flows"]);
        assert_eq!((kafka.form, kafka.tls), (MessageForm::Json, true));
        let sasl = SaslConfig { mechanism: Mechanism::ScramSha512, directory: "/etc/webb/kafka".into() };
        assert_eq!(kafka.sasl, Some(sasl));
        assert_eq!((config.timeout, config.batch.max_bytes), (Some(Duration::from_secs(3)), 100 << 10));
        assert_eq!((config.compression, &long[0].streams[..]), (Some(Encoding::Gzip), &[Stream::Rollups][..]));

        let both = read(
            "otlp:\n- {name: a, endpoint: 'https://a', timeout: 1s}\nkafka:\n- {name: b, brokers: ['a:1'], tls: {}}\n",
        );
        assert_eq!(both.unwrap().len(), 2);
    }

    /// Each mistake is named with its line and what was expected.
    #[test]
    fn mistakes_are_named_at_their_line() {
        for (text, expected) in [
            ("kafka:\n- {name: a}\n", "output \"a\": brokers: expected 1 to 16 brokers, each `host:port`"),
            ("kafka:\n- {name: a, brokers: [a]}\n", "each `host:port`; found \"a\"\n --> outputs.yaml:2:22"),
            ("kafka:\n- {name: a, brokers: ['a:1']}\n", "tls: expected `tls: {}`, or `insecure: true`"),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, topics: {rows: x}}\n",
                "topics has no key \"rows\"\n --> outputs.yaml:2:49",
            ),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, encoding: avro}\n",
                "encoding: expected otlp_proto, json; found \"avro\"\n --> outputs.yaml:2:50",
            ),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, sasl: {directory: /a}}\n",
                "sasl: expected a `mechanism`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            ),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, sasl: {mechanism: PLAIN}}\n",
                "sasl: expected a `directory` with `username` and `password`",
            ),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, sasl: {mechanism: PLAIN, directory: a:b}}\n",
                "sasl.directory: expected the absolute path",
            ),
            (
                "kafka:\n- {name: a, brokers: ['a:1'], tls: {}, batch: {max_bytes: 1MiB}}\n",
                "max_bytes: expected a size from 64KiB to 900000B",
            ),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', timeout: 1s}\nkafka:\n- {name: a, brokers: ['a:1'], tls: {}}\n",
                "name: \"a\" is the name of another output\n --> outputs.yaml:4:10",
            ),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
