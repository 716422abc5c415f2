//! An agent with a names relay, and real packets: to pods of this node, which it watches, and to
//! one of the other node, whose addresses it knows from the relay alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api_server::ApiServer;
use crate::counts::{FROM_CLIENT, FROM_SERVER, POINTS, exactly};
use crate::harness::{Agent, DEATHSTAR_A, DEATHSTAR_C, Lab, QUICK, TIEFIGHTER, request};
use crate::scrape::Scrape;

const FLOWS: &str = "hubble_flows_processed_total";

/// All that names an end.
const METRICS: &str = "flow:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity;\
    labelsContext=source_ip,source_namespace,source_pod,source_workload,source_workload_kind,source_app,\
    destination_ip,destination_namespace,destination_pod,destination_workload,destination_workload_kind,\
    destination_app,destination_service";

/// The pod of the other node, by both of its addresses, and a Service in front of it.
const FAR: [&str; 2] = ["10.244.2.11", "fd00:10:244:2::11"];
const SERVICE: &str = "10.96.23.45";

/// Ports of the relay on the first node.
const LISTEN: &str = "127.0.0.1:4246";
const METRICS_PORT: u16 = 9970;

/// Connections to an address at a time.
const ROUNDS: u64 = 3;

/// An API server with what the lab has.
fn api_server(lab: &Lab) -> ApiServer {
    let api = ApiServer::start(lab);
    api.delete("NetworkPolicy", "default", "deny");
    api.delete("Node", "", "node-1");
    let text = fs::read_to_string(Lab::manifest()).unwrap();
    api.put_all(text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap()));
    api
}

/// `webb names` on the first node.
struct Relay {
    child: Child,
    log: PathBuf,
}

impl Relay {
    fn start(lab: &Lab, api: &ApiServer) -> Self {
        let config = format!(
            "names: {{ listen: '{LISTEN}' }}\nmetrics_listen: '127.0.0.1:{METRICS_PORT}'\nadmin_listen: '127.0.0.1:9971'\n\
             kubeconfig: {}\n",
            api.kubeconfig_text()
        );
        let config = lab.file("names.yaml", &config);
        let mut command = lab.command("node", "");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WEBB_")) {
            command.env_remove(name);
        }
        command.args([env!("CARGO_BIN_EXE_webb"), "names", "--config"]).arg(config);
        let log = lab.dir.path().join("names.log");
        let err = File::create(&log).unwrap();
        let relay = Self { child: command.stdout(Stdio::null()).stderr(err).spawn().unwrap(), log };
        let (began, namespace) = (Instant::now(), lab.namespace("node"));
        let is_ready =
            || request(&namespace, METRICS_PORT, "GET", "/readyz").is_some_and(|answer| answer.status == 200);
        while !is_ready() {
            assert!(began.elapsed() < Duration::from_mins(1), "the relay is never ready");
            sleep(Duration::from_millis(50));
        }
        relay
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- the relay said:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// An agent that reads the API server, with these settings besides.
fn agent(lab: &Lab, api: &ApiServer, settings: &str) -> Agent {
    let config = format!("{QUICK}cluster_source: kubernetes\nkubeconfig: {}\n{settings}", api.kubeconfig_text());
    let config = lab.file("webb.yaml", &config);
    let words = ["--node-name", "webb-node-1", "--metrics", METRICS, "--config", config.to_str().unwrap()];
    let mut agent = Agent::spawn(lab, "", &words);
    agent.wait_until("the agent is ready", |agent| agent.get("/readyz").is_some_and(|answer| answer.status == 200));
    agent
}

fn connect(lab: &Lab, to: &str) {
    let to = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
    lab.run("tiefighter", &format!("pod land --rounds {ROUNDS} {to}:80"));
}

/// Waits until so many rounds to an address are counted, with the client's name and this one.
fn counted(agent: &mut Agent, ip: &str, name: &str, rounds: u64, points: u64) -> Scrape {
    let to = [("source", TIEFIGHTER), ("destination_ip", ip), ("protocol", "TCP"), ("destination", name)];
    let from = [("destination", TIEFIGHTER), ("source_ip", ip), ("protocol", "TCP"), ("source", name)];
    agent.settles(exactly(&[
        (FLOWS, &to, rounds * FROM_CLIENT * points),
        (FLOWS, &from, rounds * FROM_SERVER * points),
        ("hubble_drop_total", &[], 0),
    ]))
}

/// Connects to pods of both nodes, by address and by Service; the series that this makes, with
/// their counts, those of the Service without: its translation may never come on a machine that is
/// busy.
fn names(lab: &Lab, agent: &mut Agent) -> BTreeMap<BTreeMap<String, String>, u64> {
    for to in ["10.244.1.11", FAR[0], SERVICE] {
        connect(lab, to);
    }
    counted(agent, "10.244.1.11", DEATHSTAR_A, ROUNDS, POINTS);
    counted(agent, FAR[0], DEATHSTAR_C, ROUNDS, 1);
    let scrape = agent.settles(|scrape| {
        let to = scrape.sum(FLOWS, &[("source", TIEFIGHTER), ("destination_ip", SERVICE)]);
        let from = scrape.sum(FLOWS, &[("destination", TIEFIGHTER), ("source_ip", SERVICE)]);
        let all = (ROUNDS * FROM_CLIENT, ROUNDS * FROM_SERVER);
        if (to, from) == all { Ok(()) } else { Err(format!("{to} to the Service, {from} from it")) }
    });
    // A translation that never came leaves the Service alone, and is counted; all others have a
    // name.
    let at_service = |name| {
        scrape.sum(FLOWS, &[("destination_ip", SERVICE), ("destination", name)])
            + scrape.sum(FLOWS, &[("source_ip", SERVICE), ("source", name)])
    };
    let missed = scrape.sum("webb_conntrack_lookups_total", &[("outcome", "miss")]);
    let seen = (at_service(DEATHSTAR_C), at_service("reserved:unknown"));
    let wanted = ROUNDS * (FROM_CLIENT + FROM_SERVER);
    assert!(
        seen.0 + missed >= wanted && seen.0 > 0 && seen.1 == 0,
        "{seen:?}, {missed} missed of {wanted}: {}",
        scrape.show(FLOWS)
    );
    let of_service = |labels: &BTreeMap<String, String>| labels.values().any(|value| value == SERVICE);
    let samples: Vec<_> =
        scrape.samples(FLOWS, &[("protocol", "TCP")]).filter(|one| !of_service(&one.labels)).collect();
    samples.iter().map(|one| (one.labels.clone(), scrape.sum(FLOWS, &labels_of(&one.labels)))).collect()
}

fn labels_of(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// An agent with a relay names both ends as one does that watches all pods, and requests the pods
/// of its own node alone. Without the relay names stay, and a new remote address is unknown, which
/// is counted; once it is back the address is named.
#[test]
fn a_relay_names_pods_of_other_nodes() {
    let Some(lab) = Lab::up() else { return };
    lab.choose("node", "c");
    let api = api_server(&lab);
    let mut watching = agent(&lab, &api, "");
    let wanted = names(&lab, &mut watching);
    watching.signal("TERM");
    assert!(watching.ended().success(), "{}", watching.log());

    let relay = Relay::start(&lab, &api);
    let lists_of_all = || api.seen(|seen| seen.kind == "Pod" && seen.fields.is_none()).len();
    let before = lists_of_all();
    let mut agent = agent(&lab, &api, &format!("cluster_relay: http://{LISTEN}\n"));
    assert_eq!(names(&lab, &mut agent), wanted);
    assert_eq!(lists_of_all(), before, "the agent has asked for all pods");
    assert_ne!(api.seen(|seen| seen.fields.as_deref() == Some("spec.nodeName=webb-node-1")).len(), 0);

    let gauge = |agent: &Agent, name: &str| agent.scrape().sum(&format!("webb_cluster_relay_{name}"), &[]);
    relay.end();
    agent.wait_until("the relay is missed", |agent| {
        gauge(agent, "connected") == 0 && agent.get("/readyz").is_some_and(|answer| answer.body.contains("names relay"))
    });
    connect(&lab, FAR[0]);
    counted(&mut agent, FAR[0], DEATHSTAR_C, 2 * ROUNDS, 1);
    connect(&lab, FAR[1]);
    let scrape = counted(&mut agent, FAR[1], "reserved:unknown", ROUNDS, 1);
    assert_eq!(scrape.sum("webb_cluster_relay_addresses", &[("state", "unanswered")]), 1);
    assert!(scrape.sum("webb_cluster_name_waits_total", &[("outcome", "unnamed")]) > 0);

    let _relay = Relay::start(&lab, &api);
    agent.wait_until("the address has its name", |agent| {
        let answer = agent.get(&format!("/pods?ip={}", FAR[1]));
        let explained = answer.and_then(|answer| serde_json::from_str::<Value>(&answer.body).ok());
        explained.is_some_and(|explained| explained["named"]["pod"] == DEATHSTAR_C) && gauge(agent, "connected") == 1
    });
    connect(&lab, FAR[1]);
    counted(&mut agent, FAR[1], DEATHSTAR_C, ROUNDS, 1);
    let scrape = agent.scrape();
    // The first was killed in mid-stream, and the attempts of meanwhile found none.
    let ends = ["ended", "refused", "unreachable"]
        .map(|reason| scrape.sum("webb_cluster_relay_disconnects_total", &[("reason", reason)]));
    assert!(ends[..2] == [1, 0] && ends[2] > 0, "{ends:?} {}", scrape.show("webb_cluster_relay"));

    // From a manifest on no relay is asked, and none is missed.
    let manifest = Lab::manifest();
    let settings = format!("{QUICK}cluster_relay: http://{LISTEN}\ncluster_manifest: {}\n", manifest.display());
    lab.file("webb.yaml", &settings);
    agent.signal("HUP");
    let shown = |agent: &Agent| agent.scrape().names().filter(|name| name.starts_with("webb_cluster_relay_")).count();
    agent.wait_until("the manifest is used", |agent| {
        agent.scrape().names().all(|name| name != "webb_cluster_relay_connected") && shown(agent) > 0
    });
}
