//! Cost of the flow history and of Hubble's API: what a server spends on a client, what a filter
//! takes for an event, what followers get while flows come fast, and what a history holds.
//!
//! `cargo bench --bench observer` prints the tables; words behind `--` choose some of them:
//! `serve`, `filter`, `follow`, `cel`, `print`, `memory`. Flows are those of the mix. The server
//! has a thread of its own, as in the agent, and its figures are that thread's CPU time; the client
//! has another.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a bench may end where it is wrong"
)]

mod mix;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::watch;
use webb_decode::Decoded;
use webb_flow::Flow;
use webb_flow::clock::{now_ns, unix_ns};
use webb_index::Flows;
use webb_observer::client::ServerAddress;
use webb_observer::observe::{Options, Question, observe};
use webb_observer::proto::flow::FlowFilter;
use webb_observer::proto::flow::flow_filter::Experimental;
use webb_observer::proto::observer::GetFlowsRequest;
use webb_observer::proto::observer::get_flows_response::ResponseTypes;
use webb_observer::proto::observer::observer_client::ObserverClient;
use webb_observer::{Admission, Calls, History, Listener, Recorder, Site, UnixSocket, connections, serve};
use zerocopy::IntoBytes;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const FLOWS: usize = 65_535;
const ROUNDS: usize = 7;

/// Batches of the mix, as the reader makes them.
struct Mix {
    index: Arc<webb_index::Index>,
    batches: Vec<Vec<Flow>>,
}

impl Mix {
    fn new() -> Self {
        let (index, decoder) = (mix::index(mix::PODS), mix::decoder());
        let mut flow = Flow::default();
        let mut decode = |record: &webb_flow::abi::Record| {
            let is_flow = decoder.decode(record.as_bytes(), &index, &mut flow).is_ok_and(Decoded::is_flow);
            is_flow.then_some(flow)
        };
        let records = mix::records(mix::PODS);
        let batches = records.chunks(mix::BATCH).map(|chunk| chunk.iter().filter_map(&mut decode).collect()).collect();
        Self { index, batches }
    }

    /// A history that is full of them.
    fn history(&self, flows: usize) -> Arc<History> {
        let (history, mut recorder) = (Arc::new(History::new(flows)), Recorder::default());
        while history.totals().held < flows as u64 {
            for batch in &self.batches {
                self.record(&history, &mut recorder, batch);
            }
        }
        history
    }

    fn record(&self, history: &History, recorder: &mut Recorder, batch: &[Flow]) {
        let offset = unix_ns() - now_ns();
        recorder.record(history, Flows { flows: batch, extras: &[], index: &self.index }, offset, now_ns());
    }
}

/// A server with a thread.
struct Server {
    address: ServerAddress,
    /// The thread's accounting.
    schedstat: String,
    stopping: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start(history: Arc<History>, tcp: bool) -> Self {
        let (directory, stopping) = (tempfile::tempdir().unwrap(), watch::Sender::new(false));
        let path = directory.path().join("s.sock");
        let site = Site {
            node: "node-1".into(),
            cluster: "default".into(),
            version: "webb".into(),
            started_ns: now_ns(),
            calls: Arc::new(Calls::default()),
            peers: watch::Sender::new(Arc::from([])).subscribe(),
            stopping: stopping.subscribe(),
        };
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let thread = std::fs::read_link("/proc/thread-self").unwrap();
            let schedstat = format!("/proc/{}/schedstat", thread.display());
            Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let (listener, address) = if tcp {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                    let port = listener.local_addr().unwrap().port();
                    (Listener::Tcp(listener), ServerAddress::Tcp { host: "127.0.0.1".into(), port, tls: None })
                } else {
                    (Listener::Unix(UnixSocket::bind(&path).await.unwrap()), ServerAddress::Unix(path))
                };
                tell.send((address, schedstat)).unwrap();
                let connections = Box::pin(connections(listener, None, Arc::new(Admission::default())));
                serve(history, site, connections).await.unwrap();
            });
        });
        let (address, schedstat) = told.recv().unwrap();
        Self { address, schedstat, stopping, _directory: directory }
    }

    /// CPU time of its thread.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(&self.schedstat).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}

/// Flows and lost events of a request's answers.
fn ask(server: &Server, request: GetFlowsRequest, until: impl Fn(u64) -> bool) -> (u64, u64) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let channel = webb_observer::client::Client::connect(&server.address).await.unwrap().channel();
        let mut answers = ObserverClient::new(channel).get_flows(request).await.unwrap().into_inner();
        let (mut flows, mut lost) = (0, 0);
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.response_types {
                Some(ResponseTypes::Flow(_)) => flows += 1,
                Some(ResponseTypes::LostEvents(event)) => lost += event.num_events_lost,
                _ => {}
            }
            if until(flows + lost) {
                break;
            }
        }
        (flows, lost)
    })
}

fn best(mut round: impl FnMut() -> (Duration, Duration)) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let (cpu, wall) = round();
        best = (best.0.min(cpu), best.1.min(wall));
    }
    best
}

fn row(name: &str, flows: u64, events: u64, (cpu, wall): (Duration, Duration)) {
    println!(
        "{name:<44} {flows:>8} {:>9.1} {:>9.2} {:>9.2}",
        cpu.as_secs_f64() * 1e9 / events as f64,
        events as f64 / cpu.as_secs_f64() / 1e6,
        events as f64 / wall.as_secs_f64() / 1e6,
    );
}

fn head(title: &str) {
    println!("\n{title}\n{:<44} {:>8} {:>9} {:>9} {:>9}", "", "flows", "ns", "M/s CPU", "M/s wall");
}

/// A request's answers, all of them: by flow, or by event of the history.
fn measure(name: &str, server: &Server, request: &GetFlowsRequest, by_event: bool) {
    let mut flows = 0;
    let times = best(|| {
        let (before, began) = (server.cpu(), Instant::now());
        (flows, _) = ask(server, request.clone(), |_| false);
        (server.cpu().saturating_sub(before), began.elapsed())
    });
    row(name, flows, if by_event { FLOWS as u64 } else { flows }, times);
}

fn serve_all(mix: &Mix) {
    head("A history of 65,535 flows to one client, by flow");
    let history = mix.history(FLOWS);
    for (name, tcp) in [("unix socket", false), ("TCP", true)] {
        let server = Server::start(Arc::clone(&history), tcp);
        measure(name, &server, &GetFlowsRequest::default(), false);
        let mut request = GetFlowsRequest::default();
        let paths = ["time", "verdict", "IP", "l4", "source.pod_name"].map(str::to_owned);
        request.field_mask.get_or_insert_default().paths = paths.into();
        measure(&format!("{name}, five fields"), &server, &request, false);
    }
}

fn filter(mix: &Mix) {
    head("The same with filters, by event of the history");
    let server = Server::start(mix.history(FLOWS), false);
    let pod = |pod: &str| FlowFilter { source_pod: vec![pod.to_owned()], ..FlowFilter::default() };
    let to = |pod: &str| FlowFilter { destination_pod: vec![pod.to_owned()], ..FlowFilter::default() };
    for (name, whitelist) in [
        ("two filters by pod", vec![pod("namespace-1/workload-1-"), to("namespace-1/workload-1-")]),
        ("two filters by pod, none matches", vec![pod("namespace-1/none"), to("namespace-1/none")]),
        ("a label", vec![FlowFilter { source_label: vec!["app=workload-1".into()], ..FlowFilter::default() }]),
        ("a port", vec![FlowFilter { destination_port: vec!["4".into()], ..FlowFilter::default() }]),
        ("a path of HTTP", vec![FlowFilter { http_path: vec!["^/v1".into()], ..FlowFilter::default() }]),
    ] {
        measure(name, &server, &GetFlowsRequest { whitelist, ..GetFlowsRequest::default() }, true);
    }
}

fn cel(mix: &Mix) {
    head("Expressions, by event of the history");
    let server = Server::start(mix.history(FLOWS), false);
    for expression in [
        "_flow.l4.TCP.destination_port == 4u",
        "_flow.source.pod_name == 'none'",
        "_flow.source.labels.exists(l, l == 'k8s:app=none')",
    ] {
        let experimental = Some(Experimental { cel_expression: vec![expression.to_owned()] });
        let whitelist = vec![FlowFilter { experimental, ..FlowFilter::default() }];
        measure(expression, &server, &GetFlowsRequest { whitelist, ..GetFlowsRequest::default() }, true);
    }
}

/// A follower while a million flows a second come: each is delivered or counted as lost.
fn follow(mix: &Mix) {
    const RATE: u64 = 1_000_000;
    const SECONDS: u64 = 5;
    println!("\nA follower, {RATE} flows/s for {SECONDS} s");
    for flows in [4095, FLOWS] {
        let history = Arc::new(History::new(flows));
        let server = Server::start(Arc::clone(&history), false);
        let (offered, over) = (AtomicU64::new(0), AtomicBool::new(false));
        let before = server.cpu();
        let (delivered, lost) = thread::scope(|scope| {
            scope.spawn(|| {
                // The client's request is there first: it follows from the next flow on.
                thread::sleep(Duration::from_millis(500));
                let (mut recorder, began) = (Recorder::default(), Instant::now());
                for batch in mix.batches.iter().cycle() {
                    if began.elapsed() >= Duration::from_secs(SECONDS) {
                        break;
                    }
                    mix.record(&history, &mut recorder, batch);
                    let sent = offered.fetch_add(batch.len() as u64, Relaxed) + batch.len() as u64;
                    let due = Duration::from_secs_f64(sent as f64 / RATE as f64);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
                over.store(true, Relaxed);
            });
            let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
            ask(&server, request, |seen| over.load(Relaxed) && seen >= offered.load(Relaxed))
        });
        let offered = offered.load(Relaxed);
        println!(
            "history of {flows}: offered {offered}, delivered {delivered} ({:.1} %), lost {lost}, unaccounted {}; {:.0} ns CPU of the server a delivered flow",
            delivered as f64 * 100.0 / offered as f64,
            i128::from(offered) - i128::from(delivered + lost),
            server.cpu().saturating_sub(before).as_secs_f64() * 1e9 / delivered as f64,
        );
    }
}

/// What `webb observe` prints of a file of the API's messages, its client included.
fn print(mix: &Mix) {
    head("Flows of a server as webb observe prints them, time of the client");
    let server = Server::start(mix.history(FLOWS), false);
    for output in ["compact", "jsonpb", "dict"] {
        let options = Options { all: true, output: output.to_owned(), ip_translation: true, ..Options::default() };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let cpu = || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime)).unwrap();
        let times = best(|| {
            let (before, began) = (cpu(), Instant::now());
            let mut out = Counter::default();
            runtime.block_on(observe(Question::Flows, &options, &server.address, &mut out)).unwrap();
            assert!(out.0 > FLOWS);
            (cpu().saturating_sub(before), began.elapsed())
        });
        row(output, FLOWS as u64, FLOWS as u64, times);
    }
}

/// Counts bytes.
#[derive(Default)]
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Each size in a process of its own.
fn memory() {
    const HERE: &str = "WEBB_BENCH_OBSERVER_FLOWS";
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    if let Ok(flows) = std::env::var(HERE) {
        let flows: usize = flows.parse().unwrap();
        let mix = Mix::new();
        let before = resident();
        let history = mix.history(flows);
        let (totals, after) = (history.totals(), resident());
        println!(
            "{flows:>9} flows: {:>6.1} bytes a flow by its own count; resident {:>6.1} MB, {:>6.1} of them the history, {:.0} bytes a flow",
            history.bytes() as f64 / totals.held as f64,
            after as f64 / 1e6,
            (after - before) as f64 / 1e6,
            (after - before) as f64 / totals.held as f64,
        );
        return;
    }
    println!("\nMemory of a history");
    for flows in [4095, FLOWS, webb_observer::MAX_EVENTS - 1] {
        let program = std::env::current_exe().unwrap();
        let run = std::process::Command::new(program).arg("memory").env(HERE, flows.to_string()).status();
        assert!(run.unwrap().success());
    }
}

/// Prints a table of figures.
type Table = fn(&Mix);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wants = |word: &str| words.is_empty() || words.iter().any(|given| given == word);
    let tables: [(&str, Table); 5] =
        [("serve", serve_all), ("filter", filter), ("cel", cel), ("follow", follow), ("print", print)];
    if tables.iter().any(|(name, _)| wants(name)) {
        let mix = Mix::new();
        for (_, table) in tables.iter().filter(|(name, _)| wants(name)) {
            table(&mix);
        }
    }
    if wants("memory") {
        memory();
    }
}
