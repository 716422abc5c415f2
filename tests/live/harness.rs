//! A lab and an agent in it, for one test, gone when the test is.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

use crate::scrape::Scrape;

/// Capabilities that a test process must have.
pub(crate) const NEEDED: [caps::Capability; 4] = [
    caps::Capability::CAP_SYS_ADMIN,
    caps::Capability::CAP_NET_ADMIN,
    caps::Capability::CAP_BPF,
    caps::Capability::CAP_PERFMON,
];

/// Long enough for a loaded machine; nothing waits this long unless something is wrong.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The pods' interfaces on the node.
pub(crate) const DEVICES: [&str; 4] = ["lxc-deathstar-a", "lxc-deathstar-b", "lxc-tiefighter", "lxc-xwing"];

/// Names of the lab's pods as the manifest has them.
pub(crate) const DEATHSTAR_A: &str = "default/deathstar-7b8c5f9d64-h7k2x";
pub(crate) const DEATHSTAR_C: &str = "default/deathstar-7b8c5f9d64-m4c8z";
pub(crate) const TIEFIGHTER: &str = "default/tiefighter";
pub(crate) const XWING: &str = "default/xwing";

/// Every plugin, with pod names where a test looks at them.
pub(crate) const METRICS: &str = "flow tcp icmp port-distribution \
    drop:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity \
    traffic:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Settings under which nothing waits long in the kernel's table, for tests that want to see it
/// empty.
pub(crate) const QUICK: &str = "
report_interval: 200ms
connections: { tcp_idle: 2s, closing_idle: 1s, half_open_idle: 1s, other_idle: 1s, sweep_interval: 100ms }
";

/// The lab's namespaces; `lab down` on drop.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
    /// Configuration files, logs and whatever else a test writes.
    pub(crate) dir: TempDir,
}

/// Counters of an interface of the node, as the node sees it: `received` came from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    pub(crate) received_packets: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_packets: u64,
    pub(crate) sent_bytes: u64,
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            received_packets: self.received_packets - before.received_packets,
            received_bytes: self.received_bytes - before.received_bytes,
            sent_packets: self.sent_packets - before.sent_packets,
            sent_bytes: self.sent_bytes - before.sent_bytes,
        }
    }
}

impl Lab {
    /// A fresh lab; `None`, said loudly, without the privileges for one.
    pub(crate) fn up() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for needed in NEEDED {
            if !caps::has_cap(None, caps::CapSet::Effective, needed).unwrap_or(false) {
                assert!(std::env::var_os("CI").is_none(), "live tests need {needed}, and CI must run them");
                eprintln!("SKIPPED: this live test needs {needed}; run the tests as root");
                return None;
            }
        }
        let name = format!("webb-t{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let lab = Self { name, dir: tempfile::tempdir().unwrap() };
        succeed(lab.script().arg("up"));
        Some(lab)
    }

    pub(crate) fn script(&self) -> Command {
        let mut command = Command::new(repository().join("lab/lab"));
        command.env("LAB", &self.name).env("CARGO_TARGET_DIR", env!("CARGO_TARGET_TMPDIR"));
        command
    }

    /// The network namespace of a pod, of `world` or of `node`.
    pub(crate) fn namespace(&self, pod: &str) -> String {
        format!("{}-{pod}", self.name)
    }

    /// A command in a pod, not yet started. Words are separated by white space.
    pub(crate) fn command(&self, pod: &str, words: &str) -> Command {
        let mut command = self.script();
        command.arg("exec").arg(pod).args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Runs a command in a pod; it must succeed.
    pub(crate) fn run(&self, pod: &str, words: &str) -> String {
        succeed(&mut self.command(pod, words))
    }

    /// Runs a command in a pod, however it ends.
    pub(crate) fn try_run(&self, pod: &str, words: &str) -> Output {
        self.command(pod, words).output().unwrap()
    }

    /// A socket for datagrams in a pod, bound to that address; a read that never ends ends with an
    /// error.
    pub(crate) fn socket(&self, pod: &str, address: &str) -> UdpSocket {
        let socket = inside(&self.namespace(pod), || UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket
    }

    /// A listener in a pod.
    pub(crate) fn listener(&self, pod: &str, address: &str) -> TcpListener {
        inside(&self.namespace(pod), || TcpListener::bind(address)).unwrap()
    }

    /// A connection from a pod.
    pub(crate) fn connection(&self, pod: &str, to: &str) -> TcpStream {
        inside(&self.namespace(pod), || TcpStream::connect(to)).unwrap()
    }

    /// `ip -s link` of a device on the node.
    pub(crate) fn counters(&self, device: &str) -> Counters {
        let text =
            succeed(Command::new("ip").args(["-n", &self.namespace("node"), "-s", "-j", "link", "show", device]));
        let json: Value = serde_json::from_str(&text).unwrap();
        let count = |side: &str, what: &str| json[0]["stats64"][side][what].as_u64().unwrap();
        Counters {
            received_packets: count("rx", "packets"),
            received_bytes: count("rx", "bytes"),
            sent_packets: count("tx", "packets"),
            sent_bytes: count("tx", "bytes"),
        }
    }

    /// Waits out what the kernel says by itself when a device comes up (multicast listener reports,
    /// within the first second), for tests that count every packet of an interface.
    pub(crate) fn hush(&self) {
        let all = || DEVICES.map(|device| self.counters(device));
        let mut before = all();
        loop {
            sleep(Duration::from_millis(1500));
            let now = all();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Has a node's Service always take one replica, `a`, `b` or `c`, so that a test knows which.
    pub(crate) fn choose(&self, node: &str, replica: &str) {
        for family in ["4", "6"] {
            self.run(node, &format!("nft flush chain inet services service{family}-deathstar"));
            let rule = format!("service{family}-deathstar goto endpoint{family}-deathstar-{replica}");
            self.run(node, &format!("nft add rule inet services {rule}"));
        }
    }

    /// No node enforces the policy any more.
    pub(crate) fn enforce_nothing(&self) {
        for node in ["node", "node2"] {
            self.run(node, "nft delete table inet networkpolicy");
        }
    }

    /// Number of packets that the lab's policy has dropped, by nftables' own count.
    pub(crate) fn denied(&self) -> u64 {
        let text = self.run("node", "nft list counter inet networkpolicy denied");
        let (_, rest) = text.split_once("packets ").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// Writes a file into the lab's directory.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The lab's own manifest.
    pub(crate) fn manifest() -> PathBuf {
        repository().join("lab/manifest.yaml")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.script().arg("down").status().ok();
    }
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// An agent on the lab's node; killed on drop if the test has not stopped it.
#[derive(Debug)]
pub(crate) struct Agent {
    child: Child,
    namespace: String,
    log: PathBuf,
}

impl Agent {
    /// Starts `webb run` with the lab's manifest, all of [`METRICS`] and `more`, and waits until it
    /// is ready.
    pub(crate) fn start(lab: &Lab, more: &[&str]) -> Self {
        Self::start_at(lab, "node", METRICS, more)
    }

    /// As `start`, on one of the nodes (`node`, `node2`) and with other metrics.
    pub(crate) fn start_at(lab: &Lab, node: &str, metrics: &str, more: &[&str]) -> Self {
        Self::start_behind(lab, node, "", metrics, more)
    }

    /// As `start_at`, behind the words of `before`.
    pub(crate) fn start_behind(lab: &Lab, node: &str, before: &str, metrics: &str, more: &[&str]) -> Self {
        let manifest = Lab::manifest();
        let mut words = vec!["--node-name", if node == "node" { "webb-node-1" } else { "webb-node-2" }];
        if !more.contains(&"--cluster-manifest") {
            words.extend(["--cluster-manifest", manifest.to_str().unwrap()]);
        }
        words.extend(["--metrics", metrics]);
        words.extend(more);
        let mut agent = Self::spawn_at(lab, node, before, &words);
        agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
        agent
    }

    /// As `start`, with a configuration file of that text.
    pub(crate) fn start_with(lab: &Lab, config: &str) -> Self {
        let path = lab.file("webb.yaml", config);
        Self::start(lab, &["--config", path.to_str().unwrap()])
    }

    /// As `start_at`, on a kernel that refuses what has this name.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn start_refused(lab: &Lab, refused: &str, metrics: &str) -> Self {
        Self::start_behind(lab, "node", &format!("env INJECT_REFUSAL={refused}"), metrics, &[])
    }

    /// Starts `webb run` with nothing but `words`, behind the words of `before` (`setpriv ...`);
    /// does not wait.
    pub(crate) fn spawn(lab: &Lab, before: &str, words: &[&str]) -> Self {
        Self::spawn_at(lab, "node", before, words)
    }

    /// As `spawn`, on one of the nodes.
    fn spawn_at(lab: &Lab, node: &str, before: &str, words: &[&str]) -> Self {
        let log = lab.dir.path().join(format!("webb-{node}.log"));
        let out = File::create(&log).unwrap();
        let mut command = lab.command(node, before);
        // Such as cargo sets for what it runs.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEBB_")) {
            command.env_remove(name);
        }
        let child = command
            .args([env!("CARGO_BIN_EXE_webb"), "run"])
            .args(words)
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        Self { child, namespace: lab.namespace(node), log }
    }

    /// Its output so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Polls until `done`; panics with `what` and the agent's log if it takes too long or the agent
    /// ends.
    pub(crate) fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !done(self) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("waiting until {what}: the agent ended with {status}\n{}", self.log());
            }
            assert!(started.elapsed() < TIMEOUT, "waited in vain until {what}\n{}", self.log());
            sleep(Duration::from_millis(100));
        }
    }

    /// Scrapes until `check` finds nothing wrong, and once more after a while to see that it stays
    /// so. `check` says what is wrong; that is the panic if it does not go away.
    pub(crate) fn settles(&mut self, check: impl Fn(&Scrape) -> Result<(), String>) -> Scrape {
        let started = Instant::now();
        loop {
            let wrong = match check(&self.scrape()) {
                Ok(()) => {
                    sleep(Duration::from_secs(1));
                    let scrape = self.scrape();
                    match check(&scrape) {
                        Ok(()) => return scrape,
                        Err(wrong) => format!("was right and did not stay so: {wrong}"),
                    }
                }
                Err(wrong) => wrong,
            };
            assert!(started.elapsed() < TIMEOUT, "{wrong}\n{}\n{}", self.scrape().show(""), self.log());
            sleep(Duration::from_millis(300));
        }
    }

    /// `/metrics`, which must answer.
    pub(crate) fn scrape(&self) -> Scrape {
        let answer = request(&self.namespace, 9965, "GET", "/metrics")
            .unwrap_or_else(|| panic!("/metrics does not answer\n{}", self.log()));
        assert_eq!(answer.status, 200, "/metrics: {}\n{}", answer.body, self.log());
        Scrape::parse(&answer.body)
    }

    /// An answer of the admin listener; `None` if it does not listen (yet, or any more).
    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        request(&self.namespace, 9966, "GET", path)
    }

    #[cfg(feature = "fault-injection")]
    /// `POST` without a body to the admin listener; must be answered with success.
    pub(crate) fn post(&self, path: &str) {
        let answer = request(&self.namespace, 9966, "POST", path);
        let good = answer.as_ref().is_some_and(|answer| (200..300).contains(&answer.status));
        assert!(good, "POST {path}: {answer:?}\n{}", self.log());
    }

    #[cfg(feature = "fault-injection")]
    /// One component of `/actors`; `None` if there is none of that name.
    pub(crate) fn component(&self, name: &str) -> Option<Value> {
        let answer = self.get("/actors")?;
        let json: Value = serde_json::from_str(&answer.body).ok()?;
        json["components"].as_array()?.iter().find(|one| one["name"] == name).cloned()
    }

    /// The process id, for `/proc` and signals. `lab exec` and `ip netns exec` replace themselves,
    /// so it is the agent's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, `TERM` for one.
    pub(crate) fn signal(&self, name: &str) {
        succeed(Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]));
    }

    /// Waits for it to end by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < TIMEOUT, "the agent does not end\n{}", self.log());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// One HTTP request to a port of the loopback device of a namespace; `None` if the port is closed
/// or the answer breaks off.
pub(crate) fn request(namespace: &str, port: u16, method: &str, path: &str) -> Option<Answer> {
    ask(namespace, (Ipv4Addr::LOCALHOST, port).into(), method, path)
}

/// The same to any address that the namespace reaches.
pub(crate) fn ask(namespace: &str, to: SocketAddr, method: &str, path: &str) -> Option<Answer> {
    let mut stream = inside(namespace, || TcpStream::connect(to))?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Webb-Admin: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Some(Answer { status, body: if chunked { unchunk(body)? } else { body.to_owned() } })
}

/// A socket belongs to the namespace it was made in, and the name of an interface to the thread's,
/// so a thread goes there, makes what is asked for, and hands it out.
pub(crate) fn inside<T: Send>(namespace: &str, make: impl FnOnce() -> std::io::Result<T> + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            let file = File::open(Path::new("/run/netns").join(namespace)).ok()?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
            make().ok()
        });
        there.join().ok()?
    })
}

fn unchunk(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, more) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body += more.get(..length)?;
        rest = more.get(length..)?.strip_prefix("\r\n")?;
    }
}
