//! Faults on command (feature `fault-injection`): each part of the agent fails in turn, is restarted, and the counters
//! afterwards are those of the traffic; scrapes are answered all the while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::counts::{POINTS, exactly};
use crate::harness::{Agent, Lab, request};
use crate::ledger::adds_up;
use crate::scrape::Scrape;

/// A short wait before a restart, and a stall that is noticed soon.
const SWIFT: &str = "
supervision: { backoff_min: 50ms, stall_after: 500ms }
scrape: { min_interval: 0s }
";

fn number(component: &Value, path: &[&str]) -> u64 {
    path.iter().fold(component, |at, key| &at[*key]).as_u64().unwrap_or(0)
}

fn inject(agent: &Agent, point: &str, times: u64, stall_ms: u64) {
    agent.post(&format!("/faults/inject?point={point}&times={times}&stall_ms={stall_ms}"));
}

fn land(lab: &Lab, rounds: u64) {
    lab.run("tiefighter", &format!("pod land --rounds {rounds} 10.244.1.11:80"));
    lab.run("tiefighter", &format!("pod land --rounds {rounds} [fd00:10:244:1::12]:80"));
}

/// Records that a fault has cost: each is named by the agent. All of its packets are, too.
fn named_losses(scrape: &Scrape) -> u64 {
    scrape.sum("webb_pipeline_lost_records_total", &[])
}

/// The counters are those of so many requests over each IP version, less what was named.
fn counts_of(requests: u64) -> impl Fn(&Scrape) -> Result<(), String> {
    move |scrape| {
        if named_losses(scrape) == 0 {
            let flags = "hubble_tcp_flags_total";
            exactly(&[
                (flags, &[("family", "IPv4"), ("flag", "SYN")], POINTS * requests),
                (flags, &[("family", "IPv6"), ("flag", "SYN")], POINTS * requests),
                (flags, &[("flag", "SYN-ACK")], 2 * POINTS * requests),
                (flags, &[("flag", "FIN")], 4 * POINTS * requests),
            ])(scrape)?;
        }
        // Seven reports of each connection at each point (see `counts`).
        let flows = scrape.sum("hubble_flows_processed_total", &[("type", "Trace"), ("protocol", "TCP")]);
        let expected = 2 * 7 * POINTS * requests;
        if flows + named_losses(scrape) == expected {
            adds_up(scrape)
        } else {
            Err(format!("flows: expected {expected}, counted {flows}, named as lost {}", named_losses(scrape)))
        }
    }
}

/// Runs `body` while scrapes go on without a pause; gives back how many were not answered with 200, and how many were.
fn while_scraping(lab: &Lab, body: impl FnOnce()) -> (u64, u64) {
    let (stop, failed, answered) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let namespace = lab.namespace("node");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let good = request(&namespace, 9965, "GET", "/metrics").is_some_and(|answer| answer.status == 200);
                if good { &answered } else { &failed }.fetch_add(1, Relaxed);
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    (failed.into_inner(), answered.into_inner())
}

/// Waits until `component` has recovered from `faults` faults of a kind; traffic goes on meanwhile, so that a component
/// which only moves when there is work comes past its point. Gives back how many requests that took.
fn recovered(lab: &Lab, agent: &mut Agent, component: &str, kind: &str, faults: u64) -> u64 {
    let mut requests = 0;
    agent.wait_until(&format!("{component} has {kind} and is up again"), |agent| {
        land(lab, 1);
        requests += 1;
        let Some(now) = agent.component(component) else { return false };
        number(&now, &["faults", kind]) >= faults && now["state"] == "up"
    });
    requests
}

/// The story that each of the following tests tells of another part.
fn survives(point: &str, component: &str, kind: &str, stall_ms: u64) {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, SWIFT);
    let mut requests = 5;
    land(&lab, 5);
    agent.settles(counts_of(5));
    let (failed, answered) = while_scraping(&lab, || {
        inject(&agent, point, 1, stall_ms);
        requests += recovered(&lab, &mut agent, component, kind, 1);
        land(&lab, 5);
        requests += 5;
    });
    // The request that a fault of the HTTP component meets is that fault; no other may fail.
    assert!(failed <= u64::from(point == "http"), "{failed} scrapes failed, {answered} were answered\n{}", agent.log());
    assert!(answered > 0);
    let scrape = agent.settles(counts_of(requests));
    assert!(named_losses(&scrape) <= 1, "more was lost than the record that it failed on\n{}", scrape.show("webb_"));

    let now = agent.component(component).unwrap();
    assert_eq!(number(&now, &["faults", kind]), 1, "{now}");
    assert_eq!(number(&now, &["restarts"]), 1, "{now}");
    let others = agent.get("/actors").unwrap().body;
    let others: Value = serde_json::from_str(&others).unwrap();
    for other in others["components"].as_array().unwrap() {
        let alone = other["name"] == component || number(other, &["restarts"]) == 0;
        assert!(alone, "{component} failed, and {other} was restarted with it");
    }
    assert!(agent.get("/faults").unwrap().body.contains(component));
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
}

/// A reader that panics resumes where the ring stands.
#[test]
fn reader_panics() {
    survives("reader", "reader", "panicked", 0);
}

/// A record that breaks the decoder costs that record at most.
#[test]
fn decoder_panics() {
    survives("decoder", "decoder", "panicked", 0);
}

/// One aggregator fails, its neighbours do not notice, and its counters are kept.
#[test]
fn aggregators_panic() {
    for metric in ["flow", "tcp", "icmp", "port-distribution", "drop", "traffic"] {
        let name = format!("aggregator/{metric}");
        survives(&name, &name, "panicked", 0);
    }
}

/// Names stay as they were while the resolver is restarted.
#[test]
fn resolver_panics() {
    survives("resolver", "resolver", "panicked", 0);
}

/// A request that breaks a handler is alone with it.
#[test]
fn http_handler_panics() {
    survives("http", "http", "panicked", 0);
}

/// The programs stay attached while their keeper is restarted.
#[test]
fn probes_panic() {
    survives("probes", "probes", "panicked", 0);
}

/// The table is swept on by the next one.
#[test]
fn sweeper_panics() {
    survives("sweeper", "sweeper", "panicked", 0);
}

/// A thread that stands still is found out, and goes on where it stood.
#[test]
fn reader_stalls() {
    survives("reader", "reader", "stalled", 3000);
}

/// The same for an aggregator: the reader waits for it, the ring holds what comes, scrapes get its last snapshot.
#[test]
fn aggregator_stalls() {
    survives("aggregator/flow", "aggregator/flow", "stalled", 3000);
}

/// Three readers die while a flood runs; the ledger still adds up, and all that was reported is counted or named.
#[test]
fn reader_is_killed_during_a_flood() {
    let Some(lab) = Lab::up() else { return };
    let config = format!("{SWIFT}aggregation: none\nconnections: {{ other_idle: 1s, sweep_interval: 100ms }}\n");
    let mut agent = Agent::start_with(&lab, &config);
    let mut flood = lab.command("xwing", "pod flood 2000000 100 10.244.1.21").spawn().unwrap();
    for faults in 1..=3 {
        inject(&agent, "reader", 1, 0);
        agent.wait_until("the reader is up again", |agent| {
            agent.component("reader").is_some_and(|now| number(&now, &["restarts"]) >= faults && now["state"] == "up")
        });
    }
    flood.wait().unwrap();
    let scrape = agent.settles(|scrape| {
        adds_up(scrape)?;
        let reported: u64 = ["from_pod", "to_pod"]
            .iter()
            .map(|hook| scrape.sum("webb_ledger_packets_total", &[("fate", "reported"), ("hook", hook)]))
            .sum();
        let counted = scrape.sum("webb_traffic_packets_total", &[]);
        let named = scrape.sum("webb_pipeline_lost_packets_total", &[]);
        if reported == counted + named {
            Ok(())
        } else {
            Err(format!("reported {reported}, counted {counted}, named {named}"))
        }
    });
    assert!(named_losses(&scrape) <= 3, "{}", scrape.show("webb_pipeline"));
}

/// A component that fails again and again takes the agent down with exit code 70, for its keeper to see.
#[test]
fn too_many_restarts() {
    let Some(lab) = Lab::up() else { return };
    let mut agent = Agent::start_with(&lab, "supervision: { max_restarts: 2, backoff_min: 10ms, window: 1m }\n");
    inject(&agent, "aggregator/tcp", 100, 0);
    // It fails when it has work, so it needs work between its restarts.
    let mut work = lab.command("tiefighter", "pod land --rounds 200 --every 20 10.244.1.11:80").spawn().unwrap();
    assert_eq!(agent.ended().code(), Some(70), "{}", agent.log());
    assert!(agent.log().contains("aggregator/tcp"), "{}", agent.log());
    work.kill().unwrap();
    work.wait().unwrap();
}
