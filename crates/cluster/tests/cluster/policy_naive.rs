//! Compiled policies against a naive evaluator that reads the Kubernetes objects afresh for every
//! flow.
//!
//! The two share no code. The naive one knows neither rows nor bitsets nor the checked form of a
//! policy, and it has no three-valued answers: where something is unknown it tries every way it may
//! turn out, one after the other, and collects what each comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};
use webb_cluster::{Cache, Object, Raw, Settings, types};
use webb_flow::{Address, Direction, Flow, L4};
use webb_index::policy::Decision;
use webb_index::policy::spec::PolicyKind;

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NODES: [(&str, &str); 2] = [("n1", "192.168.0.1"), ("n2", "192.168.0.2")];
const STRANGERS: [&str; 3] = ["8.8.8.8", "10.0.9.9", "2001:db8::1"];
const METADATA_NAME: &str = "kubernetes.io/metadata.name";
/// The name of unreadable parts.
const ODD: &str = "odd";

type Map = BTreeMap<String, String>;

#[derive(Debug, Clone)]
struct Pod {
    namespace: String,
    labels: Map,
    /// Name, protocol, number.
    ports: Vec<(String, String, u16)>,
    node: usize,
    address: String,
}

#[derive(Debug)]
struct Cluster {
    /// Labels; the last namespace has no object.
    namespaces: Vec<Map>,
    pods: Vec<Pod>,
    /// Each with its kind.
    policies: Vec<(PolicyKind, Value)>,
}

/// A packet that opens a connection: addresses, protocol and destination port.
#[derive(Debug, Clone, Copy)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    l4: L4,
    port: u16,
}

mod naive {
    use super::*;

    /// What one end's policies may come to.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub(super) enum Says {
        Allow,
        Deny,
        /// Engines differ, and some deny.
        Disputed,
    }

    /// One way through all choices; [`Oracle::next`] is the next one.
    #[derive(Default)]
    struct Oracle {
        script: Vec<(usize, usize)>,
        at: usize,
    }

    impl Oracle {
        fn choose(&mut self, of: usize) -> usize {
            if self.at == self.script.len() {
                self.script.push((0, of));
            }
            self.at += 1;
            self.script[self.at - 1].0
        }

        fn next(&mut self) -> bool {
            self.at = 0;
            while let Some((choice, of)) = self.script.pop() {
                if choice + 1 < of {
                    self.script.push((choice + 1, of));
                    return true;
                }
            }
            false
        }

        fn is_so(&mut self, known: Option<bool>) -> bool {
            known.unwrap_or_else(|| self.choose(2) == 1)
        }
    }

    /// All that an end may say; empty if it has nothing to say, none if there are too many ways.
    pub(super) fn says(cluster: &Cluster, packet: &Packet, direction: Direction) -> Option<BTreeSet<Says>> {
        let ends = [packet.source, packet.destination].map(|address| who(cluster, address));
        let end = ends[usize::from(direction == Direction::Ingress)];
        let (Some(pod), false) = (end, packet.source == packet.destination) else { return Some(BTreeSet::new()) };
        let mut all = BTreeSet::new();
        let mut oracle = Oracle::default();
        for _ in 0..3000 {
            all.insert(Side { cluster, packet, direction, pod }.says(&mut oracle));
            if !oracle.next() {
                return Some(all);
            }
        }
        None
    }

    fn who(cluster: &Cluster, address: IpAddr) -> Option<&Pod> {
        cluster.pods.iter().find(|pod| pod.address == address.to_string())
    }

    fn all(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
        let parts: Vec<_> = parts.into_iter().collect();
        if parts.contains(&Some(false)) {
            Some(false)
        } else if parts.contains(&None) {
            None
        } else {
            Some(true)
        }
    }

    fn any(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
        all(parts.into_iter().map(|part| part.map(|is| !is))).map(|none| !none)
    }

    fn items<'a>(value: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
        value.get(name).and_then(Value::as_array)
    }

    fn text(value: &Value, name: &str) -> Option<String> {
        value.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    fn matches(selector: &Value, labels: &Map) -> Option<bool> {
        let mut parts = Vec::new();
        if selector.get(ODD).is_some() {
            parts.push(None);
        }
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            parts.push(Some(labels.get(key).map(String::as_str) == value.as_str()));
        }
        for expression in items(selector, "matchExpressions").into_iter().flatten() {
            let value = labels.get(expression["key"].as_str().unwrap());
            let listed = value
                .is_some_and(|value| expression["values"].as_array().is_some_and(|all| all.contains(&json!(value))));
            parts.push(Some(match expression["operator"].as_str().unwrap() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other}"),
            }));
        }
        all(parts)
    }

    struct Side<'a> {
        cluster: &'a Cluster,
        packet: &'a Packet,
        direction: Direction,
        pod: &'a Pod,
    }

    impl Side<'_> {
        fn rules(&self) -> [&'static str; 2] {
            if self.direction == Direction::Egress { ["egress", "to"] } else { ["ingress", "from"] }
        }

        fn peer(&self) -> IpAddr {
            if self.direction == Direction::Egress { self.packet.destination } else { self.packet.source }
        }

        fn is_own_node(&self) -> bool {
            self.peer().to_string() == NODES[self.pod.node].1
        }

        fn namespace(&self, name: &str) -> Map {
            let at = NAMESPACES.iter().position(|known| *known == name).unwrap();
            let mut labels = self.cluster.namespaces.get(at).cloned().unwrap_or_default();
            labels.insert(METADATA_NAME.into(), name.to_owned());
            labels
        }

        fn of(&self, kind: PolicyKind) -> impl Iterator<Item = &Value> {
            self.cluster.policies.iter().filter(move |(found, _)| *found == kind).map(|(_, policy)| policy)
        }

        fn says(&self, oracle: &mut Oracle) -> Says {
            let tiered = [
                PolicyKind::AdminNetworkPolicy,
                PolicyKind::BaselineAdminNetworkPolicy,
                PolicyKind::ClusterNetworkPolicy,
            ];
            for policy in tiered.into_iter().flat_map(|kind| self.of(kind)) {
                let is_read = policy["spec"].get("priority").is_none_or(|priority| *priority != json!(2000));
                if !is_read && self.selects(policy) != Some(false) {
                    return [Says::Allow, Says::Deny][oracle.choose(2)];
                }
            }
            match self.tier("Admin", oracle) {
                Some("Deny") => return Says::Deny,
                Some("Accept") => return Says::Allow,
                _ => {}
            }
            if let Some(says) = self.isolation(oracle) {
                return says;
            }
            if self.tier("Baseline", oracle) == Some("Deny") { Says::Deny } else { Says::Allow }
        }

        /// The action of the first rule that matches, in an order that may be anything where it is
        /// not fixed.
        fn tier(&self, tier: &str, oracle: &mut Oracle) -> Option<&'static str> {
            let old =
                if tier == "Admin" { PolicyKind::AdminNetworkPolicy } else { PolicyKind::BaselineAdminNetworkPolicy };
            let new = self.of(PolicyKind::ClusterNetworkPolicy).filter(|policy| policy["spec"]["tier"] == tier);
            let found = [self.generation(self.of(old), oracle), self.generation(new, oracle)];
            pick(found, oracle)
        }

        fn generation<'a>(
            &self,
            policies: impl Iterator<Item = &'a Value>,
            oracle: &mut Oracle,
        ) -> Option<&'static str> {
            let priority = |policy: &Value| policy["spec"].get("priority").map_or(0, |found| found.as_u64().unwrap());
            let mut policies: Vec<&Value> = policies.collect();
            policies.sort_by_key(|policy| priority(policy));
            for equals in policies.chunk_by(|a, b| priority(a) == priority(b)) {
                let found: Vec<_> = equals.iter().map(|policy| self.policy(policy, oracle)).collect();
                if let Some(action) = pick(found, oracle) {
                    return Some(action);
                }
            }
            None
        }

        fn selects(&self, policy: &Value) -> Option<bool> {
            let subject = &policy["spec"]["subject"];
            let namespace = self.namespace(&self.pod.namespace);
            match subject.get("namespaces") {
                Some(namespaces) => matches(namespaces, &namespace),
                None => self.pods(&subject["pods"], self.pod),
            }
        }

        fn policy(&self, policy: &Value, oracle: &mut Oracle) -> Option<&'static str> {
            if !oracle.is_so(self.selects(policy)) {
                return None;
            }
            let [rules, side] = self.rules();
            for rule in items(&policy["spec"], rules).into_iter().flatten() {
                let peers = any(items(rule, side).unwrap().iter().map(|peer| self.tier_peer(peer)));
                let ports = [("ports", items(rule, "ports")), ("protocols", items(rule, "protocols"))];
                let ports: Vec<_> = ports.into_iter().flat_map(|(_, ports)| ports.into_iter().flatten()).collect();
                let ports =
                    if ports.is_empty() { Some(true) } else { any(ports.into_iter().map(|port| self.tier_port(port))) };
                let matched = all([peers, ports, rule.get(ODD).map_or(Some(true), |_| None)]);
                if !oracle.is_so(matched) {
                    continue;
                }
                let is_odd = rule.to_string().contains(&format!("\"{ODD}\""));
                match rule["action"].as_str().unwrap() {
                    "Accept" | "Allow" => return Some("Accept"),
                    "Deny" => return Some("Deny"),
                    "Pass" if matched.is_none() && is_odd => return Some(["Pass", "Deny"][oracle.choose(2)]),
                    "Pass" => return Some("Pass"),
                    _ => match oracle.choose(4) {
                        3 => {}
                        action => return Some(["Accept", "Deny", "Pass"][action]),
                    },
                }
            }
            None
        }

        fn pods(&self, both: &Value, pod: &Pod) -> Option<bool> {
            all([
                both.get(ODD).map_or(Some(true), |_| None),
                matches(&both["namespaceSelector"], &self.namespace(&pod.namespace)),
                matches(&both["podSelector"], &pod.labels),
            ])
        }

        fn tier_peer(&self, peer: &Value) -> Option<bool> {
            let address = self.peer();
            if peer.get(ODD).is_some() || peer.get("domainNames").is_some() {
                return None;
            }
            if let Some(namespaces) = peer.get("namespaces") {
                let pod = who(self.cluster, address);
                return pod.map_or(Some(false), |pod| matches(namespaces, &self.namespace(&pod.namespace)));
            }
            if let Some(pods) = peer.get("pods") {
                return who(self.cluster, address).map_or(Some(false), |pod| self.pods(pods, pod));
            }
            if let Some(nodes) = peer.get("nodes") {
                let at = NODES.iter().position(|(_, node)| *node == address.to_string());
                return at.map_or(Some(false), |at| matches(nodes, &node_labels(at)));
            }
            let networks = items(peer, "networks").unwrap();
            Some(networks.iter().any(|net| net.as_str().unwrap().parse::<IpNet>().unwrap().contains(&address)))
        }

        fn tier_port(&self, port: &Value) -> Option<bool> {
            if self.packet.l4 == L4::None {
                return None;
            }
            if port.get(ODD).is_some() {
                return None;
            }
            let within = |first: &Value, last: &Value| {
                (first.as_u64().unwrap()..=last.as_u64().unwrap()).contains(&u64::from(self.packet.port))
            };
            let is = |port: &Value| port["protocol"].as_str().unwrap_or("TCP") == self.protocol();
            if let Some(number) = port.get("portNumber") {
                return Some(is(number) && within(&number["port"], &number["port"]));
            }
            if let Some(range) = port.get("portRange") {
                return Some(is(range) && within(&range["start"], &range["end"]));
            }
            if let Some(name) = port.get("namedPort").or_else(|| port.get("destinationNamedPort")) {
                return Some(self.has_port(name.as_str().unwrap()));
            }
            let (protocol, what) = port.as_object().unwrap().iter().next().unwrap();
            let ports = match what.get("destinationPort") {
                None => what.get(ODD).map_or(Some(true), |_| None),
                Some(port) => Some(match port.get("number") {
                    Some(number) => within(number, number),
                    None => within(&port["range"]["start"], &port["range"]["end"]),
                }),
            };
            all([Some(protocol.to_uppercase() == self.protocol()), ports])
        }

        fn protocol(&self) -> &'static str {
            match self.packet.l4 {
                L4::Tcp => "TCP",
                L4::Udp => "UDP",
                L4::Sctp => "SCTP",
                _ => "none",
            }
        }

        /// Whether the destination calls the packet's port so.
        fn has_port(&self, name: &str) -> bool {
            let wanted = (name.to_owned(), self.protocol().to_owned(), self.packet.port);
            who(self.cluster, self.packet.destination).is_some_and(|pod| pod.ports.contains(&wanted))
        }

        /// What NetworkPolicies say; none if none isolates the pod.
        fn isolation(&self, oracle: &mut Oracle) -> Option<Says> {
            let mut isolated = false;
            let mut allowed = false;
            for policy in self.of(PolicyKind::NetworkPolicy) {
                let spec = &policy["spec"];
                let own = text(&policy["metadata"], "namespace") == Some(self.pod.namespace.clone());
                let selected = spec.get("podSelector").map_or(Some(true), |pods| matches(pods, &self.pod.labels));
                if !own || !self.concerns(spec) || !oracle.is_so(selected) {
                    continue;
                }
                isolated = true;
                let [rules, side] = self.rules();
                for rule in items(spec, rules).into_iter().flatten() {
                    let peers = items(rule, side).filter(|peers| !peers.is_empty());
                    let ports = items(rule, "ports").filter(|ports| !ports.is_empty());
                    let matched = all([
                        peers.map_or(Some(true), |peers| any(peers.iter().map(|peer| self.is_peer(policy, peer)))),
                        ports.map_or(Some(true), |ports| {
                            any(ports.iter().map(|port| self.is_port(port, peers.is_none())))
                        }),
                        rule.get(ODD).map_or(Some(true), |_| None),
                    ]);
                    allowed |= oracle.is_so(matched);
                }
            }
            let disputes = !matches!(self.packet.l4, L4::Tcp | L4::Udp | L4::Sctp | L4::None);
            match (isolated, allowed, self.direction) {
                (false, ..) => None,
                (_, true, _) => Some(Says::Allow),
                (.., Direction::Ingress) if self.is_own_node() => Some(Says::Allow),
                _ if disputes || self.is_own_node() => Some(Says::Disputed),
                _ => Some(Says::Deny),
            }
        }

        fn concerns(&self, spec: &Value) -> bool {
            let rules = items(spec, "egress").is_some_and(|rules| !rules.is_empty());
            match items(spec, "policyTypes").filter(|types| !types.is_empty()) {
                None => self.direction == Direction::Ingress || rules,
                Some(types) if self.direction == Direction::Ingress => types.contains(&json!("Ingress")),
                Some(types) => types.contains(&json!("Egress")),
            }
        }

        fn is_peer(&self, policy: &Value, peer: &Value) -> Option<bool> {
            let address = self.peer();
            if peer.get(ODD).is_some() {
                return None;
            }
            if let Some(block) = peer.get("ipBlock") {
                let holds = |net: &Value| net.as_str().unwrap().parse::<IpNet>().unwrap().contains(&address);
                return Some(holds(&block["cidr"]) && !items(block, "except").into_iter().flatten().any(holds));
            }
            let Some(pod) = who(self.cluster, address) else { return Some(false) };
            let in_namespace = match peer.get("namespaceSelector") {
                None => Some(policy["metadata"]["namespace"] == pod.namespace.as_str()),
                Some(selector) => matches(selector, &self.namespace(&pod.namespace)),
            };
            all([in_namespace, peer.get("podSelector").map_or(Some(true), |pods| matches(pods, &pod.labels))])
        }

        fn is_port(&self, port: &Value, from_all: bool) -> Option<bool> {
            if self.packet.l4 == L4::None {
                return None;
            }
            let protocol = text(port, "protocol").unwrap_or_else(|| "TCP".to_owned());
            let of_protocol = Some(protocol == self.protocol());
            let number = match port.get("port") {
                _ if port.get(ODD).is_some() => None,
                None => Some(true),
                Some(Value::String(name)) => {
                    let to_node = NODES.iter().any(|(_, node)| *node == self.packet.destination.to_string());
                    if from_all && to_node { None } else { Some(self.has_port(name)) }
                }
                Some(first) => {
                    let last = port.get("endPort").unwrap_or(first).as_u64().unwrap();
                    Some((first.as_u64().unwrap()..=last).contains(&u64::from(self.packet.port)))
                }
            };
            all([of_protocol, number])
        }
    }

    /// One of several that have no order.
    fn pick(found: impl IntoIterator<Item = Option<&'static str>>, oracle: &mut Oracle) -> Option<&'static str> {
        let found: BTreeSet<&str> = found.into_iter().flatten().collect();
        let found: Vec<&str> = found.into_iter().collect();
        (!found.is_empty()).then(|| found[oracle.choose(found.len())])
    }
}

fn node_labels(at: usize) -> Map {
    [[("k", "x")], [("l", "y")]][at].iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn read<T: serde::de::DeserializeOwned, B: From<T>>(object: Value) -> B {
    serde_json::from_value::<T>(object).unwrap().into()
}

/// The compiled policies' answers: of the source's end, of the destination's, and who is said to
/// have dropped it.
type Told = ([Option<Decision>; 2], Option<Direction>);

fn compiled(cluster: &Cluster, packets: &[Packet]) -> Vec<Told> {
    let cache = Cache::new(Settings { node: NODES[0].0.into(), ..Settings::default() });
    let add = |raw: Raw| cache.upsert(Object::try_from(raw).unwrap());
    for (at, (name, address)) in NODES.into_iter().enumerate() {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        let metadata = json!({"name": name, "labels": node_labels(at)});
        add(Raw::Node(read::<types::Node, _>(json!({"metadata": metadata, "status": {"addresses": addresses}}))));
    }
    for (name, labels) in NAMESPACES.iter().zip(&cluster.namespaces) {
        add(Raw::Namespace(read::<types::Namespace, _>(json!({"metadata": {"name": name, "labels": labels}}))));
    }
    for (at, pod) in cluster.pods.iter().enumerate() {
        let ports = pod.ports.iter();
        let ports =
            ports.map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "containerPort": port}));
        add(Raw::Pod(read::<types::Pod, _>(json!({
            "metadata": {"name": format!("pod-{at}"), "namespace": pod.namespace, "labels": pod.labels},
            "spec": {"nodeName": NODES[pod.node].0, "containers": [{"ports": ports.collect::<Vec<_>>()}]},
            "status": {"podIP": pod.address},
        }))));
    }
    for (kind, policy) in &cluster.policies {
        let policy: Box<_> = read::<types::Policy, _>(policy.clone());
        add(match kind {
            PolicyKind::NetworkPolicy => Raw::NetworkPolicy(policy),
            kind => Raw::Tiered(*kind, policy),
        });
    }
    let index = cache.index();
    let judge = |packet: &Packet| {
        let (source_ip, destination_ip) = (Address::from(packet.source), Address::from(packet.destination));
        let flow = Flow {
            source: index.find(source_ip),
            destination: index.find(destination_ip),
            source_ip,
            destination_ip,
            destination_port: packet.port,
            l4: packet.l4,
            ..Flow::default()
        };
        let evaluation = index.policies().evaluate(&index, &flow);
        let answers =
            [evaluation.egress, evaluation.ingress].map(|evaluation| evaluation.map(|evaluation| evaluation.decision));
        (answers, index.policies().forbids(&index, &flow).map(|denial| denial.direction))
    };
    packets.iter().map(judge).collect()
}

/// The same from the naive evaluator; none for a packet with too many ways.
fn expected(cluster: &Cluster, packet: &Packet) -> Option<Told> {
    let sides = [Direction::Egress, Direction::Ingress];
    let [egress, ingress] = sides.map(|direction| naive::says(cluster, packet, direction));
    let says = [egress?, ingress?];
    let answer = |says: &BTreeSet<naive::Says>| match says.iter().collect::<Vec<_>>()[..] {
        [] => None,
        [naive::Says::Allow] => Some(Decision::Allow),
        [naive::Says::Deny] => Some(Decision::Deny),
        _ => Some(Decision::Undecided),
    };
    let denies = |says: &BTreeSet<naive::Says>| !says.is_empty() && !says.contains(&naive::Says::Allow);
    let dropped = says.iter().position(denies).map(|at| sides[at]);
    Some(([answer(&says[0]), answer(&says[1])], dropped))
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(choices).prop_map(str::to_owned)
}

fn a_map() -> impl Strategy<Value = Map> {
    prop::collection::btree_map(text(&["k", "l"]), text(&["x", "y"]), 0..3)
}

/// Without those that are none.
fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// One in so many has a part that cannot be read.
fn odd(one_in: u32) -> impl Strategy<Value = Option<Value>> {
    (0..one_in).prop_map(|at| (at == 0).then(|| json!(1)))
}

fn a_selector() -> impl Strategy<Value = Value> {
    let expression = (text(&["k", "l", METADATA_NAME]), 0..4_usize, vec(text(&["x", "y", "a", "b"]), 1..3));
    let expression = expression.prop_map(|(key, operator, values)| {
        let operators = ["In", "NotIn", "Exists", "DoesNotExist"];
        let values = (operator < 2).then(|| json!(values));
        object([("key", Some(json!(key))), ("operator", Some(json!(operators[operator]))), ("values", values)])
    });
    (option::of(a_map()), option::of(vec(expression, 0..2)), odd(25)).prop_map(|(labels, expressions, odd)| {
        let expressions = expressions.map(Value::Array);
        object([("matchLabels", labels.map(|labels| json!(labels))), ("matchExpressions", expressions), (ODD, odd)])
    })
}

fn a_peer() -> impl Strategy<Value = Value> {
    let block = (text(&["10.0.0.0/8", "0.0.0.0/0", "10.0.1.0/24", "::/0", "192.168.0.0/24"]), any::<bool>());
    let block = block.prop_map(|(cidr, except)| {
        let except = except && (cidr.starts_with("10.0.0") || cidr.starts_with('0'));
        let except = except.then(|| json!(["10.0.0.0/24", "10.0.9.0/25"]));
        json!({"ipBlock": object([("cidr", Some(json!(cidr))), ("except", except)])})
    });
    let pods = (option::of(a_selector()), option::of(a_selector()), odd(20)).prop_map(|(namespaces, pods, odd)| {
        let pods = pods.or_else(|| namespaces.is_none().then(|| json!({})));
        object([("namespaceSelector", namespaces), ("podSelector", pods), (ODD, odd)])
    });
    prop_oneof![1 => block, 3 => pods]
}

fn a_port() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        Just(None),
        (1..6).prop_map(|number| Some(json!(number))),
        text(&["http", "dns"]).prop_map(|name| Some(json!(name))),
    ];
    (port, option::of(0..3_u64), option::of(text(&["TCP", "UDP", "SCTP"])), odd(25)).prop_map(
        |(port, more, protocol, odd)| {
            let last = port.as_ref().and_then(Value::as_u64).zip(more).map(|(first, more)| json!(first + more));
            object([
                ("port", port),
                ("endPort", last),
                ("protocol", protocol.map(|protocol| json!(protocol))),
                (ODD, odd),
            ])
        },
    )
}

fn a_network_policy() -> impl Strategy<Value = (PolicyKind, Value)> {
    let rules = |side: &'static str| {
        let rule = (option::of(vec(a_peer(), 0..3)), option::of(vec(a_port(), 0..3)), odd(40));
        let rule = rule.prop_map(move |(peers, ports, odd)| {
            object([(side, peers.map(Value::Array)), ("ports", ports.map(Value::Array)), (ODD, odd)])
        });
        option::of(vec(rule, 0..3)).prop_map(|rules| rules.map(Value::Array))
    };
    let types: &'static [&'static [&'static str]] = &[&[], &["Ingress"], &["Egress"], &["Ingress", "Egress"]];
    let types = option::of(select(types)).prop_map(|types| types.map(|types| json!(types)));
    (text(&NAMESPACES), option::of(a_selector()), types, rules("from"), rules("to")).prop_map(
        |(namespace, pods, types, ingress, egress)| {
            let spec =
                object([("podSelector", pods), ("policyTypes", types), ("ingress", ingress), ("egress", egress)]);
            (PolicyKind::NetworkPolicy, json!({"metadata": {"namespace": namespace}, "spec": spec}))
        },
    )
}

fn both_selectors() -> impl Strategy<Value = Value> {
    (a_selector(), a_selector(), odd(25)).prop_map(|(namespaces, pods, odd)| {
        object([("namespaceSelector", Some(namespaces)), ("podSelector", Some(pods)), (ODD, odd)])
    })
}

fn a_tier_peer(egress: bool) -> impl Strategy<Value = Value> {
    let ours = prop_oneof![
        3 => a_selector().prop_map(|selector| json!({"namespaces": selector})),
        3 => both_selectors().prop_map(|pods| json!({"pods": pods})),
    ];
    let networks = vec(text(&["10.0.0.0/8", "0.0.0.0/0", "10.0.1.0/24", "::/0", "192.168.0.0/24"]), 1..3);
    let theirs = prop_oneof![
        4 => networks.prop_map(|networks| json!({"networks": networks})),
        4 => a_selector().prop_map(|selector| json!({"nodes": selector})),
        1 => Just(json!({"domainNames": ["*.example.org"]})),
        1 => Just(json!({ODD: {}})),
    ];
    let theirs = theirs.prop_filter("ingress knows only pods", move |peer| egress || peer.get(ODD).is_some());
    if egress {
        prop_oneof![3 => ours, 2 => theirs].boxed()
    } else {
        prop_oneof![20 => ours, 1 => Just(json!({ODD: {}}))].boxed()
    }
}

fn a_tier_port(new: bool) -> BoxedStrategy<Value> {
    let ends = (1..6_u64, 1..3_u64);
    if new {
        let ports = prop_oneof![
            (1..6_u64).prop_map(|number| json!({"destinationPort": {"number": number}})),
            ends.prop_map(|(first, more)| json!({"destinationPort": {"range": {"start": first, "end": first + more}}})),
            Just(json!({})),
        ];
        let of = (text(&["tcp", "udp", "sctp"]), ports).prop_map(|(protocol, ports)| json!({protocol: ports}));
        let name = text(&["http", "dns"]).prop_map(|name| json!({"destinationNamedPort": name}));
        return prop_oneof![12 => of, 4 => name, 1 => Just(json!({ODD: {}}))].boxed();
    }
    let protocol = || option::of(text(&["TCP", "UDP", "SCTP"])).prop_map(|protocol| protocol.map(|name| json!(name)));
    let number = (protocol(), 1..6_u64).prop_map(
        |(protocol, port)| json!({"portNumber": object([("protocol", protocol), ("port", Some(json!(port)))])}),
    );
    let range = (protocol(), ends).prop_map(|(protocol, (first, more))| {
        let ends = [("start", Some(json!(first))), ("end", Some(json!(first + more)))];
        json!({"portRange": object(ends.into_iter().chain([("protocol", protocol)]))})
    });
    let name = text(&["http", "dns"]).prop_map(|name| json!({"namedPort": name}));
    prop_oneof![6 => number, 6 => range, 4 => name, 1 => Just(json!({ODD: {}}))].boxed()
}

fn tier_rules(kind: PolicyKind, egress: bool) -> impl Strategy<Value = Value> {
    let actions: &'static [&'static str] = match kind {
        PolicyKind::ClusterNetworkPolicy => {
            &["Accept", "Accept", "Accept", "Deny", "Deny", "Deny", "Pass", "Pass", "Allow", "Odd"]
        }
        PolicyKind::AdminNetworkPolicy => &["Allow", "Allow", "Allow", "Deny", "Deny", "Deny", "Pass", "Pass", "Odd"],
        _ => &["Allow", "Allow", "Allow", "Deny", "Deny", "Deny", "Odd"],
    };
    let (side, new) = (if egress { "to" } else { "from" }, kind == PolicyKind::ClusterNetworkPolicy);
    let ports = option::of(vec(a_tier_port(new), 1..3));
    let rule = (text(actions), vec(a_tier_peer(egress), 1..3), ports, odd(40));
    let rule = rule.prop_map(move |(action, peers, ports, odd)| {
        let name = if new { "protocols" } else { "ports" };
        let ports = ports.map(Value::Array);
        object([("action", Some(json!(action))), (side, Some(Value::Array(peers))), (name, ports), (ODD, odd)])
    });
    vec(rule, 0..4).prop_map(Value::Array)
}

fn a_tier_policy() -> impl Strategy<Value = (PolicyKind, Value)> {
    let kinds = [
        PolicyKind::AdminNetworkPolicy,
        PolicyKind::BaselineAdminNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy,
    ];
    select(kinds.to_vec()).prop_flat_map(|kind| {
        let subject = prop_oneof![
            a_selector().prop_map(|selector| json!({"namespaces": selector})),
            both_selectors().prop_map(|pods| json!({"pods": pods})),
        ];
        // Few priorities, so that some are equal; the last is none.
        let priority = select(vec![1, 2, 2, 3, 3, 1000, 1, 2, 3, 1, 2, 3, 1, 2, 2000_u64]);
        let tier = text(&["Admin", "Admin", "Baseline"]);
        (subject, priority, tier, tier_rules(kind, false), tier_rules(kind, true)).prop_map(
            move |(subject, priority, tier, ingress, egress)| {
                let has_tier = kind == PolicyKind::ClusterNetworkPolicy;
                let has_priority = kind != PolicyKind::BaselineAdminNetworkPolicy;
                let spec = object([
                    ("subject", Some(subject)),
                    ("priority", has_priority.then(|| json!(priority))),
                    ("tier", has_tier.then(|| json!(tier))),
                    ("ingress", Some(ingress)),
                    ("egress", Some(egress)),
                ]);
                (kind, json!({"metadata": {}, "spec": spec}))
            },
        )
    })
}

fn a_pod() -> impl Strategy<Value = Pod> {
    let port = (text(&["http", "dns"]), text(&["TCP", "UDP"]), 1..6_u16);
    (text(&NAMESPACES), a_map(), vec(port, 0..3), 0..2_usize).prop_map(|(namespace, labels, ports, node)| Pod {
        namespace,
        labels,
        ports,
        node,
        address: String::new(),
    })
}

/// Pods and policies get their names and addresses by their places: 10.0.0.0, 10.0.1.1, 10.0.0.2,
/// ...
fn a_cluster(tiers: usize) -> impl Strategy<Value = Cluster> {
    let policies = (vec(a_network_policy(), 0..5), vec(a_tier_policy(), 0..=tiers));
    (vec(a_map(), NAMESPACES.len() - 1), vec(a_pod(), 1..8), policies).prop_map(
        |(namespaces, mut pods, (mut policies, tiered))| {
            for (at, pod) in pods.iter_mut().enumerate() {
                pod.address = format!("10.0.{}.{at}", at % 2);
            }
            policies.extend(tiered);
            let mut baseline = 0;
            policies.retain(|(kind, _)| {
                baseline += usize::from(*kind == PolicyKind::BaselineAdminNetworkPolicy);
                *kind != PolicyKind::BaselineAdminNetworkPolicy || baseline == 1
            });
            for (at, (kind, policy)) in policies.iter_mut().enumerate() {
                let is_baseline = *kind == PolicyKind::BaselineAdminNetworkPolicy;
                policy["metadata"]["name"] = if is_baseline { json!("default") } else { json!(format!("policy-{at}")) };
            }
            Cluster { namespaces, pods, policies }
        },
    )
}

/// Everyone to everyone, on every protocol, on ports around those that rules name.
fn packets(cluster: &Cluster) -> Vec<Packet> {
    let pods = cluster.pods.iter().map(|pod| pod.address.clone());
    let others = NODES.iter().map(|(_, address)| *address).chain(STRANGERS).map(str::to_owned);
    let addresses: Vec<IpAddr> = pods.chain(others).map(|text| text.parse().unwrap()).collect();
    let mut packets = Vec::new();
    for &source in &addresses {
        for &destination in &addresses {
            for l4 in [L4::Tcp, L4::Udp, L4::Sctp, L4::IcmpV4, L4::None] {
                let ports = if matches!(l4, L4::IcmpV4 | L4::None) { 1..2 } else { 1..8 };
                packets.extend(ports.map(|port| Packet { source, destination, l4, port }));
            }
        }
    }
    packets
}

fn compare(cluster: &Cluster) -> Result<(), TestCaseError> {
    let packets = packets(cluster);
    for (packet, got) in packets.iter().zip(compiled(cluster, &packets)) {
        let Some(expected) = expected(cluster, packet) else { continue };
        prop_assert!(got == expected, "{packet:?}: compiled says {got:?}, naive says {expected:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any cluster and any NetworkPolicies, every possible packet is judged alike by both.
    #[test]
    fn network_policies_alone(cluster in a_cluster(0)) {
        compare(&cluster)?;
    }

    /// The same with policies of all kinds, versions, actions and tiers.
    #[test]
    fn every_kind(cluster in a_cluster(6)) {
        compare(&cluster)?;
    }
}

/// The property is worth something only if the clusters it meets come to every answer at both ends,
/// and only few packets have too many ways to be told.
#[test]
fn the_property_sees_all_answers() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut seen, mut dropped, mut lost, mut packets_seen) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
    for _ in 0..40 {
        let cluster = a_cluster(6).new_tree(&mut runner).unwrap().current();
        for packet in packets(&cluster) {
            packets_seen += 1;
            match expected(&cluster, &packet) {
                None => lost += 1,
                Some((answers, denial)) => {
                    for (side, answer) in answers.into_iter().enumerate() {
                        *seen.entry((side, answer.map(|answer| format!("{answer:?}")))).or_insert(0) += 1;
                    }
                    *dropped.entry(denial.map(|direction| direction as u8)).or_insert(0) += 1;
                }
            }
        }
    }
    println!("{seen:?}\n{dropped:?}\n{lost} of {packets_seen} packets have too many ways");
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(seen.values().all(|count| *count > 500), "{seen:?}");
    assert_eq!(dropped.len(), 3, "{dropped:?}");
    assert!(lost * 20 < packets_seen, "{lost} of {packets_seen}");
}
