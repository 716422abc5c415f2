//! `webb observe` as people run it: the output of Hubble's command line, pipes, and what is said
//! when there is no server.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Cases whose recorded output is a fault of the reference server, or of which ours differs on
/// purpose.
const DIFFERENT: [(&str, &str); 8] = [
    ("mask-nested", "the reference server mixes parts of several flows"),
    ("mask-oneof-mixed", "the reference server mixes parts of several flows"),
    ("ev-agent-last", "the reference server counts events of all kinds for the last agent events"),
    ("ev-agent-table", "the reference server counts events of all kinds for the first agent events"),
    ("ev-all-jsonpb", "the reference server counts agent and debug events for the last flows"),
    ("label-bad", "the text behind the beginning is that of another library"),
    ("list-nodes", "a node answers for itself here"),
    ("watch-peers", "a replay on a socket has no address to announce"),
];

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/observer/tests/observer/golden").join(name)
}

fn lines(name: &str) -> Vec<Value> {
    let mut text = String::new();
    webb_flowlog::open(&recorded(name)).unwrap().bytes.read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn webb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
    command.env_remove("HUBBLE_SERVER").stdin(Stdio::null());
    command
}

/// `webb replay --observe`, stopped when it is dropped.
struct Server {
    process: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(flows: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix://{}", directory.path().join("s.sock").display());
        let mut process = webb()
            .arg("replay")
            .arg(flows)
            .args(["--observe", &address, "--node", "stock-1"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(process.stderr.take().unwrap());
        let served = errors.lines().map(Result::unwrap).any(|line| line.starts_with("serving "));
        assert!(served, "the server starts");
        Self { process, address, _directory: directory }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        webb().arg("observe").args(arguments).env("HUBBLE_SERVER", &self.address).output().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Output without what differs from run to run: of a server's state only the words are compared,
/// since its numbers are in the JSON of the same state.
fn scrubbed(arguments: &[&str], output: &str) -> String {
    if arguments.first() != Some(&"status") {
        return output.to_owned();
    }
    let is_word = |word: &&str| !word.chars().any(char::is_numeric) && !["N/A", "cilium", "webb"].contains(word);
    output.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}

/// Every recorded command line prints the same, on both streams, and ends with the same code.
#[test]
fn output_is_that_of_hubbles_command_line() {
    let cases = lines("output.jsonl.zst");
    let (mut compared, mut differences) = (0, Vec::new());
    for flows in ["flows-a.jsonl", "flows-ev.jsonl"] {
        let server = Server::start(&recorded(&format!("{flows}.zst")));
        for case in cases.iter().filter(|case| case["flows"] == flows) {
            let name = case["name"].as_str().unwrap();
            if DIFFERENT.iter().any(|(known, _)| *known == name) {
                continue;
            }
            let arguments: Vec<&str> =
                case["args"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
            let arguments = arguments.strip_prefix(&["observe"]).unwrap_or(&arguments);
            let output = server.ask(arguments);
            compared += 1;
            let is_json = arguments.iter().any(|argument| matches!(*argument, "json" | "jsonpb"));
            let of_server = server.address.as_str();
            let ours = text(&output.stdout).replace(of_server, "unix://@SOCKET@");
            let theirs = case["stdout"].as_str().unwrap();
            let is_same = if is_json {
                is_same_json(arguments, &ours, theirs)
            } else {
                scrubbed(arguments, &ours) == scrubbed(arguments, theirs)
            };
            if !is_same {
                let at = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
                differences.push(format!("{name}: {at:?}"));
            }
            if output.status.code().map(|code| code.to_string()).as_deref() != case["exit"].as_str() {
                differences.push(format!("{name}: exit code {:?}, recorded {}", output.status.code(), case["exit"]));
            }
            if text(&output.stderr) != case["stderr"].as_str().unwrap() {
                differences.push(format!("{name}: {:?}, recorded {}", text(&output.stderr), case["stderr"]));
            }
        }
    }
    assert!(differences.is_empty(), "{} of {compared}:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(compared, cases.len() - DIFFERENT.len());
}

fn is_same_json(arguments: &[&str], ours: &str, theirs: &str) -> bool {
    let parsed = |text: &str| -> Vec<Value> {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        let mut values: Vec<Value> = values.map(Result::unwrap).collect();
        if arguments.first() == Some(&"status") {
            for field in ["num_flows", "uptime_ns", "flows_rate", "version"] {
                for value in &mut values {
                    value.as_object_mut().unwrap().remove(field);
                }
            }
        }
        values
    };
    parsed(ours) == parsed(theirs)
}

/// A file takes the place of the server: the same lines, also from a pipe, and limits hold.
#[test]
fn files_are_read_like_servers() {
    let flows = recorded("flows-a.jsonl.zst");
    let server = Server::start(&flows);
    let file = flows.to_str().unwrap();
    for arguments in [
        ["--all", "--verdict", "DROPPED"].as_slice(),
        &["--last", "7", "-o", "jsonpb", "--protocol", "tcp"],
        &["--first", "5", "-o", "table"],
        &["--since", "2026-03-01T10:05:00Z", "--until", "2026-03-01T10:06:00Z", "-o", "dict"],
    ] {
        let of_file = server.ask(&[&["--input-file", file], arguments].concat());
        let of_server = server.ask(arguments);
        assert_eq!(text(&of_file.stderr), "");
        assert!(!of_file.stdout.is_empty());
        assert_eq!(text(&of_file.stdout), text(&of_server.stdout), "{arguments:?}");
    }
    let line = r#"{"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"}}}"#;
    let mut piped = webb();
    piped.args(["observe", "--input-file", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    piped.stdin.take().unwrap().write_all(format!("{line}\n{{\"flow\":7}}\n{line}\n").as_bytes()).unwrap();
    let output = piped.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "N/A: 10.0.0.1 (unknown) <> 10.0.0.2 (unknown) UNKNOWN DROPPED ()\n".repeat(2));
    assert_eq!(text(&output.stderr), "-: line 2: flow: expected an object, found a number (column 9)\n");
}

/// No server, a wrong address and a closed pipe: a sentence and a code each, or silence.
#[test]
fn ends_that_are_not_the_servers() {
    let run = |arguments: &[&str]| webb().arg("observe").args(arguments).output().unwrap();
    let none = run(&["--server", "unix:///nowhere/s.sock"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        text(&none.stderr).starts_with("failed to connect to 'unix:///nowhere/s.sock': "),
        "{}",
        text(&none.stderr)
    );
    for wrong in [&["--server", "unix://"][..], &["--server", ":1"], &["--server", "a:b"], &["--server", "tls://a:1"]] {
        assert_eq!(run(wrong).status.code(), Some(64), "{wrong:?}");
    }
    let server = Server::start(&recorded("flows-a.jsonl.zst"));
    let mut closed = webb();
    closed.args(["observe", "--all", "--server", &server.address]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut closed = closed.spawn().unwrap();
    drop(closed.stdout.take());
    let output = closed.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// A signal ends a command that reads a file which has no end.
#[test]
fn a_signal_ends_the_reading_of_a_file() {
    let mut child = webb()
        .args(["observe", "--input-file", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // More than a pipe holds: it is being read when this returns.
    input.write_all(&vec![b'\n'; 1 << 20]).unwrap();
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    let began = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < std::time::Duration::from_mins(1), "it goes on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(input);
}
