//! The evaluator that the compiled policies are compared with: specifications read from JSON,
//! followed on every way through what they leave open, without tables, bits or caches.

use super::*;

/// Possible decision of one end's policies.
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
        let listed =
            value.is_some_and(|value| expression["values"].as_array().is_some_and(|all| all.contains(&json!(value))));
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
        let tiered =
            [PolicyKind::AdminNetworkPolicy, PolicyKind::BaselineAdminNetworkPolicy, PolicyKind::ClusterNetworkPolicy];
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
        let old = if tier == "Admin" { PolicyKind::AdminNetworkPolicy } else { PolicyKind::BaselineAdminNetworkPolicy };
        let new = self.of(PolicyKind::ClusterNetworkPolicy).filter(|policy| policy["spec"]["tier"] == tier);
        let found = [self.generation(self.of(old), oracle), self.generation(new, oracle)];
        pick(found, oracle)
    }

    fn generation<'a>(&self, policies: impl Iterator<Item = &'a Value>, oracle: &mut Oracle) -> Option<&'static str> {
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

    /// Decision of NetworkPolicies; none if none isolates the pod.
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
                    ports.map_or(Some(true), |ports| any(ports.iter().map(|port| self.is_port(port, peers.is_none())))),
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
