//! Policy verdicts for known traffic: what is allowed, what is dropped, and what passes though
//! policies forbid it.

use etherparse::PacketBuilder;

use crate::counts::exactly;
use crate::frames::send_frame;
use crate::harness::{Agent, DEATHSTAR_A, DEATHSTAR_C, Lab, TIEFIGHTER, XWING};
use crate::packets;

const METRICS: &str =
    "policy:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity flow drop tcp";

const VERDICTS: &str = "hubble_policy_verdicts_total";
const UNENFORCED: &str = "webb_reader_unenforced_verdicts_total";

/// The labels of a verdict between two ends.
fn of<'a>(
    source: &'a str,
    destination: &'a str,
    direction: &'a str,
    matched: &'a str,
    action: &'a str,
) -> [(&'a str, &'a str); 5] {
    [("source", source), ("destination", destination), ("direction", direction), ("match", matched), ("action", action)]
}

/// The manifest of the lab, with this behind it.
fn manifest_with(lab: &Lab, policy: &str) -> String {
    let manifest = std::fs::read_to_string(Lab::manifest()).unwrap() + policy;
    lab.file("manifest.yaml", &manifest).to_str().unwrap().to_owned()
}

/// Each connection is judged once on its way out of its pod and once on its way into the other:
/// `all` where nothing isolates the pod, `l3-l4` by the policy's rule, and none where the packet is
/// dropped. What is dropped counts once in `drop`, and each SYN as often as without verdicts.
#[test]
fn allowed_and_denied() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let (allowed, denied, asked) = (8, 5, 6);
    lab.run("tiefighter", &format!("pod land --rounds {} 10.244.1.11:80 [fd00:10:244:1::11]:80", allowed / 2));
    // Given up before the SYN would be sent again, so there is one for each try.
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {denied} 10.244.1.11:80"));
    lab.run("xwing", &format!("pod ask --rounds {asked} 10.244.1.21:7777"));
    assert_eq!(lab.denied(), denied);
    agent.settles(exactly(&[
        (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_A, "egress", "all", "forwarded"), allowed),
        (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_A, "ingress", "l3-l4", "forwarded"), allowed),
        (VERDICTS, &of(XWING, DEATHSTAR_A, "egress", "all", "forwarded"), denied),
        (VERDICTS, &of(XWING, DEATHSTAR_A, "ingress", "none", "dropped"), denied),
        (VERDICTS, &of(XWING, TIEFIGHTER, "egress", "all", "forwarded"), asked),
        (VERDICTS, &of(XWING, TIEFIGHTER, "ingress", "all", "forwarded"), asked),
        (VERDICTS, &[], 2 * (allowed + denied + asked)),
        ("hubble_flows_processed_total", &[("type", "PolicyVerdict")], 2 * (allowed + denied + asked)),
        ("hubble_drop_total", &[("reason", "POLICY_DENIED")], denied),
        ("hubble_tcp_flags_total", &[("flag", "SYN")], 2 * allowed + denied),
        ("webb_policy_undecided_total", &[], 0),
    ]));
    // It is there from the start, so that its first verdict is an increase.
    assert_eq!(agent.scrape().samples(UNENFORCED, &[]).count(), 1);
}

/// Nobody enforces the policy: what it forbids passes, and that is told. The same through the
/// Service, from the other node: policies speak of pods, whatever address the packet bears.
#[test]
fn nobody_enforces() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    lab.enforce_nothing();
    let mut near = Agent::start_at(&lab, "node", METRICS, &[]);
    let mut far = Agent::start_at(&lab, "node2", METRICS, &[]);
    let (direct, by_service) = (7, 4);
    lab.run("xwing", &format!("pod land --rounds {direct} 10.244.1.11:80"));
    lab.run("xwing", &format!("pod land --rounds {by_service} 10.96.23.45:80"));
    lab.run("tiefighter", "pod land --rounds 3 [fd00:10:96::2d]:80");
    near.settles(exactly(&[
        (VERDICTS, &of(XWING, DEATHSTAR_A, "egress", "all", "forwarded"), direct),
        (VERDICTS, &of(XWING, DEATHSTAR_A, "ingress", "none", "audit"), direct),
        (VERDICTS, &[("direction", "egress"), ("match", "all"), ("action", "forwarded")], direct + by_service + 3),
        (VERDICTS, &[("direction", "ingress")], direct),
        (UNENFORCED, &[], direct),
    ]));
    far.settles(exactly(&[
        (VERDICTS, &of(XWING, DEATHSTAR_C, "ingress", "none", "audit"), by_service),
        (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_C, "ingress", "l3-l4", "forwarded"), 3),
        (VERDICTS, &[], by_service + 3),
    ]));
}

/// Policies of the sender: a connection that leaves its pod has not passed yet. An answer says that
/// it has (audit), a drop that it has not (dropped), and a rule that allows it needs neither.
#[test]
fn out_of_an_isolated_pod() {
    let Some(lab) = Lab::up() else { return };
    let policy = "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: xwing-stays, namespace: default }
spec:
  podSelector: { matchLabels: { class: xwing } }
  policyTypes: [Egress]
  egress:
    - to: [{ podSelector: { matchLabels: { class: tiefighter } } }]
      ports: [{ protocol: UDP, port: hail }]
    - to: [{ ipBlock: { cidr: 203.0.113.0/24 } }]
";
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--cluster-manifest", &manifest_with(&lab, policy)]);
    let (hailed, out, datagrams, answered, dropped) = (6, 3, 4, 5, 2);
    let (world, node) = ("reserved:world-ipv4", "reserved:remote-node");
    // Allowed, by a peer and a named port, and by a network.
    lab.run("xwing", &format!("pod ask --rounds {hailed} 10.244.1.21:7777"));
    lab.run("xwing", &format!("pod land --rounds {out} 203.0.113.10:80"));
    // Forbidden, and not enforced: answered by a server, and by datagrams, over IPv6.
    lab.run("xwing", &format!("pod land --rounds {answered} [2001:db8::10]:80"));
    lab.run("xwing", &format!("pod ask --rounds {datagrams} [fd00:172:18::3]:80"));
    // Forbidden and enforced.
    lab.run("node", "nft add rule inet networkpolicy forward ip saddr 10.244.1.31 ip daddr 172.18.0.3 drop");
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {dropped} 172.18.0.3:80"));
    agent.settles(exactly(&[
        (VERDICTS, &of(XWING, TIEFIGHTER, "egress", "l3-l4", "forwarded"), hailed),
        (VERDICTS, &of(XWING, TIEFIGHTER, "ingress", "all", "forwarded"), hailed),
        (VERDICTS, &of(XWING, world, "egress", "l3-only", "forwarded"), out),
        (VERDICTS, &of(XWING, "reserved:world-ipv6", "egress", "none", "audit"), answered),
        (VERDICTS, &of(XWING, node, "egress", "none", "audit"), datagrams),
        (VERDICTS, &of(XWING, node, "egress", "none", "dropped"), dropped),
        (VERDICTS, &[], 2 * hailed + out + answered + datagrams + dropped),
        ("webb_policy_undecided_total", &[], 0),
    ]));
}

/// A policy that allows the pods of a class nothing in one direction.
fn closed(name: &str, class: &str, direction: &str) -> String {
    format!(
        "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ name: {name}, namespace: default }}
spec:
  podSelector: {{ matchLabels: {{ class: {class} }} }}
  policyTypes: [{direction}]
"
    )
}

/// A server's datagram to a client that asked before the agent was there opens nothing, whatever
/// policies say of servers that call clients: connection tracking knows the conversation. What
/// really is opened is judged.
#[test]
fn an_older_conversation() {
    let Some(lab) = Lab::up() else { return };
    let manifest = manifest_with(&lab, &closed("nobody-calls-tie", "tiefighter", "Ingress"));
    lab.run("node", "nft insert rule inet networkpolicy forward ip daddr 10.244.1.11 udp dport 5683 accept");
    let (server, client) =
        (lab.socket("deathstar-a", "10.244.1.11:5683"), lab.socket("tiefighter", "10.244.1.21:40000"));
    let mut buffer = [0; 16];
    client.send_to(b"subscribe", "10.244.1.11:5683").unwrap();
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    let mut push = || {
        server.send_to(b"news", from).unwrap();
        client.recv(&mut buffer).unwrap();
    };
    push();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--cluster-manifest", &manifest]);
    push();
    push();
    lab.run("xwing", "pod ask --rounds 2 10.244.1.21:7777");
    agent.settles(exactly(&[
        (VERDICTS, &of(XWING, TIEFIGHTER, "egress", "all", "forwarded"), 2),
        (VERDICTS, &of(XWING, TIEFIGHTER, "ingress", "none", "audit"), 2),
        (VERDICTS, &[], 4),
        ("webb_policy_undecided_total", &[], 0),
    ]));
}

/// A pod that no list has is not the world, and nothing is said of policies that might allow it.
#[test]
fn a_pod_that_is_not_listed() {
    let Some(lab) = Lab::up() else { return };
    let manifest = std::fs::read_to_string(Lab::manifest()).unwrap();
    let listed: Vec<&str> =
        manifest.split("\n---\n").filter(|object| !object.contains("name: tiefighter\n  namespace")).collect();
    assert_eq!(listed.len() + 1, manifest.split("\n---\n").count());
    let path = lab.file("manifest.yaml", &listed.join("\n---\n"));
    let metrics = "policy:sourceContext=pod|reserved-identity flow:sourceContext=pod|reserved-identity flows-to-world:sourceContext=pod";
    let mut agent = Agent::start_at(&lab, "node", metrics, &["--cluster-manifest", path.to_str().unwrap()]);
    lab.run("tiefighter", "pod land --rounds 3 10.244.1.11:80");
    let scrape = agent.settles(exactly(&[
        (VERDICTS, &[], 0),
        ("webb_policy_undecided_total", &[("reason", "unnamed")], 3),
        ("hubble_flows_processed_total", &[("source", "reserved:world-ipv4")], 0),
    ]));
    assert!(scrape.sum("hubble_flows_processed_total", &[("source", "reserved:unknown")]) > 0);
}

/// A receiver that drops all by itself: no drop is seen, and no answer. What policies forbid has
/// arrived at its interface, which is not known to be an audit; an answer makes it one.
#[test]
fn a_silent_receiver() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    lab.run("deathstar-a", "nft add table inet mute");
    lab.run("deathstar-a", "nft add chain inet mute input { type filter hook input priority filter; policy drop; }");
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let (silent, answered) = (5, 3);
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {silent} 10.244.1.11:80"));
    agent.settles(exactly(&[
        (VERDICTS, &of(XWING, DEATHSTAR_A, "egress", "all", "forwarded"), silent),
        (VERDICTS, &[], silent),
        ("hubble_drop_total", &[], 0),
    ]));
    lab.run("deathstar-a", "nft delete table inet mute");
    lab.run("xwing", &format!("pod land --rounds {answered} 10.244.1.11:80"));
    agent.settles(exactly(&[
        (VERDICTS, &of(XWING, DEATHSTAR_A, "ingress", "none", "audit"), answered),
        (VERDICTS, &[("direction", "ingress")], answered),
        (VERDICTS, &[], silent + 2 * answered),
    ]));
}

/// Replies out of the window, as after a long stall, which connection tracking calls invalid:
/// policies that keep the server from opening connections say nothing of them, so their drops are
/// no denials.
#[test]
fn an_invalid_reply() {
    let Some(lab) = Lab::up() else { return };
    let manifest = manifest_with(&lab, &closed("deathstar-opens-nothing", "deathstar", "Egress"));
    lab.run("node", "nft insert rule inet networkpolicy forward ct state invalid counter name denied drop");
    let metrics = "policy:sourceContext=pod;destinationContext=pod drop:sourceContext=pod;destinationContext=pod";
    let mut agent = Agent::start_at(&lab, "node", metrics, &["--cluster-manifest", &manifest]);
    let connection = lab.connection("tiefighter", "10.244.1.11:80");
    let client = connection.local_addr().unwrap().port();
    let device = lab.run("node", "cat /sys/class/net/lxc-deathstar-a/address");
    let mut gateway = [0; 6];
    for (byte, digits) in gateway.iter_mut().zip(device.trim().split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    // Wherever the connection's own numbers begin, half of these are beyond them, which is invalid;
    // numbers that have been before are let pass.
    for number in [0, 1 << 30, 2 << 30, 3 << 30] {
        let late = PacketBuilder::ethernet2(packets::MAC_A, gateway)
            .ipv4([10, 244, 1, 11], [10, 244, 1, 21], 64)
            .tcp(80, client, number, 512)
            .ack(number);
        send_frame(&lab.namespace("deathstar-a"), "eth0", &packets::write(late, b""));
    }
    agent.wait_until("connection tracking has dropped them", |_| lab.denied() >= 2);
    let dropped = [("source", DEATHSTAR_A), ("destination", TIEFIGHTER), ("reason", "NETFILTER_DROP")];
    agent.settles(|scrape| {
        exactly(&[
            ("hubble_drop_total", &dropped, lab.denied()),
            ("hubble_drop_total", &[], lab.denied()),
            (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_A, "egress", "all", "forwarded"), 1),
            (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_A, "ingress", "l3-l4", "forwarded"), 1),
            (VERDICTS, &[], 2),
        ])(scrape)
    });
}

/// A connection that is dropped on its way out is denied and nothing else, whether it is sent to a
/// pod or to a Service: its packet and its drop come over two rings.
#[test]
fn denied_on_the_way_out() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "a");
    let manifest = manifest_with(&lab, &closed("tie-opens-nothing", "tiefighter", "Egress"));
    lab.run(
        "node",
        "nft insert rule inet networkpolicy forward ip saddr 10.244.1.21 tcp dport 80 counter name denied drop",
    );
    let mut agent = Agent::start_at(&lab, "node", METRICS, &["--cluster-manifest", &manifest]);
    let (direct, by_service) = (20, 4);
    for (rounds, to) in [(direct, "10.244.1.11:80"), (by_service, "10.96.23.45:80")] {
        // Given up before the SYN would be sent again, so there is one for each try.
        lab.try_run("tiefighter", &format!("pod land --timeout 200 --rounds {rounds} {to}"));
    }
    assert_eq!(lab.denied(), direct + by_service);
    agent.settles(exactly(&[
        (VERDICTS, &of(TIEFIGHTER, DEATHSTAR_A, "egress", "none", "dropped"), direct + by_service),
        (VERDICTS, &[], direct + by_service),
        ("hubble_drop_total", &[("reason", "POLICY_DENIED")], direct + by_service),
        ("webb_policy_undecided_total", &[], 0),
    ]));
}
