//! A connection that was there before a flood, and the agent's memory in it.

use crate::harness::{Agent, Lab, TIEFIGHTER, XWING};
use crate::ledger::{adds_up, traffic_is_what_was_reported};
use crate::scrape::Scrape;

/// A table of 1,024 connections, and rings for all that a flood makes of it.
const TIGHT: &str = "
report_interval: 200ms
connections: { table_bytes: 110KiB, other_idle: 1s, half_open_idle: 1s, sweep_interval: 100ms }
rings: { flow_bytes: 64MiB }
";

/// Memory that the agent may need more in a flood, in megabytes: its batches and decoded flows,
/// none of which grow with the flood. The ring's 64 are there from the start.
const MORE_MEMORY: u64 = 48;

/// Connections of the flood; a hundred times what the table holds.
const CONNECTIONS: u32 = 100_000;

fn resident_megabytes(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap() / 1024
}

/// A flood of new connections by one pod must not take a packet from the counts of another pod's
/// connection, and the agent's memory must not grow with it.
#[test]
fn an_established_connection_stays_exact() {
    let Some(lab) = Lab::up() else { return };
    lab.hush();
    let mut agent = Agent::start_with(&lab, TIGHT);
    let innocent = lab.socket("xwing", "10.244.1.31:0");
    innocent.connect("10.244.1.21:7777").unwrap();
    let before = (lab.counters("lxc-xwing"), resident_megabytes(&agent));
    let words = format!("pod flood {CONNECTIONS} {} 10.244.1.21", CONNECTIONS.min(40_000));
    let mut flood = lab.command("deathstar-b", &words).spawn().unwrap();
    let mut sent = 0_u64;
    let status = loop {
        innocent.send(b"still here").unwrap();
        sent += 1;
        if let Some(status) = flood.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    assert!(status.success());
    let grown = resident_megabytes(&agent).saturating_sub(before.1);
    let exact = |scrape: &Scrape| {
        adds_up(scrape)?;
        traffic_is_what_was_reported(scrape)?;
        let passed = lab.counters("lxc-xwing") - before.0;
        let counted = |source, destination, direction| {
            let labels = [("source", source), ("destination", destination), ("traffic_direction", direction)];
            scrape.sum("webb_traffic_packets_total", &labels)
        };
        let found = (counted(XWING, TIEFIGHTER, "egress"), counted(TIEFIGHTER, XWING, "ingress"));
        let wanted = (passed.received_packets, passed.sent_packets);
        if found == wanted { Ok(()) } else { Err(format!("the interface passed {wanted:?}, the metric has {found:?}")) }
    };
    agent.settles(exact);
    let passed = lab.counters("lxc-xwing") - before.0;
    assert!(passed.received_packets >= sent && sent > 100, "{sent} were sent, {passed:?}");
    let flooded = lab.counters("lxc-deathstar-b").received_packets;
    assert!(flooded >= u64::from(CONNECTIONS), "the flood was none: {flooded}");
    assert!(grown < MORE_MEMORY, "the flood took {grown} MB");
}
