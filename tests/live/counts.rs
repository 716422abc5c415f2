//! Known traffic, exact counters: each plugin against connections, pings, refusals and denials,
//! IPv4 and IPv6.
//!
//! The number of flows of a packet follows from two rules.
//!
//! *Where*: a packet between two pods of the node is observed twice (hubble-contract §1.0, rule
//! 11): at the veth of its source,
//! `to-stack`, and at the veth of its destination, `to-endpoint`. A packet that the policy drops is
//! seen only at its source's, and then as a drop.
//!
//! *When*: under `medium` aggregation, a point reports the first packet of a connection, and each
//! packet that brings a TCP flag which this direction had not shown there yet. The lab's client and
//! server always make the same packets:
//!
//! | from the client | new flags | from the server | new flags |
//! | --- | --- | --- | --- |
//! | SYN | SYN | SYN ACK | SYN ACK |
//! | ACK | ACK | ACK (or with the answer) | |
//! | PSH ACK, the request | PSH | PSH ACK, the answer | PSH |
//! | ACK | | FIN ACK | FIN |
//! | FIN ACK | FIN | ACK | |
//!
//! That is 4 reports for the client's direction and 3 for the server's, at each of the two points.
//! None of the connections lives for a `report_interval`. ICMP is always reported, packet by
//! packet.

use std::path::Path;
use std::process::Command;

use crate::harness::{Agent, Counters, DEATHSTAR_A, DEVICES, Lab, QUICK, TIEFIGHTER, XWING};
use crate::scrape::Scrape;

/// Number of observation points of a packet between two local pods.
pub(crate) const POINTS: u64 = 2;
/// Reports of one request in the client's direction, at one point.
pub(crate) const FROM_CLIENT: u64 = 4;
/// The same in the server's.
pub(crate) const FROM_SERVER: u64 = 3;

/// A sum that must be there: family, labels, value.
pub(crate) type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);

/// A check for [`Agent::settles`].
pub(crate) fn exactly(expected: &[Expected<'_>]) -> impl Fn(&Scrape) -> Result<(), String> {
    move |scrape| {
        let wrong: Vec<String> = expected
            .iter()
            .filter_map(|(name, labels, value)| {
                let found = scrape.sum(name, labels);
                (found != *value).then(|| format!("{name}{labels:?}: expected {value}, found {found}"))
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// n requests: the handshake and the end of each connection in `tcp`, its reports in `flow` by
/// point, its forward direction in `port-distribution`, and nothing in `drop`.
#[test]
fn connections() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let (v4, v6) = (20, 15);
    lab.run("tiefighter", &format!("pod land --rounds {v4} 10.244.1.11:80"));
    lab.run("tiefighter", &format!("pod land --rounds {v6} [fd00:10:244:1::12]:80"));

    let flags = "hubble_tcp_flags_total";
    let flows = "hubble_flows_processed_total";
    let all = v4 + v6;
    agent.settles(exactly(&[
        (flags, &[("family", "IPv4"), ("flag", "SYN")], POINTS * v4),
        (flags, &[("family", "IPv4"), ("flag", "SYN-ACK")], POINTS * v4),
        // One from each side.
        (flags, &[("family", "IPv4"), ("flag", "FIN")], 2 * POINTS * v4),
        (flags, &[("family", "IPv6"), ("flag", "SYN")], POINTS * v6),
        (flags, &[("family", "IPv6"), ("flag", "SYN-ACK")], POINTS * v6),
        (flags, &[("family", "IPv6"), ("flag", "FIN")], 2 * POINTS * v6),
        (flags, &[("flag", "RST")], 0),
        // Out of the client's pod and out of the server's, once each.
        (
            flows,
            &[("protocol", "TCP"), ("type", "Trace"), ("subtype", "to-stack"), ("verdict", "FORWARDED")],
            (FROM_CLIENT + FROM_SERVER) * all,
        ),
        (
            flows,
            &[("protocol", "TCP"), ("type", "Trace"), ("subtype", "to-endpoint"), ("verdict", "FORWARDED")],
            (FROM_CLIENT + FROM_SERVER) * all,
        ),
        (flows, &[("protocol", "TCP")], POINTS * (FROM_CLIENT + FROM_SERVER) * all),
        ("hubble_port_distribution_total", &[("protocol", "TCP"), ("port", "80")], POINTS * FROM_CLIENT * all),
        ("hubble_port_distribution_total", &[("protocol", "TCP")], POINTS * FROM_CLIENT * all),
        ("hubble_drop_total", &[("reason", "POLICY_DENIED")], 0),
        ("hubble_lost_events_total", &[], 0),
    ]));
}

/// n pings: a request and a reply at both points each; `port-distribution` counts the requests
/// under port 0.
#[test]
fn pings() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let (v4, v6) = (12, 9);
    lab.run("tiefighter", &format!("ping -q -i 0.05 -c {v4} 10.244.1.11"));
    // xwing may not reach port 80, but a NetworkPolicy does not speak of ICMP.
    lab.run("xwing", &format!("ping -q -i 0.05 -c {v6} fd00:10:244:1::11"));

    let icmp = "hubble_icmp_total";
    let flows = "hubble_flows_processed_total";
    let ports = "hubble_port_distribution_total";
    agent.settles(exactly(&[
        (icmp, &[("family", "IPv4"), ("type", "EchoRequest")], POINTS * v4),
        (icmp, &[("family", "IPv4"), ("type", "EchoReply")], POINTS * v4),
        (icmp, &[("family", "IPv6"), ("type", "EchoRequest")], POINTS * v6),
        (icmp, &[("family", "IPv6"), ("type", "EchoReply")], POINTS * v6),
        (flows, &[("protocol", "ICMPv4"), ("subtype", "to-stack"), ("verdict", "FORWARDED")], 2 * v4),
        (flows, &[("protocol", "ICMPv4"), ("subtype", "to-endpoint"), ("verdict", "FORWARDED")], 2 * v4),
        (ports, &[("protocol", "ICMPv4"), ("port", "0")], POINTS * v4),
        ("hubble_drop_total", &[("reason", "POLICY_DENIED")], 0),
    ]));
}

/// n connections to a closed port: one SYN and one RST each, at both points, and no
/// denial.
#[test]
fn refused() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let (v4, v6) = (8, 6);
    let refused = lab.try_run("tiefighter", &format!("pod land --rounds {v4} 10.244.1.31:81"));
    assert_eq!(refused.status.code(), Some(1));
    lab.try_run("tiefighter", &format!("pod land --rounds {v6} [fd00:10:244:1::31]:81"));

    let flags = "hubble_tcp_flags_total";
    agent.settles(exactly(&[
        (flags, &[("family", "IPv4"), ("flag", "SYN")], POINTS * v4),
        (flags, &[("family", "IPv4"), ("flag", "RST")], POINTS * v4),
        (flags, &[("family", "IPv6"), ("flag", "SYN")], POINTS * v6),
        (flags, &[("family", "IPv6"), ("flag", "RST")], POINTS * v6),
        (flags, &[("flag", "SYN-ACK")], 0),
        (flags, &[("flag", "FIN")], 0),
        ("hubble_flows_processed_total", &[("type", "Trace"), ("protocol", "TCP")], 2 * POINTS * (v4 + v6)),
        ("hubble_port_distribution_total", &[("port", "81")], POINTS * (v4 + v6)),
        ("hubble_drop_total", &[("reason", "POLICY_DENIED")], 0),
    ]));
}

/// n connections that the policy denies: each SYN is seen once, on its way out of the pod, and once
/// as a drop with both names and the reason; nftables counts the same number. What is dropped never
/// reaches `to-endpoint`.
#[test]
fn denied() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let (v4, v6) = (7, 5);
    // Given up before the SYN would be sent again, so there is one for each try.
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {v4} 10.244.1.11:80"));
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {v6} [fd00:10:244:1::11]:80"));
    assert_eq!(lab.denied(), v4 + v6);

    let drops = "hubble_drop_total";
    let flags = "hubble_tcp_flags_total";
    let scrape = agent.settles(exactly(&[
        (
            drops,
            &[("source", XWING), ("destination", DEATHSTAR_A), ("reason", "POLICY_DENIED"), ("protocol", "TCP")],
            v4 + v6,
        ),
        (drops, &[("reason", "POLICY_DENIED")], v4 + v6),
        (flags, &[("family", "IPv4"), ("flag", "SYN")], v4),
        (flags, &[("family", "IPv6"), ("flag", "SYN")], v6),
        ("hubble_flows_processed_total", &[("protocol", "TCP"), ("subtype", "to-stack")], v4 + v6),
        ("hubble_flows_processed_total", &[("protocol", "TCP"), ("subtype", "to-endpoint")], 0),
        ("hubble_port_distribution_total", &[("protocol", "TCP"), ("port", "80")], v4 + v6),
    ]));
    // Each drop is a flow and the other way round.
    let flows =
        scrape.sum("hubble_flows_processed_total", &[("type", "Drop"), ("verdict", "DROPPED"), ("subtype", "")]);
    assert_eq!(flows, scrape.sum(drops, &[]), "{}", scrape.show("hubble_"));
}

/// Whom the manifest does not know is the world; a Node's address is this host's or another node's.
#[test]
fn peers_outside() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    lab.run("tiefighter", "ping -q -i 0.05 -c 3 203.0.113.10");
    lab.run("tiefighter", "ping -q -i 0.05 -c 4 fd00:172:18::3");
    lab.run("tiefighter", "ping -q -i 0.05 -c 5 172.18.0.2");
    let packets = "webb_traffic_packets_total";
    agent.settles(exactly(&[
        (
            packets,
            &[("source", TIEFIGHTER), ("destination", "reserved:world-ipv4"), ("traffic_direction", "egress")],
            3,
        ),
        (
            packets,
            &[("source", "reserved:world-ipv4"), ("destination", TIEFIGHTER), ("traffic_direction", "egress")],
            3,
        ),
        (packets, &[("source", TIEFIGHTER), ("destination", "reserved:remote-node")], 4),
        (packets, &[("source", "reserved:remote-node"), ("destination", TIEFIGHTER)], 4),
        (packets, &[("source", TIEFIGHTER), ("destination", "reserved:host")], 5),
        (packets, &[("source", "reserved:host"), ("destination", TIEFIGHTER)], 5),
    ]));
}

/// Traffic of a pod that only ever is a client (its connections are egress) or only ever a server
/// (ingress), in the form of its interface's counters: the node receives the pod's packets.
fn traffic_of(scrape: &Scrape, pod: &str, direction: &str) -> Counters {
    let sum = |name, side| scrape.sum(name, &[(side, pod), ("traffic_direction", direction)]);
    Counters {
        received_packets: sum("webb_traffic_packets_total", "source"),
        received_bytes: sum("webb_traffic_bytes_total", "source"),
        sent_packets: sum("webb_traffic_packets_total", "destination"),
        sent_bytes: sum("webb_traffic_bytes_total", "destination"),
    }
}

/// Every packet and byte that the interfaces count is in `traffic`, whatever was reported as a
/// flow: here for many small exchanges of all kinds.
#[test]
fn traffic_equals_the_interface_counters() {
    let Some(lab) = Lab::up() else { return };
    lab.hush();
    let mut agent = Agent::start_with(&lab, QUICK);
    let before = DEVICES.map(|device| lab.counters(device));
    for round in 1..=5 {
        lab.run("tiefighter", &format!("pod land --rounds {round} 10.244.1.11:80 [fd00:10:244:1::11]:80"));
        lab.run("tiefighter", &format!("ping -q -s {} -i 0.02 -c 5 10.244.1.11", round * 300));
        lab.run("tiefighter", "ping -q -i 0.02 -c 5 fd00:10:244:1::11");
    }
    // Fragments: 4,000 bytes over an MTU of 1,500.
    lab.run("tiefighter", "ping -q -s 4000 -i 0.02 -c 3 10.244.1.11");
    lab.run("tiefighter", "ping -q -s 4000 -i 0.02 -c 3 fd00:10:244:1::11");
    let moved = |at: usize| lab.counters(DEVICES[at]) - before[at];
    assert!(moved(0).received_packets > 100, "the test has sent next to nothing: {:?}", moved(0));
    agent.settles(|scrape| {
        // Read each time: a connection's last packet may follow the end of its process.
        let (server, client) = (moved(0), moved(2));
        let found = (traffic_of(scrape, DEATHSTAR_A, "ingress"), traffic_of(scrape, TIEFIGHTER, "egress"));
        if found == (server, client) {
            Ok(())
        } else {
            Err(format!("interfaces {:?}, traffic {found:?}", (server, client)))
        }
    });
}

/// The same for ten seconds of iperf3, where offloads make one packet of many segments.
#[test]
fn traffic_equals_the_interface_counters_under_iperf3() {
    let Some(lab) = Lab::up() else { return };
    assert!(Path::new("/usr/bin/iperf3").exists(), "iperf3 is missing: `make setup` installs it");
    lab.hush();
    let mut agent = Agent::start_with(&lab, QUICK);
    let before = DEVICES.map(|device| lab.counters(device));
    let mut server: std::process::Child =
        Command::spawn(&mut lab.command("tiefighter", "iperf3 --server --one-off")).unwrap();
    let listening = || lab.run("tiefighter", "cat /proc/net/tcp6 /proc/net/tcp").contains(":1451 ");
    agent.wait_until("iperf3 listens", |_| listening());
    lab.run("xwing", "iperf3 --client 10.244.1.21 --time 10");
    server.wait().unwrap();
    let moved = |at: usize| lab.counters(DEVICES[at]) - before[at];
    assert!(moved(3).received_bytes > 100_000_000, "iperf3 has moved next to nothing: {:?}", moved(3));
    agent.settles(|scrape| {
        let (tiefighter, xwing) = (moved(2), moved(3));
        let found = (traffic_of(scrape, TIEFIGHTER, "ingress"), traffic_of(scrape, XWING, "egress"));
        if found == (tiefighter, xwing) {
            Ok(())
        } else {
            Err(format!("interfaces {:?}, traffic {found:?}", (tiefighter, xwing)))
        }
    });
}
