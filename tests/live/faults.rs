//! Faults on command (feature `fault-injection`): each part of the agent fails in turn, is
//! restarted, and the counters afterwards are those of the traffic; scrapes are answered all the
//! while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use crate::counts::{Expected, POINTS};
use crate::harness::{Agent, DEATHSTAR_C, Lab, TIEFIGHTER, request};
use crate::ledger::adds_up;
use crate::scrape::Scrape;

/// A short wait before a restart, and a stall that is noticed soon.
const SWIFT: &str = "
supervision: { backoff_min: 50ms, stall_after: 2s }
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

/// Flows that a fault has cost this metric, as the agent names them: records that broke the reader
/// or the decoder, flows that broke the aggregator, and flows that did not wait for one that was
/// down and had its lane full.
fn named(scrape: &Scrape, metric: &str) -> u64 {
    let of_metric = |outcome| scrape.sum("webb_aggregator_flows_total", &[("metric", metric), ("outcome", outcome)]);
    scrape.sum("webb_reader_records_total", &[("outcome", "panicked")]) + of_metric("panicked") + of_metric("skipped")
}

/// Every stage accounts for what the one before it gave it.
fn stages_add_up(scrape: &Scrape) -> Result<(), String> {
    let same = |what: &str, given: u64, made: u64| {
        if given == made { Ok(()) } else { Err(format!("{what}: given {given}, accounted for {made}")) }
    };
    let read = scrape.sum("webb_reader_read_records_total", &[]);
    same("ring to reader", scrape.sum("webb_ring_records_total", &[]), read)?;
    same("reader", read, scrape.sum("webb_reader_records_total", &[]))?;
    let flows = scrape.sum("webb_reader_flows_total", &[]);
    let verdicts = scrape.sum("webb_reader_verdicts_total", &[]);
    same("reader to batches", scrape.sum("webb_reader_records_total", &[("outcome", "decoded")]) + verdicts, flows)?;
    for metric in scrape.values("webb_aggregator_sent_flows_total", "metric") {
        let of_metric = [("metric", metric.as_str())];
        let sent = scrape.sum("webb_aggregator_sent_flows_total", &of_metric);
        same(&format!("batches to {metric}"), flows, sent)?;
        same(&metric, sent, scrape.sum("webb_aggregator_flows_total", &of_metric))?;
    }
    Ok(())
}

/// The counters are those of so many requests over each IP version, less what was named, and never
/// more.
fn counts_of(requests: u64) -> impl Fn(&Scrape) -> Result<(), String> {
    move |scrape| {
        let flags = "hubble_tcp_flags_total";
        let flows = "hubble_flows_processed_total";
        let ports = "hubble_port_distribution_total";
        // Seven reports of each connection at each point, four of them from the client (see
        // `counts`).
        let expected: [(&str, Expected<'_>); 6] = [
            ("tcp", (flags, &[("family", "IPv4"), ("flag", "SYN")], POINTS * requests)),
            ("tcp", (flags, &[("family", "IPv6"), ("flag", "SYN")], POINTS * requests)),
            ("tcp", (flags, &[("flag", "SYN-ACK")], 2 * POINTS * requests)),
            ("tcp", (flags, &[("flag", "FIN")], 4 * POINTS * requests)),
            ("flow", (flows, &[("type", "Trace"), ("protocol", "TCP")], 2 * 7 * POINTS * requests)),
            ("port-distribution", (ports, &[("port", "80")], 2 * 4 * POINTS * requests)),
        ];
        for (metric, (name, labels, value)) in expected {
            let (found, named) = (scrape.sum(name, labels), named(scrape, metric));
            if found > value || found + named < value {
                return Err(format!("{name}{labels:?}: expected {value}, found {found}, named as lost {named}"));
            }
        }
        stages_add_up(scrape)?;
        adds_up(scrape)
    }
}

/// Runs `body` while scrapes go on without a pause; gives back how many were not answered with 200,
/// and how many were.
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

/// Waits until `component` has recovered from `faults` faults of a kind; traffic goes on meanwhile,
/// so that a component which only moves when there is work comes past its point. Gives back how
/// many requests that took.
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
    // A handler that panics costs its request and nothing else: no other may fail, and there is
    // nothing to restart.
    let handler = point == "http";
    assert!(failed <= u64::from(handler), "{failed} scrapes failed, {answered} were answered\n{}", agent.log());
    assert!(answered > 0);
    let scrape = agent.settles(counts_of(requests));
    let lost = scrape.sum("webb_reader_records_total", &[("outcome", "panicked")])
        + scrape.sum("webb_aggregator_flows_total", &[("outcome", "panicked")]);
    assert!(lost <= 1, "more broke than the record that it failed on\n{}", scrape.show("webb_"));

    let now = agent.component(component).unwrap();
    assert_eq!(number(&now, &["faults", kind]), 1, "{now}");
    assert_eq!(number(&now, &["restarts"]), u64::from(!handler), "{now}");
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
    survives("http", "http/metrics", "panicked", 0);
}

/// The programs stay attached while their supervisor is restarted.
#[test]
fn probes_panic() {
    survives("probes", "probes", "panicked", 0);
}

/// Services keep their pods while the follower of connection tracking is restarted: it reads
/// everything anew.
#[test]
fn conntrack_panics() {
    survives("conntrack", "conntrack", "panicked", 0);
}

/// Connection tracking tells more than its follower has time for: the kernel drops events,
/// everything is read anew, and services have their pods again.
#[test]
fn conntrack_overruns() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    let metrics = "flow:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";
    let mut agent = Agent::start_at(&lab, "node", metrics, &[]);
    agent.wait_until("everything was read once", |agent| agent.scrape().sum("webb_conntrack_dumps_total", &[]) == 1);
    inject(&agent, "conntrack", 1, 5000);
    // The follower sleeps from its next turn on. Some hundred bytes for each of many connections,
    // in a socket of 8 MiB.
    std::thread::sleep(std::time::Duration::from_millis(500));
    lab.run("xwing", "pod flood 45000 45000 10.244.1.21");
    agent.wait_until("events were dropped and everything was read anew", |agent| {
        let scrape = agent.scrape();
        scrape.sum("webb_conntrack_overruns_total", &[]) > 0 && scrape.sum("webb_conntrack_dumps_total", &[]) > 1
    });
    assert_eq!(agent.component("conntrack").unwrap()["state"], "up");
    lab.run("tiefighter", "pod land --rounds 10 10.96.23.45:80");
    agent.settles(|scrape| {
        let flows = "hubble_flows_processed_total";
        let there = scrape.sum(flows, &[("source", TIEFIGHTER), ("destination", DEATHSTAR_C), ("protocol", "TCP")]);
        if there == 40 { Ok(()) } else { Err(format!("{there} flows to the pod behind the service, expected 40")) }
    });
}

/// The table is swept on by the next one.
#[test]
fn sweeper_panics() {
    survives("sweeper", "sweeper", "panicked", 0);
}

/// A thread that stands still is found out, and goes on where it stood.
#[test]
fn reader_stalls() {
    survives("reader", "reader", "stalled", 4000);
}

/// The same for an aggregator: scrapes get its last snapshot; what its lane cannot hold meanwhile
/// is skipped and named, so that its neighbours need not wait.
#[test]
fn aggregator_stalls() {
    survives("aggregator/flow", "aggregator/flow", "stalled", 4000);
}

/// Three readers die while a flood runs; the ledger still adds up, and all that was reported is
/// counted or named.
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
        let reported: u64 = ["from-pod", "to-pod"]
            .iter()
            .map(|hook| scrape.sum("webb_ledger_packets_total", &[("outcome", "reported"), ("hook", hook)]))
            .sum();
        let counted = scrape.sum("webb_traffic_packets_total", &[]);
        stages_add_up(scrape)?;
        // A record that broke may have been a drop, which `traffic` does not count: then nothing is
        // missing for it.
        let broke = scrape.sum("webb_reader_panicked_packets_total", &[]);
        let missing = reported.checked_sub(counted).ok_or("more was counted than was reported")?;
        if missing <= broke {
            Ok(())
        } else {
            Err(format!("reported {reported}, counted {counted}, packets of broken records {broke}"))
        }
    });
    assert_eq!(scrape.sum("webb_aggregator_flows_total", &[("outcome", "skipped")]), 0);
    assert!(named(&scrape, "traffic") <= 3, "{}", scrape.show("webb_reader"));
}

/// A component that fails again and again takes the agent down with exit code 70, for its
/// supervisor to see.
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
