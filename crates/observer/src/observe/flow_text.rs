//! The parts of a flow as texts: its ends, its type, its verdict, its summary.

use std::fmt::Write as _;

use super::names;
use super::style::{Color, Style, push_plain};
use crate::proto::flow::layer4::Protocol;
use crate::proto::flow::layer7::Record;
use crate::proto::flow::{AuthType, DebugCapturePoint, Flow, L7FlowType, Policy, TrafficDirection, Verdict};

/// Types of events.
const DROP: i32 = 1;
const CAPTURE: i32 = 3;
const TRACE: i32 = 4;
const POLICY_VERDICT: i32 = 5;
const SOCKET: i32 = 7;

/// An end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// Appends the name of an end: pod, service, DNS names or address, with the port.
pub(super) fn put_host(out: &mut String, style: &Style, flow: &Flow, end: End) {
    let is_source = end == End::Source;
    let Some(ip) = &flow.ip else {
        if let Some(ethernet) = &flow.ethernet {
            let address = if is_source { &ethernet.source } else { &ethernet.destination };
            style.colored(out, Color::Cyan, |out| push_plain(out, address));
        }
        return;
    };
    let (address, endpoint, service, names) = if is_source {
        (&ip.source, &flow.source, &flow.source_service, &flow.source_names)
    } else {
        (&ip.destination, &flow.destination, &flow.destination_service, &flow.destination_names)
    };
    let pod = endpoint.as_ref().map_or("", |endpoint| endpoint.pod_name.as_str());
    let service_name = service.as_ref().map_or("", |service| service.name.as_str());
    let namespace = match (service, endpoint) {
        (Some(service), _) => service.namespace.as_str(),
        (None, Some(endpoint)) => endpoint.namespace.as_str(),
        (None, None) => "",
    };
    let mut host = String::new();
    match (pod, service_name) {
        ("", "") if names.is_empty() => host.push_str(address),
        _ if !style.translate => host.push_str(address),
        ("", "") => host.push_str(&names.join(",")),
        ("", name) | (name, _) => {
            if !namespace.is_empty() {
                host.push_str(namespace);
                host.push('/');
            }
            host.push_str(name);
        }
    }
    let port = port(flow, end);
    style.colored(out, Color::Cyan, |out| {
        if port == 0 {
            push_plain(out, &host);
            return;
        }
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        out.push_str(brackets.0);
        push_plain(out, &host);
        out.push_str(brackets.1);
        out.push(':');
        style.colored(out, Color::Yellow, |out| out.push_str(&format!("{port}")));
    });
}

fn port(flow: &Flow, end: End) -> u32 {
    let (source, destination) = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(tcp)) => (tcp.source_port, tcp.destination_port),
        Some(Protocol::Udp(udp)) => (udp.source_port, udp.destination_port),
        Some(Protocol::Sctp(sctp)) => (sctp.source_port, sctp.destination_port),
        _ => (0, 0),
    };
    if end == End::Source { source } else { destination }
}

/// Appends the identity of an end.
pub(super) fn put_identity(out: &mut String, style: &Style, flow: &Flow, end: End) {
    let endpoint = if end == End::Source { &flow.source } else { &flow.destination };
    let number = endpoint.as_ref().map_or(0, |endpoint| endpoint.identity);
    let name = i32::try_from(number).ok().and_then(|number| names::name_in(&names::IDENTITIES, number));
    style.colored(out, Color::Magenta, |out| match name {
        Some(name) => out.push_str(&format!("({name})")),
        None => out.push_str(&format!("(ID:{number})")),
    });
}

/// Appends what the flow was made from.
pub(super) fn put_type(out: &mut String, flow: &Flow) {
    if let Some(l7) = &flow.l7 {
        let kind = match L7FlowType::try_from(l7.r#type) {
            Ok(kind) => kind.as_str_name().to_ascii_lowercase(),
            Err(_) => l7.r#type.to_string(),
        };
        // Writing to memory does not fail.
        let _written = match &l7.record {
            Some(Record::Http(_)) => write!(out, "http-{kind}"),
            Some(Record::Dns(dns)) => {
                let _kind = write!(out, "dns-{kind} ");
                push_plain(out, &dns.observation_source);
                Ok(())
            }
            Some(Record::Kafka(_)) => write!(out, "kafka-{kind}"),
            None => write!(out, "l7-{kind}"),
        };
        return;
    }
    let (kind, sub_type) = flow.event_type.as_ref().map_or((0, 0), |event| (event.r#type, event.sub_type));
    let put = |out: &mut String, name: Option<&str>| match name {
        Some(name) => out.push_str(name),
        // As the byte that it is in the record.
        None => out.push_str(&format!("{}", sub_type & 0xff)),
    };
    match kind {
        TRACE => put(out, names::trace_point(sub_type)),
        DROP => put(out, names::drop_reason(sub_type)),
        POLICY_VERDICT => {
            out.push_str("policy-verdict:");
            out.push_str(names::policy_match(flow.policy_match_type));
            out.push(' ');
            let direction = TrafficDirection::try_from(flow.traffic_direction).unwrap_or_default();
            out.push_str(direction.as_str_name());
        }
        CAPTURE => match DebugCapturePoint::try_from(flow.debug_capture_point) {
            Ok(point) => out.push_str(point.as_str_name()),
            Err(_) => out.push_str(&format!("{}", flow.debug_capture_point)),
        },
        SOCKET => put(out, names::socket_point(sub_type)),
        _ => out.push_str("UNKNOWN"),
    }
}

/// Appends the verdict, with the policies that made it if they are asked for.
pub(super) fn put_verdict(out: &mut String, style: &Style, flow: &Flow) {
    let Ok(verdict) = Verdict::try_from(flow.verdict) else {
        out.push_str(&format!("{}", flow.verdict));
        return;
    };
    let of_policy = flow.event_type.as_ref().is_some_and(|event| event.r#type == POLICY_VERDICT);
    let (color, name) = match verdict {
        Verdict::Forwarded | Verdict::Redirected => (Color::Green, "ALLOWED"),
        Verdict::Dropped | Verdict::Error => (Color::Red, "DENIED"),
        Verdict::Audit => (Color::Yellow, "AUDITED"),
        Verdict::Traced | Verdict::Translated => (Color::Yellow, verdict.as_str_name()),
        Verdict::Unknown => (Color::None, verdict.as_str_name()),
    };
    let name = if of_policy { name } else { verdict.as_str_name() };
    style.colored(out, color, |out| {
        out.push_str(name);
        if of_policy && style.policy_names {
            put_policies(out, policies(flow, verdict));
        }
    });
}

/// The policies of the flow's direction and verdict.
fn policies(flow: &Flow, verdict: Verdict) -> &[Policy] {
    let direction = TrafficDirection::try_from(flow.traffic_direction).unwrap_or_default();
    match (direction, verdict) {
        (TrafficDirection::Ingress, Verdict::Forwarded | Verdict::Redirected) => &flow.ingress_allowed_by,
        (TrafficDirection::Ingress, Verdict::Dropped | Verdict::Error) => &flow.ingress_denied_by,
        (TrafficDirection::Egress, Verdict::Forwarded | Verdict::Redirected) => &flow.egress_allowed_by,
        (TrafficDirection::Egress, Verdict::Dropped | Verdict::Error) => &flow.egress_denied_by,
        _ => &[],
    }
}

fn put_policies(out: &mut String, policies: &[Policy]) {
    for (at, policy) in policies.iter().enumerate() {
        out.push_str(if at == 0 { " BY " } else { ", " });
        push_plain(out, &policy.name);
        if !policy.kind.is_empty() {
            out.push_str(" (");
            push_plain(out, &policy.kind);
            out.push(')');
        }
    }
}

/// Appends what the packet was.
pub(super) fn put_summary(out: &mut String, style: &Style, flow: &Flow) {
    if let Some(trace_id) = flow.ip_trace_id.as_ref().map(|id| id.trace_id).filter(|id| *id > 0) {
        out.push_str(&format!("IP Trace ID: {trace_id}; "));
    }
    push_plain(out, &flow.summary);
    match AuthType::try_from(flow.auth_type) {
        Ok(AuthType::Disabled) | Err(_) => {}
        Ok(auth) => {
            out.push_str("; ");
            let color = if auth == AuthType::TestAlwaysFail { Color::Red } else { Color::Green };
            style.colored(out, color, |out| {
                out.push_str("Auth: ");
                out.push_str(auth.as_str_name());
            });
        }
    }
}
