//! Scrapes of the running agent over loopback, while it counts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::lab::Lab;
use super::{row, series};

/// Answers of each kind.
const ROUNDS: u32 = 20;

/// Between two answers: each has a snapshot of its own (`scrape.min_interval`).
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) const FORMATS: [(&str, &str); 3] = [
    ("text", ""),
    ("OpenMetrics", "Accept: application/openmetrics-text;version=1.0.0\r\n"),
    ("text, gzip", "Accept-Encoding: gzip\r\n"),
];

pub(crate) fn run(lab: &Lab) {
    let (agent, sender, packets) = series::agent(lab);
    let began = Instant::now();
    agent.client().skim("").unwrap();
    row("first scrape, which sorts", format!("{:.0?}", began.elapsed()));
    for (name, headers) in FORMATS {
        let before = agent.cpu();
        let (times, size) = scrapes(&agent, headers);
        let spent = agent.cpu().saturating_sub(before) / ROUNDS;
        let [best, median, worst] = figures_of(&times);
        let figures = format!("{best:.1?} (median {median:.1?}, worst {worst:.1?}), CPU {spent:.1?}");
        row(&format!("{name}, {:.1} MB", size as f64 / 1e6), figures);
        if headers.is_empty() {
            let [best, median, worst] = transfers(size);
            let figures = format!("{best:.1?} (median {median:.1?}, worst {worst:.1?})");
            row("as many bytes over loopback, from memory", figures);
        }
        // A scrape must not be cheap because nothing has changed.
        sender.send(packets.iter().copied().take(1000), 0);
    }
}

/// The times of [`ROUNDS`] answers, sorted, and the length of one.
fn scrapes(agent: &Agent, headers: &str) -> (Vec<Duration>, u64) {
    let (mut client, mut size) = (agent.client(), 0);
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            std::thread::sleep(PAUSE);
            let began = Instant::now();
            size = client.skim(headers).unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    (times, size)
}

/// Best, median and worst of sorted times.
fn figures_of(times: &[Duration]) -> [Duration; 3] {
    [0, times.len() / 2, times.len() - 1].map(|at| times[at])
}

/// The times that the machine takes for as many bytes from one thread to another by loopback: no
/// answer is faster.
fn transfers(size: u64) -> [Duration; 3] {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let answer = vec![b'1'; usize::try_from(size).unwrap()];
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut request = [0];
            while server.read_exact(&mut request).is_ok() {
                server.write_all(&answer).unwrap();
            }
        });
        let mut buffer = vec![0; 256 * 1024];
        let mut transfer = || {
            std::thread::sleep(PAUSE);
            let (began, mut left) = (Instant::now(), size);
            client.write_all(b"?").unwrap();
            while left > 0 {
                left -= client.read(&mut buffer).unwrap() as u64;
            }
            began.elapsed()
        };
        let times = (0..ROUNDS).map(|_| transfer()).collect();
        client.shutdown(Shutdown::Both).unwrap();
        times
    });
    times.sort();
    figures_of(&times)
}
