//! Connection quality against what is known of the traffic, and against the pods' own kernels.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use rustix::process::{Resource, Rlimit};

use crate::counts::{Expected, exactly};
use crate::harness::{Agent, DEATHSTAR_A, Lab, QUICK, TIEFIGHTER, XWING, inside};
use crate::scrape::Scrape;

const METRICS: &str = "flow connections:sourceContext=pod|ip;destinationContext=pod|ip";
const DEATHSTAR_B: &str = "default/deathstar-7b8c5f9d64-tq9wd";

const ATTEMPTS: &str = "webb_tcp_connections_total";
const OPEN: &str = "webb_tcp_open_connections";

fn agent(lab: &Lab) -> Agent {
    agent_with(lab, QUICK)
}

fn agent_with(lab: &Lab, config: &str) -> Agent {
    let path = lab.file("webb.yaml", config);
    Agent::start_at(lab, "node", METRICS, &["--config", path.to_str().unwrap()])
}

/// So many connections from tiefighter to xwing, as both ends have them.
fn connections(lab: &Lab, listener: &TcpListener, count: usize) -> Vec<(TcpStream, TcpStream)> {
    (0..count).map(|_| (lab.connection("tiefighter", "10.244.1.31:5000"), listener.accept().unwrap().0)).collect()
}

fn of<'a>(source: &'a str, destination: &'a str, outcome: &'a str, reporter: &'a str) -> [(&'a str, &'a str); 4] {
    [("source", source), ("destination", destination), ("outcome", outcome), ("reporter", reporter)]
}

/// Rules of a pod's own firewall: of what happens to a SYN there the node sees the answer only.
pub(crate) fn in_pod(lab: &Lab, pod: &str, rules: &[&str]) {
    lab.run(pod, "nft add table inet own");
    lab.run(pod, "nft add chain inet own input { type filter hook input priority 0 ; }");
    for rule in rules {
        lab.run(pod, &format!("nft add rule inet own input {rule}"));
    }
}

/// So many connections of each sort, of IPv4 and IPv6: each outcome is exact at both sides that see
/// it, through the Service and without, and an attempt counts once though its SYN comes again and
/// its entry in the table has long gone by then.
#[test]
fn outcomes_are_exact() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "b");
    in_pod(&lab, "xwing", &["tcp dport 4000 drop", "tcp dport 4001 reject with icmpx type admin-prohibited"]);
    let mut agent = agent(&lab);
    let (accepted, of_service, refused, lost, denied, rejected, unreachable) = (6, 4, 5, 3, 4, 2, 2);
    let land = |pod: &str, rounds: u64, timeout: u64, port: u16, addresses: [&str; 2]| {
        let [v4, v6] = addresses;
        let words = format!("pod land --timeout {timeout} --rounds {rounds} {v4}:{port} [{v6}]:{port}");
        lab.try_run(pod, &words);
    };
    let (deathstar, xwing) = (["10.244.1.11", "fd00:10:244:1::11"], ["10.244.1.31", "fd00:10:244:1::31"]);
    land("tiefighter", accepted, 5000, 80, deathstar);
    land("tiefighter", of_service, 5000, 80, ["10.96.23.45", "fd00:10:96::2d"]);
    land("tiefighter", refused, 5000, 81, xwing);
    land("tiefighter", rejected, 5000, 4001, xwing);
    land("tiefighter", unreachable, 5000, 80, ["203.0.113.99", "2001:db8::99"]);
    land("tiefighter", refused, 5000, 81, ["203.0.113.10", "2001:db8::10"]);
    // SYNs come again after one second and after three.
    thread::scope(|scope| {
        scope.spawn(|| land("tiefighter", lost, 2500, 4000, xwing));
        scope.spawn(|| land("xwing", denied, 2500, 80, deathstar));
    });
    let mut wanted = Vec::new();
    let mut both = |source, destination, outcome, count: u64| {
        for reporter in ["client", "server"] {
            wanted.push((of(source, destination, outcome, reporter), 2 * count));
        }
    };
    both(TIEFIGHTER, DEATHSTAR_A, "accepted", accepted);
    both(TIEFIGHTER, DEATHSTAR_B, "accepted", of_service);
    both(TIEFIGHTER, XWING, "refused", refused);
    both(TIEFIGHTER, XWING, "unreachable", rejected);
    both(TIEFIGHTER, XWING, "timed_out", lost);
    both(XWING, DEATHSTAR_A, "denied", denied);
    for destination in ["203.0.113.99", "2001:db8::99"] {
        wanted.push((of(TIEFIGHTER, destination, "unreachable", "client"), unreachable));
    }
    for destination in ["203.0.113.10", "2001:db8::10"] {
        wanted.push((of(TIEFIGHTER, destination, "refused", "client"), refused));
    }
    let all: u64 = wanted.iter().map(|(_, count)| count).sum();
    let mut expected: Vec<Expected<'_>> =
        wanted.iter().map(|(labels, count)| (ATTEMPTS, &labels[..], *count)).collect();
    let ended = 2 * 2 * (accepted + of_service);
    expected.extend([
        (ATTEMPTS, &[][..], all),
        ("webb_tcp_handshake_seconds_count", &[], ended),
        ("webb_tcp_connection_seconds_count", &[("outcome", "closed")], ended),
        ("webb_tcp_connection_seconds_count", &[], ended),
        (OPEN, &[], 0),
        ("webb_connection_events_lost_total", &[], 0),
    ]);
    agent.settles(exactly(&expected));
}

/// Attempts that follow one another from one port are denied one by one: each has a SYN of its own.
#[test]
fn attempts_from_one_port_are_told_apart() {
    const DENIED: u64 = 20;
    let Some(lab) = Lab::up() else { return };
    let mut agent = agent(&lab);
    let (from, to) = ("10.244.1.31:41000".parse().unwrap(), "10.244.1.11:80".parse().unwrap());
    let attempt = || {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddr::V4(from))?;
        fcntl_setfl(&socket, OFlags::NONBLOCK)?;
        let begun = net::connect(&socket, &SocketAddr::V4(to));
        if begun == Err(Errno::INPROGRESS) { Ok(()) } else { Err(io::Error::other("connected at once")) }
    };
    inside(&lab.namespace("xwing"), || (0..DENIED).try_for_each(|_| attempt())).unwrap();
    let [client, server] = ["client", "server"].map(|reporter| of(XWING, DEATHSTAR_A, "denied", reporter));
    agent.settles(exactly(&[(ATTEMPTS, &client, DENIED), (ATTEMPTS, &server, DENIED), (ATTEMPTS, &[], 2 * DENIED)]));
}

/// Handshakes and round trips that took longer than 25 ms, and all of them.
fn slow(scrape: &Scrape, family: &str, destination: &str, reporter: &str) -> (u64, u64) {
    let labels = [("source", TIEFIGHTER), ("destination", destination), ("reporter", reporter)];
    let quick = [&labels[..], &[("le", "0.025")]].concat();
    let all = scrape.sum(&format!("{family}_count"), &labels);
    (all - scrape.sum(&format!("{family}_bucket"), &quick), all)
}

/// Where a pod's packets are late by 40 ms, its handshakes are at both interfaces, and its callers'
/// round trips at theirs. Those of another pod are not.
#[test]
fn a_slow_pod_shows() {
    const ROUNDS: u64 = 8;
    let Some(lab) = Lab::up() else { return };
    let mut agent = agent(&lab);
    lab.slow("deathstar-a", "40ms");
    lab.run("tiefighter", &format!("pod land --timeout 9000 --rounds {ROUNDS} 10.244.1.11:80 10.244.1.12:80"));
    let scrape = agent.settles(|scrape| {
        let counts = [DEATHSTAR_A, DEATHSTAR_B].map(|pod| {
            ["client", "server"].map(|reporter| slow(scrape, "webb_tcp_handshake_seconds", pod, reporter).1)
        });
        if counts == [[ROUNDS; 2]; 2] { Ok(()) } else { Err(format!("handshakes: {counts:?}")) }
    });
    for reporter in ["client", "server"] {
        assert_eq!(slow(&scrape, "webb_tcp_handshake_seconds", DEATHSTAR_A, reporter), (ROUNDS, ROUNDS), "{reporter}");
        let (late, _) = slow(&scrape, "webb_tcp_handshake_seconds", DEATHSTAR_B, reporter);
        assert!(late <= ROUNDS / 2, "{late} of the pod that is not slow\n{}", scrape.show("webb_tcp_handshake"));
    }
    let (late, all) = slow(&scrape, "webb_tcp_rtt_seconds", DEATHSTAR_A, "client");
    assert!(all > 0 && late == all, "round trips: {late} of {all}\n{}", scrape.show("webb_tcp_rtt"));
    let (late, all) = slow(&scrape, "webb_tcp_rtt_seconds", DEATHSTAR_B, "client");
    assert!(all > 0 && late <= all / 2, "round trips: {late} of {all}\n{}", scrape.show("webb_tcp_rtt"));
}

/// `TcpRetransSegs` of a pod's namespace.
fn sent_again(lab: &Lab, pod: &str) -> u64 {
    let text = lab.run(pod, "cat /proc/net/snmp");
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "RetransSegs");
    found.unwrap().1.parse().unwrap()
}

/// What a pod's TCP sends again is what its kernel says it has, with the opener as the source,
/// whichever side sends. The kernel reports the sockets of all labs of this machine; those of
/// others have no interface here.
#[test]
fn retransmissions_are_the_pods_own_count() {
    let Some(lab) = Lab::up() else { return };
    for pod in ["xwing", "tiefighter"] {
        in_pod(
            &lab,
            pod,
            &["tcp dport 5000 numgen random mod 10 0 drop", "tcp sport 5000 numgen random mod 10 0 drop"],
        );
    }
    let agent = agent(&lab);
    let listener = lab.listener("tiefighter", "[::]:5000");
    let counted = |scrape: &Scrape| {
        ["client", "server"].map(|reporter| {
            let labels = [("source", XWING), ("destination", TIEFIGHTER), ("reporter", reporter)];
            scrape.sum("webb_tcp_retransmitted_segments_total", &labels)
        })
    };
    // On some machines the kernel does not run a program in a softirq that has interrupted a task
    // of the machine's own. So what is missing is missing, and the next round must be exact.
    let mut missing = [0; 2];
    for round in 1.. {
        send_again(&lab, &listener, 6 * round);
        let began = Instant::now();
        let own = loop {
            let scrape = agent.scrape();
            let own = ["xwing", "tiefighter"].map(|pod| sent_again(&lab, pod));
            let found = counted(&scrape);
            let recorded = scrape.sum("webb_retransmissions_total", &[("outcome", "sent")]);
            assert_eq!(scrape.sum("webb_retransmissions_total", &[]), recorded, "none is lost");
            assert!(recorded >= found.iter().sum(), "{recorded} in records, {found:?} counted");
            let known = [found[0] + missing[0], found[1] + missing[1]];
            if known == own {
                return;
            }
            assert!(known[0] <= own[0] && known[1] <= own[1], "{known:?} were counted, and {own:?} were sent again");
            if began.elapsed() > Duration::from_secs(20) {
                missing = [own[0] - found[0], own[1] - found[1]];
                break own;
            }
            thread::sleep(Duration::from_millis(300));
        };
        assert!(round < 3, "{own:?} were sent again, and {missing:?} of them not counted");
    }
}

/// Sends from both pods to each other until each has sent so many segments again: some are large,
/// and so they are few.
fn send_again(lab: &Lab, listener: &TcpListener, segments: u64) {
    while sent_again(lab, "xwing") < segments || sent_again(lab, "tiefighter") < segments {
        let upwards = sent_again(lab, "xwing") < segments;
        let address = if upwards { "10.244.1.21:5000" } else { "[fd00:10:244:1::21]:5000" };
        let mut opened = lab.connection("xwing", address);
        let (mut accepted, _) = listener.accept().unwrap();
        let pass = |from: &mut TcpStream, to: &mut TcpStream| {
            thread::scope(|scope| {
                scope.spawn(|| from.write_all(&vec![7; 400_000]).unwrap());
                to.read_exact(&mut vec![0; 400_000]).unwrap();
            });
        };
        if upwards { pass(&mut opened, &mut accepted) } else { pass(&mut accepted, &mut opened) }
    }
}

/// An attempt to send again that the kernel gives up, here without a route, is no retransmission:
/// the pod's kernel does not count it either.
#[test]
fn attempts_that_fail_are_no_retransmissions() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = agent(&lab);
    let listener = lab.listener("xwing", "[::]:5000");
    let (mut opened, mut accepted) = connections(&lab, &listener, 1).remove(0);
    in_pod(&lab, "xwing", &["tcp dport 5000 drop"]);
    opened.write_all(b"lost").unwrap();
    lab.run("tiefighter", "ip route add unreachable 10.244.1.31/32");
    // Each attempt doubles the time to the next, whether it fails or not.
    let began = Instant::now();
    while !lab.run("tiefighter", "ss -Htin dport = :5000").contains("backoff:4") {
        assert!(began.elapsed() < Duration::from_secs(30), "{}", lab.run("tiefighter", "ss -Htin dport = :5000"));
        thread::sleep(Duration::from_millis(20));
    }
    lab.run("tiefighter", "ip route del unreachable 10.244.1.31/32");
    lab.run("xwing", "nft delete table inet own");
    accepted.read_exact(&mut [0; 4]).unwrap();
    agent.settles(|scrape| {
        let own = sent_again(&lab, "tiefighter");
        let labels = [("source", TIEFIGHTER), ("reporter", "client")];
        let counted = scrape.sum("webb_tcp_retransmitted_segments_total", &labels);
        if counted == own && own > 0 { Ok(()) } else { Err(format!("{counted} were counted, and {own} sent again")) }
    });
}

/// The gauge is what `ss` shows: of connections that are older than the metric, through churn, a
/// restart of the metric and of the sweeper, and when they end.
#[test]
fn open_connections_are_those_of_ss() {
    let Some(lab) = Lab::up() else { return };
    let file = lab.file("metrics.yaml", "metrics:\n- name: flow\n");
    let config =
        lab.file("webb.yaml", "connections: { closing_idle: 1s, half_open_idle: 1s, sweep_interval: 100ms }\n");
    let manifest = Lab::manifest();
    let words = ["--node-name", "webb-node-1", "--cluster-manifest", manifest.to_str().unwrap(), "--metrics-config"];
    let words = [&words[..], &[file.to_str().unwrap(), "--config", config.to_str().unwrap()]].concat();
    let mut agent = Agent::spawn(&lab, "", &words);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    let listener = lab.listener("xwing", "[::]:5000");
    let mut open = Vec::new();
    let mut connect = |count: usize| {
        let some: Vec<_> = (0..count)
            .map(|at| {
                let address = if at % 2 == 0 { "10.244.1.31:5000" } else { "[fd00:10:244:1::31]:5000" };
                (lab.connection("tiefighter", address), listener.accept().unwrap().0)
            })
            .collect();
        open.extend(some);
        open.len()
    };
    let by_ss = || lab.run("tiefighter", "ss -Htn state established").lines().count();
    let shown = |agent: &mut Agent, count: usize| {
        assert_eq!(by_ss(), count);
        let count = u64::try_from(count).unwrap();
        agent.settles(exactly(&[
            (OPEN, &[("source", TIEFIGHTER), ("destination", XWING), ("reporter", "client")], count),
            (OPEN, &[("source", TIEFIGHTER), ("destination", XWING), ("reporter", "server")], count),
            (OPEN, &[], 2 * count),
        ]))
    };
    connect(12);
    let metric = "{name: connections, contextOptions: [{name: sourceContext, values: [pod]}, \
                  {name: destinationContext, values: [pod]}]}";
    fs::write(&file, format!("metrics:\n- name: flow\n- {metric}\n")).unwrap();
    agent.signal("HUP");
    shown(&mut agent, 12);
    let listed = agent.scrape().sum("webb_open_connections_corrected_total", &[("outcome", "added")]);
    assert_eq!(listed, 24, "those that are older than the metric");

    let all = connect(9);
    shown(&mut agent, all);
    for _ in 0..300 {
        let ended = (lab.connection("tiefighter", "10.244.1.31:5000"), listener.accept().unwrap());
        drop(ended);
    }
    shown(&mut agent, all);
    #[cfg(feature = "fault-injection")]
    for component in ["aggregator/connections", "sweeper", "reader"] {
        agent.post(&format!("/actors/{component}/restart"));
        shown(&mut agent, all);
    }
    drop(open.split_off(5));
    shown(&mut agent, 5);
    let filter = "includeFilters: [{destination_pod: [\"default/deathstar\"]}]";
    fs::write(&file, format!("metrics:\n- name: flow\n- {}, {filter}}}\n", metric.trim_end_matches('}'))).unwrap();
    agent.signal("HUP");
    agent.settles(exactly(&[(OPEN, &[], 0)]));
    fs::write(&file, format!("metrics:\n- name: flow\n- {metric}\n")).unwrap();
    agent.signal("HUP");
    shown(&mut agent, 5);
    drop(open);
    agent.settles(exactly(&[(OPEN, &[], 0), ("webb_connection_events_lost_total", &[], 0)]));
}

/// Ten thousand connections come and go, and a few stay: the gauge is what `ss` shows.
#[test]
fn churn_leaves_the_gauge_right() {
    const KEPT: usize = 200;
    const ENDED: usize = 10_000;
    let Some(lab) = Lab::up() else { return };
    let mut agent = agent_with(&lab, "connections: { closing_idle: 1s, sweep_interval: 100ms }\n");
    let listener = lab.listener("xwing", "0.0.0.0:5000");
    let kept = connections(&lab, &listener, KEPT);
    for _ in 0..ENDED / KEPT {
        drop(connections(&lab, &listener, KEPT));
    }
    let by_ss = lab.run("tiefighter", "ss -Htn state established").lines().count();
    assert_eq!(by_ss, KEPT);
    let count = |all: usize| u64::try_from(all).unwrap();
    agent.settles(exactly(&[
        (OPEN, &[("source", TIEFIGHTER), ("destination", XWING)], 2 * count(by_ss)),
        (ATTEMPTS, &[("outcome", "accepted")], 2 * count(KEPT + ENDED)),
        ("webb_tcp_connection_seconds_count", &[], 2 * count(ENDED)),
        ("webb_connection_events_lost_total", &[], 0),
    ]));
    drop(kept);
    agent.settles(exactly(&[(OPEN, &[], 0)]));
}

/// A full table forgets open connections, each an end whose outcome is unknown, and has no room for
/// others: of these there are no more than packets without a slot.
#[test]
fn a_full_table_tells_what_the_gauge_lacks() {
    const ALL: usize = 1500;
    let Some(lab) = Lab::up() else { return };
    let mut agent = agent_with(&lab, "connections: { table_bytes: 64KiB, sweep_interval: 100ms }\n");
    let listener = lab.listener("xwing", "0.0.0.0:5000");
    // Both ends of all are this process's.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let kept = connections(&lab, &listener, ALL);
    assert_eq!(lab.run("tiefighter", "ss -Htn state established").lines().count(), ALL);
    let opened = 2 * u64::try_from(ALL).unwrap();
    agent.settles(|scrape| {
        let accepted = scrape.sum(ATTEMPTS, &[("outcome", "accepted")]);
        let forgotten = scrape.sum("webb_tcp_connection_seconds_count", &[("outcome", "unknown")]);
        let open = scrape.sum(OPEN, &[]);
        let alone = scrape.sum("webb_connection_table_alone_packets_total", &[]);
        let right = open + forgotten == accepted && open > 0 && accepted < opened && opened - accepted <= alone;
        let wrong = format!("{open} open, {forgotten} forgotten, {accepted} accepted, {alone} packets without a slot");
        if right { Ok(()) } else { Err(wrong) }
    });
    drop(kept);
    agent.settles(exactly(&[(OPEN, &[], 0)]));
}

/// A metric that a reload brings is refused, with the reason, where its events are not captured:
/// the programs cannot change.
#[test]
fn a_reload_cannot_capture() {
    let Some(lab) = Lab::up() else { return };
    let file = lab.file("metrics.yaml", "metrics:\n- name: flow\n");
    let config = lab.file("webb.yaml", "connections: { capture: off }\n");
    let manifest = Lab::manifest();
    let words = ["--node-name", "webb-node-1", "--cluster-manifest", manifest.to_str().unwrap(), "--metrics-config"];
    let words = [&words[..], &[file.to_str().unwrap(), "--config", config.to_str().unwrap()]].concat();
    let mut agent = Agent::spawn(&lab, "", &words);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    fs::write(&file, "metrics:\n- name: flow\n- name: connections\n").unwrap();
    agent.signal("HUP");
    agent.wait_until("the file is refused", |agent| {
        agent.scrape().sum("webb_metrics_config_reloads_total", &[("outcome", "rejected")]) == 1
    });
    let log = agent.log();
    assert!(log.contains("`connections.capture` is off"), "{log}");
    assert!(agent.get("/readyz").unwrap().body.contains("`connections.capture` is off"));
    lab.run("tiefighter", "pod land 10.244.1.11:80");
    let names: Vec<String> =
        agent.scrape().names().filter(|name| name.starts_with("webb_tcp_")).map(str::to_owned).collect();
    assert_eq!(names, Vec::<String>::new());
}

impl Lab {
    /// Has all that a pod sends be late by so much.
    pub(crate) fn slow(&self, pod: &str, delay: &str) {
        let mut command: Command = self.script();
        let output = command.args(["slow", pod, delay]).output().unwrap();
        assert!(output.status.success(), "lab slow: {}", String::from_utf8_lossy(&output.stderr));
    }
}
