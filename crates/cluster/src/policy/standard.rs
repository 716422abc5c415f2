//! A NetworkPolicy object, read as the API server would read it, as a [`PolicySpec`].

use ipnet::IpNet;
use serde_json::Value;
use webb_flow::L4;
use webb_index::policy::spec::{PeerSpec, PolicySpec, PortMatch, PortSpec, RuleSpec, Selector};

use super::part::{Fields, Problems, Unreadable, number, shape, text};
use super::selector::selector;
use crate::{Invalid, ObjectKey};

const ALL_PORTS: (u16, u16) = (1, u16::MAX);

/// The policy of that name; what of it cannot be read is noted.
pub(crate) fn network_policy(key: &ObjectKey, spec: Option<&Value>, problems: &mut Problems) -> PolicySpec {
    let empty = Value::Object(serde_json::Map::default());
    let spec = spec.filter(|spec| !spec.is_null()).unwrap_or(&empty);
    let known = ["podSelector", "policyTypes", "ingress", "egress"];
    let Some(fields) = Fields::of("spec", spec, &known, problems) else {
        return unreadable(key);
    };
    let ingress = rules(&fields, "ingress", "from", problems);
    let egress = rules(&fields, "egress", "to", problems);
    let Directions { ingress: has_ingress, egress: has_egress, certain } = directions(&fields, &egress, problems);
    let pods = fields.get("podSelector").map(|value| selector("spec.podSelector", value, problems));
    let mut spec = PolicySpec {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        pods: pods.unwrap_or_default(),
        ingress: has_ingress.then_some(ingress),
        egress: has_egress.then_some(egress),
    };
    if fields.odd || !certain {
        // What is not known may remove the isolation, or admit any peer.
        spec.ingress.iter_mut().chain(&mut spec.egress).for_each(|rules| rules.push(unknown()));
    }
    spec
}

/// A policy of which nothing but its name could be read: it may isolate any pod of its namespace,
/// and allow anything.
pub(crate) fn unreadable(key: &ObjectKey) -> PolicySpec {
    PolicySpec {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        pods: Selector::unknown(),
        ingress: Some(vec![unknown()]),
        egress: Some(vec![unknown()]),
    }
}

/// A rule that may match anything.
fn unknown() -> RuleSpec {
    RuleSpec { unknown: true, ..RuleSpec::default() }
}

/// Directions that a policy concerns.
struct Directions {
    ingress: bool,
    egress: bool,
    certain: bool,
}

/// `policyTypes`, and what it is without one: ingress always, egress if there are rules for it.
fn directions(fields: &Fields<'_>, egress: &[RuleSpec], problems: &mut Problems) -> Directions {
    let Ok(types) = fields.list("spec", "policyTypes", problems) else {
        return Directions { ingress: true, egress: true, certain: false };
    };
    let types = types.unwrap_or_default();
    let mut found = Directions { ingress: false, egress: false, certain: true };
    for one in types {
        match one.as_str() {
            Some("Ingress") => found.ingress = true,
            Some("Egress") => found.egress = true,
            _ => problems.note(format!("spec.policyTypes: {} is unknown, expected Ingress or Egress", shape(one))),
        }
    }
    match (types.is_empty(), found.ingress || found.egress) {
        (true, _) => Directions { ingress: true, egress: !egress.is_empty(), certain: true },
        (false, true) => found,
        (false, false) => Directions { ingress: true, egress: true, certain: false },
    }
}

fn rules(fields: &Fields<'_>, name: &str, side: &str, problems: &mut Problems) -> Vec<RuleSpec> {
    let Ok(items) = fields.list("spec", name, problems) else { return vec![unknown()] };
    let items = items.unwrap_or_default().iter().enumerate();
    items.map(|(at, item)| rule(&format!("spec.{name}[{at}]"), item, side, problems)).collect()
}

fn rule(path: &str, value: &Value, side: &str, problems: &mut Problems) -> RuleSpec {
    let Some(fields) = Fields::of(path, value, &[side, "ports"], problems) else { return unknown() };
    let mut rule = RuleSpec { unknown: fields.odd, ..RuleSpec::default() };
    match fields.list(path, side, problems) {
        Err(_) => rule.peers.push(PeerSpec::Unknown),
        Ok(items) => {
            for (at, item) in items.into_iter().flatten().enumerate() {
                let found = peer(&format!("{path}.{side}[{at}]"), item, problems);
                rule.peers.push(found.unwrap_or(PeerSpec::Unknown));
            }
        }
    }
    match fields.list(path, "ports", problems) {
        Err(_) => rule.ports.push(PortSpec { protocol: L4::None, port: PortMatch::Unknown }),
        Ok(items) => {
            for (at, item) in items.into_iter().flatten().enumerate() {
                rule.ports.push(port(&format!("{path}.ports[{at}]"), item, problems));
            }
        }
    }
    rule
}

fn peer(path: &str, value: &Value, problems: &mut Problems) -> Result<PeerSpec, Unreadable> {
    let known = ["podSelector", "namespaceSelector", "ipBlock"];
    let fields = Fields::of(path, value, &known, problems).filter(|fields| !fields.odd).ok_or(Unreadable)?;
    let namespaces = fields.get("namespaceSelector");
    let pods = fields.get("podSelector");
    match (fields.get("ipBlock"), namespaces, pods) {
        (Some(block), None, None) => ip_block(&format!("{path}.ipBlock"), block, problems),
        (Some(_), _, _) => {
            problems.note(format!("{path}: ipBlock can't stand beside podSelector or namespaceSelector"));
            Err(Unreadable)
        }
        (None, None, None) => {
            problems.note(format!("{path} is empty, expected podSelector, namespaceSelector or ipBlock"));
            Err(Unreadable)
        }
        (None, namespaces, pods) => Ok(PeerSpec::Pods {
            namespaces: namespaces.map(|found| selector(&format!("{path}.namespaceSelector"), found, problems)),
            pods: pods.map(|found| selector(&format!("{path}.podSelector"), found, problems)),
        }),
    }
}

fn ip_block(path: &str, value: &Value, problems: &mut Problems) -> Result<PeerSpec, Unreadable> {
    let fields = Fields::of(path, value, &["cidr", "except"], problems).filter(|fields| !fields.odd);
    let fields = fields.ok_or(Unreadable)?;
    let net = fields.get("cidr").unwrap_or(&Value::Null);
    let net = network(&format!("{path}.cidr"), net, problems)?;
    let mut except = Vec::new();
    for (at, item) in fields.list(path, "except", problems)?.into_iter().flatten().enumerate() {
        let left_out = network(&format!("{path}.except[{at}]"), item, problems)?;
        if left_out == net || !net.contains(&left_out) {
            problems.note(format!("{path}.except[{at}]: {} is not a part of `{net}`", shape(item)));
            return Err(Unreadable);
        }
        except.push(left_out);
    }
    Ok(PeerSpec::Block { net, except })
}

/// A network in CIDR notation.
pub(super) fn network(path: &str, value: &Value, problems: &mut Problems) -> Result<IpNet, Unreadable> {
    let net = value.as_str().and_then(|text| text.parse::<IpNet>().ok());
    net.map(|net| net.trunc()).ok_or_else(|| {
        let found = shape(value);
        problems.note(format!("{path}: {found} is not a network, expected for example 10.0.0.0/8 or fd00::/8"));
        Unreadable
    })
}

fn port(path: &str, value: &Value, problems: &mut Problems) -> PortSpec {
    let Some(fields) = Fields::of(path, value, &["protocol", "port", "endPort"], problems) else {
        return PortSpec { protocol: L4::None, port: PortMatch::Unknown };
    };
    let protocol = layer_4(&format!("{path}.protocol"), fields.get("protocol"), problems);
    let port = if fields.odd { Err(Unreadable) } else { ports(path, &fields, problems) };
    PortSpec { protocol: protocol.unwrap_or(L4::None), port: protocol.and(port).unwrap_or(PortMatch::Unknown) }
}

fn ports(path: &str, fields: &Fields<'_>, problems: &mut Problems) -> Result<PortMatch, Unreadable> {
    match (fields.get("port"), fields.get("endPort")) {
        (None, None) => Ok(PortMatch::Any),
        (Some(Value::String(name)), None) => Ok(PortMatch::Named(port_name(path, name, problems)?)),
        (None | Some(Value::String(_)), Some(_)) => {
            problems.note(format!("{path}: endPort needs a port that is a number"));
            Err(Unreadable)
        }
        (Some(first), last) => {
            let first = number(&format!("{path}.port"), first, ALL_PORTS, problems)?;
            let Some(last) = last else { return Ok(PortMatch::Range(first, first)) };
            let last = number(&format!("{path}.endPort"), last, ALL_PORTS, problems)?;
            if last < first {
                problems.note(format!("{path}: endPort {last} is below port {first}"));
                return Err(Unreadable);
            }
            Ok(PortMatch::Range(first, last))
        }
    }
}

/// A port's name has a letter; `"80"` in quotes is a slip that would silently allow nothing.
pub(super) fn port_name(path: &str, name: &str, problems: &mut Problems) -> Result<String, Unreadable> {
    if name.len() <= 15 && name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Ok(name.to_owned());
    }
    let name = shape(&Value::String(name.to_owned()));
    problems.note(format!(
        "{path}.port: {name} is neither a number nor the name of a port (1 to 15 characters, one of them a letter)"
    ));
    Err(Unreadable)
}

/// The protocol of a port; TCP if it is absent.
pub(super) fn layer_4(path: &str, value: Option<&Value>, problems: &mut Problems) -> Result<L4, Unreadable> {
    let name = value.map(|value| text(path, value, problems)).transpose()?;
    match protocol(name) {
        Ok(number) => Ok(L4::of_protocol(number)),
        Err(Invalid(why)) => {
            problems.note(format!("{path}: {why}"));
            Err(Unreadable)
        }
    }
}

/// IP protocol number of the protocol that a port names; TCP without a name.
pub(crate) fn protocol(name: Option<&str>) -> Result<u8, Invalid> {
    match name {
        None | Some("TCP" | "") => Ok(6),
        Some("UDP") => Ok(17),
        Some("SCTP") => Ok(132),
        Some(other) => Err(Invalid(format!("protocol `{other}` is unknown, expected TCP, UDP or SCTP"))),
    }
}
