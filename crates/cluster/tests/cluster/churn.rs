//! The index while the cluster changes: what is built step by step equals what is built at once,
//! ids keep their meaning, and an address that changed hands is named by who had it when.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use webb_cluster::{
    Cache, CacheSettings, Kind, Node, NodeNetwork, Object, ObjectKey, Pod, PodInterface, Reference, Service,
};
use webb_flow::{EndpointId, Sort};
use webb_index::policy::spec::Labels;
use webb_index::{EndpointKind, Index};

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

pub(super) fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { namespace: namespace.into(), name: name.into() }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn pod(name: &str, last: u8, created: i64) -> Object {
    Object::Pod(key("a", name), Box::new(Pod { addresses: vec![ip(last)], created, ..Pod::default() }))
}

fn reference(name: &str) -> Reference {
    Reference { kind: Kind::Pod, key: key("a", name) }
}

pub(super) fn cache() -> Cache {
    Cache::new(CacheSettings {
        node: "n1".into(),
        cluster: "lab".into(),
        addresses: vec![ip(250)],
        ..CacheSettings::default()
    })
}

fn name(index: &Index, id: EndpointId) -> String {
    let endpoint = index.endpoint(id);
    let named = if endpoint.pod_name.is_empty() { endpoint.reserved_identity } else { endpoint.pod_name };
    named.text().to_string()
}

fn at(index: &Index, last: u8, seconds: u64) -> String {
    name(index, index.find_at(ip(last).into(), seconds * SECOND))
}

/// One more index frees all that was kept of short pods after they have come and gone and nothing
/// else changes: their names are freed, and no further index is due.
#[test]
fn short_pods_leave_nothing_behind() {
    const PODS: u64 = 3000;
    let cache = cache();
    let known = |name: &str| webb_flow::sym::Sym::known(name).is_some();
    let mut named = Vec::new();
    for number in 0..PODS {
        let pod = pod(&format!("leaves-nothing-{number}"), 9, 1);
        cache.upsert_at(pod, number);
        let index = cache.index_at(number);
        assert!(at(&index, 9, PODS).starts_with("leaves-nothing-"));
        named.push(at(&index, 9, PODS));
        cache.remove_at(&reference(&format!("leaves-nothing-{number}")), number);
    }
    assert_eq!(named.len() as u64, PODS);
    let last = cache.index_at(PODS);
    assert!(known("a/leaves-nothing-2999"));
    let later = 62 * SECOND;
    assert!(!cache.has_garbage_at(59 * SECOND), "flows of the past may need the names");
    assert!(cache.has_garbage_at(later));
    let index = cache.index_at(later);
    drop(last);
    assert!(!cache.has_garbage_at(later));
    let left = named.iter().filter(|name| known(name)).count();
    assert_eq!((left, index.addresses()), (0, 1), "names that are left, and the node's address");
}

/// A pod whose first sign of an address is its end has had it until then, and so has one that came
/// and went between two indexes: what they sent is named by them, nothing after that. Pods of other
/// nodes, whose flows wait for nothing here, and pods that had ended when they were first listed,
/// claim nothing.
#[test]
fn short_lives_are_named_afterwards() {
    let cache = cache();
    let job = |name: &str, last: Option<u8>, finished: bool, node: &str| {
        let addresses = last.map(ip).into_iter().collect();
        let pod = Pod { addresses, finished, node: node.into(), created: 1, ..Pod::default() };
        Object::Pod(key("a", name), Box::new(pod))
    };
    cache.upsert_at(pod("stays", 9, 1), 0);
    cache.upsert_at(job("late", None, false, "n1"), 0);
    cache.upsert_at(job("elsewhere", None, false, "n2"), 0);
    cache.upsert_at(job("listed", Some(8), true, "n1"), 0);
    cache.index_at(SECOND);
    cache.upsert_at(job("late", Some(5), true, "n1"), 10 * SECOND);
    cache.upsert_at(job("elsewhere", Some(6), true, "n2"), 10 * SECOND);
    cache.upsert_at(job("quick", Some(7), false, "n1"), 8 * SECOND);
    cache.remove_at(&reference("quick"), 10 * SECOND);
    let index = cache.index_at(11 * SECOND);
    assert_eq!([at(&index, 5, 9), at(&index, 5, 10)], ["late", "reserved:unknown"]);
    assert_eq!([at(&index, 7, 9), at(&index, 7, 10)], ["quick", "reserved:unknown"]);
    assert_eq!([at(&index, 6, 9), at(&index, 8, 9)], ["reserved:unknown"; 2]);
    assert_eq!(index.endpoint(index.find_at(ip(5).into(), 9 * SECOND)).kind, EndpointKind::Pod);
    assert_eq!(at(&cache.index_at(80 * SECOND), 5, 9), "reserved:unknown", "the past is forgotten");
}

/// A flow is named by who held the address when it happened, whatever is known when it is named:
/// the old pod until it went, none in between, the new one from then on. After a minute the past is
/// forgotten.
#[test]
fn an_address_changes_hands() {
    let cache = cache();
    cache.upsert_at(pod("old", 5, 1), 0);
    cache.index_at(SECOND);
    cache.remove_at(&reference("old"), 10 * SECOND);
    let index = cache.index_at(11 * SECOND);
    assert_eq!([at(&index, 5, 9), at(&index, 5, 10)], ["old", "reserved:world"]);
    cache.upsert_at(pod("new", 5, 2), 20 * SECOND);
    let index = cache.index_at(21 * SECOND);
    assert_eq!([at(&index, 5, 9), at(&index, 5, 12), at(&index, 5, 30)], ["old", "new", "new"]);
    assert_eq!(name(&index, index.find(ip(5).into())), "new");
    let index = cache.index_at(69 * SECOND);
    assert_eq!(at(&index, 5, 9), "old", "the minute is not over");
    let index = cache.index_at(71 * SECOND);
    assert_eq!(at(&index, 5, 9), "new", "what is too old is named by who is there now");
    assert!(index.previous_owners(ip(5).into()).is_empty());
}

/// A newer pod takes the address from one that still runs; when it goes the older has it back. No
/// other address has a past for it.
#[test]
fn a_newer_pod_takes_over() {
    let cache = cache();
    cache.upsert_at(pod("old", 5, 1), 0);
    cache.upsert_at(pod("other", 6, 1), 0);
    cache.index_at(0);
    cache.upsert_at(pod("new", 5, 2), 10 * SECOND);
    let index = cache.index_at(11 * SECOND);
    assert_eq!(index.contested(), 1);
    assert_eq!([at(&index, 5, 9), at(&index, 5, 10)], ["old", "new"]);
    cache.remove_at(&reference("new"), 20 * SECOND);
    let index = cache.index_at(21 * SECOND);
    assert_eq!(index.contested(), 0);
    assert_eq!([at(&index, 5, 9), at(&index, 5, 15), at(&index, 5, 20)], ["old", "new", "old"]);
    assert!(index.previous_owners(ip(6).into()).is_empty());
}

/// All that happened between two indexes happened in its order: the old pod went before the new one
/// came.
#[test]
fn one_index_may_hold_many_changes() {
    let cache = cache();
    cache.upsert_at(pod("old", 5, 1), 0);
    cache.index_at(0);
    cache.upsert_at(pod("new", 5, 2), 4 * SECOND);
    cache.remove_at(&reference("old"), 3 * SECOND);
    let index = cache.index_at(5 * SECOND);
    assert_eq!([at(&index, 5, 2), at(&index, 5, 3), at(&index, 5, 6)], ["old", "new", "new"]);
    let changes = index.changes();
    assert_eq!((changes.added[0].name.as_str(), changes.removed[0].name.as_str()), ("new", "old"));
}

/// A pod that finishes gives its address up, and its object stays.
#[test]
fn finished_pods_give_up() {
    let cache = cache();
    cache.upsert_at(pod("job", 5, 1), 0);
    cache.index_at(0);
    let finished = Pod { addresses: vec![ip(5)], created: 1, finished: true, ..Pod::default() };
    cache.upsert_at(Object::Pod(key("a", "job"), Box::new(finished)), 7 * SECOND);
    let index = cache.index_at(8 * SECOND);
    assert_eq!([at(&index, 5, 6), at(&index, 5, 7)], ["job", "reserved:world"]);
    assert_eq!(index.changes().removed.len(), 1);
}

/// An object that is told again as it was changes nothing: no index differs for it, no address has
/// a past.
#[test]
fn what_is_told_twice_changes_nothing() {
    let cache = cache();
    cache.upsert_at(pod("pod", 5, 1), 0);
    let first = cache.index_at(0);
    cache.upsert_at(pod("pod", 5, 1), SECOND);
    let second = cache.index_at(SECOND);
    assert_eq!(first.find(ip(5).into()), second.find(ip(5).into()));
    assert!(second.previous_owners(ip(5).into()).is_empty());
    assert!(second.changes().added.is_empty() && second.changes().removed.is_empty());
    assert_eq!(first.generation(), second.generation());
}

/// A service's address is the world's, as Hubble has it, and an id tells it from others.
#[test]
fn sorts() {
    let cache = cache();
    cache.upsert_at(pod("here", 5, 1), 0);
    let there = Pod { addresses: vec![ip(6)], node: "n2".into(), ..Pod::default() };
    cache.upsert_at(Object::Pod(key("a", "there"), Box::new(there)), 0);
    let service = Object::Service(key("a", "web"), Service { addresses: vec![ip(100)], ..Service::default() });
    cache.upsert_at(service, 0);
    let network = Arc::new(NodeNetwork { external: vec![ip(200)], ..NodeNetwork::default() });
    cache.upsert_at(Object::Node(key("", "n2"), Box::new(Node { network, ..Node::default() })), 0);
    let index = cache.index_at(0);
    let sort = |last| index.find(ip(last).into()).sort();
    assert_eq!(
        [5, 6, 100, 200, 250, 9, 70].map(sort),
        [Sort::Local, Sort::Remote, Sort::Service, Sort::Node, Sort::Node, Sort::Unnamed, Sort::World]
    );
    let service = index.endpoint(index.find(ip(100).into()));
    assert_eq!((service.kind, &*service.identity.text()), (EndpointKind::World, "reserved:world"));
    assert!(index.find(ip(100).into()).any_front(index.find(ip(5).into())));
    assert!(!index.find(ip(6).into()).any_front(index.find(ip(5).into())));
    assert_eq!(index.addresses(), 4, "a service's address names no endpoint");
}

fn behind(index: u32, last: u8) -> PodInterface {
    PodInterface { index, namespace: None, watched: true, addresses: vec![ip(last)] }
}

/// The pod behind an interface is known whichever of the two comes first, follows the pod's
/// address, and is forgotten with either. Only pods of this node have interfaces here.
#[test]
fn interfaces() {
    let cache = cache();
    cache.set_interfaces(vec![behind(7, 5), behind(8, 6)]);
    assert_eq!(cache.index_at(0).pod_at_interface(7), None, "the interface is there before its pod");
    cache.upsert_at(pod("first", 5, 1), 0);
    let there = Pod { addresses: vec![ip(6)], node: "n2".into(), ..Pod::default() };
    cache.upsert_at(Object::Pod(key("a", "there"), Box::new(there)), 0);
    let index = cache.index_at(SECOND);
    assert_eq!(index.pod_at_interface(7).map(|id| name(&index, id)).as_deref(), Some("first"));
    assert_eq!(index.pod_at_interface(8), None);
    cache.set_interfaces(vec![behind(9, 5)]);
    let index = cache.index_at(2 * SECOND);
    assert_eq!((index.pod_at_interface(7), index.pod_at_interface(9).is_some()), (None, true));
    assert_eq!(index.interfaces_of(index.pod_at_interface(9)), [9]);
    cache.remove_at(&reference("first"), 3 * SECOND);
    assert_eq!(cache.index_at(3 * SECOND).pod_at_interface(9), None);
}

/// As long as ids mean the same, no id stands for two pods, through as much churn as makes rows
/// come free again and again; and rows do come free, or memory would grow with every pod that ever
/// was.
#[test]
fn ids_keep_their_meaning() {
    let cache = cache();
    let (mut meant, mut meaning, mut meanings, mut highest) = (HashMap::new(), 0, 0, 0);
    for step in 0..40_u64 {
        let now = step * 10 * SECOND;
        for at in 0..200_u8 {
            cache.upsert_at(pod(&format!("pod-{step}-{at}"), at, i64::try_from(step).unwrap()), now);
            if step > 0 {
                cache.remove_at(&reference(&format!("pod-{}-{at}", step - 1)), now);
            }
        }
        let index = cache.index_at(now);
        if index.generation() != meaning {
            meaning = index.generation();
            meanings += 1;
            meant.clear();
        }
        for at in 0..200_u8 {
            let id = index.find(ip(at).into());
            highest = highest.max(id.row());
            let is = name(&index, id);
            assert_eq!(is, format!("pod-{step}-{at}"));
            assert_eq!(*meant.entry(id).or_insert_with(|| is.clone()), is);
            // Flows of a moment ago are named by the pod before.
            if step > 0 {
                assert_eq!(name(&index, index.find_at(ip(at).into(), now - 1)), format!("pod-{}-{at}", step - 1));
            }
        }
    }
    assert!((2..10).contains(&meanings), "{meanings}");
    assert!(highest < 5_000, "{highest}");
}
