//! A scrape of 100,000 series with six labels over loopback, from request to last byte, by one
//! scraper and by ten at once; what it costs the server in CPU time, and for how long counting
//! stands still.
//!
//! Prints a table. The client runs in the same process; its CPU time is told apart.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench may end where it is wrong"
)]

#[path = "../tests/agent/server/mod.rs"]
mod expose_server_common;
mod mix;

use std::io::Read;
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use expose_server_common::{Server, ask, serve};

const SERIES: usize = 100_000;
const ROUNDS: usize = 30;

const FORMATS: [(&str, &str); 3] = [
    ("text", ""),
    ("openmetrics", "Accept: application/openmetrics-text;version=1.0.0\r\n"),
    ("text, gzip", "Accept-Encoding: gzip\r\n"),
];

/// CPU time of a thread, or of all of them.
fn cpu(threads: &str) -> Duration {
    let of = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
    };
    if threads == "self" {
        return Duration::from_nanos(of("/proc/thread-self".into()));
    }
    Duration::from_nanos(std::fs::read_dir("/proc/self/task").unwrap().map(|task| of(task.unwrap().path())).sum())
}

/// One answer, thrown away; returns its length on the wire.
fn scrape(stream: &mut TcpStream, buffer: &mut [u8], headers: &str) -> usize {
    ask(stream, "GET", "/metrics", headers).unwrap();
    let (mut total, mut tail) = (0, Vec::new());
    loop {
        let read = stream.read(buffer).unwrap();
        assert_ne!(read, 0, "the connection ended");
        total += read;
        tail.extend_from_slice(&buffer[read.saturating_sub(5)..read]);
        if tail.ends_with(b"0\r\n\r\n") {
            return total;
        }
        tail.drain(..tail.len().saturating_sub(5));
    }
}

/// `scrapers` at once, `ROUNDS` times each; prints a row.
fn row(server: &Server, name: &str, headers: &str, scrapers: usize) {
    let barrier = Barrier::new(scrapers);
    let before = cpu("all");
    let measured: Vec<(Vec<Duration>, Duration, usize)> = std::thread::scope(|scope| {
        let one = || {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let mut buffer = vec![0; 256 * 1024];
            let mut size = scrape(&mut stream, &mut buffer, headers);
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                barrier.wait();
                let began = Instant::now();
                size = scrape(&mut stream, &mut buffer, headers);
                times.push(began.elapsed());
            }
            (times, cpu("self"), size)
        };
        let threads: Vec<_> = (0..scrapers).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let clients: Duration = measured.iter().map(|(_, cpu, _)| *cpu).sum();
    // Threads that have ended are not in the sum, so the clients' time is not in it either.
    let served = cpu("all").saturating_sub(before);
    let mut times: Vec<Duration> = measured.iter().flat_map(|(times, ..)| times.iter().copied()).collect();
    times.sort();
    let answers = u32::try_from(scrapers * (ROUNDS + 1)).unwrap();
    println!(
        "{name:>12}, {scrapers:>2} at once: {:>5.1} MB  best {:>6.2?} median {:>6.2?} worst {:>6.2?}  \
         CPU per answer: server {:>6.2?} client {:>6.2?}",
        measured[0].2 as f64 / 1e6,
        times[0],
        times[times.len() / 2],
        times[times.len() - 1],
        served / answers,
        clients / answers,
    );
}

fn main() {
    let aggregator = mix::with_series(mix::SIX_LABELS, SERIES);
    let rest = |_: &mut _| std::thread::sleep(Duration::from_micros(50));
    let server = serve(aggregator, rest, Duration::from_millis(1), None);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let began = Instant::now();
    scrape(&mut stream, &mut vec![0; 256 * 1024], "");
    println!("first scrape, with the sort: {:.1?}", began.elapsed());
    for scrapers in [1, 10] {
        for (name, headers) in FORMATS {
            row(&server, name, headers, scrapers);
        }
    }
    let pause = Duration::from_nanos(server.road.pause_ns.load(Relaxed));
    println!("counting stood still for {pause:.1?} at most, in {} cuts", server.road.cuts.load(Relaxed));
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
        println!("{line}");
    }
}
