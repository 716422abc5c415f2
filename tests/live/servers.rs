//! Layer 7 of real servers: what the agent counts is held against the servers' own logs, line by
//! line.
//!
//! The servers write one line for each response. A test counts equal lines, has the agent's series
//! counted by the same words, and compares both. With `WEBB_SERVERS=full` (`make servers`) each
//! load is twenty times as large.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{Agent, Lab};
use crate::layer7::adds_up;
use crate::scrape::Scrape;

mod dns;
mod grpc;
mod http;
mod impaired;
mod nodes;

/// Longest time that a server takes to start, and to write its last line.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Equal lines of a log, or equal series, and their number.
type Counts = BTreeMap<String, u64>;

/// A load, scaled up by `make servers`.
fn load(quick: usize) -> usize {
    let full = std::env::var("WEBB_SERVERS").is_ok_and(|wanted| wanted == "full");
    if full { quick * 20 } else { quick }
}

/// The directory of what scripts/setup unpacks and installs.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// The path of a program that `scripts/setup servers` brings; `None`, with a reason, if it is not
/// there. In CI it must be.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = [target().join(name), target().join("servers-python/bin").join(name)];
    let installed = ["/usr/sbin", "/usr/bin"].map(|place| Path::new(place).join(name));
    let found = unpacked.into_iter().chain(installed).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing: scripts/setup servers brings it");
        eprintln!("SKIPPED: {name} is missing; scripts/setup servers brings it");
    }
    found
}

/// A Python program of this directory.
fn script(name: &str) -> Option<String> {
    // Installed packages are those of the virtual environment.
    let python = program("python")?;
    Some(format!("{} {}/tests/live/servers/{name}", python.display(), env!("CARGO_MANIFEST_DIR")))
}

/// A server in a pod; ended on drop.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program that writes this log.
    fn spawn(lab: &Lab, pod: &str, words: &str, log: &str) -> Self {
        let errors = File::create(lab.dir.path().join(format!("{log}.errors"))).unwrap();
        let mut command = lab.command(pod, words);
        let child = command.stdout(errors.try_clone().unwrap()).stderr(errors).spawn().unwrap();
        Self { child, log: lab.dir.path().join(log) }
    }

    /// Starts a server, and waits until something listens at all of these, such as `tcp:8080`.
    fn start(lab: &Lab, pod: &str, words: &str, log: &str, listens: &[&str]) -> Self {
        let server = Self::spawn(lab, pod, words, log);
        server.wait_until("it listens", |_| {
            let listening = lab.run(pod, "ss -Hlntu");
            let at = |wanted: &str| {
                let (protocol, port) = wanted.split_once(':').unwrap();
                listening.lines().any(|line| line.starts_with(protocol) && line.contains(&format!(":{port} ")))
            };
            listens.iter().all(|wanted| at(wanted))
        });
        server
    }

    /// Polls until `done`; panics with what it said if it takes too long.
    fn wait_until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < TIMEOUT, "waited in vain until {what}: {}", self.errors());
            sleep(Duration::from_millis(50));
        }
    }

    fn errors(&self) -> String {
        let mut path = self.log.clone().into_os_string();
        path.push(".errors");
        fs::read_to_string(path).unwrap_or_default()
    }

    /// The lines of the log, once it has `least` and no more of them come.
    fn lines(&self, least: usize) -> Vec<String> {
        let started = Instant::now();
        let mut before = 0;
        loop {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let count = text.lines().count();
            if count >= least && count == before {
                return text.lines().map(str::to_owned).collect();
            }
            assert!(started.elapsed() < TIMEOUT, "{count} lines of {least}: {}", self.errors());
            before = count;
            sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Counts equal lines.
fn counts(lines: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

/// The values of a family's series, by those of some labels.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and not negative")]
fn series(scrape: &Scrape, family: &str, only: &[(&str, &str)], labels: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for sample in scrape.samples(family, only) {
        let words: Vec<&str> = labels.iter().map(|label| sample.labels[*label].as_str()).collect();
        *counts.entry(words.join(" ")).or_default() += sample.value as u64;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// The lines in which two counts differ.
fn differences(log: &Counts, counted: &Counts) -> Result<(), String> {
    let of = |counts: &Counts, line: &str| counts.get(line).copied().unwrap_or(0);
    let lines: Vec<String> = log
        .keys()
        .chain(counted.keys().filter(|line| !log.contains_key(*line)))
        .filter(|line| of(log, line) != of(counted, line))
        .map(|line| format!("{line}: {} in the log, {} counted", of(log, line), of(counted, line)))
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
}

/// Waits until the series equal the log, and the ledger adds up.
fn equal(agent: &mut Agent, log: &Counts, of: impl Fn(&Scrape) -> Counts) -> Scrape {
    assert!(!log.is_empty(), "an empty log shows nothing");
    agent.settles(|scrape| differences(log, &of(scrape)).and_then(|()| adds_up(scrape)))
}

/// Runs a program of real traffic in a pod; it must succeed.
fn client(lab: &Lab, pod: &str, program: &Path, words: &str) -> String {
    lab.run(pod, &format!("{} {words}", program.display()))
}
