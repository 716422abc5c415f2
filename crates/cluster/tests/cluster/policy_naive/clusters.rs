//! Any clusters: pods, nodes and policies of every kind, some with parts that cannot be read.

use super::*;

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

/// Networks of both families, in one another, with and without host bits, down to one address. The
/// last looks like all of IPv4, and has none of it.
const NETWORKS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.1.0/24",
    "10.0.1.9/28",
    "10.0.0.2/31",
    "10.0.1.1/32",
    "192.168.0.0/24",
    "192.168.0.2/32",
    "::/0",
    "fd00::/8",
    "fd00::/125",
    "fd00::5/128",
    "2001:db8::/32",
    "::ffff:0.0.0.0/96",
];

/// Blocks with the exceptions that they may have: at their ends, in one another, all of them.
const EXCEPT: &[(&str, &[&str])] = &[
    ("0.0.0.0/0", &["10.0.0.0/24", "10.0.0.0/8", "192.168.0.1/32", "0.0.0.0/1", "128.0.0.0/1"]),
    ("10.0.0.0/8", &["10.0.0.0/24", "10.0.9.0/25", "10.0.0.2/31", "10.0.1.1/32"]),
    ("10.0.1.0/24", &["10.0.1.0/25", "10.0.1.1/32", "10.0.1.3/32"]),
    ("::/0", &["fd00::/125", "fd00::2/128", "2001:db8::/32"]),
    ("fd00::/125", &["fd00::/126", "fd00::4/126", "fd00::5/128"]),
];

fn a_block() -> impl Strategy<Value = Value> {
    let plain = text(NETWORKS).prop_map(|cidr| json!({"cidr": cidr}));
    let holed = select(EXCEPT).prop_flat_map(|(cidr, except)| {
        vec(text(except), 1..4).prop_map(move |except| json!({"cidr": cidr, "except": except}))
    });
    prop_oneof![plain, holed].prop_map(|block| json!({"ipBlock": block}))
}

fn a_peer() -> impl Strategy<Value = Value> {
    let block = a_block();
    let pods = (option::of(a_selector()), option::of(a_selector()), odd(20)).prop_map(|(namespaces, pods, odd)| {
        let pods = pods.or_else(|| namespaces.is_none().then(|| json!({})));
        object([("namespaceSelector", namespaces), ("podSelector", pods), (ODD, odd)])
    });
    prop_oneof![2 => block, 3 => pods]
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
    let networks = vec(text(NETWORKS), 1..4);
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

/// Pods and policies get their names and addresses by their places: 10.0.0.0, 10.0.1.1, fd00::2,
/// 10.0.1.3, ...
pub(super) fn a_cluster(tiers: usize) -> impl Strategy<Value = Cluster> {
    let policies = (vec(a_network_policy(), 0..5), vec(a_tier_policy(), 0..=tiers));
    (vec(a_map(), NAMESPACES.len() - 1), vec(a_pod(), 1..8), policies).prop_map(
        |(namespaces, mut pods, (mut policies, tiered))| {
            for (at, pod) in pods.iter_mut().enumerate() {
                pod.address = if at % 3 == 2 { format!("fd00::{at}") } else { format!("10.0.{}.{at}", at % 2) };
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
