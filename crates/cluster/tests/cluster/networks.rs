//! Pods in this node's network: its own addresses, interfaces by namespace, networks beside the
//! cluster's.

use std::net::IpAddr;

use webb_cluster::{Cache, CacheSettings, Object, ObjectKey, Pod, PodInterface};
use webb_index::Index;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn cache(own: &[&str]) -> Cache {
    let addresses = own.iter().map(|text| ip(text)).collect();
    Cache::new(CacheSettings { node: "node-1".into(), cluster: "lab".into(), addresses, ..CacheSettings::default() })
}

fn pod(name: &str, addresses: &[&str], others: &[&str]) -> Object {
    let ips = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect();
    let key = ObjectKey { namespace: "a".into(), name: name.into() };
    let pod = Pod { addresses: ips(addresses), other_addresses: ips(others), node: "node-1".into(), ..Pod::default() };
    Object::Pod(key, Box::new(pod))
}

fn behind(index: u32, namespace: i32, addresses: &[&str]) -> PodInterface {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    PodInterface { index, namespace: Some(namespace), watched: true, addresses }
}

/// Name and network of the pod behind an interface.
fn at(index: &Index, interface: u32) -> Option<(String, bool)> {
    let endpoint = index.endpoint(index.pod_at_interface(interface)?);
    Some((endpoint.pod_name.text().to_string(), endpoint.other_network))
}

/// Name and network of the owner of an address; empty for the world.
fn of(index: &Index, text: &str) -> (String, bool) {
    let endpoint = index.endpoint(index.find(ip(text).into()));
    (endpoint.pod_name.text().to_string(), endpoint.other_network)
}

/// The node's own addresses come and go; one that a pod has too is the node's as long as it has it.
#[test]
fn own_addresses_come_and_go() {
    let cache = cache(&["10.0.0.1"]);
    cache.upsert_at(pod("web", &["10.0.0.7"], &[]), 0);
    let host = |index: &Index, text: &str| {
        &*index.endpoint(index.find(ip(text).into())).reserved_identity.text() == "reserved:host"
    };
    let index = cache.index_at(0);
    assert!(host(&index, "10.0.0.1") && !host(&index, "10.0.0.2"));
    assert!(cache.set_own_addresses(vec![ip("10.0.0.2"), ip("10.0.0.7")]));
    assert!(!cache.set_own_addresses(vec![ip("10.0.0.2"), ip("10.0.0.7")]), "nothing new");
    let index = cache.index_at(1);
    assert!(!host(&index, "10.0.0.1") && host(&index, "10.0.0.2") && host(&index, "10.0.0.7"));
    cache.set_own_addresses(Vec::new());
    assert_eq!(of(&cache.index_at(2), "10.0.0.7"), ("web".to_owned(), false));
}

/// Interfaces into one namespace are one pod's. The one with the cluster's address is in the
/// cluster's network, the others are not, with an address that is known or without; who is there
/// changes with the pod.
#[test]
fn interfaces_of_one_namespace() {
    let cache = cache(&[]);
    cache.upsert_at(pod("web", &["10.0.0.7"], &[]), 0);
    cache.set_interfaces(vec![
        behind(5, 0, &["192.168.5.1"]),
        behind(6, 0, &["10.0.0.7"]),
        behind(7, 1, &["10.0.0.8"]),
    ]);
    let index = cache.index_at(0);
    assert_eq!(at(&index, 6), Some(("web".to_owned(), false)));
    assert_eq!(at(&index, 5), Some(("web".to_owned(), true)));
    assert_eq!(at(&index, 7), None, "the address has no owner");
    cache.upsert_at(pod("db", &["10.0.0.8"], &[]), 1);
    let index = cache.index_at(1);
    assert_eq!(at(&index, 7), Some(("db".to_owned(), false)));
    assert_eq!(at(&index, 5), Some(("web".to_owned(), true)), "the same as before");
    let key = ObjectKey { namespace: "a".into(), name: "web".into() };
    cache.remove_at(&webb_cluster::Reference { kind: webb_cluster::Kind::Pod, key }, 2);
    let index = cache.index_at(2);
    assert_eq!((at(&index, 5), at(&index, 6)), (None, None));
}

/// Labels of an address, as of a moment.
fn reserved(index: &Index, text: &str, time_ns: u64) -> String {
    index.endpoint(index.find_at(ip(text).into(), time_ns)).reserved_identity.text().to_string()
}

/// Addresses behind a watched interface are of a pod, known or not, wherever a flow with them is
/// seen: not of the world, until the pod is listed, and again when it is not. A flow from before
/// its listing is the pod's. What is behind an interface that is not watched, of a link alone, or
/// beside a known pod's own addresses is the world's as ever.
#[test]
fn addresses_behind_watched_interfaces_are_pods() {
    let cache = cache(&["10.0.0.1"]);
    let (world, unknown) = ("reserved:world", "reserved:unknown");
    let unwatched = PodInterface { watched: false, ..behind(6, 1, &["10.9.0.6"]) };
    cache.set_interfaces(vec![behind(5, 0, &["10.9.0.5", "169.254.7.1", "203.0.113.5"]), unwatched]);
    let index = cache.index_at(10);
    for (address, found) in [("10.9.0.5", unknown), ("203.0.113.5", unknown), ("10.9.0.6", world), ("10.9.0.7", world)]
    {
        assert_eq!(reserved(&index, address, 5), found, "{address}");
    }
    assert_eq!(reserved(&index, "169.254.7.1", 5), world);
    assert_eq!(index.addresses(), 1, "the node's own");

    cache.upsert_at(pod("web", &["10.9.0.5"], &[]), 20);
    let index = cache.index_at(20);
    for time_ns in [5, 15, 25] {
        let found = index.endpoint(index.find_at(ip("10.9.0.5").into(), time_ns));
        assert_eq!(&*found.pod_name.text(), "web", "at {time_ns}");
    }
    assert_eq!(reserved(&index, "203.0.113.5", 25), world, "a pod does not choose what is no world's");

    let key = ObjectKey { namespace: "a".into(), name: "web".into() };
    cache.remove_at(&webb_cluster::Reference { kind: webb_cluster::Kind::Pod, key }, 30);
    let index = cache.index_at(30);
    assert_eq!(&*index.endpoint(index.find_at(ip("10.9.0.5").into(), 25)).pod_name.text(), "web");
    assert_eq!(reserved(&index, "10.9.0.5", 35), unknown);

    cache.set_interfaces(vec![]);
    assert_eq!(reserved(&cache.index_at(40), "10.9.0.5", 45), world);
}

/// An address in another network names its pod, unless it is one of the cluster's: other networks
/// use what they like.
#[test]
fn other_networks_do_not_hide_the_clusters() {
    let cache = cache(&[]);
    cache.upsert_at(pod("web", &["10.0.0.7"], &["192.168.5.1", "10.0.0.8"]), 0);
    assert_eq!(of(&cache.index_at(0), "10.0.0.8"), ("web".to_owned(), true));
    cache.upsert_at(pod("db", &["10.0.0.8"], &[]), 1);
    let index = cache.index_at(1);
    assert_eq!(of(&index, "192.168.5.1"), ("web".to_owned(), true));
    assert_eq!(of(&index, "10.0.0.7"), ("web".to_owned(), false));
    assert_eq!(of(&index, "10.0.0.8"), ("db".to_owned(), false));
    // The network goes, and with the pod's own address all of them.
    cache.upsert_at(pod("web", &["10.0.0.7"], &[]), 2);
    assert_eq!(of(&cache.index_at(2), "192.168.5.1"), (String::new(), false));
    cache.upsert_at(pod("web", &[], &["192.168.5.1"]), 3);
    assert_eq!(of(&cache.index_at(3), "192.168.5.1"), (String::new(), false));
}

/// Pods of this node to which no watched interface leads are listed, those of the host's network
/// counted; finished ones, and those of other nodes, are neither.
#[test]
fn pods_without_an_interface() {
    let cache = cache(&[]);
    let set = |name: &str, last: &str, change: fn(&mut Pod)| {
        let Object::Pod(key, mut pod) = pod(name, &[last], &[]) else { panic!("it is a pod") };
        change(&mut pod);
        cache.upsert_at(Object::Pod(key, pod), 0);
    };
    set("seen", "10.0.0.1", |_| {});
    set("macvlan", "10.0.0.2", |_| {});
    set("finished", "10.0.0.3", |pod| pod.finished = true);
    set("host", "10.0.0.4", |pod| pod.host_network = true);
    set("elsewhere", "10.0.0.5", |pod| pod.node = "node-2".into());
    let watched = vec![behind(7, 0, &["10.0.0.1"])];
    cache.set_interfaces(watched.clone());
    let coverage = cache.coverage(&cache.index_at(0), &watched);
    let names: Vec<String> = coverage.unwatched.iter().map(|key| key.name.clone()).collect();
    assert_eq!((names, coverage.host_network), (vec!["macvlan".to_owned()], 1));
    let said = coverage.complaint().unwrap();
    assert!(said.contains("a/macvlan") && said.contains("macvlan, ipvlan"), "{said}");
    assert_eq!(coverage.and(&webb_cluster::Coverage::default()).complaint(), None, "it may only be late");
    assert_eq!(coverage.and(&coverage), coverage);

    // An interface of unknown destination may be that pod's.
    let watched = vec![behind(7, 0, &["10.0.0.1"]), behind(8, 1, &[])];
    cache.set_interfaces(watched.clone());
    assert_eq!(cache.coverage(&cache.index_at(1), &watched).complaint(), None);

    // With none at all, something more is wrong.
    cache.set_interfaces(vec![]);
    let said = cache.coverage(&cache.index_at(2), &[]).complaint().unwrap();
    assert!(said.contains("2 pods run on this node") && said.contains("hostNetwork: true"), "{said}");
}

/// An own address that is a pod's means that this process runs in the pod's network.
#[test]
fn inside_a_pod() {
    let cache = cache(&["10.0.0.1"]);
    cache.upsert_at(pod("webb-7x2kq", &["10.0.0.1"], &[]), 0);
    let said = cache.coverage(&cache.index_at(0), &[]).complaint().unwrap();
    assert!(said.contains("in the network of pod a/webb-7x2kq") && said.contains("hostNetwork: true"), "{said}");
    cache.set_own_addresses(vec![ip("10.0.0.9")]);
    let said = cache.coverage(&cache.index_at(1), &[]).complaint().unwrap();
    assert!(!said.contains("in the network of"), "{said}");
}

/// A node's name is wrong only if there are nodes, and none has it.
#[test]
fn a_node_that_is_unknown() {
    let cache = cache(&[]);
    assert!(!cache.is_on_unknown_node(), "nothing is known of any");
    let node = |name: &str| {
        let key = ObjectKey { namespace: String::new(), name: name.into() };
        Object::Node(key, Box::default())
    };
    cache.upsert_at(node("node-2"), 0);
    assert!(cache.is_on_unknown_node());
    cache.upsert_at(node("node-1"), 1);
    assert!(!cache.is_on_unknown_node());
}
