//! The ledger under pressure: a ring of 64 KiB and a table of 1,024 entries, while a flood runs.
//! Data may be given up, but never without a name: at rest, what each hook saw is what it reported,
//! holds, or says that it gave up.

use crate::harness::{Agent, Counters, DEVICES, Lab};
use crate::scrape::Scrape;

const TIGHT: &str = "
report_interval: 200ms
connections:
  table_bytes: 110KiB
  tcp_idle: 2s
  closing_idle: 1s
  half_open_idle: 1s
  other_idle: 1s
  sweep_interval: 100ms
drop_budget: 100
";

const SMALL_RINGS: &str = "rings: { flow_bytes: 64KiB, drop_bytes: 64KiB }\n";

/// For all records of a flood that is faster than the reader of a test.
const LARGE_RINGS: &str = "rings: { flow_bytes: 64MiB, drop_bytes: 64KiB }\n";

/// Outcomes of a packet in a ledger, apart from still being held.
const FATES: [&str; 7] = ["reported", "untracked", "unparsed", "lost", "suppressed", "flooded", "stopped"];

/// For every hook, in packets and in bytes: seen = every outcome + pending.
pub(crate) fn adds_up(scrape: &Scrape) -> Result<(), String> {
    let hooks = scrape.values("webb_ledger_seen_packets_total", "hook");
    if hooks.len() < 3 {
        return Err(format!("hooks in the ledger: {hooks:?}"));
    }
    for unit in ["packets", "bytes"] {
        for outcome in scrape.values(&format!("webb_ledger_{unit}_total"), "outcome") {
            if !FATES.contains(&outcome.as_str()) {
                return Err(format!("a outcome that this test does not know: {outcome}"));
            }
        }
        for hook in &hooks {
            let of_hook = [("hook", hook.as_str())];
            let seen = scrape.sum(&format!("webb_ledger_seen_{unit}_total"), &of_hook);
            let outcomes = scrape.sum(&format!("webb_ledger_{unit}_total"), &of_hook);
            let pending = scrape.sum(&format!("webb_ledger_pending_{unit}"), &of_hook);
            if seen != outcomes + pending {
                return Err(format!(
                    "{hook} has seen {seen} {unit}, and accounts for {outcomes} and {pending} pending"
                ));
            }
        }
    }
    Ok(())
}

/// Counts of the records equal those of the metric: no stage after the ring loses anything.
pub(crate) fn traffic_is_what_was_reported(scrape: &Scrape) -> Result<(), String> {
    for unit in ["packets", "bytes"] {
        let outcomes = format!("webb_ledger_{unit}_total");
        let reported: u64 = ["from-pod", "to-pod"]
            .iter()
            .map(|hook| scrape.sum(&outcomes, &[("outcome", "reported"), ("hook", hook)]))
            .sum();
        let counted = scrape.sum(&format!("webb_traffic_{unit}_total"), &[]);
        if reported != counted {
            return Err(format!("reported {reported} {unit}, counted {counted}"));
        }
    }
    Ok(())
}

/// Nothing passed the interfaces unseen.
pub(crate) fn seen_is_what_passed(scrape: &Scrape, passed: Counters) -> Result<(), String> {
    let sum = |unit: &str, hook| scrape.sum(&format!("webb_ledger_seen_{unit}_total"), &[("hook", hook)]);
    let seen = Counters {
        received_packets: sum("packets", "from-pod"),
        received_bytes: sum("bytes", "from-pod"),
        sent_packets: sum("packets", "to-pod"),
        sent_bytes: sum("bytes", "to-pod"),
    };
    if seen == passed { Ok(()) } else { Err(format!("the interfaces passed {passed:?}, the hooks saw {seen:?}")) }
}

/// Floods, and returns what was scraped when all had come to rest, unless live tests are skipped.
fn flooded(aggregation: &str, rings: &str, expected_fates: &[&str]) -> Option<Scrape> {
    let lab = Lab::up()?;
    lab.hush();
    let mut agent = Agent::start_with(&lab, &format!("aggregation: {aggregation}\n{TIGHT}{rings}"));
    let before = DEVICES.map(|device| lab.counters(device));

    // More connections than the table holds, from two sides at once; and a flood that the policy
    // drops.
    let floods = [
        ("xwing", "pod flood 200000 8000 10.244.1.21"),
        ("tiefighter", "pod flood 100000 8000 fd00:10:244:1::31"),
        ("xwing", "pod flood 50000 1000 10.244.1.11"),
    ];
    let mut running = floods.map(|(pod, words)| lab.command(pod, words).spawn().unwrap());
    lab.run("tiefighter", "pod land --rounds 50 10.244.1.11:80 [fd00:10:244:1::12]:80");
    for flood in &mut running {
        assert!(flood.wait().unwrap().success());
    }

    // Read each time: a connection's last packet may follow the end of its process.
    let passed = || {
        DEVICES.iter().zip(before).fold(Counters::default(), |sum, (device, before)| {
            let moved = lab.counters(device) - before;
            Counters {
                received_packets: sum.received_packets + moved.received_packets,
                received_bytes: sum.received_bytes + moved.received_bytes,
                sent_packets: sum.sent_packets + moved.sent_packets,
                sent_bytes: sum.sent_bytes + moved.sent_bytes,
            }
        })
    };
    assert!(passed().received_packets > 300_000, "the flood was none: {:?}", passed());
    let scrape = agent.settles(|scrape| {
        adds_up(scrape)?;
        traffic_is_what_was_reported(scrape)?;
        seen_is_what_passed(scrape, passed())
    });
    // Or else the flood has not put anything to the test.
    for outcome in expected_fates {
        let given_up = scrape.sum("webb_ledger_packets_total", &[("outcome", outcome)]);
        assert!(given_up > 0, "nothing was {outcome}\n{}", scrape.show("webb_ledger"));
    }
    let drops = scrape.sum("webb_ledger_seen_packets_total", &[("hook", "drop")]);
    assert!(drops >= lab.denied(), "nftables dropped {}, the hook saw {drops}", lab.denied());
    Some(scrape)
}

/// Connections in plenty, and rings that hold little: table and ring give out.
#[test]
fn adds_up_when_table_and_ring_are_full() {
    flooded("medium", SMALL_RINGS, &["untracked", "suppressed"]);
}

/// Connections in plenty: a table for a thousand gives out, and loses nothing. Those that have said
/// all make room for the next, or else each packet is a record of its own; every packet that passed
/// the interfaces is in the metric.
#[test]
fn a_full_table_loses_nothing() {
    let Some(scrape) = flooded("medium", LARGE_RINGS, &["suppressed"]) else { return };
    for hook in ["from-pod", "to-pod"] {
        for outcome in ["untracked", "lost"] {
            let packets = scrape.sum("webb_ledger_packets_total", &[("hook", hook), ("outcome", outcome)]);
            assert_eq!(packets, 0, "{hook} {outcome}\n{}", scrape.show("webb_ledger"));
        }
    }
    // How many find a slot to reuse and how many find none depends on the speed of the machine.
    let table = scrape.show("webb_connection_table");
    let released = scrape.sum("webb_connection_table_released_total", &[]);
    let alone = scrape.sum("webb_connection_table_alone_packets_total", &[]);
    assert!(released > 0, "no slot was reused\n{table}");
    assert!(released + alone > 10_000, "the table was never full: {released} {alone}\n{table}");
}

/// A record for every packet: the ring is what gives out. Then events are lost, and are counted as
/// such; the packets and bytes that they would have brought wait in the table for the next record.
#[test]
fn adds_up_when_the_ring_is_full() {
    flooded("none", SMALL_RINGS, &["untracked", "suppressed"]);
}
