//! `webb top` as it is run: in terminals of two sizes, by tmux, and printed for scripts; against a
//! server with the answers that the API's tests hold, and against an agent.

#![allow(clippy::disallowed_methods, reason = "threads of a test are its own")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::flow_source::Agent;

/// Long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A server with recorded answers, until it is told to go.
struct Recorded {
    address: SocketAddr,
    gone: Arc<AtomicBool>,
}

impl Recorded {
    fn start() -> Self {
        let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/api/snapshots");
        let views = ["status", "pairs", "connections", "drops", "dns", "http", "agent"];
        let answers: BTreeMap<_, _> = views
            .into_iter()
            .map(|view| {
                let text = std::fs::read_to_string(snapshots.join(format!("webb__http__api__tests__api-{view}.snap")));
                (view, text.unwrap().splitn(3, "---\n").nth(2).unwrap().to_owned())
            })
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gone = Arc::new(AtomicBool::new(false));
        let is_gone = Arc::clone(&gone);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if is_gone.load(SeqCst) {
                    return;
                }
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let view = path.trim_start_matches("/api/v1/").split('?').next().unwrap();
                let body = answers.get(view).unwrap_or_else(|| panic!("{head}"));
                let date = "Mon, 12 Jan 1970 13:46:52 GMT";
                let length = body.len();
                write!(stream, "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        Self { address, gone }
    }

    /// Closes the listener.
    fn go(&self) {
        self.gone.store(true, SeqCst);
        let _last = std::net::TcpStream::connect(self.address);
    }
}

/// A terminal of its own, by a tmux of its own.
struct Screen {
    socket: String,
}

impl Screen {
    /// Runs a command of the shell; none without tmux.
    fn start(name: &str, (width, height): (u16, u16), command: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "tmux is missing, and CI must have it");
            eprintln!("SKIPPED: tmux is missing; scripts/setup installs it");
            return None;
        }
        let screen = Self { socket: format!("webb-{}-{name}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, command]);
        Some(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]).args(arguments).stdin(Stdio::null());
        let output = command.env("TERM", "xterm-256color").env_remove("NO_COLOR").output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// The screen, once the program has ended and the state of the terminal is told.
    fn left(&self) -> String {
        self.with(LEFT)
    }

    /// The screen, once it has this text and nothing but ages changes any more.
    fn with(&self, text: &str) -> String {
        let (began, mut last) = (Instant::now(), String::new());
        loop {
            let shown = String::from_utf8(self.tmux(&["capture-pane", "-p"]).stdout).unwrap();
            let is_still = masked(&shown) == last;
            if is_still && shown.contains(text) {
                return shown;
            }
            assert!(began.elapsed() < TIMEOUT, "never shown: {text}\n{shown}");
            last = masked(&shown);
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}

/// A screen without what changes by itself.
fn masked(screen: &str) -> String {
    let age = Regex::new(r"\d+ s (old|ago)|in \d+ s").unwrap();
    age.replace_all(screen, "N s $1").into_owned()
}

/// The last line of [`command`].
const LEFT: &str = "the terminal was left so";

/// `webb top`, and behind it the state in which the terminal was left.
fn command(server: SocketAddr, flags: &str) -> String {
    let webb = env!("CARGO_BIN_EXE_webb");
    format!(
        "{webb} top --server {server} {flags}; echo exit $?; stty -a | tr ';' '\\n' | grep -E -- 'icanon|echo '; echo {LEFT}; sleep 600"
    )
}

/// Two sizes, keys, and sizes at which nothing can be shown; the terminal is given back as it was.
#[test]
fn terminals_are_golden() {
    let server = Recorded::start();
    let Some(screen) = Screen::start("sizes", (80, 24), &command(server.address, "--interval 1h")) else { return };
    insta::assert_snapshot!("tmux-80", masked(&screen.with("problems first")));
    screen.press("Down");
    insta::assert_snapshot!("tmux-80-cursor", masked(&screen.with("#>")));
    screen.resize(10, 3);
    screen.with("needs 60");
    screen.resize(200, 60);
    insta::assert_snapshot!("tmux-200", masked(&screen.with(" UTC ")));
    screen.press("2");
    screen.with("[2 Drops");
    insta::assert_snapshot!("tmux-200-drops", masked(&screen.with("QUEUE_FULL")));
    screen.resize(80, 24);
    screen.with("13:46:50Z");
    screen.press("7");
    insta::assert_snapshot!("tmux-80-agent", masked(&screen.with("[7 Agent !]")));
    screen.press("q");
    assert!(screen.left().contains("exit 0"));
}

/// A signal ends it as `q` does, and a lost agent does not.
#[test]
fn it_ends_in_order() {
    let server = Recorded::start();
    let Some(screen) = Screen::start("ends", (80, 24), &command(server.address, "--interval 1s --ascii")) else {
        return;
    };
    screen.with("problems first");
    server.go();
    let lost = screen.with("lost ");
    assert!(lost.contains("next try in") && lost.contains("shop/storefront"), "{lost}");
    assert!(screen.with("refused").is_ascii());
    screen.tmux(&["send-keys", "q"]);
    let left = screen.left();
    assert!(left.contains("exit 0"), "{left}");
    assert!(left.contains(" icanon") && left.contains(" echo ") && !left.contains("-icanon"), "{left}");
}

/// After a panic the terminal is as it was, with what the panic said.
#[test]
fn a_panic_gives_the_terminal_back() {
    let server = Recorded::start();
    let command = format!("INJECT_REFUSAL=terminal RUST_BACKTRACE=0 {}", command(server.address, ""));
    let Some(screen) = Screen::start("panics", (80, 24), &command) else { return };
    let left = screen.left();
    assert!(left.contains("exit 101") && left.contains("a fault on command"), "{left}");
    assert!(left.contains(" icanon") && left.contains(" echo ") && !left.contains("-icanon"), "{left}");
}

fn top(server: SocketAddr, flags: &[&str]) -> (Option<i32>, String, String) {
    let server = server.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_webb"));
    let output = command.args(["top", "--server", &server]).args(flags).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// For scripts: a table or JSON, and an exit code of its own for each outcome.
#[test]
fn scripts_have_tables() {
    let server = Recorded::start();
    let (code, table, said) = top(server.address, &["--once", "--limit", "3", "--sort=-out"]);
    assert_eq!(code, Some(3), "{said}");
    insta::assert_snapshot!("top-once", format!("{table}---\n{said}"));
    let (code, json, _) = top(server.address, &["--json", "--view", "drops"]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, value["node"].as_str()), (Some(3), Some("worker-7")));
    let (code, _, said) = top(server.address, &[]);
    assert_eq!((code, said.contains("there is no terminal")), (Some(64), true), "{said}");
    for (wrong, expected) in [
        (["--once", "--view", "pods"], "expected one of pairs"),
        (["--once", "--sort", "x"], "expected one of from, to"),
    ] {
        let (code, _, said) = top(server.address, &wrong);
        assert_eq!((code, said.contains(expected)), (Some(64), true), "{said}");
    }
    server.go();
    let (code, table, said) = top(server.address, &["--once"]);
    assert_eq!((code, table.as_str(), said.contains("refused")), (Some(4), "", true), "{said}");
}

/// An agent whose source is away is incomplete, and asks for its token.
#[test]
fn an_agent_is_asked() {
    let directory = crate::flow_source::directory();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let config = directory.path().join("webb.yaml");
    let text = format!("admin: {{ token_file: {} }}\n", token.display());
    std::fs::write(&config, text).unwrap();
    let source = "hubble:unix:///nowhere/flows.sock";
    let agent = Agent::start(91, &["--config", config.to_str().unwrap(), "--flow-source", source]);
    let file = token.display().to_string();
    let began = Instant::now();
    let (code, table) = loop {
        let (code, table, said) = top(agent.admin, &["--once", "--view", "agent", "--token-file", &file]);
        if code != Some(4) {
            break (code, table);
        }
        assert!(began.elapsed() < TIMEOUT, "{said}");
        thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(code, Some(3), "{table}");
    assert!(table.starts_with("node node  time ") && table.contains("\nfailing  flow_source"), "{table}");
    for (file, expected) in [("/nonexistent/token", "No such file"), ("/dev/null", "not a regular file")] {
        let (code, _, said) = top(agent.admin, &["--once", "--token-file", file]);
        assert!(said.starts_with(&format!("--token-file {file}: ")) && said.contains(expected), "{said}");
        assert_eq!(code, Some(64), "it is not the agent that does not answer: {said}");
    }
    let (code, _, said) = top(agent.admin, &["--once"]);
    assert_eq!((code, said.contains("a token is needed") && said.contains("--token-file")), (Some(4), true), "{said}");
}
