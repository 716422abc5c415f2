//! Coming and going: interfaces, namespaces, configuration, and the agent itself; each mistake with
//! its own exit code.

use std::fs;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};

use crate::counts::{POINTS, exactly};
use crate::harness::{Agent, DEATHSTAR_A, Lab, TIEFIGHTER, inside};
use crate::ledger::traffic_is_what_was_reported;

/// A way to be sure that the agent still watches: exact counts for ten more requests.
fn still_counts(lab: &Lab, agent: &mut Agent) {
    let syns = |agent: &Agent| agent.scrape().sum("hubble_tcp_flags_total", &[("flag", "SYN")]);
    let before = syns(agent);
    lab.run("tiefighter", "pod land --rounds 10 10.244.1.11:80");
    agent.settles(exactly(&[("hubble_tcp_flags_total", &[("flag", "SYN")], before + 10 * POINTS)]));
}

/// A pod's interface that appears while the agent runs is watched, and gone again is forgotten; the
/// same name can come back as another interface; a hundred that vanish at once, perhaps while being
/// attached, leave the rest as it was.
#[test]
fn interfaces_come_and_go() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    let world = lab.namespace("world");
    let requests = |agent: &Agent| agent.scrape().sum("hubble_icmp_total", &[("type", "EchoRequest")]);
    for round in 1..=3 {
        lab.run("node", &format!("ip link add late type veth peer name late netns {world}"));
        lab.run("node", "ip address add 10.9.9.1/24 dev late");
        lab.run("node", "ip link set late up");
        lab.run("world", "ip address add 10.9.9.2/24 dev late");
        lab.run("world", "ip link set late up");
        // Unknown until then how many of these are seen.
        let seen = requests(&agent);
        agent.wait_until(&format!("the new interface is watched, round {round}"), |agent| {
            lab.run("world", "ping -q -c 1 -W 5 10.9.9.1");
            requests(agent) > seen
        });
        // The world's address has no name: a flow waits some seconds for one before it counts.
        agent.wait_until("all that was seen is counted", |agent| {
            let scrape = agent.scrape();
            scrape.sum("webb_cluster_waiting_flows", &[]) == 0 && traffic_is_what_was_reported(&scrape).is_ok()
        });
        let seen = requests(&agent);
        lab.run("world", "ping -q -c 5 -i 0.05 10.9.9.1");
        // One observation point: the other end is the node itself.
        agent.settles(exactly(&[("hubble_icmp_total", &[("type", "EchoRequest")], seen + 5)]));
        lab.run("node", "ip link delete late");
    }
    for number in 0..100 {
        lab.run("node", &format!("ip link add brief{number} type veth peer name brief{number} netns {world}"));
        lab.run("node", &format!("ip link delete brief{number}"));
    }
    still_counts(&lab, &mut agent);
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
}

/// A pod that goes takes its namespace and interface along, under the attached programs.
#[test]
fn a_namespace_is_deleted_under_it() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start(&lab, &[]);
    lab.run("xwing", "pod ask 10.244.1.21:7777");
    lab.run("node", &format!("ip netns delete {}", lab.namespace("xwing")));
    agent.wait_until("the interface is gone", |_| !lab.try_run("node", "ip link show lxc-xwing").status.success());
    still_counts(&lab, &mut agent);
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
}

/// Somebody else has the port: the address is named, and the exit code says that it is a matter of
/// configuration.
#[test]
fn a_port_in_use() {
    let Some(lab) = Lab::up() else { return };
    let mut other = lab.command("node", "pod serve 9965").spawn().unwrap();
    while !lab.run("node", "cat /proc/net/tcp6").contains(":26ED ") {}
    let mut agent = Agent::spawn(&lab, "", &[]);
    assert_eq!(agent.ended().code(), Some(64), "{}", agent.log());
    assert!(agent.log().contains("9965"), "{}", agent.log());
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Without the right to load programs: 77, and the missing capability by name.
#[test]
fn a_missing_capability() {
    let Some(lab) = Lab::up() else { return };
    for (drop, name) in
        [("-bpf,-sys_admin", "CAP_BPF"), ("-net_admin", "CAP_NET_ADMIN"), ("-perfmon,-sys_admin", "CAP_PERFMON")]
    {
        let mut agent = Agent::spawn(&lab, &format!("setpriv --bounding-set={drop} --inh-caps={drop}"), &[]);
        assert_eq!(agent.ended().code(), Some(77), "{drop}: {}", agent.log());
        assert!(agent.log().contains(name), "{drop}: {}", agent.log());
    }
}

/// A wrong key, a wrong value, a file that is not there: 64, with file and line where there is one.
#[test]
fn a_wrong_configuration() {
    let Some(lab) = Lab::up() else { return };
    let file = lab.file("wrong.yaml", "aggregation: medium\nreport_intervall: 5s\n");
    let mut agent = Agent::spawn(&lab, "", &["--config", file.to_str().unwrap()]);
    assert_eq!(agent.ended().code(), Some(64), "{}", agent.log());
    assert!(agent.log().contains("wrong.yaml:2") && agent.log().contains("report_interval"), "{}", agent.log());

    let mut agent = Agent::spawn(&lab, "", &["--metrics", "flow:sourceContext=nonsense"]);
    assert_eq!(agent.ended().code(), Some(64), "{}", agent.log());
    assert!(agent.log().contains("unknown context 'nonsense'"), "{}", agent.log());
}

/// One object that cannot be read costs that object alone, and is told by file and name.
#[test]
fn a_bad_object_in_the_manifest() {
    let Some(lab) = Lab::up() else { return };
    let good = fs::read_to_string(Lab::manifest()).unwrap();
    let bad = "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: stray\n  namespace: default\nstatus:\n  podIPs: 7\n";
    let file = lab.file("manifest.yaml", &format!("{bad}---\n{good}"));
    let mut agent = Agent::start(&lab, &["--cluster-manifest", file.to_str().unwrap()]);
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    agent.settles(|scrape| {
        let named = [("source", TIEFIGHTER), ("destination", DEATHSTAR_A)];
        let packets = scrape.sum("webb_traffic_packets_total", &named);
        if packets > 0 { Ok(()) } else { Err("the good objects are not known".to_owned()) }
    });
    assert!(agent.log().contains("stray") && agent.log().contains("manifest.yaml"), "{}", agent.log());
}

/// SIGHUP reads configuration and manifest again: a pod's new name shows in what follows, counters
/// go on, and a reload that goes wrong leaves everything as it was.
#[test]
fn reload() {
    let Some(lab) = Lab::up() else { return };
    let text = fs::read_to_string(Lab::manifest()).unwrap();
    let manifest = lab.file("manifest.yaml", &text);
    let path = manifest.to_str().unwrap().to_owned();
    let config = lab.file("webb.yaml", &format!("cluster_manifest: {path}\nlog: {{ level: info }}\n"));
    let mut agent = Agent::start(&lab, &["--config", config.to_str().unwrap(), "--cluster-manifest", &path]);
    let packets = "webb_traffic_packets_total";
    let ping = |agent: &mut Agent, source: &str, count: u64| {
        lab.run("tiefighter", &format!("ping -q -i 0.05 -c {count} 10.244.1.11"));
        agent.settles(exactly(&[(packets, &[("source", source), ("traffic_direction", "egress")], count)]));
    };
    ping(&mut agent, TIEFIGHTER, 3);

    fs::write(&manifest, text.replace("name: tiefighter", "name: tiebomber")).unwrap();
    agent.signal("HUP");
    agent.wait_until("the new manifest is in force", |agent| {
        lab.run("tiefighter", "ping -q -c 1 203.0.113.10");
        agent.scrape().sum(packets, &[("source", "default/tiebomber")]) > 0
    });
    let after = agent.settles(|_| Ok(()));
    let of = |scrape: &crate::scrape::Scrape, source| {
        scrape.sum(packets, &[("source", source), ("destination", DEATHSTAR_A), ("traffic_direction", "egress")])
    };
    assert_eq!(of(&after, TIEFIGHTER), 3, "what was counted stays under the name that it had");
    assert_eq!(of(&after, "default/tiebomber"), 0);
    lab.run("tiefighter", "ping -q -i 0.05 -c 4 10.244.1.11");
    let to_deathstar = [("source", "default/tiebomber"), ("destination", DEATHSTAR_A), ("traffic_direction", "egress")];
    agent.settles(exactly(&[(packets, &to_deathstar, 4)]));

    fs::write(&config, "no_such_key: 1\n").unwrap();
    agent.signal("HUP");
    agent.wait_until("the error is told", |agent| agent.log().contains("no_such_key"));
    still_counts(&lab, &mut agent);
}

/// A network outside is where the configuration says, and elsewhere after a reload.
#[test]
fn places_of_networks_are_reloaded() {
    let Some(lab) = Lab::up() else { return };
    let text = |zone: &str| {
        format!(
            "cluster_manifest: {}\nmetrics: ['icmp:labelsContext=source_zone,destination_zone']\nzones:\n  cidrs:\n  \
             - {{cidr: 203.0.113.0/24, zone: {zone}}}\n  - {{cidr: 203.0.0.0/16, name: more}}\n",
            Lab::manifest().display()
        )
    };
    let config = lab.file("webb.yaml", &text("coruscant"));
    let words = ["--node-name", "webb-node-1", "--config", config.to_str().unwrap()];
    let mut agent = Agent::spawn(&lab, "", &words);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    let sent = |agent: &Agent, zone: &str| {
        let named = [("source_zone", "outer-rim-a"), ("destination_zone", zone)];
        agent.scrape().sum("hubble_icmp_total", &named)
    };
    let ping = |agent: &Agent, zone: &str| {
        lab.run("tiefighter", "ping -q -c 1 203.0.113.10");
        sent(agent, zone) > 0
    };
    agent.wait_until("the network has its place", |agent| ping(agent, "coruscant"));
    fs::write(&config, text("alderaan")).unwrap();
    agent.signal("HUP");
    agent.wait_until("the network has moved", |agent| ping(agent, "alderaan"));
    let before = sent(&agent, "coruscant");
    assert!(ping(&agent, "alderaan"));
    assert_eq!(sent(&agent, "coruscant"), before, "what was counted stays where it was");
}

/// While the last counters linger the process turns over and says so: a kubelet that asks must not
/// kill it, however long that takes.
#[test]
fn it_is_well_while_it_lingers() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "shutdown: { budget: 5m, linger: 4m }\n");
    agent.signal("TERM");
    agent.wait_until("all but the listeners has stopped", |agent| agent.log().contains("the last counters stay"));
    let since = Instant::now();
    agent.wait_until("the control thread has moved since", |agent| {
        let control = agent.component("control").unwrap();
        let beat = Duration::from_millis(control["last_beat_ms_ago"].as_u64().unwrap());
        beat < since.elapsed().saturating_sub(Duration::from_millis(100))
    });
    assert_eq!(agent.get("/healthz").unwrap().status, 200);
    assert_eq!(agent.get("/readyz").unwrap().status, 503, "no traffic is to be sent here");
    assert!(agent.scrape().sum("webb_build_info", &[]) == 1);
    agent.signal("TERM");
    assert_eq!(agent.ended().code(), Some(0), "{}", agent.log());
}

/// Numbers of the agent's programs on an interface of the node, in and out: in the TCX chains, or
/// as filters where the kernel has none.
fn programs(lab: &Lab, device: &str) -> [usize; 2] {
    [(TcAttachType::Ingress, "ingress"), (TcAttachType::Egress, "egress")].map(|(direction, name)| {
        let chain = inside(&lab.namespace("node"), || {
            let (_, programs) = SchedClassifier::query_tcx(device, direction).map_err(std::io::Error::other)?;
            Ok(programs
                .iter()
                .filter(|program| program.name_as_str().is_some_and(|name| name.starts_with("webb")))
                .count())
        });
        let filters = lab.run("node", &format!("tc filter show dev {device} {name}"));
        chain.unwrap_or(0) + filters.lines().filter(|line| line.contains("webb_")).count()
    })
}

/// SIGTERM and SIGINT: an orderly end, exit code 0, and the ports are free for the next.
#[test]
fn stops_when_asked() {
    let Some(lab) = Lab::up() else { return };
    for signal in ["TERM", "INT"] {
        let mut agent = Agent::start(&lab, &[]);
        lab.run("tiefighter", "pod land 10.244.1.11:80");
        assert_eq!(programs(&lab, "lxc-tiefighter"), [1, 1], "one for each direction");
        agent.signal(signal);
        assert_eq!(agent.ended().code(), Some(0), "{}", agent.log());
        assert_eq!(programs(&lab, "lxc-tiefighter"), [0, 0], "programs are still attached");
    }
}

/// Asked while its programs load, the agent ends without starting anything.
#[test]
fn stops_while_it_starts() {
    let Some(lab) = Lab::up() else { return };
    // The listeners are there before the programs, which take a second. On a machine so busy that
    // they are loaded before the signal is sent, the next one may be in time.
    let is_early = (0..5).any(|_| {
        let mut agent = Agent::spawn(&lab, "", &[]);
        agent.wait_until("it listens", |_| lab.run("node", "cat /proc/net/tcp6").contains(":26ED "));
        agent.signal("TERM");
        assert_eq!(agent.ended().code(), Some(0), "{}", agent.log());
        !agent.log().contains("is running")
    });
    assert!(is_early, "it was started all the same");
}
