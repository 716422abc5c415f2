//! Deliveries to librdkafka's brokers, as its consumer reads them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use webb_otlp::{Encoding, MessageForm, OutputConfig, Stream};

use crate::common::{Running, output, quick, request, sorted, spool};
use crate::{Process, python};

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
