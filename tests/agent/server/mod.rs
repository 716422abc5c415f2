//! The metrics listener over an aggregator that counts all the while, and a client that reads as
//! slowly as it likes.

#![allow(dead_code, reason = "each binary uses its part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]
#![allow(clippy::disallowed_methods, reason = "a thread of a test needs no supervisor")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use webb::actors::http::HttpActor;
use webb::actors::restart::{Intensity, RestartPolicy};
use webb::http::{LostEvents, Scrape, metrics_routes};
use webb::pipeline::{self, Command, Commands, Lane, Lanes, SnapshotCollector};
use webb::records::Waker;
use webb::selfmetrics::SelfMetrics;
use webb::server::{Connections, Limits, Routes};
use webb::tls::TlsFiles;
use webb_flow::fault::{Component, Components, State};
use webb_metrics::Aggregator;

/// Nothing is lost here.
#[derive(Debug)]
struct Nothing;

impl LostEvents for Nothing {
    fn by_source(&self) -> [u64; 4] {
        [0; 4]
    }
}

/// State that the counting thread shares.
#[derive(Debug, Default)]
pub(crate) struct Road {
    /// Rounds of counting.
    pub(crate) rounds: AtomicU64,
    /// Cuts that were answered.
    pub(crate) cuts: AtomicU64,
    /// The longest time that counting stood still for a cut, in nanoseconds.
    pub(crate) pause_ns: AtomicU64,
    stop: AtomicBool,
}

/// A listener and what stands behind it; gone when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) scrape: Arc<Scrape>,
    pub(crate) road: Arc<Road>,
    pub(crate) component: Arc<Component>,
    pub(crate) connections: Arc<Connections>,
    system: actix::System,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.road.stop.store(true, Relaxed);
        self.system.stop();
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

/// Serves what `aggregator` holds, while `count` is called over and over on the thread that also
/// answers cuts.
pub(crate) fn serve(
    aggregator: Aggregator,
    count: impl FnMut(&mut Aggregator) + Send + 'static,
    min_interval: Duration,
    tls: Option<Arc<TlsFiles>>,
) -> Server {
    // The tests' scrapers are many, all of one address, and read one after the other.
    let stalled = Duration::from_mins(5);
    let limits = Limits { connections: 1000, per_client: 1000, stalled, ..Limits::default() };
    serve_within(limits, aggregator, count, min_interval, tls)
}

/// The same within other bounds.
pub(crate) fn serve_within(
    limits: Limits,
    aggregator: Aggregator,
    count: impl FnMut(&mut Aggregator) + Send + 'static,
    min_interval: Duration,
    tls: Option<Arc<TlsFiles>>,
) -> Server {
    let routes = |scrape| -> Routes { Arc::new(move |config| metrics_routes(config, &scrape)) };
    serve_routes(routes, limits, aggregator, count, min_interval, tls)
}

/// The same with other routes than those of the metrics listener.
pub(crate) fn serve_routes(
    routes: impl FnOnce(Arc<Scrape>) -> Routes + Send + 'static,
    limits: Limits,
    aggregator: Aggregator,
    count: impl FnMut(&mut Aggregator) + Send + 'static,
    min_interval: Duration,
    tls: Option<Arc<TlsFiles>>,
) -> Server {
    let components = Components::default();
    let (lane, _items) = Lane::new(components.component("aggregator/test"));
    let (post, commands) = Commands::new(Waker::new().unwrap());
    let collector = SnapshotCollector::new(Arc::new(Lanes::new(vec![Arc::new(lane)])), post);
    let road = Arc::new(Road::default());
    let shown = Arc::clone(&road);
    let counting = std::thread::spawn(move || walk(aggregator, count, &commands, &shown));
    let own = SelfMetrics::new().unwrap();
    let scrape = Arc::new(Scrape::new(collector, own, Box::new(Nothing), min_interval, Duration::from_secs(20)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let component = components.component("http/metrics");
    let (served, policy) = (
        Arc::clone(&scrape),
        RestartPolicy {
            max_restarts: 0,
            window: Duration::from_secs(1),
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(1),
            stall_after: Duration::from_secs(1),
        },
    );
    let connections = Arc::new(Connections::new(limits));
    let served_to = Arc::clone(&connections);
    let of_listener = Arc::clone(&component);
    let (ready, is_ready) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        let runner = actix::System::new();
        runner.block_on(async {
            let (escalations, _) = tokio::sync::mpsc::unbounded_channel();
            let intensity = Intensity::new(of_listener, Arc::new(ArcSwap::from_pointee(policy)), escalations);
            let routes = routes(served);
            // The actor lives while an address of it is held.
            let actor = HttpActor::start(listener, routes, tls, served_to, intensity);
            ready.send(actix::System::current()).unwrap();
            std::mem::forget(actor);
        });
        runner.run().unwrap();
    });
    let system = is_ready.recv().unwrap();
    // A listener with TLS is up once its files have been read for the first time.
    until("the listener is up or says why not", || matches!(component.state(), State::Up | State::Degraded));
    Server { address, scrape, road, component, connections, system, threads: vec![counting, serving] }
}

fn walk(
    mut aggregator: Aggregator,
    mut count: impl FnMut(&mut Aggregator),
    commands: &crossbeam_channel::Receiver<Command>,
    road: &Road,
) {
    while !road.stop.load(Relaxed) {
        while let Ok(Command::Snapshot(answer)) = commands.try_recv() {
            let began = Instant::now();
            let _late = answer.send(pipeline::SnapshotResponse::Series(0, aggregator.snapshot()));
            let pause = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let _late = answer.send(pipeline::SnapshotResponse::Asked(vec![0]));
            road.pause_ns.fetch_max(pause, Relaxed);
            road.cuts.fetch_add(1, Relaxed);
        }
        count(&mut aggregator);
        road.rounds.fetch_add(1, Relaxed);
    }
}

/// Waits for something that must come true; the bound only ends a test that has failed.
pub(crate) fn until(what: &str, mut true_yet: impl FnMut() -> bool) {
    let began = Instant::now();
    while !true_yet() {
        assert!(began.elapsed() < Duration::from_mins(1), "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An answer, its body put together and unpacked.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Sends a request on a connection that stays open.
pub(crate) fn ask(to: &mut impl Write, method: &str, target: &str, headers: &str) -> io::Result<()> {
    // In one piece: the second of several would wait for the first to be acknowledged, 40 ms as a
    // rule.
    to.write_all(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes())?;
    to.flush()
}

/// Reads the one answer that is due; `bodiless` for HEAD.
pub(crate) fn read(from: &mut impl Read, bodiless: bool) -> io::Result<Answer> {
    read_next(&mut BufReader::with_capacity(256 * 1024, from), bodiless)
}

/// Reads the next of several answers.
pub(crate) fn read_next(from: &mut impl BufRead, bodiless: bool) -> io::Result<Answer> {
    let status_line = line(from)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(from)?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if bodiless {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        from.read_exact(&mut body)?;
        answer.body = body;
    } else {
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{answer:?}");
        loop {
            let size = line(from)?;
            let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
            let start = answer.body.len();
            answer.body.resize(start + size, 0);
            from.read_exact(&mut answer.body[start..])?;
            assert_eq!(line(from)?, "");
            if size == 0 {
                break;
            }
        }
    }
    Ok(answer)
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
