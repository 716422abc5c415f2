//! Connections of one packet each: which share of their packets is in `webb_traffic_packets_total`.

use super::agent::{Agent, sum};
use super::lab::{LOCAL, Lab, address};
use super::packets::{Kind, Packet, Sender};
use super::row;

const PODS: u32 = 2000;

/// New connections a second.
const RATES: [u32; 5] = [2000, 5000, 10_000, 20_000, 100_000];

/// Connections at each rate: the table's places and more.
const LEAST: u32 = 50_000;

/// At high rates for so many seconds.
const SECONDS: u32 = 5;

const FAMILIES: [&str; 2] = ["webb_traffic_packets_total", "webb_connection_table_alone_packets_total"];

pub(crate) fn run(lab: &Lab) {
    let sender = Sender::new(&lab.pods());
    for rate in RATES {
        let agent = Agent::start(lab, &lab.manifest(PODS), &[]);
        let count = LEAST.max(rate * SECONDS);
        let sent = sender.send((0..count).map(connection), rate);
        let text = agent.at_rest(&FAMILIES);
        let [counted, alone] = FAMILIES.map(|family| sum(&text, family, &[]));
        let reached = sent.packets as f64 / sent.took.as_secs_f64();
        let lost = |outcome: &str| sum(&text, "webb_ledger_packets_total", &[&format!("outcome=\"{outcome}\"")]);
        row(
            &format!("{rate} new connections a second ({reached:.0} reached)"),
            format!(
                "{:.3} % of {} packets in webb_traffic_packets_total; {alone} without a place of their own, \
                 {} untracked, {} lost",
                counted as f64 / sent.packets as f64 * 100.0,
                sent.packets,
                lost("untracked"),
                lost("lost"),
            ),
        );
    }
}

/// The datagram of one of so many connections that differ.
fn connection(number: u32) -> Packet {
    let (pod, remote) = (number % LOCAL, LOCAL + number / LOCAL % (PODS - LOCAL));
    let port = 1024 + (number / (LOCAL * (PODS - LOCAL)) + number) % 60_000;
    Packet { kind: Kind::Udp, from: (address(pod), port as u16), to: (address(remote), 53) }
}
