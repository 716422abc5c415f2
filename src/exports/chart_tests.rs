//! The chart's schema of outputs, against the file that an agent reads.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_otlp::Environment;
use webb_settings::SourceFile;

use super::outputs::read;

const SCHEMA: &str = include_str!("../../charts/webb/values.schema.json");

/// All keys that there are; the chart passes those of flows on as they are.
const FULL: &str = "
rollups: {window: 5m, max_rows: 500, keys: [zone], spread: 10%, histograms: false}
flows: {}
otlp:
- name: main
  streams: [rollups, flows]
  body: summary
  endpoint: https://collector:4318
  protocol: http/protobuf
  insecure: true
  compression: zstd
  headers_directory: /etc/webb/headers
  tls: {ca_file: /a, cert_file: /b, key_file: /c, server_name: d, insecure_skip_verify: true}
  timeout: 3s
  batch: {max_records: 10, max_bytes: 1MiB, linger: 1s}
  in_flight: 4
  retry: {min: 2s, max: 3s}
  queue: {max_bytes: 2MiB}
  spool: {directory: /spool, max_bytes: 8MiB, max_age: 1h, fsync: true}
kafka:
- name: events
  streams: [rollups, flows]
  body: summary
  brokers: ['kafka-0.kafka:9093']
  topics: {rollups: a, flows: b}
  encoding: otlp_proto
  insecure: false
  compression: gzip
  tls: {ca_file: /a, cert_file: /b, key_file: /c, server_name: d, insecure_skip_verify: true}
  sasl: {mechanism: PLAIN, directory: /etc/webb/kafka}
  timeout: 3s
  batch: {max_records: 10, max_bytes: 100KiB, linger: 1s}
  retry: {min: 2s, max: 3s}
  queue: {max_bytes: 2MiB}
  spool: {directory: /spool, max_bytes: 8MiB, max_age: 1h, fsync: true}
";

/// The paths of all keys below one.
fn keys_of_file(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
    match &node.value {
        Value::Map(fields) => {
            for (key, below) in fields {
                let path = format!("{path}.{}", key.text);
                keys_of_file(below, &path, keys);
                keys.insert(path);
            }
        }
        Value::List(nodes) => nodes.iter().for_each(|node| keys_of_file(node, path, keys)),
        _ => {}
    }
}

fn keys_of_schema(schema: &Json, node: &Json, path: &str, keys: &mut BTreeSet<String>) {
    let node = node["$ref"].as_str().map_or(node, |name| schema.pointer(&name[1..]).unwrap());
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        keys_of_schema(schema, below, &path, keys);
        keys.insert(path);
    }
    if node["items"].is_object() {
        keys_of_schema(schema, &node["items"], path, keys);
    }
}

/// The chart refuses keys that it does not know, so it has to know all that an agent does; and no
/// others, which would stop the agent's outputs.
#[test]
fn the_schema_has_the_keys_of_the_file() {
    let file = SourceFile { name: "outputs.yaml".to_owned(), text: FULL.to_owned() };
    let outputs = read(file, &Environment::default()).map_err(|problems| problems.to_string()).unwrap().outputs;
    assert_eq!(outputs.len(), 2);
    let (mut of_file, mut of_schema) = (BTreeSet::new(), BTreeSet::new());
    keys_of_file(&Node::read(FULL).map_err(|_| ()).unwrap(), "", &mut of_file);
    let schema: Json = serde_json::from_str(SCHEMA).unwrap();
    let outputs = &schema["properties"]["webb"]["properties"]["outputs"];
    for list in ["rollups", "otlp", "kafka"] {
        keys_of_schema(&schema, &outputs["properties"][list], &format!(".{list}"), &mut of_schema);
        of_schema.insert(format!(".{list}"));
    }
    of_schema.insert(".flows".to_owned());
    assert_eq!(of_file, of_schema);
}
