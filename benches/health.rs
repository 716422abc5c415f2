//! Cost of health between nodes: processor time of the prober and of the listener that answers, for
//! one round over 5,000 nodes of two addresses, and its share of a core at the interval of such a
//! cluster.
//!
//! ```text
//! cargo bench --bench health
//! ```
//!
//! The nodes are addresses of 127.0.0.0/8, which one listener answers. The packets of both ends are
//! handled by the same kernel, part of them in the prober's own time, so that a node costs less.
//! ICMP echo is measured where net.ipv4.ping_group_range allows it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and stops where its assumptions fail"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use webb::health::{Health, Prober, auto_interval, probe_echo};
use webb::http::hello_routes;
use webb::server::{self, Connections, Limits, Serving};
use webb_cluster::{Cache, CacheSettings, Node, NodeNetwork, Object, ObjectKey};
use webb_flow::fault::Components;

const NODES: usize = 5000;

/// Addresses of a node: of a cluster with both versions of IP.
const ADDRESSES: usize = 2;

/// Interval of the measured round, shorter than that of such a cluster.
const ROUND: Duration = Duration::from_secs(20);

/// Processor time of a thread, or of the process.
fn used(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn cache() -> Arc<Cache> {
    let cache = Cache::new(CacheSettings { node: "own".to_owned(), ..CacheSettings::default() });
    for at in 0..NODES {
        let address = |family: usize| {
            let [high, low] = u16::try_from(at).unwrap().to_be_bytes();
            Ipv4Addr::new(127, u8::try_from(10 + family).unwrap(), high, low).into()
        };
        let key = ObjectKey { namespace: String::new(), name: format!("ip-10-0-{at}.eu-central-1.compute.internal") };
        let network = NodeNetwork { internal: (0..ADDRESSES).map(address).collect(), ..NodeNetwork::default() };
        let node = Node { network: Arc::new(network), ..Node::default() };
        cache.upsert(Object::Node(key, Box::new(node)));
    }
    Arc::new(cache)
}

/// Answers as an agent does, on threads of its own.
fn respond(listener: TcpListener) {
    std::thread::spawn(move || {
        actix::System::new().block_on(async {
            let serving = Serving {
                routes: Arc::new(hello_routes),
                tls: None,
                connections: Arc::new(Connections::new(Limits::default())),
                component: Components::default().component("http/health"),
                signals: false,
            };
            server::run(listener, serving).unwrap().await.unwrap();
        });
    });
}

fn main() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    respond(listener);
    let health = Arc::new(Health::default());
    let prober = Prober { health: Arc::clone(&health), cache: cache(), port, interval: Some(ROUND), icmp: true };
    let answered = || health.probes().filter(|(_, outcome, _)| *outcome == "ok").map(|(.., count)| count).sum::<u64>();

    let (began, process) = (Instant::now(), used(ClockId::ProcessCPUTime));
    let thread = AtomicU64::new(0);
    let turn = || {
        thread.store(u64::try_from(used(ClockId::ThreadCPUTime).as_nanos()).unwrap(), Relaxed);
        began.elapsed() < ROUND
    };
    let thread_before = used(ClockId::ThreadCPUTime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(prober.run(&turn, &Notify::new()));
    let prober_time = Duration::from_nanos(thread.load(Relaxed)).saturating_sub(thread_before);
    let listener_time = used(ClockId::ProcessCPUTime).saturating_sub(process).saturating_sub(prober_time);

    let (interval, answers) = (auto_interval(NODES), answered());
    let [reachable, ..] = health.counts().addresses;
    println!("ICMP echo: {}", probe_echo().map_or_else(|why| why, |()| "measured, too".to_owned()));
    println!("{reachable} of {} addresses answered, {answers} answers", NODES * ADDRESSES);
    for (what, time) in [("prober", prober_time), ("listener", listener_time)] {
        let share = time.as_secs_f64() / interval.as_secs_f64() * 100.0;
        println!(
            "{what}: {:.0} ms for a round, {share:.2} % of a core every {:.0} s",
            time.as_secs_f64() * 1e3,
            interval.as_secs_f64()
        );
    }
    let began = Instant::now();
    let counts = health.counts();
    println!("counts of a scrape: {:.2} ms ({counts:?})", began.elapsed().as_secs_f64() * 1e3);
}
