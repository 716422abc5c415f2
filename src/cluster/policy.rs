//! A NetworkPolicy object, checked as the API server would check it, as a [`PolicySpec`].

use ipnet::IpNet;

use super::types::{
    IntOrString, IpBlock, LabelSelector, LabelSelectorRequirement, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use super::{Invalid, Key};
use crate::flow::L4;
use crate::index::policy::spec::{PeerSpec, PolicySpec, PortMatch, PortSpec, Requirement, RuleSpec, Selector, Test};

/// The policy of that name.
pub(super) fn spec(key: &Key, spec: NetworkPolicySpec) -> Result<PolicySpec, Invalid> {
    let (ingress, egress) = directions(&spec)?;
    let mut incoming = Vec::new();
    for (at, found) in spec.ingress.unwrap_or_default().into_iter().enumerate() {
        let field = format!("spec.ingress[{at}]");
        incoming.push(rule(&field, "from", found.from, found.ports)?);
    }
    let mut outgoing = Vec::new();
    for (at, found) in spec.egress.unwrap_or_default().into_iter().enumerate() {
        let field = format!("spec.egress[{at}]");
        outgoing.push(rule(&field, "to", found.to, found.ports)?);
    }
    Ok(PolicySpec {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        pods: selector("spec.podSelector", spec.pod_selector.unwrap_or_default())?,
        ingress: ingress.then_some(incoming),
        egress: egress.then_some(outgoing),
    })
}

/// `policyTypes`, and what it is without one: ingress always, egress if there are rules for it.
fn directions(spec: &NetworkPolicySpec) -> Result<(bool, bool), Invalid> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return Ok((true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())));
    }
    match types.iter().find(|found| !matches!(found.as_str(), "Ingress" | "Egress")) {
        Some(wrong) => Err(Invalid(format!("spec.policyTypes: `{wrong}` is unknown, expected Ingress or Egress"))),
        None => Ok((types.iter().any(|found| found == "Ingress"), types.iter().any(|found| found == "Egress"))),
    }
}

fn rule(
    field: &str,
    side: &str,
    peers: Option<Vec<NetworkPolicyPeer>>,
    ports: Option<Vec<NetworkPolicyPort>>,
) -> Result<RuleSpec, Invalid> {
    let mut rule = RuleSpec::default();
    for (at, found) in peers.unwrap_or_default().into_iter().enumerate() {
        rule.peers.push(peer(&format!("{field}.{side}[{at}]"), found)?);
    }
    for (at, found) in ports.unwrap_or_default().into_iter().enumerate() {
        rule.ports.push(port(&format!("{field}.ports[{at}]"), found)?);
    }
    Ok(rule)
}

fn peer(field: &str, peer: NetworkPolicyPeer) -> Result<PeerSpec, Invalid> {
    match (peer.ip_block, peer.namespace_selector, peer.pod_selector) {
        (Some(block), None, None) => ip_block(&format!("{field}.ipBlock"), &block),
        (Some(_), _, _) => {
            Err(Invalid(format!("{field}: ipBlock can't stand beside podSelector or namespaceSelector")))
        }
        (None, None, None) => {
            Err(Invalid(format!("{field} is empty, expected podSelector, namespaceSelector or ipBlock")))
        }
        (None, namespaces, pods) => Ok(PeerSpec::Pods {
            namespaces: namespaces.map(|found| selector(&format!("{field}.namespaceSelector"), found)).transpose()?,
            pods: pods.map(|found| selector(&format!("{field}.podSelector"), found)).transpose()?,
        }),
    }
}

fn ip_block(field: &str, block: &IpBlock) -> Result<PeerSpec, Invalid> {
    let net = network(&format!("{field}.cidr"), &block.cidr)?;
    let mut except = Vec::new();
    for text in block.except.iter().flatten() {
        let left_out = network(&format!("{field}.except"), text)?;
        if left_out == net || !net.contains(&left_out) {
            return Err(Invalid(format!("{field}.except: `{text}` is not a part of `{}`", block.cidr)));
        }
        except.push(left_out);
    }
    Ok(PeerSpec::Block { net, except })
}

fn network(field: &str, text: &str) -> Result<IpNet, Invalid> {
    let net: Result<IpNet, _> = text.parse();
    net.map(|net| net.trunc()).map_err(|_| {
        Invalid(format!("{field}: `{text}` is not a network, expected for example 10.0.0.0/8 or fd00::/8"))
    })
}

fn port(field: &str, port: NetworkPolicyPort) -> Result<PortSpec, Invalid> {
    let protocol = protocol(port.protocol.as_deref()).map_err(|why| Invalid(format!("{field}: {why}")))?;
    let port = match (port.port, port.end_port) {
        (None, None) => PortMatch::Any,
        (None, Some(_)) => return Err(Invalid(format!("{field}: endPort needs a port"))),
        (Some(IntOrString::Int(first)), last) => {
            let last_field = if last.is_some() { "endPort" } else { "port" };
            let last = number(field, last_field, last.unwrap_or(first))?;
            let first = number(field, "port", first)?;
            if last < first {
                return Err(Invalid(format!("{field}: endPort {last} is below port {first}")));
            }
            PortMatch::Range(first, last)
        }
        (Some(IntOrString::String(name)), None) => PortMatch::Named(port_name(field, name)?),
        (Some(IntOrString::String(_)), Some(_)) => {
            return Err(Invalid(format!("{field}: endPort needs a port that is a number")));
        }
    };
    Ok(PortSpec { protocol: L4::of_protocol(protocol), port })
}

fn number(field: &str, part: &str, number: i32) -> Result<u16, Invalid> {
    u16::try_from(number)
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| Invalid(format!("{field}.{part} is {number}, expected 1 to 65535")))
}

/// A port's name has a letter; `"80"` in quotes is a slip that would silently allow nothing.
fn port_name(field: &str, name: String) -> Result<String, Invalid> {
    if name.len() <= 15 && name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Ok(name);
    }
    Err(Invalid(format!(
        "{field}.port: `{name}` is neither a number nor the name of a port (1 to 15 characters, one of them a letter)"
    )))
}

/// IP protocol number of the protocol that a port names; TCP without a name.
pub(super) fn protocol(name: Option<&str>) -> Result<u8, Invalid> {
    match name {
        None | Some("TCP" | "") => Ok(6),
        Some("UDP") => Ok(17),
        Some("SCTP") => Ok(132),
        Some(other) => Err(Invalid(format!("protocol `{other}` is unknown, expected TCP, UDP or SCTP"))),
    }
}

fn selector(field: &str, selector: LabelSelector) -> Result<Selector, Invalid> {
    let mut requirements: Vec<Requirement> = selector
        .match_labels
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| Requirement { key, test: Test::In(vec![value]) })
        .collect();
    for (at, found) in selector.match_expressions.unwrap_or_default().into_iter().enumerate() {
        requirements.push(requirement(&format!("{field}.matchExpressions[{at}]"), found)?);
    }
    Ok(Selector(requirements))
}

fn requirement(field: &str, found: LabelSelectorRequirement) -> Result<Requirement, Invalid> {
    let values = found.values.unwrap_or_default();
    let wrong = |what: &str| Err(Invalid(format!("{field}: operator {} {what}", found.operator)));
    let test = match (found.operator.as_str(), values.is_empty()) {
        ("In", false) => Test::In(values),
        ("NotIn", false) => Test::NotIn(values),
        ("Exists", true) => Test::Exists,
        ("DoesNotExist", true) => Test::DoesNotExist,
        ("In" | "NotIn", true) => return wrong("needs values"),
        ("Exists" | "DoesNotExist", false) => return wrong("takes no values"),
        _ => return wrong("is unknown, expected In, NotIn, Exists or DoesNotExist"),
    };
    Ok(Requirement { key: found.key, test })
}
