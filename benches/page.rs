//! The page and its API over loopback at 5,000 and at 100,000 pairs: time from request to last
//! byte, bytes of the answer, and what the samples hold before anything is read and after.
//!
//! The first request after a sample works the reading out; the others share it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may end where it is wrong"
)]

#[path = "../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "../tests/agent/server/mod.rs"]
mod expose_server_common;
mod mix;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use expose_server_common::{Server, ask, read, serve_routes};
use webb::http::{AgentInfo, Scrape, ViewCache, index_route, metrics_routes, view_routes};
use webb::server::{Limits, Routes};
use webb_flow::fault::Components;

/// Each direction of a pair is a series, whose ends are pods.
const TRAFFIC: &str = "traffic:sourceContext=pod;destinationContext=pod";

const ROUNDS: usize = 20;

const PATHS: [&str; 6] = ["/", "/?show=table", "/pairs", "/pairs?problems=1", "/api/v1/pairs", "/api/v1/map"];

/// Between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5100);

fn request(server: &Server, path: &str) -> (Duration, usize) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let began = Instant::now();
    ask(&mut stream, "GET", path, "Accept: text/html\r\n").unwrap();
    let answer = read(&mut stream, false).unwrap();
    assert_eq!(answer.status, 200, "{path}");
    (began.elapsed(), answer.body.len())
}

fn held(before: u64) -> f64 {
    counting_allocator::bytes().saturating_sub(before) as f64 / 1e6
}

/// Scrapes and the page on one listener.
fn routes(scrape: Arc<Scrape>) -> Routes {
    let node = "node".to_owned();
    let agent = AgentInfo {
        node,
        components: Components::default(),
        version: serde_json::Value::Null,
        slow: Duration::ZERO,
        names: None,
    };
    let views = Arc::new(ViewCache::new(&scrape, agent));
    Arc::new(move |config| {
        metrics_routes(config, &scrape);
        index_route(config);
        view_routes(config, &views);
    })
}

fn measure(series: usize) {
    let aggregator = mix::with_series(TRAFFIC, series);
    let rest = |_: &mut _| std::thread::sleep(Duration::from_micros(50));
    let server = serve_routes(routes, Limits::default(), aggregator, rest, Duration::from_millis(250), None);
    for _ in 0..2 {
        request(&server, "/metrics");
        std::thread::sleep(SAMPLE_INTERVAL);
    }
    let before = counting_allocator::bytes();
    request(&server, "/metrics");
    println!("{series} series: scrapes, nothing is read: {:.1} MB more", held(before));
    let (first, _) = request(&server, "/");
    println!("  first look, all names are parsed: {first:.1?}; {:.1} MB", held(before));
    std::thread::sleep(SAMPLE_INTERVAL);
    let (second, _) = request(&server, "/");
    println!("  first look at a sample: {second:.1?}; {:.1} MB", held(before));
    for path in PATHS {
        let mut measured: Vec<_> = (0..ROUNDS).map(|_| request(&server, path)).collect();
        measured.sort();
        let (median, worst) = (measured[ROUNDS / 2], measured[ROUNDS - 1]);
        println!("  {path:>20}: {:>7} bytes, median {:>6.1?}, worst {:>6.1?}", median.1, median.0, worst.0);
    }
    for _ in 0..3 {
        std::thread::sleep(SAMPLE_INTERVAL);
        request(&server, "/");
    }
    println!("  after three more samples: {:.1} MB", held(before));
}

fn main() {
    for series in [5_000, 100_000] {
        measure(series);
    }
}
