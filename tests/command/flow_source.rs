//! The program with a server of Hubble's API as its source, as an unprivileged user: it counts what
//! `webb replay` counts of the same flows, which is what Hubble shows.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use webb_observer::History;

use crate::conformance::{differences, of_both, parse};
use crate::flow_server::{FlowServer, load, push_lost};

/// A user without any privilege.
const NOBODY: u32 = 65_534;

/// A running agent; its listeners have an address of this process's own.
pub(crate) struct Agent {
    child: Child,
    pub(crate) metrics: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// An address of this process's own.
pub(crate) fn address() -> Ipv4Addr {
    let [.., high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 64, middle, low)
}

impl Agent {
    pub(crate) fn start(number: u16, arguments: &[&str]) -> Self {
        let address = address();
        let (metrics, admin) = ((address, 2 * number + 20_000).into(), (address, 2 * number + 20_001).into());
        let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
        command.args(["run", "--cluster-source", "none", "--node-name", "node", "--log", "warn"]);
        command.arg("--metrics-listen").arg(SocketAddr::to_string(&metrics));
        command.arg("--admin-listen").arg(SocketAddr::to_string(&admin));
        command.args(arguments).env("WEBB_SCRAPE__MIN_INTERVAL", "0s").stdin(Stdio::null()).stderr(Stdio::piped());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Self { child: command.spawn().unwrap(), metrics, admin }
    }

    /// The body of an answer; empty without one.
    fn get(at: SocketAddr, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(at) else { return String::new() };
        let mut answer = String::new();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        if stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).is_err() {
            return String::new();
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        // A body in chunks: their lengths stand on lines of their own.
        if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            return body.to_owned();
        }
        let (mut whole, mut rest) = (String::new(), body);
        while let Some((length, behind)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length.trim(), 16).unwrap();
            whole.push_str(&behind[..length]);
            rest = behind[length..].trim_start_matches("\r\n");
        }
        whole
    }

    /// Waits for a scrape with this line.
    fn shows(&self, line: &str) {
        let began = Instant::now();
        let mut last = String::new();
        while !last.lines().any(|shown| shown == line) {
            assert!(began.elapsed() < Duration::from_mins(1), "never shown: {line}\n{last}");
            std::thread::sleep(Duration::from_millis(20));
            last = Self::get(self.metrics, "/metrics");
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _exit = self.child.wait();
    }
}

fn source(path: &Path) -> String {
    format!("hubble:unix://{}", path.display())
}

/// A directory that others may use.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn check(cases: &[PathBuf], first: u16) {
    let directory = directory();
    let mut wrong = String::new();
    for (number, case) in (first..).zip(cases) {
        let path = directory.path().join(format!("{number}.sock"));
        let history = Arc::new(History::new(100_000));
        // The flows are older than the agent, so it must have asked before they come: it has, once
        // it has this.
        push_lost(&history, Vec::new());
        let _server = FlowServer::start(&path, Arc::clone(&history));
        let configuration = match std::fs::read_to_string(case.join("metrics.txt")) {
            Ok(metrics) => ["--metrics".to_owned(), metrics],
            Err(_) => ["--metrics-config".to_owned(), case.join("metrics.yaml").display().to_string()],
        };
        let agent = Agent::start(number, &["--flow-source", &source(&path), &configuration[0], &configuration[1]]);
        agent.shows("webb_flow_source_received_responses_total 1");
        load(&history, &std::fs::read_to_string(case.join("../../flows.jsonl")).unwrap());
        // All are flows or lost events: a server sends nothing else to one that follows its flows.
        let responses = history.totals().held;
        agent.shows(&format!("webb_flow_source_received_responses_total {responses}"));
        let shown = Agent::get(agent.metrics, "/metrics");
        let expected = std::fs::read_to_string(case.join("expected.prom")).unwrap();
        let differences = differences(&parse(&expected, false), &parse(&shown, false));
        if !differences.is_empty() {
            let first: Vec<&str> = differences.lines().take(5).collect();
            writeln!(wrong, "{}:\n  {}", case.display(), first.join("\n  ")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "not as Hubble has it:\n{wrong}");
}

/// Every static configuration: the same series with the same values as of the flows in a file.
#[test]
fn static_configurations() {
    check(&of_both("metrics.txt", 26), 0);
}

/// Every dynamic configuration, with filters.
#[test]
fn dynamic_configurations() {
    check(&of_both("metrics.yaml", 32), 100);
}

/// A socket that this user may not use, and one that is not there: the agent runs, is not ready,
/// and says what is missing.
#[test]
fn what_is_missing_is_said() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can make a socket that this test may not use");
        return;
    }
    let directory = directory();
    let path = directory.path().join("hubble.sock");
    let server = FlowServer::start(&path, Arc::new(History::new(10)));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let agent = Agent::start(200, &["--flow-source", &source(&path)]);
    let says = |what: &str| {
        let began = Instant::now();
        loop {
            let ready = Agent::get(agent.admin, "/readyz");
            if ready.contains(what) {
                return ready;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "never said: {what}: {ready}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert!(says("this process needs write permission on the socket").contains("\"ready\":false"));
    drop(server);
    says("is Hubble enabled on this node");
    let _server = FlowServer::start(&path, Arc::new(History::new(10)));
    assert!(says("\"ready\":true").contains("\"capabilities\":[]"));
}
