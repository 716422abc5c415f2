//! Real packets through real interfaces, in network namespaces that each test makes and deletes.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::{Duration, Instant};

use aya::programs::tc::{NlOptions, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use futures::FutureExt;
use webb::bpf_loader::{Attach, AttachError, HookPosition, Mode, ProgramSettings, drop_reasons};
use webb::network::{Interface, NetworkEvent, NetworkWatch, Role, Selection};
use webb::records::Signal;
use webb_flow::abi::{Record, kind};

use crate::support::enforcer::{By, Enforcer, load_program};
use crate::support::frames::send_frame;
use crate::support::lab::{Lab, counters, interfaces, run, runtime};
use crate::support::packets::mapped;
use crate::support::{Kernel, has_tcx, load};

/// Timeout of a test's wait.
const TIMEOUT: Duration = Duration::from_secs(30);

fn seen(kernel: &Kernel) -> [u64; 4] {
    let [from, to, ..] = kernel.totals();
    [from.seen_packets, from.seen_bytes, to.seen_packets, to.seen_bytes]
}

/// Pings are seen as often and as large as the interface says, each way, and reported; by TCX and
/// by clsact.
fn pings_are_counted(name: &str, attach: Attach) {
    Lab::run(name, |lab| {
        let interface = lab.connect("veth7");
        let mut kernel = load(&ProgramSettings { attach, ..ProgramSettings::default() }).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        let before = counters("veth7");
        let seen_before = seen(&kernel);
        lab.in_pod("ping -q -c 5 -i 0.01 -s 100 10.9.1.1");
        let after = counters("veth7");
        let deltas: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let ours: Vec<_> = seen(&kernel).iter().zip(seen_before).map(|(after, before)| after - before).collect();
        assert_eq!(ours, deltas);
        let pings: Vec<Record> = kernel.records().into_iter().filter(|record| record.protocol == 1).collect();
        assert_eq!(pings.iter().filter(|record| record.icmp_type == 8 && record.hook == 0).count(), 5);
        assert_eq!(pings.iter().filter(|record| record.icmp_type == 0 && record.hook == 1).count(), 5);
        assert!(pings.iter().all(|record| record.ifindex == interface.index && record.bytes == 142));
        kernel.balanced(Mode::Everything);
    });
}

/// The TCX way.
#[test]
fn pings_are_counted_by_tcx() {
    if !has_tcx() {
        return;
    }
    pings_are_counted("tcx", Attach::Tcx);
}

/// The way of older kernels.
#[test]
fn pings_are_counted_by_clsact() {
    pings_are_counted("clsact", Attach::Clsact);
}

/// In the chain we come first, also behind another program; and when we go, only we go.
#[test]
fn tcx_neighbours_are_left_alone() {
    if !has_tcx() {
        return;
    }
    Lab::run("chain", |lab| {
        let interface = lab.connect("veth7");
        let mut other = aya::Ebpf::load(webb::bpf_loader::FLOW_OBJECT).unwrap();
        let program: &mut SchedClassifier = other.program_mut("webb_to_net").unwrap().try_into().unwrap();
        load_program(program);
        program.attach("veth7", TcAttachType::Ingress).unwrap();
        let chain = || -> Vec<String> {
            let (_, programs) = SchedClassifier::query_tcx("veth7", TcAttachType::Ingress).unwrap();
            programs.iter().map(|program| program.name_as_str().unwrap().to_owned()).collect()
        };
        // A process that another test has just begun holds all descriptors until it runs its
        // program, and a link goes with its last descriptor.
        let alone = || {
            let began = Instant::now();
            while chain() != ["webb_to_net"] && began.elapsed() < TIMEOUT {
                std::thread::sleep(Duration::from_millis(1));
            }
            chain()
        };
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        assert_eq!(chain(), ["webb_from_pod", "webb_to_net"]);
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        assert_eq!(chain().len(), 2, "attaching again changes nothing");
        assert!(kernel.probes.detach(interface.index));
        assert_eq!(alone(), ["webb_to_net"]);
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        assert_eq!(chain().len(), 2);
        drop(kernel);
        assert_eq!(alone(), ["webb_to_net"], "with the process's handle the links go");
    });
}

/// A qdisc and a filter that are not ours stay; filters that a killed agent left behind are
/// replaced, not doubled.
#[test]
fn clsact_neighbours_are_left_alone() {
    Lab::run("filters", |lab| {
        let interface = lab.connect("veth7");
        run("tc qdisc add dev veth7 clsact");
        let mut other = aya::Ebpf::load(webb::bpf_loader::FLOW_OBJECT).unwrap();
        let program: &mut SchedClassifier = other.program_mut("webb_to_net").unwrap().try_into().unwrap();
        load_program(program);
        let seventh = NlOptions { priority: 7, ..NlOptions::default() };
        program.attach_with_options("veth7", TcAttachType::Ingress, TcAttachOptions::Netlink(seventh)).unwrap();
        let filters = || run("tc filter show dev veth7 ingress");
        let settings = ProgramSettings { attach: Attach::Clsact, ..ProgramSettings::default() };
        let mut kernel = load(&settings).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        let text = filters();
        assert!(text.find("webb_from_pod").unwrap() < text.find("webb_to_net").unwrap(), "we come first: {text}");
        lab.in_pod("ping -q -c 1 10.9.1.1");
        // Killed: its filters stay.
        std::mem::forget(kernel);
        let mut kernel = load(&settings).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        let ours = filters().lines().filter(|line| line.contains("webb_from_pod")).count();
        assert_eq!(ours, 1, "{}", filters());
        drop(kernel);
        let text = filters();
        assert!(!text.contains("webb_from_pod") && text.contains("webb_to_net"), "{text}");
        assert!(run("tc qdisc show dev veth7").contains("clsact"));
    });
}

/// Position of our programs on the only watched interface, as the kernel reports it.
fn place(kernel: &Kernel) -> HookPosition {
    let attached = kernel.probes.attachments().pop().unwrap();
    if !attached.by_filters {
        return attached.place_in_chains().unwrap();
    }
    let filters =
        runtime().block_on(async { NetworkWatch::new().await.unwrap().filters(attached.index).await.unwrap() });
    attached.place_among_filters(&filters.ingress, &filters.egress).unwrap()
}

/// A program that comes before ours blinds it, whichever direction it is in: that is known, and
/// attaching again takes the first place. What is gone is known, too.
fn the_first_place_is_ours(name: &str, attach: Attach, by: By) {
    Lab::run(name, |lab| {
        let interface = lab.connect("veth7");
        let mut kernel = load(&ProgramSettings { attach, ..ProgramSettings::default() }).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        assert_eq!(place(&kernel), HookPosition::First);
        for (hook, direction) in [TcAttachType::Ingress, TcAttachType::Egress].into_iter().enumerate() {
            let _other = Enforcer::pass("veth7", by, direction);
            assert_eq!(place(&kernel), HookPosition::Behind, "{direction:?}");
            let before = seen(&kernel);
            lab.in_pod("ping -q -c 1 10.9.1.1");
            assert_eq!(seen(&kernel)[2 * hook], before[2 * hook], "it is blind");
            kernel.probes.abandon(interface.index);
            kernel.probes.attach(&interface, Role::Pod).unwrap();
            assert_eq!(place(&kernel), HookPosition::First);
            let before = seen(&kernel);
            lab.in_pod("ping -q -c 1 10.9.1.1");
            assert!(seen(&kernel)[0] > before[0] && seen(&kernel)[2] > before[2]);
        }
        if attach == Attach::Clsact {
            run("tc qdisc del dev veth7 clsact");
            assert_eq!(place(&kernel), HookPosition::Absent);
        }
    });
}

/// In a TCX chain.
#[test]
fn the_first_place_of_a_chain_is_ours() {
    if has_tcx() {
        the_first_place_is_ours("first", Attach::Tcx, By::TcxFirst);
    }
}

/// Among the filters of clsact, of which the kernel asks the newest of one priority first.
#[test]
fn the_first_place_of_filters_is_ours() {
    the_first_place_is_ours("ffirst", Attach::Clsact, By::FilterFirst);
}

/// An interface that vanishes, under us or before us, is an everyday event.
#[test]
fn vanished_interfaces_are_no_accident() {
    Lab::run("vanish", |lab| {
        let interface = lab.connect("veth7");
        for attach in [Attach::Tcx, Attach::Clsact] {
            let mut kernel = load(&ProgramSettings { attach, ..ProgramSettings::default() }).unwrap();
            let gone = Interface { index: 4711, name: "gone".to_owned(), ..interface.clone() };
            let error = kernel.probes.attach(&gone, Role::Pod).unwrap_err();
            assert!(error.is_vanished(), "{error}");
            let tunnel = Interface { ethernet: false, ..interface.clone() };
            let error = kernel.probes.attach(&tunnel, Role::Node).unwrap_err();
            assert!(matches!(error, AttachError::NotEthernet { .. }), "{error}");
        }
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        lab.in_pod("ping -q -c 1 10.9.1.1");
        run(&format!("ip netns del {}", lab.pod));
        // The namespace is torn down some time after its name is gone.
        for _ in 0..100 {
            if !interfaces().contains_key("veth7") {
                break;
            }
        }
        assert!(!interfaces().contains_key("veth7"));
        assert!(kernel.probes.detach(interface.index));
        assert!(!kernel.probes.detach(interface.index));
        assert!(kernel.probes.attach(&interface, Role::Pod).unwrap_err().is_vanished());
        kernel.balanced(Mode::Everything);
    });
}

/// The watch tells what is there, what comes, what changes its name and what goes; the selection
/// knows a pod's veth.
#[test]
fn interfaces_are_watched() {
    Lab::run("watch", |lab| {
        runtime().block_on(async {
            let mut watch = NetworkWatch::new().await.unwrap();
            let NetworkEvent::Present(lo) = watch.next().await.unwrap() else { panic!("lo is there") };
            assert_eq!((lo.name.as_str(), lo.ethernet), ("lo", false));
            let selection = Selection::default();
            assert_eq!(selection.role(&lo), None);
            run("ip link add veth1 type veth peer name veth2");
            run(&format!("ip link add veth3 type veth peer name eth0 netns {}", lab.pod));
            run("ip link set veth3 name pod3");
            let mut last = HashMap::new();
            while !last.contains_key("pod3") {
                if let NetworkEvent::Present(interface) = watch.next().await.unwrap() {
                    last.insert(interface.name.clone(), interface);
                }
            }
            assert_eq!(selection.role(&last["pod3"]), Some(Role::Pod));
            assert_eq!(selection.role(&last["veth1"]), None, "both ends are here: {:?}", last["veth1"]);
            run("ip link del pod3");
            loop {
                if let NetworkEvent::Gone { index } = watch.next().await.unwrap() {
                    assert_eq!(index, last["pod3"].index);
                    break;
                }
            }
        });
    });
}

/// Queues and filters of any kind are told as they come and go, so that they are looked for at
/// once.
#[test]
fn queues_and_filters_are_told() {
    Lab::run("told", |_| {
        runtime().block_on(async {
            run("ip link add veth1 type veth peer name veth2");
            for change in [
                "qdisc add dev veth1 root tbf rate 1mbit burst 2000 limit 4000",
                "qdisc change dev veth1 root tbf rate 2mbit burst 2000 limit 4000",
                "qdisc del dev veth1 root",
                "qdisc add dev veth1 clsact",
                "filter add dev veth1 egress pref 1 u32 match u32 0 0 flowid 1:1",
                "filter add dev veth1 egress pref 2 bpf bytecode 1,6_0_0_0,",
                "filter del dev veth1 egress pref 1",
                "qdisc del dev veth1 clsact",
            ] {
                // A new one, which has nothing to tell of the changes before.
                let mut watch = NetworkWatch::new().await.unwrap();
                let words: Vec<String> = change.split(' ').map(|word| word.replace('_', " ")).collect();
                assert!(Command::new("tc").args(words).status().unwrap().success(), "{change}");
                while tokio::time::timeout(TIMEOUT, watch.next()).await.expect(change).unwrap()
                    != NetworkEvent::TrafficControl
                {}
            }
        });
    });
}

/// A burst of messages that overruns the socket costs a reading, and that reading is not lost when
/// each wait for it is given up, as the agent's are for its other work.
#[test]
fn an_overrun_is_made_good_though_waits_are_given_up() {
    Lab::run("overrun", |_| {
        runtime().block_on(async {
            let mut watch = NetworkWatch::new().await.unwrap();
            // The socket is not read meanwhile: the messages about the last device find no room.
            let mut commands: Vec<String> =
                (0..3000).map(|number| format!("link set dev lo alias a{number}")).collect();
            commands.push("link add late type bridge\n".to_owned());
            let file = std::env::temp_dir().join(format!("webb-{}-overrun", std::process::id()));
            std::fs::write(&file, commands.join("\n")).unwrap();
            run(&format!("ip -batch {}", file.display()));
            std::fs::remove_file(&file).unwrap();
            let (mut late, started) = (false, std::time::Instant::now());
            while !late {
                match watch.next().now_or_never() {
                    Some(change) => {
                        late = matches!(change.unwrap(), NetworkEvent::Present(found) if found.name == "late");
                    }
                    None => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
                }
                assert!(started.elapsed().as_secs() < 60, "the last device was never told");
            }
        });
    });
}

fn drops(kernel: &mut Kernel) -> Vec<Record> {
    let mut records = Vec::new();
    kernel.reader.drain(&mut |signal, bytes| {
        if signal == Signal::Drop {
            records.push(crate::support::record(bytes));
        }
        ControlFlow::Continue(())
    });
    records
}

/// Each drop in the host's namespace is a record with the kernel's reason, by name; over the budget
/// it is counted as suppressed, and the ledger of drops adds up.
#[test]
fn drops_have_reasons() {
    Lab::run("drops", |lab| {
        let interface = lab.connect("veth7");
        let reasons: HashMap<u32, String> = drop_reasons().unwrap().into_iter().collect();
        assert!(reasons.len() > 50, "{reasons:?}");
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        assert_eq!(kernel.probes.degraded(), Vec::<String>::new());
        let closed_port = "for i in 1 2 3 4 5 6 7 8 9 10; do echo hello > /dev/udp/10.9.1.1/9999; done";
        let in_pod = |script| lab.in_pod_bash(script);
        in_pod(closed_port);
        let records: Vec<_> = drops(&mut kernel).into_iter().filter(|drop| drop.destination_port == 9999).collect();
        assert_eq!(records.len(), 10);
        for record in &records {
            assert_eq!((record.kind, record.hook, record.family, record.protocol), (kind::DROP, 4, 4, 17));
            assert_eq!((record.ifindex, record.packets, record.bytes), (interface.index, 1, 14 + 20 + 8 + 6));
            assert_eq!(reasons[&record.reason], "NO_SOCKET");
        }

        let mut kernel = load(&ProgramSettings { drop_budget: 3, ..ProgramSettings::default() }).unwrap();
        for _ in 0..5 {
            in_pod(closed_port);
        }
        let records = drops(&mut kernel).len() as u64;
        let totals = kernel.totals()[4];
        assert!(totals.seen_packets >= 50 && totals.suppressed_packets > 0, "{totals:?}");
        assert_eq!(records, totals.reported_packets);
        let unparsed: u64 = totals.unparsed_packets.iter().sum();
        let fates = totals.reported_packets + totals.suppressed_packets + totals.lost_packets + unparsed;
        assert_eq!(totals.seen_packets, fates, "{totals:?}");
    });
}

/// One interface's flood of drops uses up the budget, but for what is kept for others: their few
/// drops are all recorded, and the suppressed ones are counted by reason.
#[test]
fn a_flood_of_drops_hides_no_others() {
    Lab::run("budget", |lab| {
        let flooder = lab.connect("veth7");
        run(&format!("ip link add veth8 type veth peer name eth1 netns {}", lab.pod));
        run("ip addr add 10.9.2.1/24 dev veth8");
        run("ip link set veth8 up");
        lab.in_pod("ip addr add 10.9.2.2/24 dev eth1");
        lab.in_pod("ip link set eth1 up");
        let mut kernel = load(&ProgramSettings { drop_budget: 80, ..ProgramSettings::default() }).unwrap();
        let script = "for i in {1..8}; do
            for j in {1..300}; do echo flood > /dev/udp/10.9.1.1/9999; done
            echo other > /dev/udp/10.9.2.1/9999
        done";
        lab.in_pod_bash(script);
        let records = drops(&mut kernel);
        let from = |address| records.iter().filter(|drop| drop.destination == mapped(address)).count() as u64;
        assert_eq!(from([10, 9, 2, 1]), 8, "each of the other's");
        assert!(from([10, 9, 1, 1]) < 2400 && records.iter().any(|drop| drop.ifindex == flooder.index));
        let suppressed = kernel.probes.ledger().suppressed().unwrap();
        let reasons: HashMap<u32, String> = drop_reasons().unwrap().into_iter().collect();
        let of = |name| suppressed.iter().filter(|(reason, _)| reasons[reason] == name).map(|(_, count)| count).sum();
        let no_socket: u64 = of("NO_SOCKET");
        assert!(no_socket >= 2400 - from([10, 9, 1, 1]), "{suppressed:?}");
        let total: u64 = suppressed.iter().map(|(_, count)| count).sum();
        assert_eq!(total, kernel.totals()[4].suppressed_packets);
    });
}

/// Every program is there, small enough to be named in full, and its cost can be asked.
#[test]
fn cost_is_known() {
    let Some(kernel) = load(&ProgramSettings::default()) else { return };
    let mut names: Vec<_> = kernel.probes.cost().into_iter().map(|cost| cost.program).collect();
    names.sort();
    let mut expected: Vec<String> = kernel.probes.programs().into_iter().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert!(names.iter().all(|name| name.len() <= 15), "the kernel cuts names at 15: {names:?}");
}

/// Headers may sit in pages beside the linear part, as after a receive offload: they are brought
/// there and read.
#[test]
fn headers_in_pages_are_read() {
    Lab::run("paged", |lab| {
        let interface = lab.connect("veth7");
        run("ip link set veth7 mtu 9000");
        run(&format!("ip -n {} link set eth0 mtu 9000", lab.pod));
        let mut kernel = load(&ProgramSettings::default()).unwrap();
        kernel.probes.attach(&interface, Role::Pod).unwrap();
        let frame = crate::support::packets::udp(([10, 9, 1, 2], 4000), ([10, 9, 1, 1], 9999), &[7; 6000]);
        send_frame(&lab.pod, "eth0", &frame);
        let records: Vec<Record> =
            kernel.records().into_iter().filter(|record| record.destination_port == 9999 && record.hook == 0).collect();
        assert_eq!(records.len(), 1, "{:?}", kernel.totals()[0]);
        assert_eq!((records[0].source_port, records[0].bytes), (4000, frame.len() as u64));
        assert_eq!(kernel.totals()[0].unparsed_packets.iter().sum::<u64>(), 0);
        kernel.balanced(Mode::Everything);
    });
}

/// The end of a child process is a signal, and a thread with a signal to handle interrupts the
/// verifier: programs load while other threads' children end all the time.
#[test]
fn children_end_while_programs_load() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let Some(_kernel) = load(&ProgramSettings::default()) else { return };
    let loaded = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !loaded.load(Ordering::Relaxed) {
                    run("true");
                }
            });
        }
        // Another thread must not spin for ever when this one fails.
        let result = std::panic::catch_unwind(|| drop(load(&ProgramSettings::default())));
        loaded.store(true, Ordering::Relaxed);
        assert!(result.is_ok(), "the programs must load");
    });
}
