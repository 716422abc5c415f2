//! The agent's first seconds: packets are seen before names are read, and their flows wait for
//! these.

use crate::api_server::ApiServer;
use crate::counts::{POINTS, exactly};
use crate::harness::{Agent, Lab, METRICS, TIEFIGHTER};
use crate::kube_api::Fault;
use crate::kube_api::store::pod;
use crate::ledger::{adds_up, traffic_is_what_was_reported};
use crate::scrape::Scrape;

const DEATHSTAR: &str = "default/deathstar";

/// Pings of each test.
const COUNT: u64 = 5;

/// An API server on the lab's node that answers nothing until it is told to.
fn held(lab: &Lab) -> ApiServer {
    let api = ApiServer::start(lab);
    api.put(pod("default", "tiefighter", "10.244.1.21"));
    api.put(pod("default", "deathstar", "10.244.1.11"));
    api.plan(None, None, Fault::Held, usize::MAX);
    api
}

/// An agent whose programs are attached, with pings that have passed them.
fn pinged(lab: &Lab, held: &ApiServer, wait: &str) -> Agent {
    let config = lab.file("webb.yaml", &format!("report_interval: 200ms\ncluster_wait: {wait}\n"));
    let (config, kubeconfig) = (config.to_str().unwrap(), held.kubeconfig_text());
    let words = ["--config", config, "--kubeconfig", &kubeconfig, "--node-name", "node-1", "--metrics", METRICS];
    let mut agent = Agent::spawn(lab, "", &[&words[..], &["--cluster-source", "kubernetes"]].concat());
    agent.wait_until("the programs are attached", |agent| {
        let answers = agent.get("/readyz").is_some();
        answers && agent.scrape().samples("webb_startup_seconds", &[("stage", "attached")]).count() == 1
    });
    lab.run("tiefighter", &format!("ping -q -i 0.05 -c {COUNT} 10.244.1.11"));
    agent
}

fn unnamed(scrape: &Scrape) -> u64 {
    scrape.sum("webb_cluster_unsynced_flows_total", &[])
}

/// Packets that pass before a name is known count under their names: the records wait in the ring,
/// where they are until the names come.
#[test]
fn the_first_packets_have_names() {
    let Some(lab) = Lab::up() else { return };
    let held = held(&lab);
    let mut agent = pinged(&lab, &held, "10m");
    let answer = agent.get("/readyz").unwrap();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("names not read yet: 0 of 6 kinds"), "{}", answer.body);
    let scrape = agent.scrape();
    assert!(scrape.sum("webb_ledger_seen_packets_total", &[]) >= 2 * COUNT, "{}", scrape.show("webb_ledger"));
    assert_eq!(scrape.sum("webb_traffic_packets_total", &[]), 0, "flows did not wait for names");

    held.recover();
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    let sent = [("source", TIEFIGHTER), ("destination", DEATHSTAR), ("traffic_direction", "egress")];
    let scrape = agent.settles(|scrape| {
        exactly(&[("webb_traffic_packets_total", &sent, COUNT)])(scrape)?;
        adds_up(scrape)?;
        traffic_is_what_was_reported(scrape)
    });
    assert_eq!(unnamed(&scrape), 0, "{}", scrape.show("webb_cluster"));
    for stage in ["attached", "named", "ready", "first_packet"] {
        let times: Vec<f64> =
            scrape.samples("webb_startup_seconds", &[("stage", stage)]).map(|sample| sample.value).collect();
        assert!(matches!(times[..], [time] if time > 0.0), "{stage}: {times:?}");
    }
}

/// Names that never come hold nothing up for longer than the bound. All packets count, as of
/// unknown pods; no verdict is given without policies.
#[test]
fn names_that_never_come() {
    let Some(lab) = Lab::up() else { return };
    let held = held(&lab);
    let mut agent = pinged(&lab, &held, "0s");
    let unknown = [("source", "reserved:unknown"), ("destination", "reserved:unknown")];
    let scrape = agent.settles(|scrape| {
        let requests = [("family", "IPv4"), ("type", "EchoRequest")];
        exactly(&[("hubble_icmp_total", &requests, COUNT * POINTS)])(scrape)?;
        adds_up(scrape)?;
        traffic_is_what_was_reported(scrape)
    });
    let packets = scrape.sum("webb_traffic_packets_total", &unknown);
    assert!(packets >= 2 * COUNT * POINTS, "{packets}\n{}", scrape.show("webb_traffic"));
    assert_eq!(scrape.values("webb_traffic_packets_total", "source"), ["reserved:unknown"]);
    assert!(unnamed(&scrape) > 0, "{}", scrape.show("webb_cluster"));
    let named = [("stage", "named")];
    assert_eq!(scrape.samples("webb_startup_seconds", &named).count(), 0);
}
