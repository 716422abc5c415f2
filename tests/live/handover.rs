//! Handing over: the next agent goes on where the one before was stopped or killed, and counts each
//! packet of the time between exactly once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};

use crate::harness::{Agent, Counters, DEATHSTAR_A, DEVICES, Lab, TIEFIGHTER, XWING, inside, request};
use crate::layer7::METRICS;
use crate::ledger::{adds_up, seen_is_what_passed};
use crate::rollups::{Receiver, Row, sum};
use crate::scrape::Scrape;

/// A BPF filesystem of the test's own: what is pinned in it is gone with it.
#[derive(Debug)]
struct BpfFilesystem(PathBuf);

impl BpfFilesystem {
    fn mount(lab: &Lab) -> Self {
        let path = lab.dir.path().join("bpf");
        fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf", path.to_str().unwrap()]).status().unwrap();
        assert!(mounted.success());
        Self(path)
    }

    fn directory(&self) -> PathBuf {
        self.0.join("webb")
    }

    /// The sets of pins in it.
    fn sets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for BpfFilesystem {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// A configuration that hands over by that directory.
fn config(directory: &Path, more: &str) -> String {
    format!(
        "handover: true\nhandover_dir: {}\nreport_interval: 200ms\nshutdown: {{ linger: 3s }}\n{more}
connections: {{ other_idle: 1s, sweep_interval: 100ms }}\n",
        directory.display()
    )
}

/// Datagrams from xwing until it is stopped: each to tiefighter, and every fourth also to a port
/// that the policy denies.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Traffic {
    fn start(lab: &Lab) -> Self {
        let socket = lab.socket("xwing", "10.244.1.31:0");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let send = move || {
            let (mut sent, mut denied) = (0, 0);
            while !stopped.load(Relaxed) {
                socket.send_to(b"on and on", "10.244.1.21:7777").unwrap();
                sent += 1;
                if sent % 4 == 0 {
                    socket.send_to(b"denied", "10.244.1.11:80").unwrap();
                    denied += 1;
                }
                sleep(Duration::from_millis(2));
            }
            (sent, denied)
        };
        let thread = std::thread::Builder::new().spawn(send).unwrap();
        Self { stop, thread }
    }

    /// Number of datagrams that were sent to tiefighter, and of denied ones.
    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap()
    }
}

/// Packets by the metrics: to tiefighter at both ends, the denied ones at xwing, and dropped.
fn counted(scrape: &Scrape) -> [u64; 4] {
    let packets = |source, destination, direction| {
        let labels = [("source", source), ("destination", destination), ("traffic_direction", direction)];
        scrape.sum("webb_traffic_packets_total", &labels)
    };
    [
        packets(XWING, TIEFIGHTER, "egress"),
        packets(XWING, TIEFIGHTER, "ingress"),
        packets(XWING, DEATHSTAR_A, "egress"),
        scrape.sum("hubble_drop_total", &[("source", XWING), ("reason", "POLICY_DENIED")]),
    ]
}

fn passed(lab: &Lab, before: [Counters; 4]) -> Counters {
    DEVICES.iter().zip(before).fold(Counters::default(), |sum, (device, before)| {
        let moved = lab.counters(device) - before;
        Counters {
            received_packets: sum.received_packets + moved.received_packets,
            received_bytes: sum.received_bytes + moved.received_bytes,
            sent_packets: sum.sent_packets + moved.sent_packets,
            sent_bytes: sum.sent_bytes + moved.sent_bytes,
        }
    })
}

fn outcome(scrape: &Scrape, outcome: &str) -> u64 {
    scrape.sum("webb_handover_total", &[("outcome", outcome)])
}

/// The last counters of an agent that was asked to end, and the end.
fn last_scrape(agent: &mut Agent) -> Scrape {
    agent.signal("TERM");
    agent.wait_until("the last counters are shown", |agent| agent.log().contains("the last counters stay"));
    let scrape = agent.scrape();
    assert_eq!(agent.ended().code(), Some(0), "{}", agent.log());
    scrape
}

/// Programs in each TCX chain of a device on the node.
fn chains(lab: &Lab, device: &str) -> [usize; 2] {
    [TcAttachType::Ingress, TcAttachType::Egress].map(|direction| {
        let chain = || Ok(SchedClassifier::query_tcx(device, direction).unwrap().1.len());
        inside(&lab.namespace("node"), chain).unwrap()
    })
}

/// An upgrade under traffic, as a DaemonSet does it: the old agent is asked to end, and the new one
/// starts a second later. What the old one counted last and what the new one counts is all that was
/// sent, at both ends, and every drop is counted once. The ledger goes on, and saw what the
/// interfaces passed.
#[test]
fn an_upgrade_misses_nothing() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    lab.hush();
    let before = DEVICES.map(|device| lab.counters(device));
    let mut old = Agent::start_with(&lab, &config(&pins.directory(), ""));
    assert_eq!(outcome(&old.scrape(), "started_new"), 1, "{}", old.log());
    let traffic = Traffic::start(&lab);
    old.wait_until("packets are counted", |agent| counted(&agent.scrape()).iter().all(|count| *count > 100));
    let last = counted(&last_scrape(&mut old));
    sleep(Duration::from_secs(1));
    // Whatever the new one may do, it can take over.
    let mut new = Agent::start_with(&lab, &config(&pins.directory(), "privileges: { least: true }\n"));
    assert_eq!(outcome(&new.scrape(), "taken_over"), 1, "{}", new.log());
    let at_start = counted(&new.scrape());
    new.wait_until("it goes on", |agent| {
        counted(&agent.scrape()).iter().zip(at_start).all(|(now, then)| *now > then + 50)
    });
    let (sent, denied) = traffic.stop();
    let scrape = new.settles(|scrape| {
        let both: Vec<u64> = counted(scrape).iter().zip(last).map(|(new, old)| new + old).collect();
        if both != [sent, sent, denied, denied] {
            return Err(format!("sent {sent} and {denied}; the old one counted {last:?}, both {both:?}"));
        }
        adds_up(scrape)?;
        seen_is_what_passed(scrape, passed(&lab, before))
    });
    assert!(scrape.sum("webb_ledger_seen_packets_total", &[("hook", "drop")]) >= denied);
    assert_eq!(scrape.sum("hubble_lost_events_total", &[]), 0, "{}", new.log());
    assert_eq!(scrape.sum("webb_probe_gap_packets_total", &[]), 0, "{}", new.log());
    for device in DEVICES {
        assert_eq!(chains(&lab, device), [1, 1], "{device}");
    }
}

/// An agent that stood still and was killed: what it had not read is in the rings and in the table,
/// and the next one counts all of it.
#[test]
fn what_a_killed_agent_had_not_read() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let mut old = Agent::start_with(&lab, &config(&pins.directory(), "aggregation: none\n"));
    old.signal("STOP");
    let traffic = Traffic::start(&lab);
    sleep(Duration::from_secs(1));
    old.signal("KILL");
    old.ended();
    sleep(Duration::from_secs(1));
    // A pod that went meanwhile: the links of its interface are on nothing any more.
    lab.run("node", "ip link delete lxc-deathstar-b");
    let mut new = Agent::start_with(&lab, &config(&pins.directory(), "aggregation: none\n"));
    assert_eq!(outcome(&new.scrape(), "taken_over"), 1, "{}", new.log());
    let (sent, denied) = traffic.stop();
    assert!(denied > 100, "{denied}");
    new.settles(|scrape| {
        adds_up(scrape)?;
        let counted = counted(scrape);
        let right = counted == [sent, sent, denied, denied];
        if right { Ok(()) } else { Err(format!("sent {sent} and {denied}, counted {counted:?}")) }
    });
    let others: Vec<PathBuf> = pins.sets();
    let [set] = &others[..] else { panic!("{others:?}") };
    let links = fs::read_dir(set.join("links")).unwrap().count();
    assert_eq!(links, 2 * (DEVICES.len() - 1) + 1, "two for each interface, and the drop tracepoint's");
}

/// Packets of all heartbeats of an instance, or of all: seen, missing or foreign, in rows or lost.
fn ledger(rows: &[Row], of_instance: Option<&str>) -> [u64; 3] {
    let with = [Some(("event", "webb.heartbeat")), of_instance.map(|id| ("service.instance.id", id))];
    let with: Vec<(&str, &str)> = with.into_iter().flatten().collect();
    let of = |names: &[&str]| names.iter().map(|name| sum(rows, &format!("webb.{name}_packets"), &with)).sum();
    [
        of(&["ledger.seen"]),
        of(&["ledger.missing", "ledger.foreign"]),
        of(&["rollup.lost"]) + sum(rows, "webb.rollup.packets", &with),
    ]
}

/// Heartbeats over a handover: what the programs saw is what rows have, what was missing and what a
/// killed agent had read and not sent. With a spool directory that is so over all agents, and the
/// drops beyond the budget of the time without one are in it. Without, it is so for the agent that
/// took over.
#[test]
fn heartbeats_go_on() {
    let Some(lab) = Lab::up() else { return };
    lab.hush();
    let pins = BpfFilesystem::mount(&lab);
    let directory = lab.dir.path().join("spool");
    fs::create_dir(&directory).unwrap();
    let spool = format!(", spool: {{directory: '{}'}}", directory.display());
    for (signal, spool) in [("KILL", &*spool), ("TERM", &*spool), ("KILL", "")] {
        let receiver = Receiver::with(&lab, "node", "rollups: {window: 1s}\n", spool);
        let more = format!("drop_budget: 20\noutputs_config: {}\n", receiver.outputs);
        let mut old = Agent::start_with(&lab, &config(&pins.directory(), &more));
        let of = |event: &str| receiver.rows().into_iter().filter(|row| row["event"] == event).collect::<Vec<Row>>();
        let first = ledger_instance(&mut old, || of("webb.gap").first().cloned());
        let traffic = Traffic::start(&lab);
        let seen = |of_instance: Option<&str>| ledger(&receiver.rows(), of_instance)[0];
        old.wait_until("packets in rows", |_| seen(Some(&first)) > 200);
        let suppressed = old.scrape().sum("webb_ledger_packets_total", &[("outcome", "suppressed")]);
        if signal == "KILL" {
            // In the middle of a window, some of what was read is in no row.
            sleep(Duration::from_millis(500));
        }
        old.signal(signal);
        old.ended();
        sleep(Duration::from_secs(2));
        let mut new = Agent::start_with(&lab, &config(&pins.directory(), &more));
        assert_eq!(outcome(&new.scrape(), "taken_over"), 1, "{}", new.log());
        let second = ledger_instance(&mut new, || of("webb.gap").get(1).cloned());
        assert_eq!(of("webb.gap")[1].get("webb.gap.handed_over").map(String::as_str), Some("true"));
        traffic.stop();
        let lacks = |name: &str| sum(&of("webb.heartbeat"), name, &[("service.instance.id", &second)]);
        let apart = lab.socket("node", "127.0.0.1:0");
        new.wait_until("drops without a pod", |_| {
            let _refused = apart.send_to(b"no pod has it", "127.0.0.1:9");
            lacks("webb.ledger.foreign_packets") > 0
        });
        let whole = (!spool.is_empty()).then_some(None);
        new.wait_until("the ledger closes", |new| {
            let at_rest = adds_up(&new.scrape()).is_ok();
            let [seen, missing, rows] = ledger(&receiver.rows(), whole.unwrap_or(Some(&second)));
            at_rest && seen == missing + rows && seen > 0
        });
        let scrape = new.scrape();
        assert_eq!(lacks("webb.rollup.lost_packets") > 0, signal == "KILL" && !spool.is_empty(), "{signal} {spool}");
        assert_eq!(scrape.sum("webb_rollup_flows_total", &[("outcome", "not_wanted")]), 0);
        if !spool.is_empty() {
            let all = scrape.sum("webb_ledger_packets_total", &[("outcome", "suppressed")]);
            assert!(all > suppressed + 20);
            let [_, missing, _] = ledger(&receiver.rows(), None);
            assert!(missing >= all - suppressed, "{missing} of {all}");
        }
        new.signal("TERM");
        new.ended();
    }
}

/// An agent without a spool directory sends rows between two that have one: the note of the first
/// is not of the last window, so the third claims no packet of the second's rows as lost, and does
/// not say since when there are no rows.
#[test]
fn a_stale_last_window_is_ignored() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let directory = lab.dir.path().join("spool");
    fs::create_dir(&directory).unwrap();
    let spool = format!(", spool: {{directory: '{}'}}", directory.display());
    let receiver = Receiver::with(&lab, "node", "rollups: {window: 1s}\n", &spool);
    let with_spool = fs::read_to_string(&receiver.outputs).unwrap();
    let config = config(&pins.directory(), &format!("outputs_config: {}\n", receiver.outputs));
    let traffic = Traffic::start(&lab);
    let of = |event: &str| receiver.rows().into_iter().filter(|row| row["event"] == event).collect::<Vec<Row>>();
    for (number, outputs) in [with_spool.clone(), with_spool.replace(&spool, ""), with_spool].iter().enumerate() {
        fs::write(&receiver.outputs, outputs).unwrap();
        let mut agent = Agent::start_with(&lab, &config);
        let instance = ledger_instance(&mut agent, || of("webb.gap").get(number).cloned());
        agent.wait_until("packets in rows", |_| ledger(&receiver.rows(), Some(&instance))[2] > 200);
        agent.signal("TERM");
        agent.ended();
    }
    traffic.stop();
    let gaps = of("webb.gap");
    assert_eq!(gaps[2].get("webb.gap.handed_over").map(String::as_str), Some("true"));
    assert_eq!(gaps[2].get("webb.gap.start"), None);
    assert_eq!(sum(&of("webb.heartbeat"), "webb.rollup.lost_packets", &[]), 0);
}

/// The instance of a gap record.
fn ledger_instance(agent: &mut Agent, gap: impl Fn() -> Option<Row>) -> String {
    agent.wait_until("a gap", |_| gap().is_some());
    gap().unwrap()["service.instance.id"].clone()
}

/// Maps of another layout are not opened: counting begins anew, with programs that are attached
/// before the old ones go, and metric and log say that there was a gap. The same for other sizes.
#[test]
fn maps_that_do_not_fit() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let mut agent = Agent::start_with(&lab, &config(&pins.directory(), ""));
    agent.signal("KILL");
    agent.ended();
    let [set] = &pins.sets()[..] else { panic!("{:?}", pins.sets()) };
    let (_, settings) = set.file_name().unwrap().to_str().unwrap().split_once('-').unwrap();
    let other = format!("0123456789abcdef-{settings}");
    fs::rename(set, pins.directory().join(&other)).unwrap();
    for (more, expected) in [("", "abi_differs"), ("rings: { flow_bytes: 1MiB }\n", "settings_differ")] {
        let mut agent = Agent::start_with(&lab, &config(&pins.directory(), more));
        let scrape = agent.scrape();
        assert_eq!(outcome(&scrape, expected), 1, "{}", agent.log());
        assert!(agent.log().contains(&format!("outcome=\"{expected}\"")), "{}", agent.log());
        agent.wait_until("the old programs are gone", |_| DEVICES.iter().all(|device| chains(&lab, device) == [1, 1]));
        assert_eq!(pins.sets().len(), 1, "{:?}", pins.sets());
        agent.settles(adds_up);
        agent.signal("KILL");
        agent.ended();
    }
    // Off again: what was left is removed once the own programs are attached, and nothing stays.
    let off = config(&pins.directory(), "").replace("handover: true", "handover: false");
    let mut agent = Agent::start_with(&lab, &off);
    assert_eq!(outcome(&agent.scrape(), "removed"), 1, "{}", agent.log());
    assert_eq!(pins.sets(), Vec::<PathBuf>::new());
    agent.wait_until("the old programs are gone", |_| DEVICES.iter().all(|device| chains(&lab, device) == [1, 1]));
    agent.signal("KILL");
    agent.ended();
    for device in DEVICES {
        assert_eq!(chains(&lab, device), [0, 0], "{device}");
    }
}

/// What is done to the directory of the maps' pins.
type Damage = fn(&Path);

/// A set of pins with a map that is missing, or with another map in its place, is not taken over:
/// counting begins anew, with a hash that has its secrets.
#[test]
fn maps_that_are_missing() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let damages: [(&str, Damage); 3] = [
        ("map totals cannot be opened", |maps| fs::remove_file(maps.join("totals")).unwrap()),
        ("is another one", |maps| {
            for (from, to) in [("totals", "aside"), ("swept", "totals"), ("aside", "swept")] {
                fs::rename(maps.join(from), maps.join(to)).unwrap();
            }
        }),
        ("cannot be opened", |maps| {
            for entry in fs::read_dir(maps).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }),
    ];
    let mut agent = Agent::start_with(&lab, &config(&pins.directory(), ""));
    for (reason, damage) in damages {
        agent.signal("KILL");
        agent.ended();
        let [set] = &pins.sets()[..] else { panic!("{:?}", pins.sets()) };
        damage(&set.join("maps"));
        agent = Agent::start_with(&lab, &config(&pins.directory(), ""));
        assert_eq!(outcome(&agent.scrape(), "incomplete"), 1, "{reason}: {}", agent.log());
        assert!(agent.log().contains(reason), "{reason}: {}", agent.log());
        agent.wait_until("the old programs are gone", |_| DEVICES.iter().all(|device| chains(&lab, device) == [1, 1]));
        let traffic = Traffic::start(&lab);
        agent.wait_until("it counts", |agent| counted(&agent.scrape()).iter().all(|count| *count > 10));
        traffic.stop();
        agent.settles(adds_up);
    }
    // The new set is complete.
    agent.signal("KILL");
    agent.ended();
    let agent = Agent::start_with(&lab, &config(&pins.directory(), ""));
    assert_eq!(outcome(&agent.scrape(), "taken_over"), 1, "{}", agent.log());
}

/// The maps of layer 7 are taken over with the others, and belong to a complete set.
#[test]
fn maps_of_layer_7() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let file = lab.file("layer7.yaml", &config(&pins.directory(), ""));
    let start = || Agent::start_at(&lab, "node", METRICS, &["--config", file.to_str().unwrap()]);
    let mut agent = start();
    for expected in ["taken_over", "incomplete", "taken_over"] {
        agent.signal("KILL");
        agent.ended();
        if expected == "incomplete" {
            let [set] = &pins.sets()[..] else { panic!("{:?}", pins.sets()) };
            fs::remove_file(set.join("maps/l7_totals")).unwrap();
        }
        agent = start();
        assert_eq!(outcome(&agent.scrape(), expected), 1, "{}", agent.log());
    }
}

/// A directory that cannot be used ends the start, with the reason: on another filesystem, another
/// user's, open to others, or in use.
#[test]
fn a_directory_that_cannot_be_used() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let refused = |directory: &Path, reason: &str| {
        let file =
            lab.file("refused.yaml", &config(directory, "metrics_listen: 127.0.0.1:9\nadmin_listen: 127.0.0.1:10\n"));
        let mut agent = Agent::spawn(&lab, "", &["--config", file.to_str().unwrap()]);
        assert_eq!(agent.ended().code(), Some(64), "{reason}: {}", agent.log());
        assert!(agent.log().contains(reason), "{reason}: {}", agent.log());
        assert!(agent.log().contains(directory.to_str().unwrap()), "{}", agent.log());
    };
    refused(&lab.dir.path().join("webb"), "is on no BPF filesystem; mount one");
    let directory = pins.directory();
    fs::create_dir(&directory).unwrap();
    let change = |program: &str, to: &str| {
        assert!(Command::new(program).arg(to).arg(&directory).status().unwrap().success());
    };
    change("chmod", "0777");
    refused(&directory, "others may write there (mode 777); chmod 0700 it");
    change("chmod", "0700");
    change("chown", "65534");
    refused(&directory, "it belongs to user 65534, and this process is user 0");
    change("chown", "0");
    let _running = Agent::start_with(&lab, &config(&directory, ""));
    let log = lab.dir.path().join("running.log");
    fs::rename(lab.dir.path().join("webb-node.log"), log).unwrap();
    refused(&directory, "another process uses it: is another webb running?");
}

/// The directory is removed under an agent, and a second agent makes it anew: both say so, the
/// first leaves the pins of the second alone, and the second has nothing to say once the first is
/// gone.
#[test]
fn a_directory_that_is_replaced_under_an_agent() {
    let Some(lab) = Lab::up() else { return };
    let pins = BpfFilesystem::mount(&lab);
    let mut first = Agent::start_with(&lab, &config(&pins.directory(), ""));
    let state =
        |port| request(&lab.namespace("node"), port, "GET", "/readyz").map(|answer| answer.body).unwrap_or_default();
    let replaced = |port| state(port).contains("was removed or replaced while this process used it");
    let doubled = |port| state(port).contains("as it was before it was replaced: is another webb running?");
    assert!(!replaced(9966) && !doubled(9966), "{}", state(9966));
    fs::remove_dir_all(pins.directory()).unwrap();
    first.wait_until("the first one says so", |_| replaced(9966));
    fs::rename(lab.dir.path().join("webb-node.log"), lab.dir.path().join("first.log")).unwrap();
    let listeners = "metrics_listen: 127.0.0.1:9\nadmin_listen: 127.0.0.1:10\n";
    let file = lab.file("second.yaml", &config(&pins.directory(), listeners));
    let mut second = Agent::spawn(&lab, "", &["--config", file.to_str().unwrap()]);
    second.wait_until("the second one says so", |_| doubled(10));
    let links = || {
        let names = fs::read_dir(pins.sets()[0].join("links")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with("gress")).count()
    };
    second.wait_until("all links of the second one are pinned", |_| links() == 2 * DEVICES.len());
    assert!(replaced(9966) && !replaced(10), "{}\n{}", state(9966), state(10));
    first.signal("TERM");
    first.ended();
    second.wait_until("the second one is alone", |_| !state(10).is_empty() && !doubled(10));
    assert_eq!(links(), 2 * DEVICES.len(), "{}", second.log());
}
