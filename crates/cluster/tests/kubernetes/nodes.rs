//! Nodes of small clusters, which are watched, and of large ones, which are listed and read.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use webb_cluster::kubernetes::{RESOURCES, WatchTimings};
use webb_flow::Address;

use crate::kube_api::agent::{Agent, timings};
use crate::kube_api::store::pod;
use crate::kube_api::{Api, Fault, Seen};

/// The most Nodes that are watched.
pub(crate) const WATCHED: usize = 100;

/// Security identity of other nodes.
pub(crate) const REMOTE_NODE: u32 = 6;

/// A name that sorts as its number does.
pub(crate) fn name(number: usize) -> String {
    format!("other-{number:04}")
}

/// A Node with as much in it as makes a long list.
pub(crate) fn node(number: usize, zone: &str) -> Value {
    let images: Vec<Value> = (0..20).map(|image| json!({"names": [format!("registry/image-{image}:1")]})).collect();
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name(number), "creationTimestamp": "2026-01-02T15:04:05Z",
            "labels": {"topology.kubernetes.io/zone": zone},
            "annotations": {"projectcalico.org/IPv4IPIPTunnelAddr": format!("10.250.{}.{}", number / 250, number % 250)}},
        "spec": {"podCIDR": format!("10.{}.{}.0/24", 100 + number / 250, number % 250)},
        "status": {"images": images,
            "addresses": [{"type": "InternalIP", "address": format!("192.168.{}.{}", number / 250, number % 250)}]}})
}

pub(crate) fn address(number: usize) -> String {
    format!("192.168.{}.{}", number / 250, number % 250)
}

/// A server of so many Nodes, and that of the agent.
pub(crate) fn api(nodes: usize) -> Api {
    let api = Api::start();
    api.put_all((0..nodes).map(|number| node(number, "a")));
    api
}

/// Rounds of a tenth of a second.
pub(crate) fn brisk() -> WatchTimings {
    WatchTimings {
        start_spread_per_node: Duration::from_micros(10),
        nodes_interval: Duration::from_millis(100),
        own_node_interval: Duration::from_millis(50),
        ..timings()
    }
}

pub(crate) fn identity(agent: &Agent, ip: &str) -> u32 {
    let index = agent.cache.index();
    index.endpoint(index.find(Address::from(ip.parse::<IpAddr>().unwrap()))).identity_number
}

pub(crate) fn zone(agent: &Agent, number: usize) -> Vec<String> {
    agent.cache.node_labels(&name(number))
}

/// Requests for Nodes.
pub(crate) fn of_nodes(api: &Api, fits: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    api.seen(|seen| seen.kind == "Node" && fits(seen))
}

fn runs_on(pod_name: &str, node: &str) -> Value {
    let mut pod = pod("default", pod_name, "");
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// A large cluster's Nodes are counted first, then the own node's pods are listed, then everything.
/// No Node is watched, and each is in the index all the same.
#[test]
fn a_large_cluster_is_listed_in_order() {
    let api = api(150);
    api.put(pod("default", "here", "10.244.0.9"));
    let agent = Agent::start(api.kubeconfig(None), WatchTimings { nodes_interval: Duration::from_mins(10), ..brisk() });
    agent.converges(&api, "the first lists");
    let seen = api.seen(|_| true);
    assert!(seen[0].kind == "Node" && seen[0].metadata && seen[0].limit == Some(1), "{:?}", seen[0]);
    assert_eq!((seen[1].kind.as_str(), seen[1].fields.as_deref()), ("Pod", Some("spec.nodeName=node-1")));
    assert_eq!(seen[1].version.as_deref(), Some("0"));
    assert!(seen[2..].iter().all(|seen| seen.fields.is_none()), "the rest is of the whole cluster");
    let lists = of_nodes(&api, |seen| seen.name.is_none());
    assert!(lists.iter().all(|seen| !seen.watch && seen.gzip), "{lists:?}");
    assert_eq!(lists.len(), 2, "counted, and listed once");
    assert!(!lists[1].metadata && lists[1].version.as_deref() == Some("0"));
    agent.until("the other watches", || api.open_watches() == RESOURCES.len() - 1);
    for number in [0, 77, 149] {
        assert_eq!(identity(&agent, &address(number)), REMOTE_NODE);
        assert_eq!(identity(&agent, &format!("10.100.{number}.1")), REMOTE_NODE, "the bridge of a podCIDR");
    }
    assert_eq!(agent.status.complaint(), "");
}

/// Lists of metadata bring labels and annotations, and leave addresses and networks as they are; a
/// Node that is gone is gone, and one that was made anew is read.
#[test]
fn metadata_brings_what_changes() {
    let api = api(150);
    let agent = Agent::start(api.kubeconfig(None), brisk());
    agent.converges(&api, "the first lists");
    let mut changed = node(3, "b");
    changed["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = json!("10.251.0.3");
    api.put(changed);
    agent.until("a label", || zone(&agent, 3) == ["topology.kubernetes.io/zone=b"]);
    agent.until("a tunnel", || identity(&agent, "10.251.0.3") == REMOTE_NODE);
    assert_eq!(identity(&agent, &address(3)), REMOTE_NODE);
    assert_eq!(identity(&agent, "10.100.3.1"), REMOTE_NODE);
    assert!(of_nodes(&api, |seen| seen.name.as_deref() == Some(&name(3))).is_empty(), "its labels came in a list");
    api.delete("Node", "", &name(4));
    agent.until("a deletion", || identity(&agent, &address(4)) != REMOTE_NODE);
    let mut anew = node(5, "a");
    anew["metadata"]["creationTimestamp"] = json!("2026-02-02T15:04:05Z");
    anew["status"]["addresses"][0]["address"] = json!("192.168.99.5");
    api.put(anew);
    agent.until("one that was made anew", || identity(&agent, "192.168.99.5") == REMOTE_NODE);
    assert_ne!(identity(&agent, &address(5)), REMOTE_NODE);
    let lists = of_nodes(&api, |seen| seen.name.is_none() && !seen.metadata);
    assert_eq!(lists.len(), 1, "whole Nodes are listed once: {lists:?}");
    assert_eq!(agent.status.complaint(), "");
}

/// A Node that a pod names is read at once, and once more in the next round, when it has its
/// addresses. One that does not exist is asked for and not kept.
#[test]
fn new_nodes_are_read_one_by_one() {
    let api = api(150);
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { nodes_interval: Duration::from_millis(1500), ..brisk() });
    agent.converges(&api, "the first lists");
    let mut bare = node(200, "a");
    bare["status"] = json!({"addresses": []});
    api.put(bare);
    api.put(runs_on("new", &name(200)));
    api.put(runs_on("stray", "of-no-node"));
    agent.until("it is read", || !zone(&agent, 200).is_empty());
    assert_ne!(identity(&agent, &address(200)), REMOTE_NODE);
    api.put(node(200, "a"));
    agent.until("it is read again", || identity(&agent, &address(200)) == REMOTE_NODE);
    let reads = |of: &str| of_nodes(&api, |seen| seen.name.as_deref() == Some(of));
    assert!(reads(&name(200)).len() >= 2);
    // The server's cache may be behind: what it does not have is asked for past it.
    agent.until("the stray one is asked for twice", || reads("of-no-node").len() >= 2);
    assert!(reads("of-no-node").iter().all(|read| read.status == 404));
    assert!(!reads("node-1").is_empty(), "the own Node is read now and then");
    agent.until("all is well", || agent.status.complaint().is_empty());
    agent.converges(&api, "a node that does not exist is not kept");
}

/// Many new Nodes are read in turns, and where they would all be read once more, all are listed.
#[test]
fn many_new_nodes_are_listed_in_the_next_round() {
    let api = api(150);
    let agent =
        Agent::start(api.kubeconfig(None), WatchTimings { nodes_interval: Duration::from_millis(1500), ..brisk() });
    agent.converges(&api, "the first lists");
    // They are there before a pod names them.
    api.put_all((200..260).map(|number| node(number, "a")));
    api.put_all((200..260).map(|number| runs_on(&format!("new-{number}"), &name(number))));
    agent.until("they are known", || agent.cache.counts().nodes == 211);
    agent.until("a list", || of_nodes(&api, |seen| !seen.metadata && seen.name.is_none()).len() >= 2);
    let reads = of_nodes(&api, |seen| seen.name.as_deref().is_some_and(|name| name != "node-1"));
    assert!(reads.len() <= 60, "{}", reads.len());
    agent.converges(&api, "the list");
}

/// A cluster that grows is no longer watched, and one that shrinks is again.
#[test]
fn a_cluster_grows_and_shrinks() {
    let api = api(WATCHED - 1);
    let agent = Agent::start(api.kubeconfig(None), brisk());
    agent.converges(&api, "the first lists");
    agent.until("watches", || api.open_watches() == RESOURCES.len());
    assert!(of_nodes(&api, |seen| seen.metadata && seen.limit != Some(1)).is_empty());
    api.put_all((WATCHED..WATCHED + 20).map(|number| node(number, "a")));
    agent.until("no watch of Nodes", || api.open_watches() == RESOURCES.len() - 1);
    agent.converges(&api, "the list of Nodes");
    (0..30).for_each(|number| api.delete("Node", "", &name(number)));
    agent.until("a watch of Nodes", || api.open_watches() == RESOURCES.len());
    agent.converges(&api, "the watch of Nodes");
}

/// While Nodes cannot be listed or read, what is known serves and the failure is named; then it is
/// made good.
#[test]
fn failures_are_named_and_made_good() {
    let api = api(150);
    let agent = Agent::start(api.kubeconfig(None), brisk());
    agent.converges(&api, "the first lists");
    for fault in
        [Fault::Status(500), Fault::Garbage, Fault::Half, Fault::Close, Fault::AnotherObject, Fault::Throttle(0)]
    {
        api.plan(Some("Node"), Some(false), fault.clone(), usize::MAX);
        agent.until("the failure is named", || agent.status.complaint().contains("Node"));
        assert_eq!(identity(&agent, &address(7)), REMOTE_NODE, "{fault:?}");
        api.recover();
        agent.until("it is over", || agent.status.complaint().is_empty());
    }
    agent.converges(&api, "all faults");
}

/// Where Nodes cannot be counted, a large cluster is found out by its list.
#[test]
fn without_a_count_the_list_says_it() {
    let api = api(150);
    api.plan(Some("Node"), Some(false), Fault::Status(403), 1);
    let agent = Agent::start(api.kubeconfig(None), WatchTimings { nodes_interval: Duration::from_mins(10), ..brisk() });
    agent.converges(&api, "the first lists");
    agent.until("no watch of Nodes", || api.open_watches() == RESOURCES.len() - 1);
    assert_eq!(agent.status.complaint(), "");
}
