//! Bad traffic of four kinds at once under a table of 1,024 connections, and an established one
//! beside it that must stay exact.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::agent::{Agent, sum};
use super::dice::Dice;
use super::lab::{LOCAL, Lab, address};
use super::packets::{ACK, Kind, Packet, SYN, Sender};
use super::row;

const PODS: u32 = 2000;

/// 110 bytes a connection.
const TABLE: &str = "112KiB";

/// Packets of each of the four kinds.
const EACH: u32 = 1_000_000;

/// Packets a second, of all.
const RATE: u32 = 100_000;

/// The established connection's packets, spread over the flood.
const ESTABLISHED: u32 = 4000;

/// The established connection: nothing else has this port.
const PORT: u16 = 7;

pub(crate) fn run(lab: &Lab) {
    let contexts = "sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
    let metrics = format!("flow tcp icmp port-distribution drop:{contexts} traffic:{contexts}");
    let settings = [("WEBB_METRICS", metrics.as_str()), ("WEBB_CONNECTIONS__TABLE_BYTES", TABLE)];
    let agent = Agent::start(lab, &lab.manifest(PODS), &settings);
    let sender = Sender::new(&lab.pods());
    let quiet = agent.megabytes("VmRSS");
    let (began, before) = (Instant::now(), agent.cpu());
    let mut dice = Dice::new();
    let every = 4 * EACH / ESTABLISHED;
    let all = (0..4 * EACH).flat_map(|number| {
        let established = (number % every == 0).then(|| packet(Kind::Tcp(ACK), (0, PORT), (address(LOCAL + 1), PORT)));
        [Some(bad(number, &mut dice)), established].into_iter().flatten()
    });
    let sent = sender.send(all, RATE);
    let spent = agent.cpu().saturating_sub(before);
    let text = agent.at_rest(&["webb_traffic_packets_total", "webb_connection_table_alone_packets_total"]);
    let outcome = |outcome: &str| sum(&text, "webb_ledger_packets_total", &[&format!("outcome=\"{outcome}\"")]);
    let seen = sum(&text, "webb_ledger_seen_packets_total", &["from-pod"]);
    let rate = sent.packets as f64 / sent.took.as_secs_f64();
    row("packets sent, and a second", format!("{}, {rate:.0}", sent.packets));
    row("seen at the pods' interface", seen);
    row("the ledger closed after", format!("{:.1?}", began.elapsed().saturating_sub(sent.took)));
    row("in webb_traffic_packets_total", sum(&text, "webb_traffic_packets_total", &[]));
    row("untracked, lost", format!("{}, {}", outcome("untracked"), outcome("lost")));
    row("without a place, a record each", sum(&text, "webb_connection_table_alone_packets_total", &[]));
    row("the established connection, packets", format!("{} of {ESTABLISHED}", established(&text)));
    let cores = spent.as_secs_f64() / sent.took.as_secs_f64();
    row("cores, and for 100,000 packets a second", format!("{cores:.2}, {:.2}", cores / rate * 100_000.0));
    row(
        "resident before, after, at peak",
        format!("{quiet:.1}, {:.1}, {:.1} MB", agent.megabytes("VmRSS"), agent.megabytes("VmHWM")),
    );
}

fn packet(kind: Kind, (pod, port): (u32, u16), to: (Ipv4Addr, u16)) -> Packet {
    Packet { kind, from: (address(pod), port), to }
}

/// One of a SYN flood from addresses of nowhere, a scanner of all ports of 1,000 addresses, 50,000
/// idle connections that keep themselves alive, and datagrams from a port each.
pub(crate) fn bad(number: u32, dice: &mut Dice) -> Packet {
    let (step, server) = (number / 4, address(LOCAL + 2));
    let port = |number: u32| (number % 65_536) as u16;
    match number % 4 {
        0 => {
            let nowhere = Ipv4Addr::from(0xc612_0000 + dice.below(1 << 17));
            Packet { kind: Kind::Tcp(SYN), from: (nowhere, port(dice.below(65_536))), to: (server, 80) }
        }
        // 1,000 and 65,536 have so little in common that a million pairs are all different.
        1 => packet(Kind::Tcp(SYN), (1, 50_000), (address(LOCAL + step % 1000), port(step))),
        2 => packet(Kind::Tcp(ACK), (2, 10_000 + port(step % 50_000)), (server, 443)),
        _ => packet(Kind::Udp, (3, port(dice.below(65_536))), (address(LOCAL + dice.below(1000)), 53)),
    }
}

/// Packets of the one pod that sends nothing else.
fn established(text: &str) -> u64 {
    let pod = format!("source=\"namespace-00/workload-000-6c94dcc57b-{:05}\"", 0);
    sum(text, "webb_traffic_packets_total", &[&pod])
}
