//! Attacks by a pod on the agent itself, each with its load, its limit and what was found, in one
//! line that `make attack` puts into a table. Without `WEBB_ATTACK=full` the loads are small.
//!
//! Memory and descriptors are bounds; the time of a scrape is shown, and bounded only where a
//! loaded machine stays below it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Agent, Lab, METRICS, inside};

/// Megabytes that clients of a listener may cost, however many they are.
const MAX_MEGABYTES: u64 = 32;

/// Descriptors that they may take: the connections of a listener and what is being refused.
const MAX_DESCRIPTORS: usize = 160;

/// The metrics listener, from a pod.
const LISTENER: &str = "172.18.0.2:9965";

/// A load, scaled down for every day.
fn load(full: usize, quick: usize) -> usize {
    let full_wanted = std::env::var("WEBB_ATTACK").is_ok_and(|wanted| wanted == "full");
    if full_wanted { full } else { quick }
}

/// One row of the table.
fn report(attack: &str, load: &str, limit: &str, result: &str) {
    println!("ATTACK | {attack} | {load} | {limit} | {result}");
}

fn resident_megabytes(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap() / 1024
}

fn descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

/// Connections from a pod, made on one thread in its namespace. The server may end any of them.
fn connections(lab: &Lab, count: usize, each: impl Fn(&TcpStream) + Sync) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let connect = || {
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            match TcpStream::connect(LISTENER) {
                Ok(stream) => {
                    stream.set_nonblocking(true)?;
                    each(&stream);
                    made.push(stream);
                }
                // Dropped before it was known to be there.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("after {} connections: {error}", made.len()),
            }
        }
        Ok(made)
    };
    inside(&lab.namespace("xwing"), connect).expect("the listener is connected to")
}

/// Writes as much as the kernel takes.
fn write_some(mut stream: &TcpStream, bytes: &[u8]) {
    if let Err(error) = stream.write_all(bytes) {
        let expected = [ErrorKind::WouldBlock, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(expected.contains(&error.kind()), "{error}");
    }
}

/// Holds `count` connections of one pod and scrapes beside them.
fn held(attack: &str, count: usize, each: impl Fn(&TcpStream) + Sync) {
    let Some(lab) = Lab::up() else { return };
    let agent = Agent::start(&lab, &[]);
    // The first scrapes make what later ones use again.
    for _ in 0..5 {
        agent.scrape();
    }
    let before = (resident_megabytes(&agent), descriptors(&agent));
    let held = connections(&lab, count, each);
    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let began = Instant::now();
        agent.scrape();
        slowest = slowest.max(began.elapsed());
    }
    let grown = resident_megabytes(&agent).saturating_sub(before.0);
    let taken = descriptors(&agent).saturating_sub(before.1);
    let dropped = agent.scrape().sum("webb_http_connections_dropped_total", &[("listener", "metrics")]);
    report(
        attack,
        &format!("{count} connections of one pod"),
        &format!("{MAX_MEGABYTES} MB, {MAX_DESCRIPTORS} descriptors"),
        &format!("{grown} MB, {taken} descriptors, {dropped} dropped, slowest scrape {slowest:.0?}"),
    );
    assert!(grown < MAX_MEGABYTES, "{attack}: {grown} MB");
    assert!(taken < MAX_DESCRIPTORS, "{attack}: {taken} descriptors");
    assert!(dropped + 64 >= count as u64, "{attack}: {dropped} dropped of {count}");
    drop(held);
}

/// Connections that say nothing.
#[test]
fn silent_connections() {
    held("silent connections", load(10_000, 1000), |_| {});
}

/// Heads of 100 KB that do not end.
#[test]
fn endless_heads() {
    let head = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}", "x".repeat(100_000));
    held("heads that do not end", load(10_000, 1000), move |stream| write_some(stream, head.as_bytes()));
}

/// Scrapers that do not read.
#[test]
fn greedy_scrapers() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    held("scrapers that do not read", load(4000, 400), move |stream| write_some(stream, &request));
}

/// A FIFO in the place of a file, as a hung mount would be.
fn fifo(path: &Path) {
    let fresh = path.with_extension("fifo");
    assert!(Command::new("mkfifo").arg(&fresh).status().unwrap().success());
    fs::rename(fresh, path).unwrap();
}

fn readyz(agent: &Agent) -> String {
    agent.get("/readyz").map(|answer| answer.body).unwrap_or_default()
}

/// Each followed file becomes a FIFO that is never written: it is named in `/readyz`, what was read
/// before goes on, and the agent ends when it is asked to.
#[test]
fn files_that_hang() {
    let Some(lab) = Lab::up() else { return };
    let config = lab.file("webb.yaml", "report_interval: 200ms\n");
    let manifest = lab.file("manifest.yaml", &fs::read_to_string(Lab::manifest()).unwrap());
    let metrics = lab.file("metrics.yaml", "metrics:\n- name: flow\n");
    let words = [
        "--node-name",
        "webb-node-1",
        "--config",
        config.to_str().unwrap(),
        "--cluster-manifest",
        manifest.to_str().unwrap(),
        "--metrics-config",
        metrics.to_str().unwrap(),
    ];
    let mut agent = Agent::spawn(&lab, "", &words);
    agent.wait_until("it is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    for file in [&config, &manifest, &metrics] {
        fifo(file);
        agent.signal("HUP");
        let name = file.file_name().unwrap().to_str().unwrap();
        agent.wait_until(&format!("{name} is named"), |agent| {
            let said = readyz(agent);
            said.contains(name) && said.contains("it is a FIFO")
        });
    }
    agent.scrape();
    agent.signal("TERM");
    assert!(agent.ended().success());
    report("files that hang", "3 FIFOs in the place of files", "named, SIGTERM ends it", "named, exit code 0");
}

/// SIGTERM at any moment of the start, from the first on, ends it with success, and nothing is left
/// attached.
#[test]
fn terminated_while_starting() {
    let Some(lab) = Lab::up() else { return };
    let manifest = Lab::manifest();
    let words = ["--node-name", "webb-node-1", "--cluster-manifest", manifest.to_str().unwrap(), "--metrics", METRICS];
    let mut slowest = Duration::ZERO;
    let moments = [0, 20, 100, 300, 1000];
    for after_ms in moments {
        let mut agent = Agent::spawn(&lab, "", &words);
        // Until then it is another program, `lab exec`.
        agent.wait_until("it is webb", |agent| {
            let caught = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap_or_default();
            let bits = caught.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
            bits.and_then(|bits| u64::from_str_radix(bits, 16).ok()).is_some_and(|bits| bits & (1 << 14) != 0)
        });
        std::thread::sleep(Duration::from_millis(after_ms));
        let asked = Instant::now();
        agent.signal("TERM");
        assert!(agent.ended().success(), "after {after_ms} ms\n{}", agent.log());
        slowest = slowest.max(asked.elapsed());
    }
    report(
        "SIGTERM while starting",
        &format!("{} moments, 0 to 1000 ms", moments.len()),
        "exit code 0",
        &format!("0 each time, {slowest:.0?} at most"),
    );
}
