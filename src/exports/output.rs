//! An output of a file of outputs, and the parts that each kind of it has.

use std::path::PathBuf;
use std::time::Duration;

use webb_metrics::dynamic::tree::{Node, Value};
use webb_observer::stream::Body;
use webb_otlp::{BatchConfig, OutputConfig, RetryConfig, SpoolConfig, Stream, TlsConfig};
use webb_settings::{Mark, Origin, Problem};

use super::values::Values;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Bytes of a batch for OTLP at most.
pub(super) const MAX_BATCH_BYTES: u64 = 32 * MIB;

/// A receiver and the streams that are sent to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How to reach it.
    pub config: OutputConfig,
    /// Streams that are sent, of those that are configured.
    pub streams: Vec<Stream>,
    /// The text of its records of flows; without one that of the section `flows`.
    pub body: Option<Body>,
    /// Place in the file.
    pub mark: Mark,
}

/// Whether anything is sent of each of [`Stream::ALL`].
pub(super) type Configured = [bool; Stream::ALL.len()];

/// What an output gets: what it lists, or all that is configured.
pub(super) fn read_streams(values: &mut Values<'_>, node: Option<&Node>, configured: Configured) -> Vec<Stream> {
    let [has_rollups, has_flows] = configured;
    let known = Stream::ALL.map(|stream| (stream.label(), stream));
    let chosen = values.choices(node, "streams", &known);
    if let (Some(node), Some(chosen)) = (node, &chosen) {
        if matches!(&node.value, Value::List(list) if list.is_empty()) {
            values.expected(node, "streams", "rollups, flows");
        }
        if chosen.contains(&Stream::Flows) && !has_flows {
            let message = "streams: no flows are sent: expected a section `flows` in the file, such as `flows: {}`";
            values.found.problems.push(node.problem(message));
        }
        if chosen.contains(&Stream::Rollups) && !has_rollups {
            let message = "streams: no rows are sent: expected another `rollups.window` than 0s in the file";
            values.found.problems.push(node.problem(message));
        }
    }
    chosen.unwrap_or_else(|| Stream::ALL.to_vec())
}

/// The text of records of flows; none if the file leaves it to another place.
pub(super) fn read_body(values: &mut Values<'_>, node: Option<&Node>) -> Option<Body> {
    values.choice(node, "body", &[("none", Body::None), ("summary", Body::Summary), ("hubble", Body::Hubble)])
}

/// That of an output: a problem where it gets no flows.
pub(super) fn read_own_body(
    values: &mut Values<'_>,
    node: Option<&Node>,
    streams: &[Stream],
    [_, has_flows]: Configured,
) -> Option<Body> {
    if let Some(node) = node.filter(|_| !has_flows || !streams.contains(&Stream::Flows)) {
        values.found.problems.push(node.problem("body: it is of flows, and this output gets none"));
    }
    read_body(values, node)
}

pub(super) fn read_timeout(values: &mut Values<'_>, node: Option<&Node>) -> Option<Duration> {
    let bounds = (Duration::from_millis(100), Duration::from_mins(10), false);
    node.map(|node| values.duration(Some(node), "timeout", Duration::ZERO, bounds))
}

pub(super) fn read_tls(values: &mut Values<'_>, node: Option<&Node>) -> TlsConfig {
    let [ca, certificate, key, name, skip] =
        values.fields(node, "tls", ["ca_file", "cert_file", "key_file", "server_name", "insecure_skip_verify"]);
    TlsConfig {
        ca_file: values.text(ca, "ca_file").map(PathBuf::from),
        cert_file: values.text(certificate, "cert_file").map(PathBuf::from),
        key_file: values.text(key, "key_file").map(PathBuf::from),
        server_name: values.text(name, "server_name"),
        insecure_skip_verify: values.boolean(skip, "insecure_skip_verify", false),
    }
}

pub(super) fn read_batch(
    values: &mut Values<'_>,
    node: Option<&Node>,
    defaults: BatchConfig,
    most: u64,
) -> BatchConfig {
    let [records, bytes, linger] = values.fields(node, "batch", ["max_records", "max_bytes", "linger"]);
    let records = values.number(records, "max_records", defaults.max_records.into(), (1, 100_000));
    let bytes = values.bytes(bytes, "max_bytes", defaults.max_bytes as u64, (64 * KIB, most));
    BatchConfig {
        max_records: u32::try_from(records).unwrap_or(u32::MAX),
        max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        linger: values.duration(
            linger,
            "linger",
            defaults.linger,
            (Duration::from_millis(10), Duration::from_mins(1), false),
        ),
    }
}

pub(super) fn read_retry(values: &mut Values<'_>, node: Option<&Node>, defaults: RetryConfig) -> RetryConfig {
    let [min, max] = values.fields(node, "retry", ["min", "max"]);
    let bounds = (Duration::from_millis(10), Duration::from_hours(1), false);
    RetryConfig {
        min: values.duration(min, "min", defaults.min, bounds),
        max: values.duration(max, "max", defaults.max, bounds),
    }
}

pub(super) fn read_queue(values: &mut Values<'_>, node: Option<&Node>, default: u64) -> u64 {
    let [bytes] = values.fields(node, "queue", ["max_bytes"]);
    values.bytes(bytes, "max_bytes", default, (64 * KIB, 1024 * MIB))
}

pub(super) fn read_spool(values: &mut Values<'_>, node: Option<&Node>) -> Option<SpoolConfig> {
    let [directory, bytes, age, fsync] = values.fields(node, "spool", ["directory", "max_bytes", "max_age", "fsync"]);
    let max_bytes = values.bytes(bytes, "max_bytes", 256 * MIB, (MIB, 64 * 1024 * MIB));
    let ages = (Duration::from_mins(1), Duration::from_hours(24 * 30), false);
    let max_age = values.duration(age, "max_age", Duration::from_hours(24), ages);
    let fsync = values.boolean(fsync, "fsync", false);
    let is_named = directory.is_some();
    let directory = values.text(directory, "directory").map(PathBuf::from);
    if !is_named && node.is_some_and(|node| !matches!(node.value, Value::Null)) {
        let place = node.map_or(Mark { line: 1, column: 1, width: 1 }, |node| node.mark);
        values.found.problems.push(Problem::new(Origin::File(place), "spool: expected a `directory`"));
    }
    directory.map(|directory| SpoolConfig { directory, max_bytes, max_age, fsync })
}
