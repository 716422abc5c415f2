//! A verdict belongs to the state of the tables when its connection opened: what changes between
//! two connections changes the second, and nothing else does.

use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, Kind, ObjectKey, Reference, parse};
use webb_flow::{Flow, L4};
use webb_index::Index;
use webb_index::policy::Decision;

const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: b, labels: {team: blue}}}
---
{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {role: worker}}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: a, labels: {app: x}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: y, namespace: b, labels: {app: y}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.2}}
";

fn policy(name: &str, priority: u32, action: &str) -> String {
    format!(
        "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: {name}}}, \
         spec: {{tier: Admin, priority: {priority}, subject: {{namespaces: {{matchLabels: {{team: blue}}}}}}, \
         ingress: [{{action: {action}, from: [{{namespaces: {{matchLabels: {{team: red}}}}}}]}}]}}}}"
    )
}

fn put(cache: &Cache, text: &str) {
    let manifest = parse("m.yaml", text).unwrap();
    assert_eq!(manifest.problems, []);
    for object in manifest.objects {
        cache.upsert(object);
    }
}

fn cluster() -> Cache {
    let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
    put(&cache, CLUSTER);
    cache
}

fn flow(index: &Index, destination: &str) -> Flow {
    let [source_ip, destination_ip] = ["10.0.0.1", destination].map(|ip| ip.parse::<IpAddr>().unwrap().into());
    Flow {
        source: index.find(source_ip),
        destination: index.find(destination_ip),
        source_ip,
        destination_ip,
        destination_port: 80,
        l4: L4::Tcp,
        ..Flow::default()
    }
}

/// Decision of the destination's policies now about a connection from x to y.
fn ingress(cache: &Cache) -> Decision {
    let index = cache.index();
    index.policies().evaluate(&index, &flow(&index, "10.0.0.2")).ingress.unwrap().decision
}

/// A policy is added, edited, moved before and beside another, and deleted.
#[test]
fn policies_are_edited() {
    let cache = cluster();
    assert_eq!(ingress(&cache), Decision::Allow);
    put(&cache, &policy("one", 10, "Deny"));
    assert_eq!(ingress(&cache), Decision::Deny);
    let before = cache.index();
    put(&cache, &policy("two", 20, "Accept"));
    assert_eq!(ingress(&cache), Decision::Deny, "it comes second");
    put(&cache, &policy("two", 5, "Accept"));
    assert_eq!(ingress(&cache), Decision::Allow, "now it comes first");
    put(&cache, &policy("two", 10, "Accept"));
    assert_eq!(ingress(&cache), Decision::Undecided, "beside the other, either may");
    put(&cache, &policy("two", 10, "Deny"));
    assert_eq!(ingress(&cache), Decision::Deny, "and both agree");
    let key = |name: &str| ObjectKey { namespace: String::new(), name: name.to_owned() };
    assert!(cache.remove(&Reference { kind: Kind::ClusterNetworkPolicy, key: key("one") }));
    assert!(cache.remove(&Reference { kind: Kind::ClusterNetworkPolicy, key: key("two") }));
    assert_eq!(ingress(&cache), Decision::Allow);
    let old = before.policies().evaluate(&before, &flow(&before, "10.0.0.2")).ingress.unwrap().decision;
    assert_eq!(old, Decision::Deny, "an index does not change any more");
}

/// The labels of a namespace choose both subjects and peers.
#[test]
fn namespaces_are_relabelled() {
    let cache = cluster();
    put(&cache, &policy("one", 10, "Deny"));
    assert_eq!(ingress(&cache), Decision::Deny);
    let label = |name: &str, team: &str| {
        put(
            &cache,
            &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{team: {team}}}}}}}"),
        );
    };
    label("a", "green");
    assert_eq!(ingress(&cache), Decision::Allow, "the peer is no peer any more");
    label("a", "red");
    assert_eq!(ingress(&cache), Decision::Deny);
    label("b", "green");
    assert_eq!(ingress(&cache), Decision::Allow, "the subject is no subject any more");
}

/// A node's labels and addresses choose `nodes` peers.
#[test]
fn nodes_are_relabelled() {
    let cache = cluster();
    put(
        &cache,
        "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: out}, spec: \
         {tier: Admin, priority: 1, subject: {namespaces: {}}, egress: \
         [{action: Deny, to: [{nodes: {matchLabels: {role: control}}}]}]}}",
    );
    let node = |role: &str, address: &str| {
        put(
            &cache,
            &format!(
                "{{apiVersion: v1, kind: Node, metadata: {{name: n2, labels: {{role: {role}}}}}, \
                 status: {{addresses: [{{type: InternalIP, address: {address}}}]}}}}"
            ),
        );
    };
    let egress = |address: &str| {
        let index = cache.index();
        index.policies().evaluate(&index, &flow(&index, address)).egress.unwrap().decision
    };
    assert_eq!(egress("192.168.0.2"), Decision::Allow, "an address without an owner");
    node("worker", "192.168.0.2");
    assert_eq!(egress("192.168.0.2"), Decision::Allow);
    node("control", "192.168.0.2");
    assert_eq!(egress("192.168.0.2"), Decision::Deny);
    assert_eq!(egress("192.168.0.1"), Decision::Allow);
    node("control", "192.168.0.3");
    assert_eq!((egress("192.168.0.2"), egress("192.168.0.3")), (Decision::Allow, Decision::Deny));
}

/// An object with more peers than are compiled takes the verdicts of its pods away, and is named.
#[test]
fn oversize_policies_are_undecided() {
    let cache = cluster();
    let networks: Vec<String> = (0..2001).map(|at| format!("10.{}.{}.0/24", at / 256, at % 256)).collect();
    put(
        &cache,
        &format!(
            "{{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {{name: large}}, \
             spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{matchLabels: {{team: blue}}}}}}, \
             egress: [{{action: Deny, to: [{{networks: [{}]}}]}}]}}}}",
            networks.join(", ")
        ),
    );
    assert_eq!(ingress(&cache), Decision::Undecided);
    assert!(cache.undecided_because().contains("ClusterNetworkPolicy large"), "{}", cache.undecided_because());
    let index = cache.index();
    assert_eq!(index.policies().evaluate(&index, &flow(&index, "10.0.0.2")).egress.unwrap().decision, Decision::Allow);
}
