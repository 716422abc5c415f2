//! The policies of `policy.networking.k8s.io`: AdminNetworkPolicy and BaselineAdminNetworkPolicy
//! (v1alpha1), and ClusterNetworkPolicy, which replaced both (v1alpha2 and later).
//!
//! One reader serves all versions, because what they share outweighs what they don't. Shapes of
//! early versions that a lenient reader would take for "all" are read as what they meant, or are
//! unknown.

use serde_json::Value;
use webb_flow::L4;
use webb_index::policy::spec::{
    Action, PeerSpec, PolicyKind, PortMatch, PortSpec, RuleSpec, Selector, Tier, TierRule, TierSpec,
};

use super::part::{Fields, Problems, number, shape, text};
use super::selector::selector;
use super::standard::{layer_4, network, port_name};
use crate::ObjectKey;

const PRIORITIES: (u16, u16) = (0, 1000);
const ALL_PORTS: (u16, u16) = (1, u16::MAX);
/// The only name that a BaselineAdminNetworkPolicy may have.
const DEFAULT: &str = "default";

/// The policy of that kind and name; what of it cannot be read is noted.
pub(crate) fn tiered(kind: PolicyKind, key: &ObjectKey, spec: Option<&Value>, problems: &mut Problems) -> TierSpec {
    read(kind, key, spec.unwrap_or(&Value::Null), problems).unwrap_or_else(|| unreadable(kind, key))
}

/// A policy of which nothing but its name could be read: it may do anything to any pod.
pub(crate) fn unreadable(kind: PolicyKind, key: &ObjectKey) -> TierSpec {
    TierSpec {
        kind,
        name: key.name.clone(),
        tier: None,
        priority: None,
        namespaces: Selector::default(),
        pods: None,
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

fn read(kind: PolicyKind, key: &ObjectKey, spec: &Value, problems: &mut Problems) -> Option<TierSpec> {
    let known: &[&str] = match kind {
        PolicyKind::BaselineAdminNetworkPolicy => &["subject", "ingress", "egress"],
        PolicyKind::AdminNetworkPolicy => &["priority", "subject", "ingress", "egress"],
        _ => &["tier", "priority", "subject", "ingress", "egress"],
    };
    let fields = Fields::of("spec", spec, known, problems)?;
    let tier = tier(kind, key, &fields, problems).filter(|_| !fields.odd);
    let priority = if kind == PolicyKind::BaselineAdminNetworkPolicy {
        Some(0)
    } else {
        let value = fields.get("priority").unwrap_or(&Value::Null);
        number("spec.priority", value, PRIORITIES, problems).ok()
    };
    let selected = fields.required("spec", "subject", problems);
    let (namespaces, pods) =
        selected.map_or_else(|| (Selector::unknown(), None), |selected| subject(selected, problems));
    let ingress = rules(kind, &fields, "ingress", problems);
    let egress = rules(kind, &fields, "egress", problems);
    let tier = tier.filter(|_| ingress.is_some() && egress.is_some());
    let (ingress, egress) = (ingress.unwrap_or_default(), egress.unwrap_or_default());
    Some(TierSpec { kind, name: key.name.clone(), tier, priority, namespaces, pods, ingress, egress })
}

fn tier(kind: PolicyKind, key: &ObjectKey, fields: &Fields<'_>, problems: &mut Problems) -> Option<Tier> {
    match kind {
        PolicyKind::AdminNetworkPolicy => return Some(Tier::Admin),
        PolicyKind::BaselineAdminNetworkPolicy if key.name == DEFAULT => return Some(Tier::Baseline),
        PolicyKind::BaselineAdminNetworkPolicy => {
            problems.note(format!("metadata.name is `{}`, expected `{DEFAULT}`, the only one", key.name));
            return None;
        }
        _ => {}
    }
    let value = fields.get("tier").unwrap_or(&Value::Null);
    match value.as_str() {
        Some("Admin") => Some(Tier::Admin),
        Some("Baseline") => Some(Tier::Baseline),
        _ => {
            problems.note(format!("spec.tier is {}, expected Admin or Baseline", shape(value)));
            None
        }
    }
}

fn subject(value: &Value, problems: &mut Problems) -> (Selector, Option<Selector>) {
    let unknown = (Selector::unknown(), None);
    let Some(fields) = Fields::of("spec.subject", value, &["namespaces", "pods"], problems) else { return unknown };
    match (fields.get("namespaces"), fields.get("pods"), fields.odd) {
        (Some(namespaces), None, false) => (selector("spec.subject.namespaces", namespaces, problems), None),
        (None, Some(found), false) => {
            let (namespaces, pods) = pods("spec.subject.pods", found, problems);
            (namespaces, Some(pods))
        }
        (_, _, true) => unknown,
        _ => {
            problems.note("spec.subject: expected either namespaces or pods".to_owned());
            unknown
        }
    }
}

/// `pods`: both selectors, which an empty one stands for all in.
fn pods(path: &str, value: &Value, problems: &mut Problems) -> (Selector, Selector) {
    let Some(fields) = Fields::of(path, value, &["namespaceSelector", "podSelector"], problems) else {
        return (Selector::unknown(), Selector::default());
    };
    let mut required = |name: &str| {
        let value = fields.required(path, name, problems);
        value.map_or_else(Selector::unknown, |value| selector(&format!("{path}.{name}"), value, problems))
    };
    let (namespaces, pods) = (required("namespaceSelector"), required("podSelector"));
    if fields.odd { (namespaces.unsure(), pods) } else { (namespaces, pods) }
}

/// Parses the rules; none if the value is no list.
fn rules(kind: PolicyKind, fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Vec<TierRule>> {
    let items = fields.list("spec", name, problems).ok()?.unwrap_or_default().iter().enumerate();
    Some(items.map(|(at, item)| rule(kind, &format!("spec.{name}[{at}]"), item, name == "egress", problems)).collect())
}

fn rule(kind: PolicyKind, path: &str, value: &Value, egress: bool, problems: &mut Problems) -> TierRule {
    let side = if egress { "to" } else { "from" };
    let known: &[&str] = match kind {
        PolicyKind::ClusterNetworkPolicy => &["name", "action", side, "protocols", "ports"],
        _ => &["name", "action", side, "ports"],
    };
    let Some(fields) = Fields::of(path, value, known, problems) else {
        let rule = RuleSpec { peers: vec![PeerSpec::Unknown], unknown: true, ..RuleSpec::default() };
        return TierRule { action: None, rule };
    };
    let mut rule = RuleSpec { unknown: fields.odd, ..RuleSpec::default() };
    match fields.list(path, side, problems) {
        Ok(Some(items)) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                peers(&format!("{path}.{side}[{at}]"), item, egress, &mut rule.peers, problems);
            }
        }
        found => {
            if found.is_ok() {
                problems.note(format!("{path}.{side} is empty, expected a peer"));
            }
            rule.peers.push(PeerSpec::Unknown);
        }
    }
    for (name, read) in [("ports", port as ReadPort), ("protocols", protocol)] {
        match fields.list(path, name, problems) {
            Ok(None) => {}
            Ok(Some(items)) if !items.is_empty() => {
                for (at, item) in items.iter().enumerate() {
                    rule.ports.push(read(&format!("{path}.{name}[{at}]"), item, problems).unwrap_or(UNKNOWN_PORT));
                }
            }
            found => {
                if found.is_ok() {
                    problems.note(format!("{path}.{name} is empty, expected none or one item at least"));
                }
                rule.ports.push(UNKNOWN_PORT);
            }
        }
    }
    TierRule { action: action(kind, path, &fields, problems), rule }
}

fn action(kind: PolicyKind, path: &str, fields: &Fields<'_>, problems: &mut Problems) -> Option<Action> {
    let value = fields.get("action").unwrap_or(&Value::Null);
    let (found, expected) = match kind {
        PolicyKind::ClusterNetworkPolicy => (value.as_str(), "Accept, Deny or Pass"),
        PolicyKind::AdminNetworkPolicy => (value.as_str().filter(|text| *text != "Accept"), "Allow, Deny or Pass"),
        _ => (value.as_str().filter(|text| !matches!(*text, "Accept" | "Pass")), "Allow or Deny"),
    };
    match found {
        // Early v1alpha2 had `Allow` still.
        Some("Accept" | "Allow") => Some(Action::Accept),
        Some("Deny") => Some(Action::Deny),
        Some("Pass") => Some(Action::Pass),
        _ => {
            problems.note(format!("{path}.action is {}, expected {expected}", shape(value)));
            None
        }
    }
}

/// Parses one item of `from` or `to`; a list of networks becomes a peer for each.
fn peers(path: &str, value: &Value, egress: bool, into: &mut Vec<PeerSpec>, problems: &mut Problems) {
    let known: &[&str] =
        if egress { &["namespaces", "pods", "nodes", "networks", "domainNames"] } else { &["namespaces", "pods"] };
    let fields = Fields::of(path, value, known, problems);
    let Some(fields) = fields.filter(|fields| !fields.odd) else {
        into.push(PeerSpec::Unknown);
        return;
    };
    let mut given = known.iter().copied().filter(|name| fields.has(name));
    let (Some(name), None) = (given.next(), given.next()) else {
        problems.note(format!("{path}: expected one of {}", known.join(", ")));
        into.push(PeerSpec::Unknown);
        return;
    };
    let value = fields.get(name).unwrap_or(&Value::Null);
    let path = format!("{path}.{name}");
    match name {
        "namespaces" => into.push(PeerSpec::Pods { namespaces: Some(selector(&path, value, problems)), pods: None }),
        "pods" => {
            let (namespaces, pods) = pods(&path, value, problems);
            into.push(PeerSpec::Pods { namespaces: Some(namespaces), pods: Some(pods) });
        }
        "nodes" => into.push(PeerSpec::Nodes(selector(&path, value, problems))),
        "domainNames" => into.push(PeerSpec::Domain),
        _ => networks(&path, value, into, problems),
    }
}

fn networks(path: &str, value: &Value, into: &mut Vec<PeerSpec>, problems: &mut Problems) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        problems.note(format!("{path} is {}, expected a list of networks", shape(value)));
        into.push(PeerSpec::Unknown);
    }
    into.extend(items.iter().enumerate().map(|(at, item)| {
        let net = network(&format!("{path}[{at}]"), item, problems);
        net.map_or(PeerSpec::Unknown, |net| PeerSpec::Block { net, except: Vec::new() })
    }));
}

const UNKNOWN_PORT: PortSpec = PortSpec { protocol: L4::None, port: PortMatch::Unknown };

type ReadPort = fn(&str, &Value, &mut Problems) -> Option<PortSpec>;

/// The only field that is given, with its name; none if there are several, or none that is known.
fn only<'a>(
    path: &str,
    value: &'a Value,
    known: &'static [&'static str],
    problems: &mut Problems,
) -> Option<(&'static str, &'a Value)> {
    let fields = Fields::of(path, value, known, problems).filter(|fields| !fields.odd)?;
    let mut given = known.iter().filter_map(|name| Some((*name, fields.get(name)?)));
    let (Some(found), None) = (given.next(), given.next()) else {
        problems.note(format!("{path}: expected one of {}", known.join(", ")));
        return None;
    };
    Some(found)
}

/// Parses one item of `ports`.
fn port(path: &str, value: &Value, problems: &mut Problems) -> Option<PortSpec> {
    let (name, value) = only(path, value, &["portNumber", "portRange", "namedPort"], problems)?;
    let path = format!("{path}.{name}");
    if name == "namedPort" {
        return named(&path, value, problems);
    }
    let known: &[&str] = if name == "portNumber" { &["protocol", "port"] } else { &["protocol", "start", "end"] };
    let fields = Fields::of(&path, value, known, problems)?;
    let protocol = layer_4(&format!("{path}.protocol"), fields.get("protocol"), problems).ok()?;
    let ends = if name == "portNumber" { ["port"; 2] } else { ["start", "end"] };
    let port = range(&path, &fields, ends, problems).filter(|_| !fields.odd).unwrap_or(PortMatch::Unknown);
    Some(PortSpec { protocol, port })
}

/// Parses one item of `protocols`.
fn protocol(path: &str, value: &Value, problems: &mut Problems) -> Option<PortSpec> {
    let (name, value) = only(path, value, &["tcp", "udp", "sctp", "destinationNamedPort"], problems)?;
    let path = format!("{path}.{name}");
    let protocol = match name {
        "tcp" => L4::Tcp,
        "udp" => L4::Udp,
        "sctp" => L4::Sctp,
        _ => return named(&path, value, problems),
    };
    let port = destination(&path, value, problems).unwrap_or(PortMatch::Unknown);
    Some(PortSpec { protocol, port })
}

fn destination(path: &str, value: &Value, problems: &mut Problems) -> Option<PortMatch> {
    let fields = Fields::of(path, value, &["destinationPort"], problems).filter(|fields| !fields.odd)?;
    // The schema asks for a field, and an empty item means the whole protocol all the same.
    let Some(value) = fields.get("destinationPort") else { return Some(PortMatch::Any) };
    let path = format!("{path}.destinationPort");
    let (name, found) = only(&path, value, &["number", "range"], problems)?;
    if name == "number" {
        let number = number(&format!("{path}.number"), found, ALL_PORTS, problems).ok()?;
        return Some(PortMatch::Range(number, number));
    }
    let path = format!("{path}.range");
    let fields = Fields::of(&path, found, &["start", "end"], problems).filter(|fields| !fields.odd)?;
    range(&path, &fields, ["start", "end"], problems)
}

fn range(path: &str, fields: &Fields<'_>, ends: [&str; 2], problems: &mut Problems) -> Option<PortMatch> {
    let [first, last] = ends.map(|name| {
        let value = fields.get(name).unwrap_or(&Value::Null);
        number(&format!("{path}.{name}"), value, ALL_PORTS, problems).ok()
    });
    let (first, last) = (first?, last?);
    if last < first {
        problems.note(format!("{path}: end {last} is below start {first}"));
        return None;
    }
    Some(PortMatch::Range(first, last))
}

/// A port by its name, which has no protocol of its own.
fn named(path: &str, value: &Value, problems: &mut Problems) -> Option<PortSpec> {
    let name = text(path, value, problems).ok()?;
    let name = port_name(path, name, problems).ok()?;
    Some(PortSpec { protocol: L4::None, port: PortMatch::Named(name) })
}
