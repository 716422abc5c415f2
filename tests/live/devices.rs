//! The node's network changes under the agent: its addresses, its routes, its qdiscs, the networks
//! of its pods.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use aya::programs::TcAttachType;
use serde_json::Value;

use crate::counts::exactly;
use crate::enforcer::{By, Enforcer};
use crate::harness::{Agent, DEATHSTAR_A, Lab, QUICK, TIEFIGHTER, XWING, inside};
use crate::scrape::Scrape;

const CONTEXTS: &str = "sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
const PACKETS: &str = "webb_traffic_packets_total";
const VERDICTS: &str = "hubble_policy_verdicts_total";

fn json(agent: &Agent, path: &str) -> Value {
    agent.get(path).and_then(|answer| serde_json::from_str(&answer.body).ok()).unwrap_or_default()
}

/// The labels of an address, as a flow would have them now.
fn labels(agent: &Agent, ip: &str) -> String {
    json(agent, &format!("/pods?ip={ip}"))["named"]["labels"].to_string()
}

/// Reason of a component in `/readyz`.
fn why(agent: &Agent, component: &str) -> String {
    let components = json(agent, "/readyz")["components"].as_array().cloned().unwrap_or_default();
    let found = components.iter().find(|one| one["name"] == component);
    found.and_then(|one| one["reason"].as_str()).unwrap_or_default().to_owned()
}

fn watched(agent: &Agent) -> u64 {
    agent.scrape().sum("webb_probe_interfaces", &[("role", "pod")])
}

/// Addresses that this machine gets after the start (the bridge of a network plugin, with the first
/// pod) are the host's within seconds, and the host may reach its own pods whatever policies say;
/// those that it loses are not.
#[test]
fn own_addresses_are_followed() {
    let Some(lab) = Lab::up() else { return };
    lab.run("node", "ip address add 172.18.0.77/32 dev eth0");
    let mut agent = Agent::start_at(&lab, "node", &format!("policy:{CONTEXTS} traffic:{CONTEXTS}"), &[]);
    assert!(labels(&agent, "172.18.0.77").contains("reserved:host"));
    assert!(!labels(&agent, "10.244.1.99").contains("reserved:host"));
    lab.run("node", "ip link add cni0 type bridge");
    lab.run("node", "ip address add 10.244.1.99/24 dev cni0");
    lab.run("node", "ip link set cni0 up");
    lab.run("node", "ip address del 172.18.0.77/32 dev eth0");
    agent.wait_until("the bridge's address is the host's", |agent| {
        labels(agent, "10.244.1.99").contains("reserved:host")
    });
    agent.wait_until("the lost address has no owner", |agent| !labels(agent, "172.18.0.77").contains("reserved:host"));
    lab.run("node", "ip route replace 10.244.1.11 dev lxc-deathstar-a src 10.244.1.99");
    lab.run("node", "pod land 10.244.1.11:80");
    agent.settles(|scrape| {
        let of = |source| scrape.sum(PACKETS, &[("source", source), ("destination", DEATHSTAR_A)]);
        match (of("reserved:host"), of("reserved:world-ipv4"), scrape.sum(VERDICTS, &[("action", "audit")])) {
            (1.., 0, 0) => Ok(()),
            found => Err(format!("packets of the host and of the world, and audits: {found:?}")),
        }
    });
}

/// A default route that comes after the start makes its veth an uplink, as in a node that is a
/// container itself; without one it looks like a pod's.
#[test]
fn an_uplink_is_known_by_its_route_at_any_time() {
    let Some(lab) = Lab::up() else { return };
    for family in ["-4", "-6"] {
        lab.run("node", &format!("ip {family} route del default"));
    }
    let mut agent = Agent::start(&lab, &[]);
    agent.wait_until("all five veths look like pods'", |agent| watched(agent) == 5);
    lab.run("node", "ip route add default via 172.18.0.1");
    agent.wait_until("the uplink is none of them", |agent| watched(agent) == 4);
    lab.run("node", "ip -6 route add default via fd00:172:18::1");
    lab.run("node", "ip route del default");
    // Whatever was read until then has been read when this address is known.
    lab.run("node", "ip address add 172.18.0.78/32 dev eth0");
    agent.wait_until("the address is the host's", |agent| labels(agent, "172.18.0.78").contains("reserved:host"));
    assert_eq!(watched(&agent), 4, "by its other default route");
    lab.run("node", "ip -6 route del default");
    agent.wait_until("it looks like a pod's again", |agent| watched(agent) == 5);
}

/// A pod may send the moment that it has an interface. Its first packets are seen, or it is counted
/// how many were not: so too where the agent was held up for longer than the pod lived.
#[test]
fn first_packets_of_a_new_interface() {
    const PINGS: u64 = 3;
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let world = lab.namespace("world");
    let batch = |name: &str, lines: &[&str]| lab.file(name, &format!("{}\n", lines.join("\n"))).display().to_string();
    let pair = format!("link add late type veth peer name late netns {world}");
    let here = batch("here", &[&pair, "link set late up", "address add 10.9.9.1/24 dev late"]);
    let there = batch("there", &["link set late up", "address add 10.9.9.2/24 dev late"]);
    let late = [("reason", "late")];
    let mut sent = 0;
    let mut missed_before = 0;
    for is_held_up in [false, false, false, true] {
        if is_held_up {
            agent.signal("STOP");
        }
        lab.run("node", &format!("ip -batch {here}"));
        lab.run("world", &format!("ip -batch {there}"));
        lab.run("world", &format!("ping -q -c {PINGS} -i 0.01 10.9.9.1"));
        sent += PINGS;
        if is_held_up {
            agent.signal("CONT");
        }
        agent.settles(|scrape| {
            let seen = scrape.sum("hubble_icmp_total", &[("type", "EchoRequest")]);
            let missed = scrape.sum("webb_probe_gap_packets_total", &late);
            // Each has an answer, which passes as unseen.
            let needed = if is_held_up { missed_before + 2 * PINGS } else { 0 };
            if seen + missed >= sent && missed >= needed {
                Ok(())
            } else {
                Err(format!("of {sent} requests {seen} were seen, and {missed} packets are said to be missed"))
            }
        });
        missed_before = agent.scrape().sum("webb_probe_gap_packets_total", &late);
        lab.run("node", "ip link delete late");
    }
    assert!(agent.scrape().sum("webb_probe_gaps_total", &late) >= 1);
    assert!(!why(&agent, "probes").contains("late"), "{}", why(&agent, "probes"));
}

/// What had passed the interfaces before the agent was started is no gap.
#[test]
fn packets_from_before_the_start() {
    let Some(lab) = Lab::up() else { return };
    lab.run("tiefighter", "ping -q -c 7 -i 0.05 10.244.1.11");
    let mut agent = Agent::start(&lab, &[]);
    let from = [("source", TIEFIGHTER), ("traffic_direction", "egress")];
    lab.run("tiefighter", "ping -q -c 3 -i 0.05 10.244.1.11");
    agent.settles(exactly(&[(PACKETS, &from, 3)]));
    for family in ["webb_probe_gap_packets_total", "webb_probe_gaps_total"] {
        assert_eq!(agent.scrape().sum(family, &[]), 0, "{family}: {}", agent.log());
    }
}

/// Another agent that makes the clsact qdisc anew takes our filters along: that is noticed and
/// mended, the gap is counted and said, and a filter that it made meanwhile stays, also when the
/// agent ends.
#[test]
fn a_qdisc_that_is_made_anew() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "interfaces: {attach: clsact}");
    let from = [("source", "default/tiefighter"), ("traffic_direction", "egress")];
    lab.run("tiefighter", "ping -q -c 3 -i 0.05 10.244.1.11");
    agent.settles(exactly(&[(PACKETS, &from, 3)]));
    let removed = [("reason", "removed")];
    lab.run("node", "tc qdisc del dev lxc-tiefighter clsact");
    lab.run("node", "tc qdisc add dev lxc-tiefighter clsact");
    // A classic program of one instruction, that matches nothing. The agent may be back before it,
    // and then takes the first place again, which is a gap of another reason.
    let other = "tc filter add dev lxc-tiefighter ingress pref 1 handle 1 bpf bytecode";
    assert!(lab.command("node", other).arg("1,6 0 0 0,").status().unwrap().success());
    lab.run("tiefighter", "ping -q -c 7 -i 0.05 10.244.1.11");
    agent.wait_until("the gap is noticed", |agent| agent.scrape().sum("webb_probe_gaps_total", &removed) == 1);
    agent.wait_until("the gap is over", |agent| agent.log().contains("in their places again"));
    assert!(
        why(&agent, "probes").contains("removed the programs from interfaces 1 times"),
        "{}",
        why(&agent, "probes")
    );
    // The last records of the seven may still be on their way.
    agent.settles(|scrape| {
        let (seen, missed) = (scrape.sum(PACKETS, &from), scrape.sum("webb_probe_gap_packets_total", &[]));
        if missed + seen >= 10 { Ok(()) } else { Err(format!("of ten packets {seen} were seen and {missed} missed")) }
    });
    let other = [("destination", "default/deathstar-7b8c5f9d64-tq9wd"), from[0], from[1]];
    lab.run("tiefighter", "ping -q -c 5 -i 0.05 10.244.1.12");
    agent.settles(exactly(&[(PACKETS, &other, 5), ("webb_probe_gaps_total", &removed, 1)]));
    let filters = || lab.run("node", "tc filter show dev lxc-tiefighter ingress");
    assert!(filters().contains("bytecode") && filters().contains("webb_from_pod"), "{}", filters());
    agent.signal("TERM");
    assert_eq!(agent.ended().code(), Some(0));
    assert!(filters().contains("bytecode") && !filters().contains("webb_from_pod"), "{}", filters());
}

/// The same in a TCX chain: a detached link is made again.
#[test]
fn a_link_that_is_detached() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let index = fs::read_to_string(format!("/proc/{}/net/igmp", agent.pid())).unwrap();
    let index = index.lines().find(|line| line.contains("lxc-xwing")).and_then(|line| line.split_whitespace().next());
    let ifindex = format!("ifindex:\t{}\n", index.unwrap());
    // What the kernel says of the agent's links.
    let link = |agent: &Agent| -> Option<String> {
        let files = fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap();
        let texts = files.filter_map(|file| fs::read_to_string(file.unwrap().path()).ok());
        let mut ours = texts.filter(|text| text.contains(&ifindex) && text.contains("egress"));
        let text = ours.next()?;
        text.lines().find_map(|line| line.strip_prefix("link_id:\t").map(str::to_owned))
    };
    let before = link(&agent).unwrap();
    // Of interfaces that are new to the agent there may be gaps of their own.
    let removed = [("reason", "removed")];
    lab.run("node", &format!("bpftool link detach id {before}"));
    agent.wait_until("the gap is noticed", |agent| agent.scrape().sum("webb_probe_gaps_total", &removed) == 1);
    assert!(link(&agent).is_some_and(|now| now != before), "another link is in its place");
}

/// A program that is placed before ours and ends every packet blinds that direction: that is
/// noticed and said, the first place is taken again, the gap is counted, and what follows counts.
fn a_program_before_ours(attach: &str, by: By) {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, &format!("interfaces: {{attach: {attach}}}"));
    let from = [("source", "default/tiefighter"), ("traffic_direction", "egress")];
    let displaced = [("reason", "displaced")];
    lab.run("tiefighter", "ping -q -c 3 -i 0.05 10.244.1.11");
    agent.settles(exactly(&[(PACKETS, &from, 3)]));
    let place = || Ok(Enforcer::pass("lxc-tiefighter", by, TcAttachType::Ingress));
    let _other = inside(&lab.namespace("node"), place).unwrap();
    lab.run("tiefighter", "ping -q -c 7 -i 0.05 10.244.1.11");
    agent.wait_until("the gap is over", |agent| agent.log().contains("in their places again"));
    let said = why(&agent, "probes");
    assert!(said.contains("placed others before them 1 times (last: lxc-tiefighter)"), "{said}");
    let scrape = agent.scrape();
    let missed = scrape.sum("webb_probe_gap_packets_total", &displaced);
    let seen = scrape.sum(PACKETS, &from);
    assert!(missed + seen >= 10, "of ten packets {seen} were seen and {missed} missed at most");
    lab.run("tiefighter", "ping -q -c 5 -i 0.05 10.244.1.11");
    agent.settles(exactly(&[(PACKETS, &from, seen + 5), ("webb_probe_gaps_total", &displaced, 1)]));
    assert_eq!(agent.log().matches("was placed before ours").count(), 1, "{}", agent.log());
}

/// In a TCX chain.
#[test]
fn a_program_before_ours_in_a_chain() {
    a_program_before_ours("tcx", By::TcxFirst);
}

/// Among filters of clsact.
#[test]
fn a_program_before_ours_among_filters() {
    a_program_before_ours("clsact", By::FilterFirst);
}

/// A program of a TCX chain comes before all filters, so the first place cannot be had: that is
/// said as long as it is so, and once in the log.
#[test]
fn a_place_that_cannot_be_had() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "interfaces: {attach: clsact}");
    let place = || Ok(Enforcer::pass("lxc-tiefighter", By::Tcx, TcAttachType::Ingress));
    let other = inside(&lab.namespace("node"), place).unwrap();
    let said = "at lxc-tiefighter another program was placed before ours";
    agent.wait_until("it is said", |agent| why(agent, "probes").contains(said));
    let missed = |agent: &Agent| agent.scrape().sum("webb_probe_gap_packets_total", &[("reason", "displaced")]);
    lab.run("tiefighter", "ping -q -c 7 -i 0.05 10.244.1.11");
    agent.wait_until("what passes is counted", |agent| missed(agent) >= 7);
    assert!(why(&agent, "probes").contains(said));
    drop(other);
    agent.wait_until("the place is ours", |agent| agent.log().contains("in their places again"));
    assert!(!why(&agent, "probes").contains(said));
    assert_eq!(agent.log().matches("was placed before ours").count(), 1, "{}", agent.log());
}

/// An interface that cannot be watched at first is tried again, however many other interfaces
/// change meanwhile.
#[test]
fn a_storm_of_changes_puts_nothing_off() {
    let Some(lab) = Lab::up() else { return };
    // It would take the filter for packets that leave, and run it on those that come in.
    lab.run("node", "tc qdisc add dev lxc-xwing ingress");
    let mut agent = Agent::start_with(&lab, "interfaces: {attach: clsact}");
    agent.wait_until("it is said", |agent| why(agent, "probes").contains("lxc-xwing"));
    assert_eq!(watched(&agent), 3);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0_u64.. {
                if over.load(Relaxed) {
                    break;
                }
                lab.run("node", &format!("ip link set dev lo alias storm{number}"));
            }
        });
        lab.run("node", "tc qdisc del dev lxc-xwing ingress");
        let started = std::time::Instant::now();
        while watched(&agent) < 4 && started.elapsed() < std::time::Duration::from_secs(50) {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        over.store(true, Relaxed);
    });
    assert_eq!(watched(&agent), 4, "{}", agent.log());
    agent.wait_until("nothing is amiss any more", |agent| why(agent, "probes").is_empty());
}

/// A device without Ethernet headers is refused by its name and once, not again with every change
/// of it.
#[test]
fn a_device_without_ethernet_is_refused_once() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "interfaces: {node: [lo]}");
    agent.wait_until("it is said", |agent| why(agent, "probes").contains("interface lo is not of link type Ethernet"));
    lab.run("node", "ip link set dev lo down");
    lab.run("node", "ip link set dev lo up");
    lab.run("node", "ip address add 172.18.0.78/32 dev eth0");
    agent.wait_until("that was seen", |agent| labels(agent, "172.18.0.78").contains("reserved:host"));
    assert_eq!(agent.log().matches("interface lo is not").count(), 1, "{}", agent.log());
}

/// Pods have second interfaces in a network of their own (Multus). What is there is theirs, by the
/// annotation or because it leads to the same namespace, and no NetworkPolicy speaks of it: the
/// policy forbids xwing, and there is no verdict at all.
#[test]
fn second_interfaces_are_their_pods() {
    let Some(lab) = Lab::up() else { return };
    lab.run("node", "ip link add br5 type bridge");
    lab.run("node", "ip link set br5 up");
    for (pod, last) in [("xwing", 1), ("deathstar-a", 2)] {
        let (device, netns) = (format!("n5-{pod}"), lab.namespace(pod));
        lab.run("node", &format!("ip link add {device} type veth peer name net1 netns {netns}"));
        lab.run("node", &format!("ip link set {device} master br5 up"));
        lab.run(pod, "ip link set net1 up");
        lab.run(pod, &format!("ip address add 192.168.5.{last}/24 dev net1"));
    }
    let network = r#"[{"name":"lab","interface":"eth0","ips":["10.244.1.31"],"default":true},{"name":"storage","interface":"net1","ips":["192.168.5.1"]}]"#;
    let good = fs::read_to_string(Lab::manifest()).unwrap();
    let named = "kind: Pod\nmetadata:\n  name: xwing\n";
    assert_eq!(good.matches(named).count(), 1);
    let annotated = format!("{named}  annotations: {{ k8s.v1.cni.cncf.io/network-status: '{network}' }}\n");
    let manifest = lab.file("manifest.yaml", &good.replace(named, &annotated));
    let config = lab.file("webb.yaml", QUICK);
    let metrics = format!("policy:{CONTEXTS} traffic:{CONTEXTS} flow");
    let more = ["--cluster-manifest", manifest.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let mut agent = Agent::start_at(&lab, "node", &metrics, &more);
    for pod in [XWING, DEATHSTAR_A] {
        agent.wait_until("both interfaces are known", |agent| {
            json(agent, &format!("/pods/{pod}"))["interfaces"].as_array().is_some_and(|found| found.len() == 2)
        });
    }
    assert!(labels(&agent, "192.168.5.1").contains("k8s:org=alliance"), "{}", labels(&agent, "192.168.5.1"));
    lab.run("xwing", "pod land --rounds 3 192.168.5.2:80");
    let scrape = agent.settles(|scrape| {
        let of = |direction, source, destination| {
            let ends = [("source", source), ("destination", destination), ("traffic_direction", direction)];
            scrape.sum(PACKETS, &ends)
        };
        // Of the two, only xwing's address is known elsewhere than at its own interface.
        match (of("ingress", XWING, DEATHSTAR_A), of("egress", XWING, "reserved:world-ipv4")) {
            (1.., 1..) => Ok(()),
            found => Err(format!("packets into deathstar and out of xwing: {found:?}")),
        }
    });
    assert_eq!(scrape.sum(VERDICTS, &[]), 0, "{}", scrape.show("hubble_policy"));
    assert_eq!(scrape.sum("webb_policy_undecided_total", &[]), 0);
}

/// A pod that is not listed, in a cluster without networks of pods (nodes share theirs, as in some
/// clouds): at either end of a flow, and at either hook, it is a pod without a name and not the
/// world, so no policy is said to be broken by it. Once it is listed, both hooks name it.
#[test]
fn a_pod_that_is_not_listed_is_not_the_world() {
    let Some(lab) = Lab::up() else { return };
    let all = fs::read_to_string(Lab::manifest()).unwrap();
    let networks = |node: &str| {
        format!("  podCIDR: 10.244.{node}.0/24\n  podCIDRs:\n    - 10.244.{node}.0/24\n    - fd00:10:244:{node}::/64\n")
    };
    let shared = "  addresses:\n    - type: InternalIP\n      address: 10.244.1.62\n    - type: InternalIP\n      address: fd00:10:244:1::3e\n";
    let all = all.replace(&networks("1"), "").replace(&networks("2"), "").replacen("  addresses:\n", shared, 1);
    assert!(!all.contains("podCIDR") && all.contains("10.244.1.62"));
    let documents: Vec<&str> = all.split("\n---\n").filter(|text| !text.contains("\n  name: tiefighter\n")).collect();
    let manifest = lab.file("manifest.yaml", &documents.join("\n---\n"));
    let metrics = format!("policy:{CONTEXTS} flow:{CONTEXTS} traffic:{CONTEXTS} flows-to-world");
    let mut agent = Agent::start_at(&lab, "node", &metrics, &["--cluster-manifest", manifest.to_str().unwrap()]);
    for address in ["10.244.1.21", "fd00:10:244:1::21"] {
        agent.wait_until("its address is known", |agent| labels(agent, address).contains("reserved:unknown"));
    }
    let speak = || {
        lab.run("tiefighter", "pod land --rounds 3 10.244.1.11:80 [fd00:10:244:1::11]:80");
        lab.run("xwing", "pod ask --rounds 3 10.244.1.21:7777 [fd00:10:244:1::21]:7777");
    };
    speak();
    let flows = |scrape: &Scrape, labels: &[(&str, &str)]| scrape.sum("hubble_flows_processed_total", labels);
    let is_named = |scrape: &Scrape, name: &str| {
        for point in ["to-stack", "to-endpoint"] {
            for (source, destination) in [(name, DEATHSTAR_A), (DEATHSTAR_A, name), (name, XWING), (XWING, name)] {
                let ends = [("subtype", point), ("source", source), ("destination", destination)];
                if flows(scrape, &ends) == 0 {
                    return Err(format!("no flow from {source} to {destination} at {point}"));
                }
            }
        }
        Ok(())
    };
    let nothing_wrong = |scrape: &Scrape| {
        for world in ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"] {
            for end in ["source", "destination"] {
                assert_eq!(flows(scrape, &[(end, world)]), 0, "{}", scrape.show("hubble_flows"));
            }
        }
        assert_eq!(scrape.sum("hubble_flows_to_world_total", &[]), 0, "{}", scrape.show("hubble_flows_to_world"));
        assert_eq!(scrape.sum(VERDICTS, &[("action", "audit")]), 0, "{}", scrape.show(VERDICTS));
    };
    nothing_wrong(&agent.settles(|scrape| is_named(scrape, "reserved:unknown")));

    fs::write(&manifest, &all).unwrap();
    agent.wait_until("it is listed", |agent| labels(agent, "10.244.1.21").contains("k8s:org=empire"));
    let before = flows(&agent.scrape(), &[]);
    assert!(before > 0);
    speak();
    let scrape = agent.settles(|scrape| is_named(scrape, TIEFIGHTER));
    nothing_wrong(&scrape);
    let forwarded =
        [("destination", DEATHSTAR_A), ("source", TIEFIGHTER), ("direction", "ingress"), ("action", "forwarded")];
    assert_eq!(scrape.sum(VERDICTS, &forwarded), 6, "{}", scrape.show(VERDICTS));
}
