//! Resident memory of the running agent, and its peak.

use std::time::{Duration, Instant};

use super::agent::Agent;
use super::lab::Lab;
use super::{row, scrape, series};

/// Number of scrapes in an hour by two servers that scrape every five seconds, each.
const SCRAPES: u32 = 720;

/// Points of the curve.
const POINTS: u32 = 30;

/// Minutes over which the scrapes are spread, from `MINUTES`; without it they follow each other.
fn minutes() -> u32 {
    std::env::var("MINUTES").map_or(0, |text| text.parse().expect("MINUTES is a number of minutes"))
}

fn resident(agent: &Agent) -> String {
    format!("{:.1} MB, peak {:.1} MB", agent.megabytes("VmRSS"), agent.megabytes("VmHWM"))
}

pub(crate) fn run(lab: &Lab) {
    {
        let agent = Agent::start(lab, &lab.manifest(100), &[]);
        agent.metrics();
        std::thread::sleep(Duration::from_secs(5));
        row("idle, 100 pods", resident(&agent));
    }
    let (agent, sender, packets) = series::agent(lab);
    row("20,000 pods, 100,000 series, not yet scraped", resident(&agent));
    let (_, text) = scrape::FORMATS[0];
    let (_, gzip) = scrape::FORMATS[2];
    let mut clients = [(agent.client(), text), (agent.client(), gzip)];
    let (began, mut highest) = (Instant::now(), 0_f64);
    let pace = Duration::from_mins(u64::from(minutes())) / SCRAPES;
    for number in 1..=SCRAPES {
        for (client, headers) in &mut clients {
            client.skim(headers).unwrap();
        }
        // Counting goes on: each datagram is a connection of its own again.
        let from = (number as usize * 500) % packets.len();
        sender.send(packets[from..from + 500].iter().copied(), 0);
        let now = agent.megabytes("VmRSS");
        highest = highest.max(now);
        if number.is_multiple_of(SCRAPES / POINTS) {
            let peak = agent.megabytes("VmHWM");
            eprintln!(
                "{:>6.0?} {number:>4} scrapes by each of two servers: {now:.1} MB, peak {peak:.1}",
                began.elapsed()
            );
        }
        std::thread::sleep((pace * number).saturating_sub(began.elapsed()));
    }
    row("the same, scraped by two servers, one of them gzip, as in an hour", resident(&agent));
    row("highest between scrapes", format!("{highest:.1} MB"));
}
