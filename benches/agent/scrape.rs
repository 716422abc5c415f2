//! Scrapes of the running agent over loopback, while it counts.

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
        let [best, median, worst] = [0, times.len() / 2, times.len() - 1].map(|at| times[at]);
        let figures = format!("{best:.1?} (median {median:.1?}, worst {worst:.1?}), CPU {spent:.1?}");
        row(&format!("{name}, {:.1} MB", size as f64 / 1e6), figures);
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
