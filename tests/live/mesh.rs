//! Clusters that share one network of pods, with real packets: the second node is of another
//! cluster, whose API server is its own.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::counts::{FROM_CLIENT, FROM_SERVER, exactly};
use crate::harness::{Agent, Lab, TIEFIGHTER, request};
use crate::kube_api::store::pod;
use crate::scrape::Scrape;

const METRICS: &str = "flow:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity;\
                       labelsContext=source_cluster,destination_cluster,source_workload,destination_workload \
                       drop:sourceContext=pod|reserved-identity;destinationContext=pod|reserved-identity";

/// Connections to each address at a time.
const ROUNDS: u64 = 3;

/// Addresses of the pod on the other node.
const ADDRESSES: [&str; 2] = ["10.244.2.11", "fd00:10:244:2::11"];

/// The lab's manifest without the second node and its pod, which this cluster does not know then.
fn own_manifest(lab: &Lab) -> String {
    let text = fs::read_to_string(Lab::manifest()).unwrap();
    let is_other = |document: &&str| {
        document.contains("\nkind: Node\n") && document.contains("name: webb-node-2\n")
            || document.contains("\nkind: Pod\n") && document.contains("nodeName: webb-node-2\n")
    };
    let kept: Vec<&str> = text.split("\n---\n").filter(|document| !is_other(document)).collect();
    assert_eq!(kept.len() + 2, text.split("\n---\n").count(), "a node and a pod are taken out");
    lab.file("own.yaml", &kept.join("\n---\n")).to_str().unwrap().to_owned()
}

/// The API server of the other cluster, with its node and its pod.
fn east(lab: &Lab, pod_name: &str) -> ApiServer {
    let api = ApiServer::start(lab);
    api.delete("Node", "", "node-1");
    api.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "east-node"},
        "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.3"}]}}));
    put_pod(&api, pod_name);
    api
}

fn put_pod(api: &ApiServer, name: &str) {
    let mut pod = pod("shop", name, ADDRESSES[0]);
    pod["metadata"]["generateName"] = json!("web-5d4f8c7b9-");
    pod["spec"]["nodeName"] = json!("east-node");
    pod["status"]["podIPs"] = json!([{"ip": ADDRESSES[0]}, {"ip": ADDRESSES[1]}]);
    api.put(pod);
}

fn mesh(lab: &Lab) -> Scrape {
    Scrape::parse(&request(&lab.namespace("node"), 9962, "GET", "/metrics").unwrap().body)
}

/// Connects to the other cluster's pod by both families, once its addresses have that name.
fn connect(lab: &Lab, agent: &mut Agent, name: &str) {
    let named = |agent: &Agent, ip: &str| {
        let answer = agent.get(&format!("/pods?ip={ip}"))?;
        let explained: Value = serde_json::from_str(&answer.body).ok()?;
        Some(explained["named"]["pod"].as_str()? == format!("east/shop/{name}"))
    };
    agent.wait_until("the pod has its name", |agent| ADDRESSES.iter().all(|ip| named(agent, ip) == Some(true)));
    lab.run("tiefighter", &format!("pod land --rounds {ROUNDS} {}:80 [{}]:80", ADDRESSES[0], ADDRESSES[1]));
}

/// Waits until the connections so far, by `times` calls of [`connect`], are counted under the name
/// of the pod, each end with its cluster and workload.
fn are_counted(agent: &mut Agent, name: &str, times: u64) {
    let there = format!("east/shop/{name}");
    let out = [
        ("source", TIEFIGHTER),
        ("source_cluster", "home"),
        ("destination", &there),
        ("destination_cluster", "east"),
        ("destination_workload", "web"),
        ("subtype", "to-stack"),
    ];
    let back = [
        ("source", there.as_str()),
        ("source_cluster", "east"),
        ("source_workload", "web"),
        ("destination", TIEFIGHTER),
        ("destination_cluster", "home"),
        ("subtype", "to-endpoint"),
    ];
    let connections = times * ROUNDS * ADDRESSES.len() as u64;
    agent.settles(exactly(&[
        ("hubble_flows_processed_total", &out, connections * FROM_CLIENT),
        ("hubble_flows_processed_total", &back, connections * FROM_SERVER),
        ("hubble_drop_total", &[], 0),
    ]));
}

/// A pod of this node and one of another cluster: flows in both directions name both clusters.
/// While the other cluster's API server is away the last names serve; what changed meanwhile is
/// known once it is back.
#[test]
fn packets_between_clusters_name_both() {
    let Some(lab) = Lab::up() else { return };
    let east = east(&lab, "server-1");
    let config = format!(
        "cluster_name: home\nclusters: [ {{ name: east, kubeconfig: {} }} ]\nreport_interval: 200ms\n\
         agent_metrics: {{ listen: '127.0.0.1:9962' }}\n",
        east.kubeconfig_text()
    );
    let config = lab.file("webb.yaml", &config);
    let manifest = own_manifest(&lab);
    let words = ["--config", config.to_str().unwrap(), "--cluster-manifest", &manifest];
    let mut agent = Agent::start_at(&lab, "node", METRICS, &words);
    let of_east = [("target_cluster", "east")];
    let ready = |lab: &Lab| mesh(lab).sum("cilium_clustermesh_remote_cluster_readiness_status", &of_east);
    agent.wait_until("the other cluster is known", |_| ready(&lab) == 1);
    let scrape = mesh(&lab);
    let known = |name: &str| scrape.sum(&format!("cilium_clustermesh_remote_cluster_{name}"), &of_east);
    assert_eq!(["nodes", "services", "endpoints"].map(known), [1, 1, 1], "{}", scrape.show("cilium_clustermesh"));
    connect(&lab, &mut agent, "server-1");
    are_counted(&mut agent, "server-1", 1);

    east.go_away();
    agent.wait_until("its API server is missed", |agent| {
        ready(&lab) == 0 && agent.get("/readyz").is_some_and(|answer| answer.body.contains("names are those of before"))
    });
    connect(&lab, &mut agent, "server-1");
    are_counted(&mut agent, "server-1", 2);

    east.delete("Pod", "shop", "server-1");
    put_pod(&east, "server-2");
    east.come_back(Duration::ZERO);
    agent.wait_until("it is read again", |_| ready(&lab) == 1);
    connect(&lab, &mut agent, "server-2");
    are_counted(&mut agent, "server-2", 1);
}
