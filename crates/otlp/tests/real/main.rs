//! Deliveries to receivers of others: rotel, a collector, Google's gRPC in Python, and librdkafka's
//! brokers of Kafka.
//!
//! `make otlp` installs them and runs this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]
#![allow(dead_code, reason = "the receiver and what makes requests are those of other tests")]

#[path = "../otlp/common.rs"]
mod common;
mod kafka;
#[path = "../otlp/receiver.rs"]
mod receiver;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use webb_otlp::{Encoding, OutputConfig, Protocol, Stream};

use crate::common::{Running, output, quick, request, sized, sorted, wait_for};
use crate::receiver::Receiver;

/// Where Python and its packages are.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("WEBB_OTLP_PYTHON").map(PathBuf::from).expect("run by `make otlp`")
}

/// A process that ends with the test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Google's gRPC: its process, its port, and the lines that it prints.
fn google(not_wanted: i64, max_bytes: usize) -> (Process, u16, BufReader<ChildStdout>) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/receiver.py");
    let mut child = Command::new(python().join("bin/python"))
        .arg(script)
        .args([not_wanted.to_string(), max_bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut port = String::new();
    lines.read_line(&mut port).unwrap();
    (Process(child), port.trim().parse().unwrap(), lines)
}

fn numbers(lines: BufReader<ChildStdout>, count: usize) -> Vec<i64> {
    let mut found = Vec::new();
    for line in lines.lines() {
        found.extend(line.unwrap().split_whitespace().map(|number| number.parse::<i64>().unwrap()));
        if found.len() >= count {
            break;
        }
    }
    sorted(found)
}

pub(crate) fn config(port: u16) -> OutputConfig {
    OutputConfig { endpoint: Some(format!("http://127.0.0.1:{port}")), ..quick() }
}

/// Google's server takes requests in the encodings that it knows, says how many records it rejects,
/// and how large a message may be.
#[test]
fn google_takes_requests() {
    for encoding in [Encoding::None, Encoding::Gzip] {
        let (_process, port, lines) = google(500, 4 << 20);
        let running = Running::start(output(config(port)));
        running.offer((0..10).map(|part| request(Stream::Flows, encoding, part * 100..part * 100 + 100)));
        let ledger = running.settled();
        // Of the requests that begin with 0 and with 500.
        assert_eq!((ledger.delivered, ledger.rejected), (998, 2));
        assert_eq!(numbers(lines, 1000), (0..1000).collect::<Vec<_>>());
    }
}

/// A message that is larger than Google's server takes is halved; zstd, which it does not know, is
/// not sent again.
#[test]
fn google_refuses_requests() {
    let (_process, port, lines) = google(1_000_000, 100_000);
    let running = Running::start(output(OutputConfig { compression: Some(Encoding::Zstd), ..config(port) }));
    running.offer([sized(Stream::Flows, Encoding::Zstd, 1..2001, 200)]);
    let ledger = running.settled();
    assert_eq!(ledger.delivered, 2000, "{:?}", running.owner.problems);
    assert_eq!(numbers(lines, 2000), (1..2001).collect::<Vec<_>>());
    let (encoding, max_bytes) = running.output.limits();
    let requests = running.output.figures().requests();
    assert!(encoding == Encoding::Gzip && max_bytes < 500_000, "{encoding:?}, {max_bytes}, {requests:?}");
}

/// A port that is free.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A rotel with receivers of both protocols, which hands on by an exporter with these options.
pub(crate) fn rotel(exporter: &[&str]) -> (Process, u16, u16) {
    let place = python().join("lib").read_dir().unwrap().next().unwrap().unwrap().path();
    let (grpc, http) = (free_port(), free_port());
    let child = Command::new(place.join("site-packages/rotel/rotel-agent"))
        .arg("start")
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .arg("--exporter")
        .args(exporter)
        // Where it splits a batch, the records at its start lose their resource.
        .arg("--disable-batching")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = Process(child);
    for port in [grpc, http] {
        wait_for("rotel listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(|_| ()).map_err(|error| error.to_string())
        });
    }
    (process, grpc, http)
}

/// All records come through rotel, with their node, by both protocols, whatever encodings it
/// refuses: a million with `WEBB_OTLP_RECORDS=1000000`.
#[test]
fn rotel_hands_on_all_records() {
    let behind = Receiver::grpc();
    let (_process, grpc, http) =
        rotel(&["otlp", "--otlp-exporter-protocol", "grpc", "--otlp-exporter-endpoint", &behind.url()]);
    let wanted: i64 = std::env::var("WEBB_OTLP_RECORDS").map_or(60_000, |records| records.parse().unwrap());
    // Of each protocol and encoding.
    let parts = (wanted / 6).div_euclid(1000).max(1);
    let mut expected = 0;
    for (port, protocol) in [(grpc, Protocol::Grpc), (http, Protocol::HttpProtobuf)] {
        for encoding in Encoding::ALL {
            let compression = Some(encoding);
            let running =
                Running::start(output(OutputConfig { protocol: Some(protocol), compression, ..config(port) }));
            for part in 0..parts {
                wait_for("room in the queue", || {
                    let waiting = running.output.figures().queue_bytes();
                    if waiting < 4 << 20 { Ok(()) } else { Err(waiting.to_string()) }
                });
                let first = expected + part * 1000;
                let stream = Stream::ALL[usize::try_from(part % 2).unwrap()];
                running.offer([request(stream, encoding, first..first + 1000)]);
            }
            let ledger = running.settled();
            let problems = running.owner.problems.lock().unwrap().clone();
            assert_eq!(
                i64::try_from(ledger.delivered).unwrap(),
                parts * 1000,
                "{protocol:?}, {encoding:?}: {ledger:?}, {problems:?}"
            );
            println!("{protocol:?}, {encoding:?}: {:?}", running.output.figures().requests());
            expected += parts * 1000;
        }
    }
    wait_for("all of them behind rotel", || {
        let taken = behind.rules().came.iter().map(|came| came.records.len()).sum::<usize>();
        if i64::try_from(taken).unwrap() >= expected { Ok(()) } else { Err(taken.to_string()) }
    });
    assert_eq!(sorted(behind.taken()), (0..expected).collect::<Vec<_>>());
    assert!(behind.rules().came.iter().all(|came| came.resource == 3), "records without their node");
}
