//! A replica as a process, and what a scrape of it shows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A sign that does not come within this will not come.
pub(crate) const STUCK: Duration = Duration::from_secs(90);

/// Durations of the elections of these tests: short, with time to renew on a loaded machine.
const LEASE: Duration = Duration::from_secs(6);
const RENEW: Duration = Duration::from_secs(4);

/// Time between the end of a term and the next leader's, at least.
pub(crate) const MARGIN: Duration = Duration::from_secs(2);
const RETRY: &str = "300ms";

/// Families that the leader alone exposes.
const OF_LEADER: [&str; 6] = [
    "\ncilium_operator_unmanaged_pods ",
    "\ncilium_operator_ipam_",
    "\ncilium_lbipam_",
    "\ncilium_operator_mcsapi_",
    "\ncilium_operator_feature_",
    "\n# HELP cilium_lbipam_",
];

/// One `webb operator`.
pub(crate) struct Replica {
    child: Child,
    listen: SocketAddr,
    log: tempfile::NamedTempFile,
}

/// An address that nothing listens on. Its port is none that the system gives to others, before it
/// is listened on.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(10_000 + number % 20_000).unwrap()));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Replica {
    /// Starts a replica, whose wall clock is wrong by `skew_s` seconds.
    pub(crate) fn start(kubeconfig: &Path, skew_s: i64) -> Self {
        let (listen, log) = (free(), tempfile::NamedTempFile::new().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_webb"))
            .arg("operator")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env("WEBB_OPERATOR__LISTEN", listen.to_string())
            .env("WEBB_ADMIN_LISTEN", free().to_string())
            .env("WEBB_OPERATOR__LEASE_DURATION", format!("{}s", LEASE.as_secs()))
            .env("WEBB_OPERATOR__RENEW_DEADLINE", format!("{}s", RENEW.as_secs()))
            .env("WEBB_OPERATOR__RETRY_PERIOD", RETRY)
            .env("INJECT_WALL_SKEW_S", skew_s.to_string())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, listen, log }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Stops the process, and returns once all of its threads stand still.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    /// Waits for the end of the process.
    pub(crate) fn end(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// Sends a request whose answer is read later.
    pub(crate) fn ask(&self, path: &str) -> std::io::Result<TcpStream> {
        send(self.listen, path)
    }

    /// Status and body of an answer; none if there is none.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, String)> {
        answer(self.ask(path).ok()?)
    }

    /// Whether it leads by a scrape; none without an answer.
    pub(crate) fn leads(&self) -> Option<bool> {
        self.get("/metrics").map(|(_, text)| leads(&text))
    }

    pub(crate) fn until_ready(&self) {
        let began = Instant::now();
        while self.get("/readyz").is_none_or(|(status, _)| status != 200) {
            assert!(began.elapsed() < STUCK, "never ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if std::thread::panicking() {
            println!("log of {}:\n{}", self.listen, self.log());
        }
    }
}

/// Sends a request whose answer is read later.
fn send(to: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// Status and body of an answer; none if there is none.
pub(crate) fn fetch(from: SocketAddr, path: &str) -> Option<(u16, String)> {
    answer(send(from, path).ok()?)
}

/// Reads an answer to its end. None if there is none, or if it is not whole.
pub(crate) fn answer(mut stream: TcpStream) -> Option<(u16, String)> {
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some((status, if chunked { joined(body)? } else { body.to_owned() }))
}

/// A body that came in chunks.
fn joined(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(after.get(..length)?);
        rest = after.get(length + 2..)?;
    }
}

/// Whether a scrape is a leader's. One that is not has none of the leader's families.
pub(crate) fn leads(text: &str) -> bool {
    let leads = text.contains("\nwebb_operator_leader 1\n");
    assert!(leads || text.contains("\nwebb_operator_leader 0\n"), "{text}");
    for family in OF_LEADER {
        assert!(leads || !text.contains(family), "a follower exposes {family:?}: {text}");
    }
    leads
}
