//! `/metrics` answers by whatever addresses a node has, as it comes: no setting names a family.

use std::net::SocketAddr;

use crate::harness::{Agent, Lab, ask};

fn answers(lab: &Lab, from: &str, address: &str) -> bool {
    let to = SocketAddr::new(address.parse().unwrap(), 9965);
    ask(&lab.namespace(from), to, "GET", "/metrics").is_some_and(|answer| answer.status == 200)
}

/// A node of both families is scraped by either, over its loopback and from outside.
#[test]
fn both_families_are_served() {
    let Some(lab) = Lab::up() else { return };
    let _agent = Agent::start(&lab, &[]);
    for (from, address) in
        [("node", "127.0.0.1"), ("node", "::1"), ("world", "172.18.0.2"), ("world", "fd00:172:18::2")]
    {
        assert!(answers(&lab, from, address), "{address} from {from}");
    }
}

/// A node of an IPv6-only cluster has no address of the older family but its loopback's.
#[test]
fn a_node_without_ipv4_is_scraped() {
    let Some(lab) = Lab::up() else { return };
    lab.run("node", "ip -4 address flush dev eth0");
    let _agent = Agent::start(&lab, &[]);
    assert!(answers(&lab, "node", "::1"));
    assert!(answers(&lab, "world", "fd00:172:18::2"));
}

/// The default still serves IPv4 where IPv6 is switched off by sysctl.
#[test]
fn a_node_without_ipv6_is_scraped() {
    let Some(lab) = Lab::up() else { return };
    lab.run("node", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    lab.run("node", "sysctl -qw net.ipv6.bindv6only=1");
    let _agent = Agent::start(&lab, &[]);
    assert!(answers(&lab, "node", "127.0.0.1"));
    assert!(answers(&lab, "world", "172.18.0.2"));
    assert!(!answers(&lab, "node", "::1"), "there is no such address");
}
