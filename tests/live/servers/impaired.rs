//! Loss, repetition and reordering of packets at both pods: what is counted was asked for, and what
//! is missing is named.
//!
//! Packets are lost, repeated and held back where they leave a pod, before the agent sees them, and
//! lost where they reach one, behind it: then it sees them again when they are repeated.

use super::http::{OF_IMPAIRED, ask, counted, start_nginx};
use super::{Counts, Server, counts, load, program, script};
use crate::harness::{Agent, Lab};
use crate::layer7::adds_up;
use crate::scrape::Scrape;

/// Starts to impair what a pod sends, and to lose a share of what reaches it.
fn impair(lab: &Lab, pod: &str, script: &str, percent: [u32; 3]) -> Server {
    let [loss, twice, late] = percent;
    let words = format!("{script} {loss} {twice} {late}");
    let server = Server::spawn(lab, pod, &words, &format!("{pod}.impair"));
    server.wait_until("it says so", |server| server.errors().contains("impaired\n"));
    let rules = format!(
        "table inet loss {{\n chain arriving {{\n type filter hook input priority 0\n \
         iifname \"eth0\" numgen random mod 100 < {loss} drop\n }}\n}}\n"
    );
    let file = lab.file(&format!("{pod}.nft"), &rules);
    lab.run(pod, &format!("nft -f {}", file.display()));
    server
}

/// What is missing of the log, by its lines; an error if more is counted than it has.
fn missing(log: &Counts, counted: &Counts) -> Result<u64, String> {
    if let Some((line, count)) = counted.iter().find(|(line, count)| log.get(*line).is_none_or(|log| *count > log)) {
        return Err(format!("{line}: {count} counted, {:?} in the log", log.get(line)));
    }
    Ok(log.values().sum::<u64>() - counted.values().sum::<u64>())
}

/// Each request that the server has answered is counted, or it is unanswered by a reason (or open,
/// until its time is over), or it was not recognised, and its response is unmatched.
fn named(scrape: &Scrape, log: &Counts) -> Result<(), String> {
    adds_up(scrape)?;
    let missing = missing(log, &counted(scrape))?;
    let message = |of, outcome| scrape.sum("webb_l7_messages_total", &[("type", of), ("outcome", outcome)]);
    let all = log.values().sum::<u64>();
    let seen = message("request", "emitted");
    let unanswered = scrape.sum("webb_l7_unanswered_total", &[]);
    let open = scrape.sum("webb_l7_open", &[("type", "requests")]);
    let unmatched = message("response", "unmatched") + message("request", "unmatched");
    let unseen = all.saturating_sub(seen);
    // With a lost table of headers neither the request nor its response may be recognised.
    let doubts = scrape.sum("webb_l7_doubts_total", &[("reason", "table")]);
    if missing == unanswered + open + unseen && seen <= all && unseen <= unmatched + doubts {
        return Ok(());
    }
    Err(format!(
        "{missing} of {all} missing; {seen} requests seen, {unanswered} unanswered, {open} open, {unmatched} unmatched\n{}",
        scrape.show("webb_l7")
    ))
}

fn impaired(percent: [u32; 3]) {
    let Some(lab) = Lab::up() else { return };
    let (Some(nginx), Some(h2load), Some(script)) = (program("nginx"), program("h2load"), script("impair.py")) else {
        return;
    };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", "httpV2:path flow", &[]);
    let server = start_nginx(&lab, "deathstar-a", &nginx);
    let _relays = ["deathstar-a", "tiefighter"].map(|pod| impair(&lab, pod, &script, percent));
    let mut sent = 0;
    for address in ["10.244.1.11", "[fd00:10:244:1::11]"] {
        for (count, options, port, path) in OF_IMPAIRED {
            let count = load(*count);
            ask(&lab, &h2load, count, &format!("{options} http://{address}:{port}{path}"));
            sent += count;
        }
    }
    let lines = server.lines(sent);
    assert_eq!(lines.len(), sent, "responses in the log, and requests of the client");
    let log = counts(lines.iter().map(|line| super::http::line(line)));
    let scrape = agent.settles(|scrape| named(scrape, &log));
    let all: u64 = log.values().sum();
    let missing = missing(&log, &counted(&scrape)).unwrap();
    let shown = scrape.show("webb_l7");
    println!("IMPAIRED | {percent:?} | {all} requests, {missing} not counted");
    // The checks above hold of nothing as well.
    assert!(missing * 4 < all, "{missing} of {all}\n{shown}");
}

/// Three packets of a hundred are lost at each of four places.
#[test]
fn loss() {
    impaired([3, 0, 0]);
}

/// All at once.
#[test]
fn loss_repetition_and_reordering() {
    impaired([2, 5, 10]);
}
