//! Reads a file of outputs: which rows and flows are sent, and to which receivers.
//!
//! It is followed while the agent runs. A file with a problem is refused whole, and unlike in
//! files of Cilium's format a key that is not known is a problem.

use std::path::PathBuf;
use std::sync::Arc;

use webb_metrics::dynamic::Findings;
use webb_metrics::dynamic::tree::{Node, Value};
use webb_observer::stream::FlowSettings;
use webb_otlp::{Encoding, Environment, OutputConfig, Protocol};
use webb_settings::{Problems, SourceFile};

use super::output::{self, Configured, Output};
use super::values::Values;
use super::{flows, kafka, rollups};

/// Outputs at most: each has a thread.
pub const MAX_OUTPUTS: usize = 8;

/// A file that can be used.
#[derive(Debug, Clone)]
pub struct OutputsFile {
    /// The rows.
    pub rollups: webb_rollup::Settings,
    /// Share of a window over which rows are sent, in percent.
    pub spread: u8,
    /// The flows; none if none are sent.
    pub flows: Option<FlowSettings>,
    /// The receivers, in the file's order.
    pub outputs: Vec<Output>,
    /// The file has no list of receivers, not even an empty one.
    pub has_no_list: bool,
    /// The file, for [`webb_settings::Problem::render`].
    pub file: Arc<SourceFile>,
}

/// Reads a file. `environment`: what applies where the file says nothing.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file: SourceFile, environment: &Environment) -> Result<OutputsFile, Problems> {
    let file = Arc::new(file);
    let mut found = Findings::default();
    let (mut rollups, mut spread) = (webb_rollup::Settings::default(), 0);
    let (mut flows, mut outputs, mut has_no_list) = (None, Vec::new(), true);
    match Node::read(&file.text) {
        // A file is empty for a moment while it is written; one without outputs says so.
        Ok(root) if matches!(root.value, Value::Null) => {
            found.problems.push(
                root.problem("the file is empty: expected rollups, flows, otlp or kafka; `otlp: []` has no outputs"),
            );
        }
        Ok(root) => {
            let mut values = Values { found: &mut found };
            let [of_rollups, of_flows, otlp, kafka] =
                values.fields(Some(&root), "the file", ["rollups", "flows", "otlp", "kafka"]);
            (rollups, spread) = rollups::read(&mut values, of_rollups);
            flows = flows::read(&mut values, &root, of_flows);
            let configured = [!rollups.window.is_zero(), flows.is_some()];
            has_no_list = otlp.is_none() && kafka.is_none();
            outputs = read_outputs(&mut values, [otlp, kafka], environment, configured);
        }
        Err(problem) => found.problems.push(problem),
    }
    if found.problems.is_empty() {
        return Ok(OutputsFile { rollups, spread, flows, outputs, has_no_list, file });
    }
    Err(found.into_problems(file))
}

fn read_outputs(
    values: &mut Values<'_>,
    [otlp, kafka]: [Option<&Node>; 2],
    environment: &Environment,
    configured: Configured,
) -> Vec<Output> {
    type Read = fn(&mut Values<'_>, &Node, Configured) -> Output;
    let mut list: Vec<(&Node, Read)> = Vec::new();
    for (node, key, read) in [(otlp, "otlp", read_output as Read), (kafka, "kafka", kafka::read)] {
        let nodes = node.map(|node| values.found.list(node, key)).unwrap_or_default();
        list.extend(nodes.iter().map(|node| (node, read)));
    }
    if let Some((first, _)) = list.get(MAX_OUTPUTS) {
        let message = format!("expected at most {MAX_OUTPUTS} outputs, found {}", list.len());
        values.found.problems.push(first.problem(message));
    }
    let mut outputs: Vec<Output> = Vec::new();
    for (node, read) in list.iter().take(MAX_OUTPUTS) {
        let before = values.found.problems.len();
        let output = read(values, node, configured);
        if values.found.problems.len() > before {
            continue;
        }
        if let Err(error) = output.config.check(environment) {
            let name = &output.config.name;
            values.found.problems.push(node.at(&error.field).problem(format!("output {name:?}: {error}")));
        } else if outputs.iter().any(|other| other.config.name == output.config.name) {
            let message = format!("name: {:?} is the name of another output", output.config.name);
            values.found.problems.push(node.at("name").problem(message));
        } else if let Some(other) = outputs.iter().find(|other| shares_spool(&other.config, &output.config)) {
            let message = format!("spool.directory: output {:?} has it as well", other.config.name);
            values.found.problems.push(node.at("spool.directory").problem(message));
        } else {
            outputs.push(output);
        }
    }
    outputs
}

/// True if both have one directory of the same name below one directory.
fn shares_spool(one: &OutputConfig, other: &OutputConfig) -> bool {
    let path = |config: &OutputConfig| config.spool.as_ref().map(|spool| spool.directory.join(&config.name));
    path(one).is_some() && path(one) == path(other)
}

fn read_output(values: &mut Values<'_>, node: &Node, configured: Configured) -> Output {
    let [
        name,
        streams,
        body,
        endpoint,
        protocol,
        insecure,
        compression,
        headers,
        tls,
        timeout,
        batch,
        in_flight,
        retry,
        queue,
        spool,
    ] = values.fields(
        Some(node),
        "an output",
        [
            "name",
            "streams",
            "body",
            "endpoint",
            "protocol",
            "insecure",
            "compression",
            "headers_directory",
            "tls",
            "timeout",
            "batch",
            "in_flight",
            "retry",
            "queue",
            "spool",
        ],
    );
    let config = OutputConfig::named(&values.text(name, "name").unwrap_or_default());
    let protocols = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
    let encodings = Encoding::ALL.map(|encoding| (encoding.label(), encoding));
    let config = OutputConfig {
        endpoint: values.text(endpoint, "endpoint"),
        protocol: values.choice(protocol, "protocol", &protocols),
        insecure: insecure.map(|node| values.boolean(Some(node), "insecure", false)),
        compression: values.choice(compression, "compression", &encodings),
        headers_directory: values.text(headers, "headers_directory").map(PathBuf::from),
        tls: output::read_tls(values, tls),
        timeout: output::read_timeout(values, timeout),
        batch: output::read_batch(values, batch, config.batch, output::MAX_BATCH_BYTES),
        in_flight: usize::try_from(values.number(in_flight, "in_flight", 2, (1, 16))).unwrap_or(2),
        retry: output::read_retry(values, retry, config.retry),
        queue_bytes: output::read_queue(values, queue, config.queue_bytes),
        spool: output::read_spool(values, spool),
        ..config
    };
    let streams = output::read_streams(values, streams, configured);
    let body = output::read_own_body(values, body, &streams, configured);
    Output { config, streams, body, mark: node.mark }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use webb_rollup::Keys;

    use super::*;

    fn read(text: &str) -> Result<OutputsFile, String> {
        let file = SourceFile { name: "outputs.yaml".to_owned(), text: text.to_owned() };
        super::read(file, &Environment::default()).map_err(|problems| problems.to_string())
    }

    /// A short file has defaults, and a long one has all that it says.
    #[test]
    fn a_file_says_what_it_says() {
        let short = read("otlp:\n- {name: main, endpoint: 'https://otel.example:4317'}\n").unwrap();
        assert_eq!((short.rollups, short.spread), (webb_rollup::Settings::default(), 20));
        let [output] = &short.outputs[..] else { panic!("{short:?}") };
        let expected =
            OutputConfig { endpoint: Some("https://otel.example:4317".into()), ..OutputConfig::named("main") };
        assert_eq!(output.config, expected);

        let long = read(
            "rollups: {window: 5m, max_rows: 500, keys: [zone, pod], spread: 100%, histograms: false}\n\
             otlp:\n\
             - name: main\n  endpoint: https://collector:4318\n  insecure: true\n  protocol: http/protobuf\n  \
             compression: zstd\n  headers_directory: /etc/webb/headers\n  timeout: 3s\n  \
             tls: {ca_file: /a, cert_file: /b, key_file: /c, server_name: d, insecure_skip_verify: true}\n  \
             batch: {max_records: 10, max_bytes: 1MiB}\n  in_flight: 4\n  retry: {min: 2s, max: 3s}\n  \
             queue: {max_bytes: 2MiB}\n  spool: {directory: /spool, max_bytes: 8MiB, max_age: 1h, fsync: true}\n",
        )
        .unwrap();
        assert_eq!((long.rollups.window, long.rollups.max_rows), (Duration::from_mins(5), 500));
        assert_eq!(long.rollups.keys, Keys { zone: true, service: false, policy: false, pod: true });
        let [Output { config, .. }] = &long.outputs[..] else { panic!("{long:?}") };
        assert!(!long.rollups.histograms && config.insecure == Some(true) && long.spread == 100);
        assert_eq!((config.protocol, config.compression), (Some(Protocol::HttpProtobuf), Some(Encoding::Zstd)));
        assert_eq!((config.batch.max_records, config.batch.max_bytes, config.in_flight), (10, 1 << 20, 4));
        let spool = config.spool.as_ref().unwrap();
        assert_eq!((spool.max_bytes, spool.max_age, spool.fsync), (8 << 20, Duration::from_hours(1), true));

        assert!(read("otlp: []\n").unwrap().outputs.is_empty());
        assert!(read("rollups:\notlp: []\n").unwrap().outputs.is_empty());
        assert!(read("rollups: {window: 0s}\n").unwrap().rollups.window.is_zero());

        // The default of `spool.directory` is no directory.
        for spool in ["{directory: ''}", "{directory: '', max_bytes: 8MiB}", ""] {
            let read = read(&format!("otlp:\n- {{name: a, endpoint: 'https://a', spool: {spool}}}\n"));
            assert_eq!(read.unwrap().outputs[0].config.spool, None, "{spool}");
        }
    }

    /// Each mistake is named with its line and what was expected.
    #[test]
    fn mistakes_are_named_at_their_line() {
        for (text, expected) in [
            ("", "the file is empty: expected rollups, flows, otlp or kafka"),
            ("rollup: {}\n", "the file has no key \"rollup\"\n --> outputs.yaml:1:1"),
            ("rollups: 60s\n", "expected keys and values, found \"60s\""),
            (
                "rollups:\n  window: 60\n",
                "window: expected a time from 1s to 1h, or 0s for none; found the number 60\n --> outputs.yaml:2:11",
            ),
            (
                "rollups:\n  keys: [zone, node]\n",
                "keys: expected zone, service, policy, pod; found \"node\"\n --> outputs.yaml:2:16",
            ),
            (
                "rollups:\n  window: 1500ms\n",
                "window: expected whole seconds; found \"1500ms\"\n --> outputs.yaml:2:11",
            ),
            (
                "rollups: {window: 0s}\notlp:\n- name: a\n  endpoint: https://a\n  streams: [rollups]\n",
                "streams: no rows are sent: expected another `rollups.window` than 0s in the file\n \
                 --> outputs.yaml:5:12",
            ),
            (
                "rollups:\n  spread: 20\n",
                "spread: expected a share from 0% to 100%; found the number 20\n --> outputs.yaml:2:11",
            ),
            ("rollups: {spread: 101%}\n", "spread: expected a share from 0% to 100%; found \"101%\""),
            ("rollups: {spread: -1%}\n", "spread: expected a share from 0% to 100%"),
            ("rollups: {max_rows: 5}\n", "max_rows: expected a number from 100 to 1000000"),
            ("otlp:\n- endpoint: https://a\n", "name: expected 1 to 63 letters"),
            ("otlp:\n- {name: a, endpoint: 'http://a'}\n", "insecure"),
            (
                "otlp:\n- {name: true, endpoint: 'https://a'}\n",
                "name: expected a text, in quotes if it looks like something else; found the boolean true\n --> outputs.yaml:2:10",
            ),
            ("otlp:\n- {name: a, endpoint: 7}\n", "endpoint: expected a text"),
            ("otlp:\n- null\n", "outputs.yaml:2:3"),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', streams: [rollups, rollups]}\n",
                "streams: expected each word once; found \"rollups\"\n --> outputs.yaml:2:55",
            ),
            (
                "otlp:\n- name: a\n  endpoint: https://a\n  headers_directory: Bearer abc\n",
                "headers_directory: expected the absolute path of a directory: a header's name is that of a file in it, \
                 its value the content\n --> outputs.yaml:4:22",
            ),
            ("otlp:\n- {name: a, endpoint: 'https://a', spool: {}}\n", "spool: expected a `directory`"),
            (
                "otlp:\n- {name: a, endpoint: 'https://a'}\n- {name: a, endpoint: 'https://b'}\n",
                "name: \"a\" is the name of another output\n --> outputs.yaml:3:10",
            ),
            (
                "otlp:\n- name: a\n  endpoint: https://a\n  tls:\n    cert_file: /a\n",
                "output \"a\": tls.key_file: expected a key beside a certificate\n --> outputs.yaml:5:5",
            ),
            (
                "otlp:\n- name: a\n  endpoint: https://a\n  queue: {max_bytes: 2MiB}\n",
                "queue.max_bytes: expected at least `batch.max_bytes`\n --> outputs.yaml:4:22",
            ),
            (
                "otlp:\n- {name: a, endpoint: 'https://a', batch: {max_bytes: 1}}\n",
                "max_bytes: expected a size from 64KiB",
            ),
            ("otlp: {\n", "cannot parse yaml"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(expected), "{text}: {why}");
        }
        let many: Vec<String> = (0..9).map(|at| format!("- {{name: o{at}, endpoint: 'https://a'}}")).collect();
        assert!(
            read(&format!("otlp:\n{}\n", many.join("\n"))).unwrap_err().contains("expected at most 8 outputs, found 9")
        );
    }
}
