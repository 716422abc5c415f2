//! Health between two nodes: each reaches the other, a cut link makes exactly the right counts, a
//! restart is no outage, and a node that goes is gone.
//!
//! The intervals are short, and nothing is decided by how long it takes on the machine of the test.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Agent, Lab, ask, inside, request};
use crate::scrape::Scrape;

/// Interval where a test waits for what it wants to see.
const SHORT: &str = "1s";

/// Interval where a test must never see something: there is time for a probe on a loaded machine.
const LONG: &str = "5s";

/// The grace of an agent that is restarted.
const GRACE: Duration = Duration::from_secs(30);

/// Allows ICMP echo on a node, as the distributions' defaults do; a new namespace does not.
fn allow_ping(lab: &Lab, node: &str) {
    let range = "/proc/sys/net/ipv4/ping_group_range";
    inside(&lab.namespace(node), || fs::write(range, "0 2147483647")).unwrap();
}

fn config(lab: &Lab, node: &str, interval: &str) -> String {
    let text = format!(
        "health: {{ listen: '[::]:4240', interval: {interval} }}\nagent_metrics: {{ listen: '127.0.0.1:9962' }}\n"
    );
    lab.file(&format!("{node}.yaml"), &text).to_str().unwrap().to_owned()
}

/// An agent that probes at this interval.
fn agent(lab: &Lab, node: &str, interval: &str) -> Agent {
    // Where no proxy is: a client that takes it reaches nothing.
    let proxy = "env http_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 ALL_PROXY=http://127.0.0.1:9";
    Agent::start_behind(lab, node, proxy, "flow", &["--config", &config(lab, node, interval)])
}

fn report(agent: &Agent) -> Value {
    let answer = agent.get("/health").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// Numbers of unreachable nodes, and of addresses by status: reachable, unreachable, unknown.
fn counts(report: &Value) -> (usize, [usize; 3]) {
    let nodes = report["nodes"].as_array().unwrap();
    let unreachable = nodes.iter().filter(|node| node["status"] == "unreachable").count();
    let addresses: Vec<&Value> = nodes.iter().flat_map(|node| node["addresses"].as_array().unwrap()).collect();
    let with = |status| addresses.iter().filter(|address| address["status"] == status).count();
    (unreachable, ["reachable", "unreachable", "unknown"].map(with))
}

/// Errors of the last probes, by address and protocol.
fn errors(report: &Value) -> Vec<String> {
    let nodes = report["nodes"].as_array().unwrap().iter();
    let addresses = nodes.flat_map(|node| node["addresses"].as_array().unwrap());
    let protocols = addresses.flat_map(|address| address["protocols"].as_array().unwrap());
    protocols.filter_map(|protocol| protocol["error"].as_str().map(str::to_owned)).collect()
}

/// Drops what the router between the nodes forwards and `rule` matches.
fn cut(lab: &Lab, rule: &str) {
    repair(lab);
    lab.run("world", "nft add table inet cut");
    lab.run("world", "nft add chain inet cut forward { type filter hook forward priority 0 ; }");
    lab.run("world", &format!("nft add rule inet cut forward {rule} drop"));
}

fn repair(lab: &Lab) {
    lab.try_run("world", "nft delete table inet cut");
}

/// The same numbers as [`counts`], as the agent endpoint has them.
fn exposed(lab: &Lab, node: &str) -> (u64, [u64; 3]) {
    let answer = request(&lab.namespace(node), 9962, "GET", "/metrics").unwrap();
    let scrape = Scrape::parse(&answer.body);
    let with = |status| scrape.sum("cilium_node_health_connectivity_status", &[("type", "node"), ("status", status)]);
    let latencies = scrape.sum("cilium_node_health_connectivity_latency_seconds_count", &[("protocol", "http")]);
    assert!(latencies > 0, "{}", answer.body);
    (scrape.sum("cilium_unreachable_nodes", &[]), ["reachable", "unreachable", "unknown"].map(with))
}

fn wait_for(agent: &mut Agent, what: &str, wanted: (usize, [usize; 3])) {
    let began = Instant::now();
    agent.wait_until(what, |agent| counts(&report(agent)) == wanted);
    println!("{what}: after {:.1} s", began.elapsed().as_secs_f64());
}

/// Both nodes reach each other by both families and protocols; a cut of one family, of all, of ICMP
/// alone counts exactly what is cut; a repair takes it back; and a node that goes leaves nothing.
#[test]
fn a_cut_link_counts_exactly() {
    let Some(lab) = Lab::up() else { return };
    for node in ["node", "node2"] {
        allow_ping(&lab, node);
    }
    let manifest = lab.file("manifest.yaml", &fs::read_to_string(Lab::manifest()).unwrap());
    let words = ["--config", &config(&lab, "node", SHORT), "--cluster-manifest", manifest.to_str().unwrap()];
    let mut first = Agent::start_at(&lab, "node", "flow", &words);
    let mut second = agent(&lab, "node2", SHORT);
    for agent in [&mut first, &mut second] {
        wait_for(agent, "both addresses are reachable", (0, [2, 0, 0]));
        let report = report(agent);
        let protocols = report["nodes"][0]["addresses"][0]["protocols"].as_array().unwrap().clone();
        assert_eq!(protocols.iter().map(|one| &one["protocol"]).collect::<Vec<_>>(), ["http", "icmp"]);
        assert!(protocols.iter().all(|one| one["latency_seconds"].as_f64().unwrap() > 0.0), "{report:#}");
    }
    assert_eq!(report(&first)["nodes"][0]["name"], "webb-node-2");

    cut(&lab, "meta nfproto ipv4");
    wait_for(&mut first, "one family is cut", (1, [1, 1, 0]));
    wait_for(&mut second, "it is cut from the other side", (1, [1, 1, 0]));
    cut(&lab, "meta l4proto { tcp, icmp, ipv6-icmp }");
    wait_for(&mut first, "all is cut", (1, [0, 2, 0]));
    assert!(errors(&report(&first)).iter().all(|error| error.starts_with("no answer within")));
    first.wait_until("Cilium's metrics have it", |_| exposed(&lab, "node") == (1, [0, 2, 0]));
    repair(&lab);
    wait_for(&mut first, "all is repaired", (0, [2, 0, 0]));
    first.wait_until("Cilium's metrics have it", |_| exposed(&lab, "node") == (0, [2, 0, 0]));
    cut(&lab, "meta l4proto { icmp, ipv6-icmp }");
    wait_for(&mut first, "ICMP alone is cut", (1, [0, 2, 0]));
    first.wait_until("HTTP is not", |agent| {
        let errors = errors(&report(agent));
        errors.len() == 2 && report(agent)["nodes"][0]["addresses"][0]["protocols"][0]["error"].is_null()
    });
    repair(&lab);
    wait_for(&mut first, "ICMP is repaired", (0, [2, 0, 0]));

    let text = fs::read_to_string(&manifest).unwrap();
    let without: Vec<&str> = text
        .split("\n---\n")
        .filter(|one| !(one.contains("kind: Node\n") && one.contains("name: webb-node-2\n")))
        .collect();
    fs::write(&manifest, without.join("\n---\n")).unwrap();
    first.wait_until("the node is gone", |agent| report(agent)["nodes"].as_array().unwrap().is_empty());
    assert_eq!(exposed(&lab, "node"), (0, [0, 0, 0]));
    assert!(first.scrape().sum("webb_health_probes_total", &[("outcome", "ok")]) > 0);
}

/// An agent that is killed and started again is never counted as unreachable within the grace, and
/// is reachable afterwards. Without ICMP, which says that the host is there all the time.
#[test]
fn a_restart_is_no_outage() {
    let Some(lab) = Lab::up() else { return };
    let mut first = agent(&lab, "node", LONG);
    let second = agent(&lab, "node2", LONG);
    wait_for(&mut first, "both addresses are reachable", (0, [2, 0, 0]));
    let readyz = first.get("/readyz").unwrap();
    assert_eq!(readyz.status, 200);
    assert!(readyz.body.contains("ping_group_range"), "{}", readyz.body);
    assert_eq!(first.log().matches("ping_group_range").count(), 1, "said once: {}", first.log());

    let (done, killed) = (AtomicBool::new(false), Instant::now());
    drop(second);
    first.wait_until("the agent is missed", |agent| {
        errors(&report(agent)).iter().filter(|error| error.contains("refused")).count() == 2
    });
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Relaxed) {
                let (unreachable, _) = counts(&report(&first));
                assert!(unreachable == 0 || killed.elapsed() > GRACE, "unreachable after {:?}", killed.elapsed());
                seen += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            seen
        });
        let _second = agent(&lab, "node2", LONG);
        let began = Instant::now();
        while !(counts(&report(&first)) == (0, [2, 0, 0]) && errors(&report(&first)).is_empty()) {
            assert!(began.elapsed() < Duration::from_mins(1), "{:#}", report(&first));
            std::thread::sleep(Duration::from_millis(50));
        }
        done.store(true, Relaxed);
        assert!(watching.join().unwrap() > 0);
    });
    println!("killed and back after {:.1} s", killed.elapsed().as_secs_f64());
}

/// An agent that is stopped is no cut link: its kernel accepts the probes, which has a name of its
/// own, and the grace. It is reachable again once it goes on.
#[test]
fn a_stopped_agent_has_the_grace() {
    let Some(lab) = Lab::up() else { return };
    let mut first = agent(&lab, "node", SHORT);
    let second = agent(&lab, "node2", SHORT);
    wait_for(&mut first, "both addresses are reachable", (0, [2, 0, 0]));
    let unanswered = |agent: &Agent| {
        agent.scrape().sum("webb_health_probes_total", &[("protocol", "http"), ("outcome", "unanswered")])
    };
    let before = unanswered(&first);
    let stopped = Instant::now();
    second.signal("STOP");
    // Of two addresses one has failed three times at least.
    first.wait_until("its probes are not answered", |agent| unanswered(agent) >= before + 5);
    let report = report(&first);
    let of_http = |address: &Value| address["protocols"][0]["outcome"].clone();
    let addresses = report["nodes"][0]["addresses"].as_array().unwrap();
    assert!(addresses.iter().all(|address| of_http(address) == "unanswered"), "{report:#}");
    assert!(counts(&report) == (0, [2, 0, 0]) || stopped.elapsed() >= GRACE / 2, "{report:#}");
    second.signal("CONT");
    wait_for(&mut first, "it goes on", (0, [2, 0, 0]));
    first.wait_until("no error is left", |agent| errors(&self::report(agent)).is_empty());
}

/// The listener answers `GET /hello` to other nodes, and nothing else.
#[test]
fn the_listener_says_hello_only() {
    let Some(lab) = Lab::up() else { return };
    let agent = agent(&lab, "node", LONG);
    for (method, path, status) in [
        ("GET", "/hello", 200),
        ("POST", "/hello", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/health", 404),
    ] {
        for address in ["172.18.0.2:4240", "[fd00:172:18::2]:4240"] {
            let answer = ask(&lab.namespace("world"), address.parse().unwrap(), method, path);
            let answer = answer.unwrap_or_else(|| panic!("{method} {path}\n{}", agent.log()));
            assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{method} {path}");
        }
    }
}

/// A panic of the prober restarts it, and what it had found out stays right meanwhile and after.
#[cfg(feature = "fault-injection")]
#[test]
fn a_panic_of_the_prober_says_nothing_about_peers() {
    let Some(lab) = Lab::up() else { return };
    let mut first = agent(&lab, "node", LONG);
    let _second = agent(&lab, "node2", LONG);
    wait_for(&mut first, "both addresses are reachable", (0, [2, 0, 0]));
    first.post("/faults/inject?point=health");
    first.wait_until("the prober was restarted", |agent| {
        assert_eq!(counts(&report(agent)), (0, [2, 0, 0]));
        agent.component("health").is_some_and(|one| one["restarts"] == 1 && one["state"] == "degraded")
    });
    cut(&lab, "meta nfproto ipv6");
    wait_for(&mut first, "one family is cut", (1, [1, 1, 0]));
}

/// While the prober stands still nothing is claimed about peers: what it found out grows old, and
/// is right again once it goes on.
#[cfg(feature = "fault-injection")]
#[test]
fn a_prober_that_stands_still_knows_nothing() {
    let Some(lab) = Lab::up() else { return };
    let mut first = agent(&lab, "node", SHORT);
    let _second = agent(&lab, "node2", SHORT);
    wait_for(&mut first, "both addresses are reachable", (0, [2, 0, 0]));
    first.post("/faults/inject?point=health&stall_ms=8000");
    wait_for(&mut first, "nothing is known any more", (0, [0, 0, 2]));
    wait_for(&mut first, "the prober goes on", (0, [2, 0, 0]));
}
