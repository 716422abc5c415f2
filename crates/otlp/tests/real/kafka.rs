//! Deliveries to librdkafka's brokers, as its consumer reads them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use webb_otlp::{
    Attributes, Encoding, Head, MessageForm, OutputConfig, Protocol, Record, Request, RequestBuilder, Severity, Stream,
};

use crate::common::{Running, output, quick, request, sorted, spool};
use crate::{Process, config, python, receiver, rotel};

/// A cluster, with the lines of its consumer.
struct Cluster {
    process: Process,
    brokers: Vec<String>,
    lines: BufReader<ChildStdout>,
}

impl Cluster {
    fn start(brokers: u8) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/kafka.py");
        let mut child = Command::new(python().join("bin/python"))
            .arg(script)
            .args([&brokers.to_string(), "webb.rollups", "webb.flows"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let process = Process(child);
        let mut addresses = String::new();
        lines.read_line(&mut addresses).unwrap();
        Self { process, brokers: addresses.split_whitespace().map(str::to_owned).collect(), lines }
    }

    /// An output to it.
    fn config(&self, form: MessageForm) -> OutputConfig {
        let mut config = OutputConfig { retry: quick().retry, ..OutputConfig::kafka_named("events") };
        if let Some(kafka) = &mut config.kafka {
            (kafka.brokers, kafka.form) = (self.brokers.clone(), form);
        }
        config
    }

    /// Reads messages until so many records came.
    fn read(&mut self, records: usize) -> Vec<Value> {
        let (mut messages, mut count) = (Vec::new(), 0);
        while count < records {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "{count} of {records}");
            let message: Value = serde_json::from_str(&line).unwrap();
            count += message["numbers"].as_array().map_or(1, Vec::len);
            messages.push(message);
        }
        messages
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.0.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn numbers<'a>(messages: impl IntoIterator<Item = &'a Value>) -> Vec<i64> {
    let arrays = messages.into_iter().filter_map(|message| message["numbers"].as_array());
    arrays.flatten().map(|number| number.as_i64().unwrap()).collect()
}

/// librdkafka's consumer reads each record once, in its order, from one partition of its stream's
/// topic, by each compression, with the node as key.
#[test]
fn librdkafka_reads_requests() {
    let mut cluster = Cluster::start(3);
    let mut expected = 0;
    for encoding in Encoding::ALL {
        let compression = Some(encoding);
        let running = Running::start(output(OutputConfig { compression, ..cluster.config(MessageForm::OtlpProto) }));
        for part in 0..20 {
            let stream = Stream::ALL[usize::try_from(part % 2).unwrap()];
            running.offer([request(stream, encoding, expected + part * 100..expected + part * 100 + 100)]);
        }
        expected += 2000;
        let ledger = running.settled();
        assert_eq!((ledger.delivered, ledger.offered), (2000, 2000), "{:?}", running.owner.problems);
    }
    let messages = cluster.read(6000);
    assert_eq!(messages.len(), 60);
    assert_eq!(sorted(numbers(&messages)), (0..6000).collect::<Vec<_>>());
    let mut places: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for message in &messages {
        assert_eq!(message["key"], "node-1");
        assert_eq!(message["headers"], serde_json::json!({"webb-instance": "instance-1", "webb-mapping": "1"}));
        places.entry(message["topic"].as_str().unwrap()).or_default().push(message["partition"].as_i64().unwrap());
        let first = numbers([message])[0];
        let topic = if first / 100 % 2 == 0 { "webb.rollups" } else { "webb.flows" };
        assert_eq!(message["topic"], topic);
    }
    for (topic, partitions) in places {
        assert!(partitions.iter().all(|partition| *partition == partitions[0]), "{topic}: {partitions:?}");
        let of_topic = numbers(messages.iter().filter(|message| message["topic"] == topic));
        assert!(of_topic.is_sorted(), "{topic}");
    }
}

/// As JSON each record is a message, with its attributes beside those of its node.
#[test]
fn librdkafka_reads_objects() {
    let mut cluster = Cluster::start(1);
    let running = Running::start(output(cluster.config(MessageForm::Json)));
    running.offer((0..5).map(|part| request(Stream::Flows, Encoding::Zstd, part * 100..part * 100 + 100)));
    assert_eq!(running.settled().delivered, 500);
    let messages = cluster.read(500);
    for (number, message) in messages.iter().enumerate() {
        let value = &message["value"];
        assert_eq!((&value["number"], &value["event_name"]), (&number.into(), &"webb.flow".into()));
        assert_eq!((&value["k8s.node.name"], &message["key"]), (&"node-1".into(), &"node-1".into()));
    }
}

/// Brokers that stand still for a while get all records when they go on; those whose answer did not
/// come in time may be there twice.
#[test]
fn brokers_that_stand_still_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(1);
    let config = OutputConfig {
        timeout: Some(Duration::from_millis(500)),
        spool: Some(spool(directory.path())),
        ..cluster.config(MessageForm::OtlpProto)
    };
    let running = Running::start(output(config));
    running.offer([request(Stream::Rollups, Encoding::Zstd, 0..100)]);
    running.settled();
    cluster.signal(Signal::STOP);
    running.offer((1..20).map(|part| request(Stream::Rollups, Encoding::Zstd, part * 100..part * 100 + 100)));
    running.has_problem("no answer within 500 ms");
    // Some may have come before the signal.
    assert!(running.ledger().waiting > 0);
    cluster.signal(Signal::CONT);
    let ledger = running.settled();
    assert_eq!((ledger.delivered, ledger.offered), (2000, 2000));
    let mut found = Vec::new();
    while found.len() < 2000 {
        found.extend(numbers(&cluster.read(1)));
        found.sort_unstable();
        found.dedup();
    }
    assert_eq!(found, (0..2000).collect::<Vec<_>>());
}

/// A request with records that have a value of each type, a body, and a trace.
fn full(encoding: Encoding, numbers: std::ops::Range<i64>) -> Request {
    let mut resource = Attributes::new();
    resource.string("k8s.node.name", "node-1");
    let mut builder = RequestBuilder::new(Stream::Rollups, &resource, "webb.test", "1");
    let mut record = Record::new();
    for number in numbers {
        let time_ns = 1_790_000_000_000_000_000 + number.cast_unsigned();
        let attributes = record.begin(&Head {
            time_ns,
            observed_ns: time_ns + 1,
            severity: Severity::Warn,
            event_name: "webb.rollup",
            trace_id: Some([0xab; 16]),
            body: "a body: ü\n",
        });
        attributes.int("number", number);
        attributes.int("negative", i64::MIN);
        attributes.string("text", "日本, \0 and \"");
        attributes.string("empty", "");
        attributes.bool("yes", true);
        attributes.bool("no", false);
        attributes.double("double", 0.1);
        attributes.strings("texts", ["a", "", "b"].into_iter());
        attributes.ints("numbers", [0, -1, i64::MAX].into_iter());
        builder.push(record.finish());
    }
    builder.take(encoding).unwrap().unwrap()
}

/// The records of requests in the order of their numbers, each with its resource and scope.
fn records(requests: impl Iterator<Item = Vec<u8>>) -> Vec<ResourceLogs> {
    let mut records = Vec::new();
    for logs in requests.flat_map(|bytes| ExportLogsServiceRequest::decode(&bytes[..]).unwrap().resource_logs) {
        for mut scope in logs.scope_logs {
            for record in std::mem::take(&mut scope.log_records) {
                let scope_logs = vec![ScopeLogs { log_records: vec![record], ..scope.clone() }];
                records.push(ResourceLogs { resource: logs.resource.clone(), scope_logs, ..ResourceLogs::default() });
            }
        }
    }
    records.sort_by_key(|logs| receiver::number(&logs.scope_logs[0].log_records[0]));
    records
}

/// What rotel hands on from OTLP to Kafka decodes equal to what was sent: every record once, with
/// its resource and scope, whatever the protocol and the encoding.
#[test]
fn rotel_hands_on_to_kafka() {
    let mut cluster = Cluster::start(1);
    let brokers = cluster.brokers.join(",");
    let (_process, grpc, http) = rotel(&[
        "kafka",
        "--kafka-exporter-brokers",
        &brokers,
        "--kafka-exporter-logs-topic",
        "webb.rollups",
        "--kafka-exporter-acks",
        "all",
    ]);
    let mut first = 0;
    for (port, protocol, encoding) in
        [(grpc, Protocol::Grpc, Encoding::Gzip), (http, Protocol::HttpProtobuf, Encoding::Zstd)]
    {
        let (protocol, compression) = (Some(protocol), Some(encoding));
        let running = Running::start(output(OutputConfig { protocol, compression, ..config(port) }));
        running.offer((0..10).map(|part| full(encoding, first + part * 200..first + part * 200 + 200)));
        let ledger = running.settled();
        assert_eq!(ledger.delivered, 2000, "{ledger:?}, {:?}", running.owner.problems);
        first += 2000;
    }
    let messages = cluster.read(4000);
    let bytes = |message: &Value| STANDARD.decode(message["request"].as_str().unwrap()).unwrap();
    let (found, sent) = (records(messages.iter().map(bytes)), [full(Encoding::None, 0..first).body.to_vec()]);
    let sent = records(sent.into_iter());
    assert_eq!(found.len(), sent.len());
    for (found, sent) in found.iter().zip(&sent) {
        assert_eq!(found, sent);
    }
}
