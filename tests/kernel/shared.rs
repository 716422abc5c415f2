//! Interfaces where a packet may end behind our egress program, or was never meant for the pod:
//! what is counted is what the device sends to the pod that it is for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use webb::bpf_loader::{Attach, Mode, ProgramSettings, Special, Timeouts, TrafficControl, drop_reasons};
use webb::network::Role;
use webb::records::Signal;
use webb_flow::abi::{PORT_MACS, Record};

use crate::support::attempts::in_one_of_five;
use crate::support::enforcer::{By, Enforcer};
use crate::support::frames::send_frame;
use crate::support::lab::{Lab, counters, interfaces, run};
use crate::support::packets::{MAC_A, udp};
use crate::support::{Kernel, Sums, has_tcx, load};

/// Maximal time without any movement.
const TIMEOUT: Duration = Duration::from_secs(10);

const PLAIN: Special = Special { bridge: None, at_device: false };
const AT_DEVICE: Special = Special { bridge: None, at_device: true };

/// Has the kernel looked at anew, and says what is special about an interface now.
fn arrange(kernel: &mut Kernel, index: u32) -> Special {
    for arranged in kernel.probes.arrange(&mut TrafficControl::open().unwrap()).unwrap() {
        arranged.outcome.unwrap();
    }
    let special = kernel.probes.special().find(|(of, _)| *of == index);
    special.map(|(_, special)| special).unwrap_or_default()
}

/// Datagrams from the host to a port of the pod, by bash: as many as asked for, of so many bytes.
/// No process is started for each: they are to be sent faster than a slow queue sends them on, on a
/// slow machine as well.
fn send(count: u32, bytes: usize, port: u16) {
    let text = "x".repeat(bytes);
    let script = format!("for i in $(seq {count}); do printf %s {text} > /dev/udp/10.9.1.2/{port}; done");
    assert!(Command::new("bash").args(["-c", &script]).status().unwrap().success());
}

/// The rings' records by now: those of flows, and those of drops.
fn records(kernel: &mut Kernel) -> (Vec<Record>, Vec<Record>) {
    let (mut flows, mut drops) = (Vec::new(), Vec::new());
    kernel.reader.drain(&mut |signal, bytes| {
        let record = crate::support::record(bytes);
        if signal == Signal::Flow {
            flows.push(record);
        } else {
            drops.push(record);
        }
        std::ops::ControlFlow::Continue(())
    });
    (flows, drops)
}

/// Packets and bytes that an interface carried, by the records of the to-pod hook.
fn carried(flows: &[Record]) -> (u64, u64) {
    let mut sums = Sums::default();
    sums.add(flows);
    (sums.packets[1], sums.bytes[1])
}

/// Packets and bytes that the interface sent since `before`, by its own counters.
fn sent(name: &str, before: [u64; 4]) -> (u64, u64) {
    let [.., packets, bytes] = counters(name);
    (packets - before[2], bytes - before[3])
}

/// Reads until the records carry what the interface says that it sent since `before`, and returns
/// all of them. Packets may be on their way still: as long as anything moves, it waits.
fn settle(kernel: &mut Kernel, name: &str, before: [u64; 4]) -> (Vec<Record>, Vec<Record>) {
    let (mut flows, mut drops) = (Vec::new(), Vec::new());
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        kernel.balanced(Mode::Everything);
        let (new_flows, new_drops) = records(kernel);
        flows.extend(new_flows);
        drops.extend(new_drops);
        let now = (carried(&flows), sent(name, before));
        if now.0 == now.1 {
            return (flows, drops);
        }
        if last != Some(now) {
            (last, moved) = (Some(now), Instant::now());
        }
        assert!(moved.elapsed() < TIMEOUT, "the records carry {:?}, the interface sent {:?}", now.0, now.1);
    }
}

/// A program behind ours drops: what it drops is stopped and nothing else, and the interface's own
/// count is ours. When it goes, all is as before.
fn an_enforcer(name: &str, attach: Attach, by: By) {
    Lab::run(name, |lab| {
        let interface = lab.connect("veth7");
        if by == By::Filter && attach == Attach::Tcx {
            run("tc qdisc add dev veth7 clsact");
        }
        let settings = ProgramSettings { attach, ..ProgramSettings::default() };
        let mut kernel = load(&settings).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        assert_eq!(arrange(&mut kernel, interface.index), PLAIN, "we are alone");
        lab.in_pod("ping -q -c 1 10.9.1.1");
        let enforcer = Enforcer::attach("veth7", by, 0, 9999);
        assert_eq!(arrange(&mut kernel, interface.index), AT_DEVICE);
        if attach == Attach::Tcx {
            let (_, chain) = SchedClassifier::query_tcx("veth7", TcAttachType::Egress).unwrap();
            assert_eq!(chain[0].name_as_str(), Some("webb_to_port"), "we still come first");
        }

        kernel.balanced(Mode::Everything);
        records(&mut kernel);
        let (before, dropped) = (counters("veth7"), kernel.totals()[1].stopped_packets);
        send(4, 100, 9999);
        send(3, 200, 4000);
        let (flows, drops) = settle(&mut kernel, "veth7", before);
        let to_pod = |port| flows.iter().filter(|flow| flow.hook == 1 && flow.destination_port == port).count();
        assert_eq!((to_pod(9999), to_pod(4000)), (0, 3), "each datagram has a port of its own to come from");
        let totals = kernel.totals()[1];
        assert_eq!((totals.stopped_packets - dropped, totals.stopped_bytes), (4, 4 * (14 + 20 + 8 + 100)));
        let reasons: HashMap<u32, String> = drop_reasons().unwrap().into_iter().collect();
        let ours: Vec<_> = drops.iter().filter(|drop| drop.destination_port == 9999).collect();
        assert_eq!(ours.len(), 4);
        assert!(ours.iter().all(|drop| drop.ifindex == interface.index && reasons[&drop.reason] == "TC_EGRESS"));

        drop(enforcer);
        // A command that another test starts at that moment holds the enforcer's link until it is
        // executed.
        let since = Instant::now();
        while arrange(&mut kernel, interface.index) != PLAIN {
            assert!(since.elapsed() < TIMEOUT, "we are alone again, and counted at the device still");
            std::thread::sleep(Duration::from_millis(10));
        }
        let before = counters("veth7");
        send(2, 100, 9999);
        settle(&mut kernel, "veth7", before);
        assert_eq!(kernel.totals()[1].stopped_packets, totals.stopped_packets);
    });
}

/// A program of the TCX chain.
#[test]
fn an_enforcer_of_tcx() {
    if !has_tcx() {
        return;
    }
    an_enforcer("etcx", Attach::Tcx, By::Tcx);
}

/// A filter of clsact, which the kernel runs behind the TCX chain.
#[test]
fn an_enforcer_of_clsact() {
    if !has_tcx() {
        return;
    }
    an_enforcer("eclsact", Attach::Tcx, By::Filter);
}

/// Both as filters of clsact, as before Linux 6.6.
#[test]
fn an_enforcer_beside_our_filter() {
    an_enforcer("efilter", Attach::Clsact, By::Filter);
}

/// Over the budget a drop makes no record, but what it stopped is known all the same.
#[test]
fn stopped_beyond_the_budget() {
    if !has_tcx() {
        return;
    }
    Lab::run("beyond", |lab| {
        let interface = lab.connect("veth7");
        let mut kernel = load(&ProgramSettings { drop_budget: 1, ..ProgramSettings::default() }).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        let _enforcer = Enforcer::attach("veth7", By::Tcx, 0, 9999);
        assert_eq!(arrange(&mut kernel, interface.index), AT_DEVICE);
        let before = counters("veth7");
        send(200, 10, 9999);
        settle(&mut kernel, "veth7", before);
        assert_eq!(kernel.totals()[1].stopped_packets, 200);
        assert!(kernel.totals()[4].suppressed_packets > 0, "the budget must have been spent");
    });
}

/// Waits until the queue of `veth7` is empty, and returns how many packets it has dropped.
fn drained() -> u64 {
    loop {
        let text = run("tc -s -j qdisc show dev veth7");
        let queues: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tbf = queues.as_array().unwrap().iter().find(|queue| queue["kind"] == "tbf").unwrap();
        if tbf["backlog"] == 0 {
            return tbf["drops"].as_u64().unwrap();
        }
    }
}

/// A shaper on the interface drops what is too much, and sends the rest later: what it drops is
/// stopped, and what the interface sends is counted.
#[test]
fn a_shaper_drops() {
    in_one_of_five(|| {
        Lab::run("tbf", |lab| {
            let interface = lab.connect("veth7");
            run("tc qdisc add dev veth7 root tbf rate 40kbit burst 2000 limit 4000");
            let mut kernel = load(&ProgramSettings::default()).unwrap();
            kernel.probes.attach(&interface, Role::Pod).unwrap();
            assert_eq!(arrange(&mut kernel, interface.index), AT_DEVICE);
            let before = counters("veth7");
            send(50, 1000, 9999);
            let dropped = drained();
            settle(&mut kernel, "veth7", before);
            assert!((1..50).contains(&dropped), "the queue must have dropped some: {dropped}");
            assert_eq!(kernel.totals()[1].stopped_packets, dropped);
            run("tc qdisc del dev veth7 root");
            assert_eq!(arrange(&mut kernel, interface.index), PLAIN);
        });
    });
}

/// Packets that wait in a queue when it is deleted never reach the pod, and are not counted as if
/// they had.
#[test]
fn a_queue_is_purged() {
    Lab::run("purge", |lab| {
        let interface = lab.connect("veth7");
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        // So slow that the second packet waits for minutes.
        run("tc qdisc add dev veth7 root tbf rate 64bit burst 2000 limit 100000");
        assert_eq!(arrange(&mut kernel, interface.index), AT_DEVICE);
        run("ip neighbour replace 10.9.1.2 lladdr 02:00:00:00:00:07 dev veth7");
        let before = counters("veth7");
        send(20, 1000, 9999);
        run("tc qdisc del dev veth7 root");
        assert_eq!(arrange(&mut kernel, interface.index), PLAIN);
        let (flows, _) = settle(&mut kernel, "veth7", before);
        assert!(carried(&flows).0 < 20, "most must have waited in the queue");
    });
}

/// Reads all that one connection brings, once it has said that it listens. Without modules, which a
/// machine may lack.
const SINK: &str = r#"
    socket(my $listener, 2, 1, 0) or die "socket: $!";
    bind($listener, pack("Sna4x8", 2, 7000, "")) or die "bind: $!";
    listen($listener, 1) or die "listen: $!";
    $| = 1; print "listening\n";
    accept(my $stream, $listener) or die "accept: $!"; my ($all, $some) = (0, "");
    $all += length $some while sysread $stream, $some, 65536;
    print "$all\n";
"#;

/// TCP through a shaper: large packets are split behind our program, some pieces dropped and sent
/// again. Packets and bytes are still those of the interface, and the flags are seen once each.
#[test]
fn a_shaper_splits_tcp() {
    in_one_of_five(|| {
        Lab::run("split", |lab| {
            let interface = lab.connect("veth7");
            run("tc qdisc add dev veth7 root tbf rate 100mbit burst 10000 limit 60000");
            let mut kernel = load(&ProgramSettings::default()).unwrap();
            kernel.probes.attach(&interface, Role::Pod).unwrap();
            assert_eq!(arrange(&mut kernel, interface.index), AT_DEVICE);
            let before = counters("veth7");
            let mut server = Command::new("ip")
                .args(["netns", "exec", &lab.pod, "perl", "-e", SINK])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "listening");
            let client = "head -c 3000000 /dev/zero > /dev/tcp/10.9.1.2/7000";
            assert!(Command::new("bash").args(["-c", client]).status().unwrap().success());
            assert_eq!(lines.next().unwrap().unwrap(), "3000000");
            server.wait().unwrap();
            let (flows, _) = settle(&mut kernel, "veth7", before);
            let (packets, _) = carried(&flows);
            assert!(packets > 1000, "they must have been split: {packets} packets");
            let fresh = |flag: u8| {
                flows.iter().filter(|flow| flow.hook == 1 && flow.kind < 3 && flow.tcp_flags & flag != 0).count()
            };
            assert_eq!((fresh(0x02), fresh(0x01)), (1, 1), "one SYN and one FIN: {flows:?}");
        });
    });
}

/// A frame from one of the pod's interfaces for a MAC, and its arrival at both other ports of the
/// bridge. Datagrams, so that each is one connection of its own by `port`.
fn frame(lab: &Lab, kernel: &mut Kernel, from: &str, source: [u8; 6], destination: [u8; 6], port: u16) {
    let mut frame = udp(([10, 9, 1, 2], port), ([10, 9, 1, 3], 9999), b"hello");
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    let arrived = |kernel: &Kernel| kernel.totals()[1].seen_packets;
    let before = arrived(kernel);
    send_frame(&lab.pod, from, &frame);
    let since = Instant::now();
    while arrived(kernel) < before + 2 {
        assert!(since.elapsed() < TIMEOUT, "the frame does not arrive");
    }
    assert_eq!(arrived(kernel), before + 2);
    // All programs that were at it have ended then.
    kernel.balanced(Mode::Everything);
}

/// A bridge with three ports, `port0` to `port2`, whose other ends `eth0` to `eth2` are in the
/// pod's namespace.
struct Bridge<'a> {
    lab: &'a Lab,
    index: u32,
    ports: Vec<u32>,
    macs: Vec<[u8; 6]>,
}

impl<'a> Bridge<'a> {
    fn new(lab: &'a Lab, kernel: &mut Kernel) -> Self {
        // Or else its interfaces speak of themselves, now and then.
        lab.in_pod("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        run("ip link add br0 type bridge mcast_snooping 0");
        run("ip link set br0 up");
        let macs: Vec<[u8; 6]> = (0..3).map(|number| [2, 0, 0, 0, 7, number]).collect();
        for number in 0..3 {
            run(&format!("ip link add port{number} type veth peer name eth{number} netns {}", lab.pod));
            run(&format!("ip -n {} link set eth{number} address 02:00:00:00:07:0{number}", lab.pod));
            run(&format!("ip -n {} link set eth{number} up", lab.pod));
            run(&format!("ip link set port{number} master br0"));
            run(&format!("ip link set port{number} up"));
        }
        let known = interfaces();
        let bridge = Self { lab, index: known["br0"].index, ports: Vec::new(), macs };
        let watch = |number| {
            let interface = &known[&format!("port{number}")];
            kernel.probes.attach(interface, Role::Pod).unwrap();
            assert_eq!(arrange(kernel, interface.index), Special { bridge: Some(bridge.index), at_device: false });
            interface.index
        };
        let ports = (0..3).map(watch).collect();
        Self { ports, ..bridge }
    }

    /// The pod behind a port sends a frame for everybody from a MAC.
    fn says(&self, kernel: &mut Kernel, number: usize, mac: [u8; 6]) {
        frame(self.lab, kernel, &format!("eth{number}"), mac, [0xff; 6], 999);
    }

    /// The first pod sends a frame for a MAC that the bridge has forgotten: whether it is counted
    /// at the second and the third port, and how often it was flooded beside that.
    fn arrives(&self, kernel: &mut Kernel, destination: [u8; 6], port: u16) -> (bool, bool, u64) {
        run("ip link set br0 type bridge fdb_flush");
        records(kernel);
        let flooded = kernel.totals()[1].flooded_packets;
        frame(self.lab, kernel, "eth0", self.macs[0], destination, port);
        let (flows, _) = records(kernel);
        let at = |number: usize| {
            flows.iter().any(|flow| flow.hook == 1 && flow.source_port == port && flow.ifindex == self.ports[number])
        };
        assert!(!at(0));
        (at(1), at(2), kernel.totals()[1].flooded_packets - flooded)
    }
}

/// A bridge that does not know where a MAC is sends the frame to all: it counts at the pod whose
/// MAC it is, be it the interface's own though it has been silent, or one that the pod has sent
/// from. Frames for many count everywhere.
#[test]
fn a_bridge_floods() {
    if !has_tcx() {
        return;
    }
    Lab::run("flood", |lab| {
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        let bridge = Bridge::new(lab, &mut kernel);
        let (macs, kernel) = (bridge.macs.clone(), &mut kernel);
        assert_eq!(bridge.arrives(kernel, macs[1], 1001), (true, false, 1), "silent, and known by its interface");
        assert_eq!(bridge.arrives(kernel, macs[2], 1002), (false, true, 1));
        assert_eq!(bridge.arrives(kernel, [0xff; 6], 1003), (true, true, 0), "for everybody");
        assert_eq!(bridge.arrives(kernel, [0x33, 0x33, 0, 0, 0, 1], 1004), (true, true, 0), "for many");
        assert_eq!(bridge.arrives(kernel, MAC_A, 1005), (false, false, 2), "for a MAC without an owner");
        bridge.says(kernel, 2, MAC_A);
        assert_eq!(bridge.arrives(kernel, MAC_A, 1006), (false, true, 1), "what a pod sends from is its own");
        for number in 0..PORT_MACS as u8 {
            bridge.says(kernel, 2, [2, 0, 0, 0, 9, number]);
        }
        assert_eq!(bridge.arrives(kernel, [2, 0, 0, 0, 9, 77], 1007), (false, true, 1), "it has too many to know all");
        assert_eq!(bridge.arrives(kernel, macs[1], 1008), (true, false, 1), "but not those of others");

        // It leaves the bridge, and all is as before.
        run("ip link set port1 nomaster");
        kernel.probes.attach(&interfaces()["port1"], Role::Pod).unwrap();
        assert_eq!(arrange(kernel, bridge.ports[1]), PLAIN);
        // Both at once: flooded frames are told at the device as well.
        let _enforcer = Enforcer::attach("port1", By::Tcx, 0, 4711);
        run("ip link set port1 master br0");
        kernel.probes.attach(&interfaces()["port1"], Role::Pod).unwrap();
        assert_eq!(arrange(kernel, bridge.ports[1]), Special { bridge: Some(bridge.index), at_device: true });
        assert_eq!(bridge.arrives(kernel, macs[2], 1009), (false, true, 1));
        assert_eq!(bridge.arrives(kernel, macs[1], 1010), (true, false, 1));
    });
}

/// A pod that sends with the MAC of another pod's interface has none of that pod's traffic; of a
/// MAC that two pods send from it is not known whose it is.
#[test]
fn a_mac_of_two_ports() {
    Lab::run("spoof", |lab| {
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        let bridge = Bridge::new(lab, &mut kernel);
        let (macs, kernel) = (bridge.macs.clone(), &mut kernel);
        bridge.says(kernel, 2, macs[1]);
        assert_eq!(bridge.arrives(kernel, macs[1], 1001), (true, false, 1), "the interface's, though it was silent");
        bridge.says(kernel, 1, macs[1]);
        bridge.says(kernel, 2, macs[1]);
        assert_eq!(bridge.arrives(kernel, macs[1], 1002), (true, false, 1));
        bridge.says(kernel, 1, MAC_A);
        assert_eq!(bridge.arrives(kernel, MAC_A, 1003), (true, false, 1));
        bridge.says(kernel, 2, MAC_A);
        assert_eq!(bridge.arrives(kernel, MAC_A, 1004), (false, false, 2), "claimed by two");
        // With its port a pod's claims are gone.
        run("ip link set port2 nomaster");
        kernel.probes.attach(&interfaces()["port2"], Role::Pod).unwrap();
        assert_eq!(arrange(kernel, bridge.ports[2]), PLAIN);
        run("ip link set port1 nomaster");
        kernel.probes.attach(&interfaces()["port1"], Role::Pod).unwrap();
        assert_eq!(arrange(kernel, bridge.ports[1]), PLAIN);
        for number in [1, 2] {
            run(&format!("ip link set port{number} master br0"));
            kernel.probes.attach(&interfaces()[&format!("port{number}")], Role::Pod).unwrap();
            arrange(kernel, bridge.ports[number]);
        }
        bridge.says(kernel, 2, MAC_A);
        assert_eq!(bridge.arrives(kernel, MAC_A, 1005), (false, true, 1), "a new pod's");
    });
}

/// A claim that is not renewed expires: the MAC is then free, or that of the pod which goes on
/// sending from it.
#[test]
fn a_claim_expires() {
    // A claim must live for longer than this machine takes to look at it.
    let mut takes = Duration::ZERO;
    let timed = &mut takes;
    Lab::run("takes", |lab| {
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        let bridge = Bridge::new(lab, &mut kernel);
        let started = Instant::now();
        bridge.says(&mut kernel, 2, MAC_A);
        assert_eq!(bridge.arrives(&mut kernel, MAC_A, 1000), (false, true, 1));
        *timed = started.elapsed();
    });
    Lab::run("claim", |lab| {
        let mac_claim = takes * 5 + Duration::from_millis(200);
        let timeouts = Timeouts { mac_claim, ..Timeouts::default() };
        let mut kernel = load(&ProgramSettings { timeouts, ..ProgramSettings::default() }).unwrap();
        let bridge = Bridge::new(lab, &mut kernel);
        let kernel = &mut kernel;
        let mut ports = 1000_u16..;
        let mut until = |kernel: &mut Kernel, wanted, again: &dyn Fn(&mut Kernel)| {
            let since = Instant::now();
            loop {
                again(kernel);
                let found = bridge.arrives(kernel, MAC_A, ports.next().unwrap());
                if found == wanted {
                    return;
                }
                assert!(since.elapsed() < TIMEOUT + mac_claim * 10, "{found:?} instead of {wanted:?}");
            }
        };
        until(kernel, (false, true, 1), &|kernel| bridge.says(kernel, 2, MAC_A));
        until(kernel, (false, false, 2), &|_| ());
        bridge.says(kernel, 2, MAC_A);
        bridge.says(kernel, 1, MAC_A);
        until(kernel, (true, false, 1), &|kernel| bridge.says(kernel, 1, MAC_A));
    });
}
