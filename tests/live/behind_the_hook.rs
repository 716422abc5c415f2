//! Fate of a packet behind the hook of its receiver's interface: dropped there, it was neither
//! forwarded nor received; and a frame that a bridge has sent to every port is one pod's alone.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::attempts::in_one_of_five;
use crate::counts::exactly;
use crate::enforcer::{By, Enforcer};
use crate::frames::send_frame;
use crate::harness::{Agent, DEATHSTAR_A, Lab, TIEFIGHTER, XWING};
use crate::packets::{SYN, tcp, udp};

const METRICS: &str = "flow:sourceContext=pod;destinationContext=pod tcp:sourceContext=pod;destinationContext=pod \
    drop:sourceContext=pod;destinationContext=pod policy:sourceContext=pod;destinationContext=pod \
    traffic:sourceContext=pod;destinationContext=pod";

const XWING_ADDRESS: u32 = 0x0af4_011f;

/// The agent, once it knows of so many interfaces that something is special about them.
fn agent_with(lab: &Lab, special: &str, count: u64, prepare: impl FnOnce()) -> Agent {
    let mut agent = Agent::start_at(lab, "node", METRICS, &[]);
    prepare();
    agent.wait_until("the interfaces were looked at", |agent| {
        agent.scrape().sum("webb_probe_special_interfaces", &[("type", special)]) == count
    });
    agent
}

/// Attaches an enforcer to a device of the node.
fn enforce(lab: &Lab, device: &str, by: By) -> Enforcer {
    on_the_node(lab, || Enforcer::attach(device, by, XWING_ADDRESS, 0))
}

fn on_the_node(lab: &Lab, attach: impl FnOnce() -> Enforcer + Send) -> Enforcer {
    let path = format!("/var/run/netns/{}", lab.namespace("node"));
    // A thread of its own: entering a namespace is for life.
    let attach = move || {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        attach()
    };
    std::thread::scope(|scope| scope.spawn(attach).join().unwrap())
}

/// A policy that is enforced by tc at the receiver's interface: what it drops is denied, and not
/// forwarded, not received and no audit; its flags count where it was sent. What it lets through
/// counts as ever.
fn an_enforcer(by: By) {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    if by == By::Filter {
        lab.run("node", "tc qdisc add dev lxc-deathstar-a clsact");
    }
    let mut enforcer = None;
    let mut agent = agent_with(&lab, "at_device", 1, || enforcer = Some(enforce(&lab, "lxc-deathstar-a", by)));
    let (denied, allowed) = (5, 8);
    // Given up before the SYN would be sent again, so there is one for each try.
    lab.try_run("xwing", &format!("pod land --timeout 300 --rounds {denied} 10.244.1.11:80"));
    lab.run("tiefighter", &format!("pod land --rounds {allowed} 10.244.1.11:80"));
    let refused = [("source", XWING), ("destination", DEATHSTAR_A)];
    let with = |more: &[(&'static str, &'static str)]| [&refused[..], more].concat();
    agent.settles(exactly(&[
        ("hubble_policy_verdicts_total", &with(&[("direction", "ingress"), ("action", "dropped")]), denied),
        ("hubble_policy_verdicts_total", &with(&[("direction", "ingress")]), denied),
        ("hubble_policy_verdicts_total", &[("action", "audit")], 0),
        ("hubble_drop_total", &with(&[("reason", "POLICY_DENIED")]), denied),
        ("hubble_flows_processed_total", &with(&[("subtype", "to-stack")]), denied),
        ("hubble_flows_processed_total", &with(&[("subtype", "to-endpoint")]), 0),
        ("hubble_tcp_flags_total", &with(&[("flag", "SYN")]), denied),
        ("webb_traffic_packets_total", &with(&[("traffic_direction", "egress")]), denied),
        ("webb_traffic_packets_total", &with(&[("traffic_direction", "ingress")]), 0),
        ("webb_ledger_packets_total", &[("hook", "to-pod"), ("outcome", "stopped")], denied),
        ("hubble_tcp_flags_total", &[("source", TIEFIGHTER), ("flag", "SYN")], 2 * allowed),
    ]));
}

/// A program of the TCX chain.
#[test]
fn an_enforcer_of_tcx() {
    an_enforcer(By::Tcx);
}

/// A filter of clsact.
#[test]
fn an_enforcer_of_clsact() {
    an_enforcer(By::Filter);
}

/// A shaper at a pod's interface (the bandwidth plugin of CNI): what it drops the pod has not
/// received.
#[test]
fn a_shaper() {
    // Its packets are sent by softirqs of timers, and counted in tracing programs: see
    // `in_one_of_five`.
    in_one_of_five(shape);
}

fn shape() {
    let Some(lab) = Lab::up() else { return };
    lab.hush();
    let limit = "tc qdisc add dev lxc-xwing root tbf rate 1mbit burst 2000 limit 4000";
    let mut agent = agent_with(&lab, "at_device", 1, || drop(lab.run("node", limit)));
    let before = lab.counters("lxc-xwing");
    let all = 2000;
    lab.run("tiefighter", &format!("pod flood {all} 1 10.244.1.31"));
    let between = [("source", TIEFIGHTER), ("destination", XWING)];
    let with = |more| [between[0], between[1], more];
    let scrape = agent.settles(|scrape| {
        let passed = lab.counters("lxc-xwing") - before;
        exactly(&[
            ("webb_traffic_packets_total", &with(("traffic_direction", "egress")), all),
            ("webb_traffic_packets_total", &with(("traffic_direction", "ingress")), passed.sent_packets),
            ("webb_traffic_bytes_total", &with(("traffic_direction", "ingress")), passed.sent_bytes),
            ("webb_ledger_packets_total", &[("hook", "to-pod"), ("outcome", "stopped")], all - passed.sent_packets),
        ])(scrape)
    });
    let stopped = scrape.sum("webb_ledger_packets_total", &[("outcome", "stopped")]);
    assert!(stopped > 100, "the shaper must have dropped: {stopped}");
}

/// A bridge sends a frame for a MAC that it does not know to all ports: it is still one packet, to
/// one pod, also when another pod has sent with that MAC.
#[test]
fn a_flooding_bridge() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    lab.run("node", "ip link add br0 type bridge mcast_snooping 0");
    lab.run("node", "ip link set br0 up");
    let mut macs = Vec::new();
    for number in 1..5_u8 {
        // All ends in one namespace: the bridge looks at MACs alone.
        let peer = format!("eth{number} netns {}", lab.namespace("xwing"));
        lab.run("node", &format!("ip link add br-port{number} type veth peer name {peer}"));
        lab.run("xwing", &format!("ip link set eth{number} address 02:00:00:00:07:0{number}"));
        lab.run("xwing", &format!("ip link set eth{number} up"));
        lab.run("node", &format!("ip link set br-port{number} master br0"));
        lab.run("node", &format!("ip link set br-port{number} up"));
        macs.push([2, 0, 0, 0, 7, number]);
    }
    let mut agent = agent_with(&lab, "bridged", 4, || ());
    let mut frame = tcp(([10, 244, 1, 31], 40000), ([10, 244, 1, 11], 80), SYN, b"");
    frame[..6].copy_from_slice(&macs[1]);
    frame[6..12].copy_from_slice(&macs[0]);
    let mut spoof = udp(([10, 244, 1, 99], 40000), ([10, 244, 1, 98], 4000), b"");
    spoof[..6].copy_from_slice(&[0xff; 6]);
    spoof[6..12].copy_from_slice(&macs[1]);
    send_frame(&lab.namespace("xwing"), "eth4", &spoof);
    lab.run("node", "ip link set br0 type bridge fdb_flush");
    send_frame(&lab.namespace("xwing"), "eth1", &frame);
    let all = [("source", XWING), ("destination", DEATHSTAR_A)];
    let with = |more| [all[0], all[1], more];
    agent.settles(exactly(&[
        ("webb_ledger_packets_total", &[("hook", "to-pod"), ("outcome", "flooded")], 2),
        ("webb_traffic_packets_total", &with(("traffic_direction", "egress")), 1),
        ("webb_traffic_packets_total", &with(("traffic_direction", "ingress")), 1),
        ("hubble_flows_processed_total", &with(("subtype", "to-stack")), 1),
        ("hubble_flows_processed_total", &with(("subtype", "to-endpoint")), 1),
        ("hubble_tcp_flags_total", &with(("flag", "SYN")), 2),
    ]));
}

/// A network plugin that redirects into the pod, as host routing in eBPF does: what the pod
/// receives is not seen, and `/readyz` and the log say so, with the interface.
#[test]
fn a_redirect_into_the_pod() {
    let Some(lab) = Lab::up() else { return };
    lab.enforce_nothing();
    let mut agent = Agent::start_at(&lab, "node", METRICS, &[]);
    let number = |pod, path: &str| lab.run(pod, &format!("cat /sys/class/net/{path}")).trim().to_owned();
    let mac: Vec<u8> =
        number("deathstar-a", "eth0/address").split(':').map(|part| u8::from_str_radix(part, 16).unwrap()).collect();
    let (mac, index) = (mac.try_into().unwrap(), number("node", "lxc-deathstar-a/ifindex").parse().unwrap());
    let reason = |agent: &Agent| agent.component("probes").map_or(String::new(), |now| now["reason"].to_string());
    lab.run("tiefighter", "pod land --rounds 20 10.244.1.11:80");
    agent.settles(exactly(&[("hubble_tcp_flags_total", &[("flag", "SYN")], 2 * 20)]));
    assert!(!reason(&agent).contains("redirect"), "{}", reason(&agent));

    // The filter comes behind our program.
    let pod = 0x0af4_010b;
    let _redirect = on_the_node(&lab, || Enforcer::redirect("lxc-tiefighter", By::Tcx, pod, mac, index));
    lab.run("tiefighter", "pod land --rounds 20 10.244.1.11:80");
    agent.wait_until("it is said", |agent| reason(agent).contains("bpf_redirect_peer"));
    assert!(reason(&agent).contains("lxc-deathstar-a"), "{}", reason(&agent));
    assert!(agent.log().contains("redirects what it receives past the programs"), "{}", agent.log());
    assert!(agent.scrape().sum("webb_probe_one_sided_records_total", &[]) >= 20);
}
