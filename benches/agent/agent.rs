//! The agent as a process: started, scraped, and measured from outside.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::cgroup::Cgroup;
use super::lab::{Lab, NODE, inside};

/// A family whose series have six labels of both pods.
pub(crate) const SIX_LABELS: &str = "flow:labelsContext=source_namespace,source_workload,source_pod,\
    destination_namespace,destination_workload,destination_pod";

/// Nothing takes this long unless something is wrong.
const TIMEOUT: Duration = Duration::from_mins(5);

/// A running agent; ends when dropped.
#[derive(Debug)]
pub(crate) struct Agent {
    process: Child,
    node: String,
    log: PathBuf,
}

/// An answer of the agent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// As it was on the wire, put together, not unpacked.
    pub(crate) body: Vec<u8>,
}

fn program() -> PathBuf {
    std::env::var_os("WEBB").map_or_else(|| env!("CARGO_BIN_EXE_webb").into(), PathBuf::from)
}

impl Agent {
    /// Starts it with a manifest and further variables, and waits until it is ready.
    pub(crate) fn start(lab: &Lab, manifest: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_with(lab, &["--cluster-manifest", manifest.to_str().unwrap()], variables)
    }

    /// Starts it with these words of the command line, which say where names are.
    pub(crate) fn start_with(lab: &Lab, names: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_in(lab, None, names, variables)
    }

    /// The same in a cgroup.
    pub(crate) fn start_in(lab: &Lab, cgroup: Option<&Cgroup>, names: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = lab.file("webb.log");
        let out = File::create(&log).unwrap();
        let began = Instant::now();
        let mut words = cgroup.map_or_else(Vec::new, |cgroup| cgroup.enter().to_vec());
        words.extend(["ip", "netns", "exec", &lab.node()].map(str::to_owned));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program()).args(["run", "--node-name", NODE]);
        command.args(names).envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let process = command.spawn().unwrap();
        let mut agent = Self { process, node: lab.node(), log };
        let mut client = Client::default();
        while !client.get(&agent.node, 9966, "/readyz", "").is_ok_and(|answer| answer.status == 200) {
            agent.assert_up(began);
            std::thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    fn assert_up(&mut self, since: Instant) {
        let ended = self.process.try_wait().unwrap();
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_none() && since.elapsed() < TIMEOUT, "the agent is not up ({ended:?}):\n{}", log());
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap_or_default()
    }

    /// A line of its status in megabytes: VmRSS, VmHWM.
    pub(crate) fn megabytes(&self, line: &str) -> f64 {
        let text = self.proc("status");
        let line = text.lines().find(|text| text.starts_with(line)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// Numbers of open descriptors: all, BPF links and BPF maps.
    pub(crate) fn descriptors(&self) -> [usize; 3] {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap();
        let targets: Vec<PathBuf> = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect();
        let of = |kind: &str| targets.iter().filter(|target| target.to_string_lossy().contains(kind)).count();
        [targets.len(), of("bpf_link"), of("bpf-map")]
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        // Fields 14 and 15: hundredths of a second in user and system mode, of threads that have
        // ended too.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// CPU time of each of its threads so far, by name and number.
    pub(crate) fn thread_times(&self) -> BTreeMap<String, Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let time = |path: PathBuf| {
            let name = fs::read_to_string(path.join("comm")).ok()?;
            let spent = fs::read_to_string(path.join("schedstat")).ok()?;
            let spent = spent.split(' ').next()?.parse().ok()?;
            Some((format!("{} {}", name.trim(), path.file_name()?.display()), Duration::from_nanos(spent)))
        };
        threads.filter_map(|entry| time(entry.ok()?.path())).collect()
    }

    /// Time of its eBPF programs so far, while the kernel measures it.
    pub(crate) fn program_time(&self) -> Duration {
        let open = fs::read_dir(format!("/proc/{}/fdinfo", self.process.id())).unwrap();
        let mut programs: BTreeMap<u64, u64> = BTreeMap::new();
        for text in open.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok()) {
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.trim().parse::<u64>().ok())
            };
            if let (Some(id), Some(time)) = (field("prog_id:"), field("run_time_ns:")) {
                programs.insert(id, time);
            }
        }
        Duration::from_nanos(programs.values().sum())
    }

    /// A client of its metrics.
    pub(crate) fn client(&self) -> Scraper {
        Scraper { client: Client::default(), node: self.node.clone() }
    }

    /// All metrics, as text.
    pub(crate) fn metrics(&self) -> String {
        let answer = self.client().scrape("").unwrap();
        String::from_utf8(answer.body).unwrap()
    }

    /// The families that are named.
    pub(crate) fn families(&self, names: &[&str]) -> String {
        let query: Vec<String> = names.iter().map(|name| format!("name[]={name}")).collect();
        let answer = Client::default().get(&self.node, 9965, &format!("/metrics?{}", query.join("&")), "").unwrap();
        String::from_utf8(answer.body).unwrap()
    }

    /// Waits until the ledger closes, nothing is pending and nothing is being counted any more;
    /// returns the ledger and `names`.
    pub(crate) fn at_rest(&self, names: &[&str]) -> String {
        let ledger = ["webb_ledger_seen_packets_total", "webb_ledger_packets_total", "webb_ledger_pending_packets"];
        let all: Vec<&str> = ledger.iter().chain(names).copied().collect();
        let (began, mut before) = (Instant::now(), Vec::new());
        loop {
            let text = self.families(&all);
            let [seen, outcomes, pending] = ledger.map(|name| sum(&text, name, &[]));
            // Not the whole text: scrapes are packets too, and some of them are dropped.
            let counted: Vec<u64> = names.iter().map(|name| sum(&text, name, &[])).collect();
            if pending == 0 && seen == outcomes && counted == before {
                return text;
            }
            before = counted;
            assert!(began.elapsed() < TIMEOUT, "the ledger stays open: {seen} seen, {outcomes}, {pending} pending");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = Command::new("kill").arg(self.process.id().to_string()).status();
        let _code = self.process.wait();
    }
}

/// The samples of a family that carry all of these texts, added up.
pub(crate) fn value(text: &str, family: &str, wanted: &[&str]) -> f64 {
    let of_family = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let samples = text.lines().filter(of_family).filter(|line| wanted.iter().all(|wanted| line.contains(wanted)));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// The same of a counter.
pub(crate) fn sum(text: &str, family: &str, wanted: &[&str]) -> u64 {
    value(text, family, wanted) as u64
}

/// A scraper with a connection of its own that stays open.
#[derive(Debug)]
pub(crate) struct Scraper {
    client: Client,
    node: String,
}

impl Scraper {
    /// One answer of `/metrics`; `headers` end with a line feed.
    pub(crate) fn scrape(&mut self, headers: &str) -> io::Result<Answer> {
        self.client.get(&self.node, 9965, "/metrics", headers)
    }

    /// One answer, thrown away as it comes in; returns its length.
    pub(crate) fn skim(&mut self, headers: &str) -> io::Result<u64> {
        self.client.skim(&self.node, 9965, "/metrics", headers)
    }
}

/// A connection that stays open.
#[derive(Debug, Default)]
struct Client(Option<BufReader<TcpStream>>);

impl Client {
    fn get(&mut self, node: &str, port: u16, target: &str, headers: &str) -> io::Result<Answer> {
        let (status, mut body) = (self.ask(node, port, target, headers)?, Vec::new());
        self.read(status.1, |part| body.extend_from_slice(part))?;
        Ok(Answer { status: status.0, body })
    }

    fn skim(&mut self, node: &str, port: u16, target: &str, headers: &str) -> io::Result<u64> {
        let (status, mut length) = (self.ask(node, port, target, headers)?, 0);
        self.read(status.1, |part| length += part.len() as u64)?;
        Ok(length)
    }

    /// Status of the answer, and its length unless it comes in chunks.
    fn ask(&mut self, node: &str, port: u16, target: &str, headers: &str) -> io::Result<(u16, Option<usize>)> {
        if self.0.is_none() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let stream = inside(node, || TcpStream::connect(address))?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            self.0 = Some(BufReader::with_capacity(256 * 1024, stream));
        }
        let stream = self.0.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.get_mut().write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())?;
        let status = line(stream)?.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = None;
        loop {
            let header = line(stream)?.to_ascii_lowercase();
            if header.is_empty() {
                return Ok((status.ok_or(io::ErrorKind::InvalidData)?, length));
            }
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.parse().ok();
            }
        }
    }

    fn read(&mut self, length: Option<usize>, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let stream = self.0.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(length) = length {
            return pass(stream, length, &mut take);
        }
        loop {
            let size = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
            pass(stream, size, &mut take)?;
            line(stream)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn pass(stream: &mut BufReader<TcpStream>, mut left: usize, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
    while left > 0 {
        let there = stream.fill_buf()?;
        if there.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let part = &there[..there.len().min(left)];
        take(part);
        let used = part.len();
        stream.consume(used);
        left -= used;
    }
    Ok(())
}

fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(64 * 1024).read_line(&mut line)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
