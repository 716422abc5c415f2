//! Commands of the documents in the lab: each that needs a running agent is run as it stands, but
//! for the names of the reader's own pods and files.

use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Agent, Lab, request};
use crate::samples::{commands, of_webb};

/// Long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What the documents write, and what stands for it here; the names of this lab come after.
const STANDING_FOR: [(&str, &str); 8] = [
    ("kubectl exec ds/webb -- ", ""),
    ("target/release/webb", "webb"),
    ("/etc/webb/", ""),
    ("shop/web", "default/tiefighter"),
    ("shop", "default"),
    ("5432", "80"),
    ("443u", "80u"),
    // The admin listener's port by the chart.
    ("9967", "9966"),
];

/// First words of commands that need what this machine has not: a cluster, a registry, a screen.
/// What `make` runs has checks of its own.
const ELSEWHERE: [&str; 9] =
    ["kubectl", "helm", "make", "skopeo", "kind", "xdg-open", "token=$(kubectl", "ls", "hubble.metrics.enabled:"];

/// How a command runs.
#[derive(Debug, PartialEq)]
enum Run {
    /// It prints something and ends.
    Ends,
    /// It is a connection that the lab's policy denies.
    Fails,
    /// It prints what is new, without an end.
    Follows,
    /// It is an agent.
    Agent,
    /// It serves flows of a file at a socket.
    Serves,
    /// It needs what is not here.
    Elsewhere,
}

/// How a command runs, and what of it.
fn classify(line: &str) -> (Run, String) {
    // A port of a cluster's pod is forwarded before it; here it is there.
    let line = line.split_once("& curl ").map_or_else(|| line.to_owned(), |(_, rest)| format!("curl {rest}"));
    let line = STANDING_FOR.iter().fold(line, |line, (of, here)| line.replace(of, here));
    let has = |word: &str| line.split(' ').any(|one| one == word);
    let run = match of_webb(&line).as_deref() {
        // The first is looked at in a terminal (`tests/command/top.rs`), the second needs an API
        // server.
        Some([_, command]) if command == "top" => Run::Elsewhere,
        Some([_, command, ..]) if command == "names" => Run::Elsewhere,
        Some([_, command, ..]) if command == "run" => Run::Agent,
        Some([_, command, ..]) if command == "replay" && has("--observe") => Run::Serves,
        // Its files are those of another test (`commands_on_files_run`).
        Some([_, command, ..]) if command == "replay" => Run::Elsewhere,
        Some(_) if has("--follow") => Run::Follows,
        Some(_) => Run::Ends,
        None if line.contains("lab exec xwing") => Run::Fails,
        None if has("hubble") && has("--follow") => Run::Follows,
        None if ["curl", "LAB=webb-demo", "hubble"].iter().any(|word| line.split(' ').next() == Some(*word)) => {
            Run::Ends
        }
        None if ELSEWHERE.iter().any(|word| line.split(' ').next() == Some(*word)) => Run::Elsewhere,
        None => panic!("`{line}` is neither run here nor known to need something else"),
    };
    (run, line)
}

/// The lab with all that commands find: an agent with its defaults, files, and `webb` on the PATH.
struct DocumentLab {
    lab: Lab,
    agent: Agent,
}

impl DocumentLab {
    fn new(lab: Lab) -> Self {
        let programs = lab.dir.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        let webb = env!("CARGO_BIN_EXE_webb");
        symlink(webb, programs.join("webb")).unwrap();
        // The flags of these commands are those of Hubble's own client.
        symlink(webb, programs.join("hubble")).unwrap();
        symlink("/usr/bin/env", programs.join("sudo")).unwrap();
        std::fs::copy(Lab::manifest(), lab.dir.path().join("pods.yaml")).unwrap();
        let recorded =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/observer/tests/observer/golden/flows-a.jsonl.zst");
        std::fs::copy(recorded, lab.dir.path().join("flows.jsonl.zst")).unwrap();
        let socket = lab.dir.path().join("hubble.sock");
        let text = format!("observer: {{ enabled: true, listen: ['unix://{}'] }}\n", socket.display());
        let config = lab.file("agent.yaml", &text);
        lab.file("webb.yaml", "log: { level: info }\n");
        let mut agent = Agent::start(&lab, &["--config", config.to_str().unwrap()]);
        agent.wait_until("the observer's socket is there", |_| socket.exists());
        Self { lab, agent }
    }

    /// A command of the documents, as a shell in a node's namespace runs it.
    fn shell(&self, node: &str, line: &str) -> Command {
        let directory = self.lab.dir.path();
        let name = self.lab.namespace("").trim_end_matches('-').to_owned();
        let line = line
            .replace("/tmp/", "")
            .replace("unix://flows", &format!("unix://{}/flows", directory.display()))
            .replace("/var/run/cilium", &directory.to_string_lossy())
            .replace("webb-demo", &name)
            .replace("lab/lab", concat!(env!("CARGO_MANIFEST_DIR"), "/lab/lab"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.lab.namespace(node), "bash", "-o", "pipefail", "-c", &line])
            .current_dir(directory)
            .env("PATH", format!("{}:{path}", directory.join("bin").display()))
            .env("HUBBLE_SERVER", format!("unix://{}/hubble.sock", directory.display()))
            .env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null());
        command
    }

    /// A connection, and one that a policy denies.
    fn talk(&self) {
        self.lab.try_run("tiefighter", "pod land 10.244.1.11:80");
        self.lab.try_run("xwing", "pod land 10.244.1.11:80");
    }

    /// Runs it until it succeeds with some output; what it says of flows and drops comes with time.
    fn ends(&self, place: &str, line: &str) {
        let began = Instant::now();
        loop {
            let output = self.shell("node", line).output().unwrap();
            let silent = line.starts_with("LAB=");
            if output.status.success() && (silent || !output.stdout.is_empty()) {
                return;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(began.elapsed() < TIMEOUT, "{place}: {line}: {}\n{said}\n{}", output.status, self.agent.log());
            self.talk();
        }
    }

    /// Waits for what it prints first; it sees only what comes after it began.
    fn follows(&self, place: &str, line: &str) {
        let path = self.lab.dir.path().join("follow.out");
        let out = std::fs::File::create(&path).unwrap();
        let mut running = Running(self.shell("node", &format!("exec {line}")).stdout(out).spawn().unwrap());
        let began = Instant::now();
        while std::fs::metadata(&path).unwrap().len() == 0 {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < TIMEOUT, "{place}: {line}: {ended:?}");
            self.talk();
        }
    }

    /// An agent on the other node becomes ready, and ends in order.
    fn runs(&self, place: &str, line: &str) {
        let log = std::fs::File::create(self.lab.dir.path().join("run.log")).unwrap();
        let mut command = self.shell("node2", &format!("exec {line}"));
        let mut running = Running(command.stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap());
        let said = || std::fs::read_to_string(self.lab.dir.path().join("run.log")).unwrap_or_default();
        let began = Instant::now();
        let is_up =
            || request(&self.lab.namespace("node2"), 9966, "GET", "/healthz").is_some_and(|of| of.status == 200);
        while !is_up() {
            let ended = running.0.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < TIMEOUT, "{place}: {line}: {ended:?}\n{}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
        Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().unwrap();
        let status = running.0.wait().unwrap();
        assert!(status.success(), "{place}: {line}: {status}\n{}", said());
    }

    /// Flows of a file are served until the end of the test.
    fn serves(&self, place: &str, line: &str) -> Running {
        let mut running = Running(self.shell("node", &format!("exec {line}")).stderr(Stdio::piped()).spawn().unwrap());
        let began = Instant::now();
        while !self.lab.dir.path().join("flows.sock").exists() {
            if running.0.try_wait().unwrap().is_some() || began.elapsed() > TIMEOUT {
                running.0.kill().ok();
                let mut said = String::new();
                running.0.stderr.take().unwrap().read_to_string(&mut said).ok();
                panic!("{place}: {line}: {said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        running
    }
}

/// A child that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a reader copies works: each command either runs in the lab or is known to need a cluster.
#[test]
fn commands_run_in_the_lab() {
    let Some(lab) = Lab::up() else { return };
    let documents = DocumentLab::new(lab);
    let (mut serving, mut elsewhere) = (Vec::new(), Vec::new());
    for (place, written) in commands() {
        let (run, line) = classify(&written);
        match run {
            Run::Ends => documents.ends(&place, &line),
            Run::Fails => {
                let output = documents.shell("node", &line).output().unwrap();
                assert!(output.status.code() == Some(1), "{place}: {line}: {output:?}");
            }
            Run::Follows => documents.follows(&place, &line),
            Run::Agent => documents.runs(&place, &line),
            Run::Serves => serving.push(documents.serves(&place, &line)),
            Run::Elsewhere => elsewhere.push(format!("{}: {written}", place.split(':').next().unwrap())),
        }
    }
    // A command that is not run any more is seen here.
    insta::assert_snapshot!(elsewhere.join("\n"));
}
