//! Replaying a flow file on one core: megabytes a second, and memory that does not grow with the
//! file.
//!
//! `cargo bench --bench replay`; a number behind `--` is the file's size in megabytes, 200 if there
//! is none. The file is made of the mix, in the form that Hubble's flow log has, in a temporary
//! directory. Figures are CPU time of the one thread, reading the file included, which lies in the
//! page cache. The same flows as responses of the flow API lie in memory; megabytes are those of
//! the file there too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may end where it is wrong"
)]

mod mix;

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::net::Ipv6Addr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use webb_flow::abi::{Record, flag, kind};
use webb_flowlog::{Cursor, Line, Reader, lines, open};
use webb_metrics::{Aggregator, grammar};
use webb_observer::json_read;
use webb_observer::schema::schema;

/// Rounds over the whole file.
const ROUNDS: usize = 3;

/// A pod as Hubble writes an endpoint.
fn endpoint(address: [u8; 16]) -> String {
    let [.., high, low] = address;
    let pod = u32::from(u16::from_be_bytes([high, low])) - 1;
    let (namespace, workload) = (pod % 20, pod % 200);
    format!(
        "{{\"ID\":{},\"identity\":{},\"cluster_name\":\"default\",\"namespace\":\"namespace-{namespace}\",\"labels\":[\
         \"k8s:app=workload-{workload}\",\
         \"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=namespace-{namespace}\",\
         \"k8s:io.cilium.k8s.policy.cluster=default\",\"k8s:io.cilium.k8s.policy.serviceaccount=default\",\
         \"k8s:io.kubernetes.pod.namespace=namespace-{namespace}\"],\
         \"pod_name\":\"workload-{workload}-6c94dcc57b-{pod:05}\",\
         \"workloads\":[{{\"name\":\"workload-{workload}\",\"kind\":\"Deployment\"}}]}}",
        100 + pod,
        256 + pod % 400,
    )
}

fn layer4(record: &Record) -> String {
    let ports = format!("\"source_port\":{},\"destination_port\":{}", record.source_port, record.destination_port);
    match record.protocol {
        6 => {
            const NAMES: [&str; 5] = ["FIN", "SYN", "RST", "PSH", "ACK"];
            let set = NAMES.iter().enumerate().filter(|(bit, _)| record.tcp_flags >> bit & 1 == 1);
            let flags: Vec<String> = set.map(|(_, name)| format!("\"{name}\":true")).collect();
            format!("\"TCP\":{{{ports},\"flags\":{{{}}}}}", flags.join(","))
        }
        17 => format!("\"UDP\":{{{ports}}}"),
        _ => format!("\"ICMPv4\":{{\"type\":{}}}", record.icmp_type),
    }
}

/// A record as a line of Hubble's flow log.
fn line(number: usize, record: &Record, out: &mut String) {
    let ip = |address: [u8; 16]| Ipv6Addr::from(address).to_canonical();
    let dropped = record.kind == kind::DROP;
    let time = format!("2026-01-01T{:02}:{:02}:{:02}.{number:09}Z", number / 3600 % 24, number / 60 % 60, number % 60);
    let (verdict, event) = match (dropped, record.hook) {
        (true, _) => ("DROPPED", "\"type\":1,\"sub_type\":133"),
        (false, 0) => ("FORWARDED", "\"type\":4,\"sub_type\":3"),
        (false, _) => ("FORWARDED", "\"type\":4"),
    };
    let reason = if dropped { "\"drop_reason_desc\":\"POLICY_DENIED\"," } else { "" };
    let reply = record.flags & flag::REPLY != 0;
    let direction = if record.flags & flag::EGRESS != 0 { "EGRESS" } else { "INGRESS" };
    writeln!(
        out,
        "{{\"flow\":{{\"time\":\"{time}\",\"uuid\":\"5d9c1ab0-8f11-4b0c-9c1d-{number:012x}\",\"verdict\":\"{verdict}\",\
         \"IP\":{{\"source\":\"{}\",\"destination\":\"{}\",\"ipVersion\":\"IPv4\"}},\"l4\":{{{}}},\
         \"source\":{},\"destination\":{},\"Type\":\"L3_L4\",\"node_name\":\"kind-kind/kind-worker\",\
         \"event_type\":{{{event}}},\"traffic_direction\":\"{direction}\",{reason}\"is_reply\":{reply},\
         \"Summary\":\"\"}},\"node_name\":\"kind-kind/kind-worker\",\"time\":\"{time}\"}}",
        ip(record.source),
        ip(record.destination),
        layer4(record),
        endpoint(record.source),
        endpoint(record.destination),
    )
    .unwrap();
}

fn write_file(path: &Path, bytes: usize) {
    let records = mix::records(mix::PODS);
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    let (mut written, mut text) = (0, String::new());
    for (number, record) in records.iter().cycle().enumerate() {
        if written >= bytes {
            break;
        }
        text.clear();
        line(number, record, &mut text);
        file.write_all(text.as_bytes()).unwrap();
        written += text.len();
    }
    file.flush().unwrap();
}

/// As `webb replay` does it.
fn replay(path: &Path, metrics: &str) -> u64 {
    let mut aggregators: Vec<Aggregator> =
        grammar::parse(metrics).unwrap().metrics.iter().map(Aggregator::new).collect();
    let mut reader = Reader::default();
    let mut hand_out = |reader: &mut Reader| {
        let batch = reader.batch();
        for aggregator in &mut aggregators {
            aggregator.observe(black_box(batch), 0, &mut 0);
        }
        reader.turn();
    };
    let mut input = open(path).unwrap();
    let ended = lines(&mut input.bytes, |_, line| {
        let Line::Bytes(bytes) = line else { return ControlFlow::Break(()) };
        reader.line(bytes).unwrap();
        if reader.is_full() {
            hand_out(&mut reader);
        }
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    hand_out(&mut reader);
    reader.counts().flows
}

/// The lines alone, each a multiple of nothing but its length.
fn cut(path: &Path) -> u64 {
    let (mut input, mut count) = (open(path).unwrap(), 0);
    let ended = lines(&mut input.bytes, |_, line| {
        count += u64::from(black_box(line) != Line::TooLong);
        ControlFlow::<()>::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    count
}

/// The lines as responses of the flow API: each behind its length.
fn encode(path: &Path) -> Vec<u8> {
    let (mut input, mut out, mut encoded) = (open(path).unwrap(), Vec::new(), Vec::new());
    let envelope = schema().message("observer.ExportEvent");
    let ended = lines(&mut input.bytes, |_, line| {
        let Line::Bytes(bytes) = line else { return ControlFlow::Break(()) };
        encoded.clear();
        json_read::encode(&mut Cursor::new(std::str::from_utf8(bytes).unwrap()), envelope, &mut encoded).unwrap();
        out.extend_from_slice(&u32::try_from(encoded.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&encoded);
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    out
}

/// Responses without a metric, as the agent decodes those of a flow source.
fn decode(mut responses: &[u8]) -> u64 {
    let mut reader = Reader::default();
    while let Some((length, rest)) = responses.split_first_chunk() {
        let (response, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        responses = rest;
        reader.response(black_box(response)).unwrap();
        if reader.is_full() {
            black_box(reader.batch());
            reader.turn();
        }
    }
    reader.counts().flows
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned()
}

fn main() {
    let megabytes = std::env::args().find_map(|word| word.parse::<usize>().ok()).unwrap_or(200);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows.jsonl");
    write_file(&path, megabytes * 1_000_000);
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{:.0} MB of flows; memory at most {}", size as f64 / 1e6, memory());
    println!("{:<24} {:>10} {:>8} {:>10} {:>8}  memory at most", "", "MB/s best", "wall", "ns a flow", "flows");
    let responses = encode(&path);
    let whole: [(&str, &dyn Fn() -> u64); 6] = [
        ("responses, no metric", &|| decode(&responses)),
        ("lines alone", &|| cut(&path)),
        ("flows, no metric", &|| replay(&path, "")),
        ("flow", &|| replay(&path, "flow")),
        ("first configuration", &|| replay(&path, mix::FIRST)),
        ("second configuration", &|| replay(&path, mix::SECOND)),
    ];
    for (name, run) in whole {
        let (mut cpu, mut wall, mut flows) = (Duration::MAX, Duration::MAX, 0);
        for _ in 0..ROUNDS {
            let (began, before) = (Instant::now(), clock_gettime(ClockId::ThreadCPUTime));
            flows = run();
            let after = clock_gettime(ClockId::ThreadCPUTime);
            wall = wall.min(began.elapsed());
            cpu = cpu.min((after - before).try_into().unwrap());
        }
        println!(
            "{name:<24} {:>10.0} {:>8.0} {:>10.0} {flows:>8}  {}",
            size as f64 / 1e6 / cpu.as_secs_f64(),
            size as f64 / 1e6 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e9 / flows as f64,
            memory(),
        );
    }
}
