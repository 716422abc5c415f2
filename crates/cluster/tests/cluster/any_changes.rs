//! Any changes of a cluster, published at any moments: the index that was built through them is the
//! one that is built at once from what is left.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use proptest::prelude::*;
use webb_cluster::{Cache, Kind, Node, NodeNetwork, Object, OtherKind, OtherKinds, Pod, Reference, Service, Slice};
use webb_flow::{Address, Flow, L4, Sort};
use webb_index::policy::spec::{
    Action, NamedPort, PeerSpec, PolicyKind, PolicySpec, PortMatch, PortSpec, Requirement, RuleSpec, Selector, Test,
    Tier, TierRule, TierSpec,
};
use webb_index::{Endpoint, Index};

use crate::churn::{SECOND, cache, ip, key, labels};

/// A change of the cluster.
#[derive(Debug, Clone)]
enum Change {
    Pod { name: u8, address: u8, namespace: u8, app: u8, created: i64, node: u8, state: u8 },
    NoPod { name: u8, namespace: u8 },
    Namespace { name: u8, team: u8 },
    NoNamespace { name: u8 },
    Policy { name: u8, namespace: u8, pods: u8, peers: u8, team: Option<u8>, port: bool },
    NoPolicy { name: u8, namespace: u8 },
    Tiered { name: u8, tier: u8, priority: u16, team: u8, peers: u8, action: u8 },
    NoTiered { name: u8 },
    Vendor { namespace: u8 },
    NoVendor { namespace: u8 },
    Node { name: u8, address: u8 },
    NoNode { name: u8 },
    Api { address: Option<u8> },
    Service { name: u8, address: u8 },
    Publish,
}

const NAMESPACES: [&str; 3] = ["a", "b", "default"];

fn change() -> impl Strategy<Value = Change> {
    let small = || 0..3_u8;
    prop_oneof![
        6 => (0..12_u8, 0..10_u8, small(), small(), 0..4_i64, small(), 0..6_u8).prop_map(
            |(name, address, namespace, app, created, node, state)| {
                Change::Pod { name, address, namespace, app, created, node, state }
            }
        ),
        2 => (0..12_u8, small()).prop_map(|(name, namespace)| Change::NoPod { name, namespace }),
        1 => (small(), small()).prop_map(|(name, team)| Change::Namespace { name, team }),
        1 => small().prop_map(|name| Change::NoNamespace { name }),
        2 => (small(), small(), small(), small(), prop::option::of(small()), any::<bool>()).prop_map(
            |(name, namespace, pods, peers, team, port)| Change::Policy { name, namespace, pods, peers, team, port }
        ),
        1 => (small(), small()).prop_map(|(name, namespace)| Change::NoPolicy { name, namespace }),
        3 => (small(), small(), 0..3_u16, small(), small(), small()).prop_map(
            |(name, tier, priority, team, peers, action)| Change::Tiered { name, tier, priority, team, peers, action }
        ),
        1 => small().prop_map(|name| Change::NoTiered { name }),
        1 => small().prop_map(|namespace| Change::Vendor { namespace }),
        1 => small().prop_map(|namespace| Change::NoVendor { namespace }),
        1 => (small(), 0..14_u8).prop_map(|(name, address)| Change::Node { name, address }),
        1 => small().prop_map(|name| Change::NoNode { name }),
        1 => prop::option::of(0..14_u8).prop_map(|address| Change::Api { address }),
        1 => (small(), 8..14_u8).prop_map(|(name, address)| Change::Service { name, address }),
        3 => Just(Change::Publish),
    ]
}

/// A ClusterNetworkPolicy for a team; its rules are for pods of an app, for nodes, and for an
/// address.
fn tiered(name: u8, tier: u8, priority: u16, team: u8, peers: u8, action: u8) -> Object {
    let is = |key: &str, value: String| Selector(vec![Requirement { key: key.into(), test: Test::In(vec![value]) }]);
    let rule = |peer, action| TierRule { action, rule: RuleSpec { peers: vec![peer], ..RuleSpec::default() } };
    let action = [Some(Action::Accept), Some(Action::Deny), Some(Action::Pass)][usize::from(action)];
    let rules = vec![
        rule(PeerSpec::Pods { namespaces: Some(Selector::default()), pods: Some(app(peers)) }, action),
        rule(PeerSpec::Nodes(is("role", format!("role-{peers}"))), Some(Action::Deny)),
        rule(
            PeerSpec::Block { net: "10.0.0.2/31".parse::<IpNet>().unwrap(), except: Vec::new() },
            Some(Action::Accept),
        ),
    ];
    let spec = TierSpec {
        kind: PolicyKind::ClusterNetworkPolicy,
        name: format!("tiered-{name}"),
        tier: [Some(Tier::Admin), Some(Tier::Baseline), None][usize::from(tier)],
        priority: Some(priority),
        namespaces: is("team", team.to_string()),
        pods: (peers > 0).then(|| app(peers - 1)),
        ingress: rules[..1].to_vec(),
        egress: rules,
    };
    Object::Tiered(key("", &spec.name.clone()), Arc::new(spec))
}

fn vendor() -> OtherKind {
    OtherKinds::default().find("k8s.ovn.org", "egressfirewalls").unwrap()
}

fn app(app: u8) -> Selector {
    let values = vec![format!("app-{app}")];
    Selector(vec![Requirement { key: "app".into(), test: Test::In(values) }])
}

/// Carries a change out at both: the cache that lives through them, and the objects that are left
/// in the end.
fn apply(cache: &Cache, objects: &mut HashMap<Reference, Object>, change: &Change, now: u64) {
    let namespace = |at: u8| NAMESPACES[usize::from(at)];
    let mut put = |object: Object| {
        objects.insert(object.reference(), object.clone());
        cache.upsert_at(object, now);
    };
    let gone = match *change {
        Change::Pod { name, address, namespace: of, app, created, node, state } => {
            let port = NamedPort { name: "http".into(), protocol: 6, port: 80 + u16::from(app) };
            let pod = Pod {
                labels: labels(&[("app", &format!("app-{app}"))]),
                addresses: if state == 0 { Vec::new() } else { vec![ip(address)] },
                created,
                node: format!("n{node}"),
                finished: state == 1,
                host_network: state == 2,
                ports: vec![port],
                ..Pod::default()
            };
            return put(Object::Pod(key(namespace(of), &format!("p{name}")), Box::new(pod)));
        }
        Change::Namespace { name, team } => {
            return put(Object::Namespace(key("", namespace(name)), labels(&[("team", &team.to_string())])));
        }
        Change::Policy { name, namespace: of, pods, peers, team, port } => {
            let team = team
                .map(|team| Selector(vec![Requirement { key: "team".into(), test: Test::In(vec![team.to_string()]) }]));
            let rule = RuleSpec {
                peers: vec![
                    PeerSpec::Pods { namespaces: team, pods: Some(app(peers)) },
                    PeerSpec::Block { net: "10.0.0.3/32".parse::<IpNet>().unwrap(), except: Vec::new() },
                ],
                ports: if port {
                    vec![PortSpec { protocol: L4::Tcp, port: PortMatch::Named("http".into()) }]
                } else {
                    Vec::new()
                },
                unknown: false,
            };
            let policy = PolicySpec {
                namespace: namespace(of).into(),
                name: format!("policy-{name}"),
                pods: app(pods),
                ingress: Some(vec![rule.clone()]),
                egress: port.then(|| vec![rule]),
            };
            return put(Object::NetworkPolicy(key(namespace(of), &policy.name.clone()), Arc::new(policy)));
        }
        Change::Tiered { name, tier, priority, team, peers, action } => {
            return put(tiered(name, tier, priority, team, peers, action));
        }
        Change::Vendor { namespace: of } => return put(Object::OtherPolicy(vendor(), key(namespace(of), "default"))),
        Change::Node { name, address } => {
            let labels = labels(&[("role", &format!("role-{}", address % 3))]);
            let network = NodeNetwork { external: vec![ip(address)], ..NodeNetwork::default() };
            let node = Node { labels: Arc::new(labels), network: Arc::new(network), ..Node::default() };
            return put(Object::Node(key("", &format!("n{name}")), Box::new(node)));
        }
        Change::Service { name, address } => {
            return put(Object::Service(
                key("a", &format!("s{name}")),
                Service { addresses: vec![ip(address)], ..Service::default() },
            ));
        }
        Change::Api { address: Some(address) } => {
            let slice = Slice { service: "kubernetes".into(), addresses: vec![ip(address)] };
            return put(Object::EndpointSlice(key("default", "api"), slice));
        }
        Change::Publish => {
            cache.index_at(now);
            return;
        }
        Change::Api { address: None } => (Kind::EndpointSlice, key("default", "api")),
        Change::NoPod { name, namespace: of } => (Kind::Pod, key(namespace(of), &format!("p{name}"))),
        Change::NoNamespace { name } => (Kind::Namespace, key("", namespace(name))),
        Change::NoPolicy { name, namespace: of } => {
            (Kind::NetworkPolicy, key(namespace(of), &format!("policy-{name}")))
        }
        Change::NoTiered { name } => (Kind::ClusterNetworkPolicy, key("", &format!("tiered-{name}"))),
        Change::NoVendor { namespace: of } => (Kind::Other(vendor()), key(namespace(of), "default")),
        Change::NoNode { name } => (Kind::Node, key("", &format!("n{name}"))),
    };
    let reference = Reference { kind: gone.0, key: gone.1 };
    assert_eq!(cache.remove_at(&reference, now), objects.remove(&reference).is_some());
}

/// Endpoint of each address; rows of policies are numbers that need not agree.
fn named(index: &Index) -> Vec<(Endpoint, Sort)> {
    let who = |last| {
        let id = index.find(ip(last).into());
        (Endpoint { policy_subject: 0, ..*index.endpoint(id) }, id.sort())
    };
    (0..=14).chain([250]).map(who).collect()
}

/// Decisions of policies for every pair of pods.
fn judged(index: &Index) -> Vec<String> {
    let mut all = Vec::new();
    for (source, destination) in (0..14_u8).flat_map(|from| (0..14_u8).map(move |to| (from, to))) {
        let [source_ip, destination_ip] = [source, destination].map(|last| Address::from(ip(last)));
        let (source, destination) = (index.find(source_ip), index.find(destination_ip));
        let flow = Flow {
            source_ip,
            destination_ip,
            source,
            destination,
            destination_port: 81,
            l4: L4::Tcp,
            ..Flow::default()
        };
        let evaluation = index.policies().evaluate(index, &flow);
        let text = |evaluation: Option<webb_index::policy::EndEvaluation<'_>>| {
            evaluation.map(|evaluation| {
                (evaluation.decision, evaluation.matched(), evaluation.policies().collect::<Vec<_>>())
            })
        };
        all.push(format!("{:?} {:?}", text(evaluation.egress), text(evaluation.ingress)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// An index that was built through any changes, published at any moments, is the one that is
    /// built at once from what is left, to the last name and verdict.
    #[test]
    fn step_by_step_is_all_at_once(changes in prop::collection::vec(change(), 0..80), timings in 1..40_u64) {
        let (cache, mut objects) = (cache(), HashMap::new());
        let mut now = 0;
        for change in &changes {
            now += timings * SECOND;
            apply(&cache, &mut objects, change, now);
        }
        let fresh = self::cache();
        for object in objects.into_values() {
            fresh.upsert_at(object, now);
        }
        let (lived, fresh) = (cache.index_at(now), fresh.index_at(now));
        prop_assert_eq!(named(&lived), named(&fresh));
        prop_assert_eq!(judged(&lived), judged(&fresh));
        prop_assert_eq!(lived.addresses(), fresh.addresses());
        prop_assert_eq!(lived.contested(), fresh.contested());
    }
}
