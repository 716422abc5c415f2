//! Segments that sockets send again, in namespaces with real sockets.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use webb::bpf_loader::ProgramSettings;
use webb_flow::abi::{Record, event, flag, kind};

use super::talk::settings;
use crate::support::lab::{Lab, interfaces, run};
use crate::support::packets::mapped;
use crate::support::{Kernel, load_alone};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_mins(1);

const SENT_AGAIN: [u8; 3] = [event::RETRANSMIT_SYN, event::RETRANSMIT_SYN_ACK, event::RETRANSMIT_DATA];

/// Addresses of the host and of the pod, which differ from those of other scenarios.
fn addresses(node_sockets: bool, scenario: u8) -> [[u8; 4]; 2] {
    let [_, _, a, b] = std::process::id().to_be_bytes();
    [1, 2].map(|last| [10, 128 | u8::from(node_sockets) << 6 | a & 0x3f, b, scenario << 2 | last])
}

/// Calls `make` in a namespace. A socket stays in the one where it was made.
fn within<T: Send>(namespace: &str, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let path = format!("/var/run/netns/{namespace}");
            let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            make()
        });
        made.join().unwrap()
    })
}

/// Segments that the sockets of the pod's namespace have sent again, by its own counter.
fn sent_again(lab: &Lab) -> u64 {
    sent_again_in(&lab.pod)
}

fn sent_again_in(namespace: &str) -> u64 {
    let text = run(&format!("ip netns exec {namespace} cat /proc/net/snmp"));
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "RetransSegs").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Adds the records of segments sent again between the lab's addresses.
fn read(kernel: &mut Kernel, found: &mut Vec<Record>, addresses: [[u8; 4]; 2]) {
    let ours = addresses.map(mapped);
    found.extend(kernel.records().into_iter().filter(|record| {
        SENT_AGAIN.contains(&record.event) && ours.contains(&record.source) && ours.contains(&record.destination)
    }));
}

/// Segments in records of a sender, by [`SENT_AGAIN`].
fn segments(records: &[Record], source: [u8; 4]) -> [u64; 3] {
    SENT_AGAIN.map(|event| {
        let of = |record: &&Record| record.event == event && record.source == mapped(source);
        records.iter().filter(of).map(|record| u64::from(record.value)).sum()
    })
}

/// SYN, SYN-ACK and data that the pod sends again while nothing arrives: as many as its namespace
/// counts itself.
#[test]
fn segments_sent_again_are_those_of_the_kernel() {
    again("again", false);
}

/// The node's own sockets count where the node is watched.
#[test]
fn segments_of_the_node() {
    again("node", true);
}

/// Beyond the budget segments are counted, and have no record.
#[test]
fn segments_beyond_the_budget_are_counted() {
    const SENDERS: usize = 40;
    Lab::run("budget", |lab| {
        let Some(mut kernel) = load_alone(&ProgramSettings { retransmit_budget: 1, ..settings() }) else { return };
        let [_, _, a, b] = std::process::id().to_be_bytes();
        let pair = Pair::between(lab, "vethbudget", [1, 2].map(|last| [10, 64 | a & 0x3f, b, last]));
        let to = pair.host.local_addr().unwrap();
        let clients: Vec<_> = (0..SENDERS)
            .map(|_| (within(&lab.pod, || TcpStream::connect(to).unwrap()), pair.host.accept().unwrap()))
            .collect();
        pair.lose();
        for (client, _) in &clients {
            (&mut &*client).write_all(b"data").unwrap();
        }
        let (mut found, start) = (Vec::new(), Instant::now());
        loop {
            read(&mut kernel, &mut found, pair.addresses);
            let totals = kernel.probes.ledger().retransmits().unwrap().unwrap();
            let whole = (0..3).all(|at| totals.seen[at] == totals.sent[at] + totals.suppressed[at] + totals.lost[at]);
            let own = sent_again(lab);
            let data = segments(&found, pair.addresses[1])[2];
            if whole && own >= SENDERS as u64 && totals.seen[2] >= own && data <= totals.sent[2] {
                assert!(totals.suppressed[2] > 0 && data < own, "{data} in records of {own}: {totals:?}");
                break;
            }
            assert!(start.elapsed() < TIMEOUT, "{data} in records, {own} by the kernel: {totals:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

/// A socket may have any address, a pod's too. It counts only in a namespace with an interface
/// whose other end is in the agent's, whatever further interfaces are there.
#[test]
fn other_namespaces_do_not_count() {
    Lab::run("others", |lab| {
        lab.in_pod("ip link add inner type veth peer name outer");
        let Some(mut kernel) = load_alone(&settings()) else { return };
        let addresses = addresses(false, 3);
        let pair = Pair::between(lab, "vethothers", addresses);
        let other = format!("{}-other", lab.pod);
        run(&format!("ip netns add {other}"));
        // Both ends lie in that namespace. One packet comes back to where it was sent from, and is
        // none for it.
        run(&format!("ip -n {other} link add eth0 type veth peer name eth1"));
        let [host, pod] = addresses.map(|address| Ipv4Addr::from(address).to_string());
        run(&format!("ip -n {other} addr add {pod}/24 dev eth0"));
        for device in ["eth0", "eth1"] {
            run(&format!("ip -n {other} link set {device} up"));
        }
        run(&format!("ip -n {other} neigh replace {host} lladdr {HOST_MAC} dev eth0"));
        pair.lose();
        let to = pair.host.local_addr().unwrap();
        std::thread::scope(|scope| {
            let attempts = [&other, &lab.pod].map(|namespace| {
                scope.spawn(move || within(namespace, || TcpStream::connect_timeout(&to, Duration::from_secs(8))))
            });
            let (mut found, start) = (Vec::new(), Instant::now());
            loop {
                read(&mut kernel, &mut found, addresses);
                let totals = kernel.probes.ledger().retransmits().unwrap().unwrap();
                let [of_other, of_pod] = [&other, &lab.pod].map(|namespace| sent_again_in(namespace));
                assert!(totals.seen[0] <= of_pod, "{totals:?}, {of_pod} by the pod and {of_other} by another");
                assert!(segments(&found, addresses[1])[0] <= of_pod);
                if of_other > 1
                    && of_pod > 1
                    && totals.seen[0] > 0
                    && attempts.iter().all(ScopedJoinHandle::is_finished)
                {
                    break;
                }
                assert!(start.elapsed() < TIMEOUT, "{totals:?}, {of_pod} by the pod and {of_other} by another");
                std::thread::sleep(Duration::from_millis(50));
            }
            for attempt in attempts {
                assert!(attempt.join().unwrap().is_err());
            }
        });
        run(&format!("ip netns del {other}"));
    });
}

/// Two listening ends of a link: on the host, and in the pod.
struct Pair {
    device: String,
    addresses: [[u8; 4]; 2],
    host: TcpListener,
    pod: TcpListener,
}

const HOST_MAC: &str = "02:00:00:00:09:01";
const POD_MAC: &str = "02:00:00:00:09:02";

impl Pair {
    fn between(lab: &Lab, device: &str, addresses: [[u8; 4]; 2]) -> Self {
        lab.connect(device);
        let [host, pod] = addresses.map(|address| Ipv4Addr::from(address).to_string());
        run(&format!("ip addr add {host}/24 dev {device}"));
        lab.in_pod(&format!("ip addr add {pod}/24 dev eth0"));
        run(&format!("ip link set {device} address {HOST_MAC}"));
        lab.in_pod(&format!("ip link set eth0 address {POD_MAC}"));
        run(&format!("ip neigh replace {pod} lladdr {POD_MAC} dev {device}"));
        lab.in_pod(&format!("ip neigh replace {host} lladdr {HOST_MAC} dev eth0"));
        let on = |address: [u8; 4]| SocketAddr::from((Ipv4Addr::from(address), 0));
        let host = TcpListener::bind(on(addresses[0])).unwrap();
        let pod = within(&lab.pod, || TcpListener::bind(on(addresses[1])).unwrap());
        Self { device: device.to_owned(), addresses, host, pod }
    }

    /// What the pod sends is for a MAC that the host does not have any more.
    fn lose(&self) {
        run(&format!("ip link set {} address 02:00:00:00:09:09", self.device));
    }
}

/// Scenarios that are tried until each segment has a record. On some machines the kernel does not
/// run a program in a softirq that has interrupted a task of the machine's own.
const SCENARIOS: u8 = 3;

fn again(name: &str, node_sockets: bool) {
    assert!((0..SCENARIOS).any(|number| is_exact(name, number, node_sockets)), "each time a segment had no record");
}

/// Plays a scenario, with sockets and addresses of its own. False if a segment had no record.
fn is_exact(name: &str, number: u8, node_sockets: bool) -> bool {
    let mut exact = true;
    let name = format!("{name}{number}");
    Lab::run(&name, |lab| {
        let Some(mut kernel) = load_alone(&ProgramSettings { node_sockets, ..settings() }) else { return };
        let pair = Pair::between(lab, &format!("veth{name}"), addresses(node_sockets, number));
        let Pair { device, addresses: [host_address, pod_address], host, pod } = &pair;
        let (host_address, pod_address) = (*host_address, *pod_address);
        let (to_host, to_pod) = (host.local_addr().unwrap(), pod.local_addr().unwrap());
        let mut client = within(&lab.pod, || TcpStream::connect(to_host).unwrap());
        let (mut accepted, _) = host.accept().unwrap();

        pair.lose();
        client.write_all(b"data").unwrap();
        accepted.write_all(b"data").unwrap();
        std::thread::scope(|scope| {
            let (namespace, host_namespace) = (lab.pod.clone(), lab.host.clone());
            let attempts = [(namespace, to_host), (host_namespace, to_pod)].map(|(namespace, to)| {
                scope.spawn(move || within(&namespace, || TcpStream::connect_timeout(&to, TIMEOUT).is_ok()))
            });
            let (mut found, start) = (Vec::new(), Instant::now());
            while exact {
                read(&mut kernel, &mut found, [host_address, pod_address]);
                let (by_pod, own) = (segments(&found, pod_address), sent_again(lab));
                let host_has_sent = !node_sockets || segments(&found, host_address)[0] > 0;
                if by_pod.iter().sum::<u64>() == own && by_pod.iter().all(|count| *count > 0) && host_has_sent {
                    break;
                }
                assert!(by_pod.iter().sum::<u64>() <= own, "{by_pod:?} segments in records, {own} by the kernel");
                if start.elapsed() > TIMEOUT / 3 {
                    let totals = kernel.probes.ledger().retransmits();
                    eprintln!("{by_pod:?} segments in records, {own} by the kernel, {totals:?} of all");
                    exact = false;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let by_host = segments(&found, host_address);
            if !exact {
                run(&format!("ip link set {device} address {HOST_MAC}"));
                return;
            }
            // The host gets no SYN, so it sends no SYN-ACK again.
            let sent = by_host.map(|count| count > 0);
            assert_eq!(sent, [node_sockets, false, node_sockets], "{by_host:?}");
            let leads_to_pod = interfaces().remove(device).unwrap().index;
            for record in &found {
                let ifindex = if record.source == mapped(pod_address) { leads_to_pod } else { 0 };
                assert_eq!((record.kind, record.ifindex, record.packets, record.family), (kind::EVENT, ifindex, 0, 4));
                assert_eq!(record.flags & flag::GUESSED != 0, record.event == event::RETRANSMIT_DATA, "{record:?}");
                assert_eq!(record.flags & flag::REPLY != 0, record.event == event::RETRANSMIT_SYN_ACK, "{record:?}");
                assert_eq!(record.hook, if record.source == mapped(pod_address) { 0 } else { 3 });
            }
            let totals = kernel.probes.ledger().retransmits().unwrap().unwrap();
            for (at, seen) in totals.seen.into_iter().enumerate() {
                assert_eq!(seen, totals.sent[at] + totals.suppressed[at] + totals.lost[at], "{totals:?}");
                assert!(seen > 0, "{totals:?}");
            }
            // They arrive again: the attempts end, and so do their threads.
            run(&format!("ip link set {device} address {HOST_MAC}"));
            assert_eq!(attempts.map(|attempt| attempt.join().unwrap()), [true, true]);
        });
    });
    exact
}
