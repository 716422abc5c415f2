//! Other clusters of a mesh in the index of this one: names, overlaps, and no effect on policies.

use std::net::IpAddr;
use std::sync::Arc;

use webb_cluster::{Cache, CacheSettings, Kind, ObjectKey, Reference, parse};
use webb_flow::{Address, Flow, L4, Sort};
use webb_index::Index;
use webb_index::policy::Decision;

const OWN: &str = "
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.0.0.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: a, labels: {app: web}}, spec: {nodeName: n1, containers: []}, status: {podIP: 10.0.0.9}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: a}, spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}
";

const EAST: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: red}}}
---
{apiVersion: v1, kind: Node, metadata: {name: e1}, spec: {podCIDR: 10.1.0.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.1.1}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: a, generateName: web-, labels: {app: web}, ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: web, controller: true}]}, spec: {nodeName: e1, containers: []}, status: {podIP: 10.1.0.9}}
---
{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: a}, spec: {clusterIP: 10.96.0.1, externalIPs: [203.0.113.7], ports: [{port: 80, nodePort: 30080}]}}
";

fn put(cache: &Cache, text: &str) {
    let manifest = parse("m.yaml", text).unwrap();
    assert_eq!(manifest.problems, []);
    manifest.objects.into_iter().for_each(|object| cache.upsert(object));
}

/// The caches of a cluster `lab` and of others.
fn mesh(names: &[&str]) -> (Cache, Vec<Arc<Cache>>) {
    let of_mesh = |name: &&str| CacheSettings { cluster: (*name).into(), of_mesh: true, ..CacheSettings::default() };
    let others: Vec<Arc<Cache>> = names.iter().map(|name| Arc::new(Cache::new(of_mesh(name)))).collect();
    let own = CacheSettings { node: "n1".into(), cluster: "lab".into(), ..CacheSettings::default() };
    (Cache::with_mesh(own, others.clone()), others)
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// Sort, pod, cluster and workload of an address.
fn named(index: &Index, ip: &str) -> String {
    let id = index.find(address(ip));
    let endpoint = index.endpoint(id);
    let names = [endpoint.pod, endpoint.cluster, endpoint.workload].map(|name| name.text().to_string());
    format!("{} {}", id.sort().label(), names.join(" "))
}

/// Objects of another cluster have its name in theirs; the cluster address of its service is left
/// out, and its external one is a frontend.
#[test]
fn names_of_another_cluster() {
    let (cache, others) = mesh(&["east"]);
    put(&cache, OWN);
    put(&others[0], EAST);
    let index = cache.index();
    assert_eq!(named(&index, "10.1.0.9"), "mesh east/a/web east east/a/web");
    assert_eq!(named(&index, "10.0.0.9"), "local a/web lab ");
    assert_eq!(named(&index, "192.168.1.1"), "mesh  east ");
    assert_eq!(named(&index, "192.168.0.1"), "node  lab ");
    let identity = index.identity(index.find(address("10.1.0.9"))).text().to_string();
    assert!(identity.contains("k8s:io.cilium.k8s.policy.cluster=east"), "{identity}");
    assert!(identity.contains("k8s:io.cilium.k8s.namespace.labels.team=red"), "{identity}");
    let service = |ip: &str, of_node| {
        let id = index.services().find(address(ip), 80, L4::Tcp, of_node);
        index.services().name(id).qualified.text().to_string()
    };
    assert_eq!([service("10.96.0.1", false), service("203.0.113.7", false)], ["a/web", "east/a/shop"]);
    assert_eq!(index.find(address("203.0.113.7")).sort(), Sort::Service);
    assert_eq!(index.services().find(address("192.168.1.1"), 30080, L4::Tcp, true), webb_flow::ServiceId::NONE);
    let counts = others[0].counts();
    assert_eq!((counts.nodes, counts.services, others[0].addressed_pods()), (1, 1, 1));
    assert_eq!(named(&index, "10.1.0.77"), "world   ", "the other cluster's network is not this one's");
}

/// A pod that goes, and one that is relabelled by its namespace, with the name by which series know
/// it.
#[test]
fn changes_of_another_cluster() {
    let (cache, others) = mesh(&["east"]);
    put(&others[0], EAST);
    let first = cache.index();
    let names = |pods: &[Arc<ObjectKey>]| pods.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&first.changes().added), ["east/a/web"]);
    put(&others[0], "{apiVersion: v1, kind: Namespace, metadata: {name: a, labels: {team: blue}}}");
    assert!(cache.is_outdated());
    let second = cache.index();
    assert!(second.identity(second.find(address("10.1.0.9"))).text().contains("labels.team=blue"));
    assert_eq!((second.changes().added.len(), second.changes().removed.len()), (0, 0));
    let pod = ObjectKey { namespace: "a".into(), name: "web".into() };
    assert!(others[0].remove(&Reference { kind: Kind::Pod, key: pod }));
    let third = cache.index();
    assert_eq!(names(&third.changes().removed), ["east/a/web"]);
    assert_eq!(named(&third, "10.1.0.9"), "world   ");
    assert!(!cache.is_outdated());
}

/// What two other clusters claim is named by neither, and what this one has is its own. Both are
/// told, and an address is named again as soon as one claim is left.
#[test]
fn overlapping_clusters() {
    let (cache, others) = mesh(&["east", "west"]);
    put(&cache, OWN);
    put(&others[0], EAST);
    put(&others[1], EAST);
    put(
        &others[1],
        "{apiVersion: v1, kind: Pod, metadata: {name: twin, namespace: b}, spec: {nodeName: w1, containers: []}, status: {podIP: 10.0.0.9}}",
    );
    let index = cache.index();
    assert_eq!(named(&index, "10.1.0.9"), "world   ");
    assert_eq!(named(&index, "10.0.0.9"), "local a/web lab ");
    let texts = |cache: &Cache| cache.overlaps().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(&cache),
        [
            "clusters lab and west claim 1 same addresses, such as 10.0.0.9: they are named by lab",
            "clusters east and west claim 3 same addresses, such as 10.1.0.9: they have no name",
        ]
    );
    let explained = cache.explain_address("10.1.0.9".parse().unwrap(), &index);
    assert!(explained.claims.iter().all(|claim| !claim.has_it), "{explained:?}");
    assert_eq!(explained.claims[0].object, "Pod a/web of cluster west");
    for (kind, namespace, name) in [(Kind::Pod, "a", "web"), (Kind::Node, "", "e1"), (Kind::Service, "a", "shop")] {
        let key = ObjectKey { namespace: namespace.into(), name: name.into() };
        assert!(others[1].remove(&Reference { kind, key }));
    }
    let index = cache.index();
    assert_eq!(named(&index, "10.1.0.9"), "mesh east/a/web east east/a/web");
    assert_eq!(texts(&cache).len(), 1);
}

/// No selector selects a pod or node of another cluster, though it has the labels; a block contains
/// its address. So verdicts are those of an agent that knows no other cluster.
#[test]
fn policies_do_not_select_across_clusters() {
    const POLICIES: [&str; 3] = [
        "{ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}",
        "{ingress: [{from: [{namespaceSelector: {}}]}]}",
        "{ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}]}",
    ];
    let peers = ["10.1.0.9", "192.168.1.1", "203.0.113.7"];
    let decisions = |known: bool| {
        POLICIES.map(|spec| {
            let (cache, others) = mesh(&["east"]);
            put(&cache, OWN);
            if known {
                put(&others[0], EAST);
            }
            let spec = spec.replacen('{', "{podSelector: {}, policyTypes: [Ingress], ", 1);
            let policy = "apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: a}";
            put(&cache, &format!("{{{policy}, spec: {spec}}}"));
            let index = cache.index();
            peers.map(|peer| {
                let (source_ip, destination_ip) = (address(peer), address("10.0.0.9"));
                let (source, destination) = (index.find(source_ip), index.find(destination_ip));
                let flow = Flow { source, destination, source_ip, destination_ip, l4: L4::Tcp, ..Flow::default() };
                index.policies().evaluate(&index, &flow).ingress.unwrap().decision
            })
        })
    };
    assert_eq!(
        decisions(true),
        [[Decision::Deny; 3], [Decision::Deny; 3], [Decision::Allow, Decision::Deny, Decision::Deny]]
    );
    assert_eq!(decisions(true), decisions(false));
}
