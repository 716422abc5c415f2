//! Agent, debug and lost events as texts.

use std::fmt::Write as _;

use super::style::{Style, push_plain};
use super::time::put_time;
use crate::proto::flow::agent_event::Notification;
use crate::proto::flow::{
    AgentEvent, AgentEventType, DebugEvent, DebugEventType, Endpoint, LostEvent, LostEventSource,
    ServiceUpsertNotificationAddr,
};

/// The name of an agent event's type.
pub(super) fn agent_type(event: &AgentEvent) -> String {
    AgentEventType::try_from(event.r#type).map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().into())
}

/// What an agent event says.
pub(super) fn agent_details(event: &AgentEvent, style: &Style) -> String {
    let mut out = String::new();
    // Writing to memory does not fail.
    let _written = match &event.notification {
        Some(Notification::Unknown(event)) => {
            write!(out, "type: {}, notification: {}", event.r#type, event.notification)
        }
        Some(Notification::AgentStart(event)) => {
            out.push_str("start time: ");
            put_time(&mut out, style.time_format, event.time.as_ref());
            Ok(())
        }
        Some(Notification::PolicyUpdate(event)) => write!(
            out,
            "labels: [{}], revision: {}, count: {}",
            event.labels.join(","),
            event.revision,
            event.rule_count
        ),
        Some(Notification::EndpointRegenerate(event)) => {
            let _labels = write!(out, "id: {}, labels: [{}]", event.id, event.labels.join(","));
            put_set(&mut out, "error", &event.error);
            Ok(())
        }
        Some(Notification::EndpointUpdate(event)) => {
            let _id = write!(out, "id: {}", event.id);
            put_set(&mut out, "namespace", &event.namespace);
            put_set(&mut out, "pod name", &event.pod_name);
            Ok(())
        }
        Some(Notification::IpcacheUpdate(event)) => {
            let _identity = write!(out, "cidr: {}, identity: {}", event.cidr, event.identity);
            if let Some(old) = event.old_identity {
                let _old = write!(out, ", old identity: {old}");
            }
            put_set(&mut out, "host ip", &event.host_ip);
            put_set(&mut out, "old host ip", &event.old_host_ip);
            write!(out, ", encrypt key: {}", event.encrypt_key)
        }
        Some(Notification::ServiceUpsert(event)) => {
            let _id = write!(out, "id: {}", event.id);
            if let Some(address) = &event.frontend_address {
                let _frontend = write!(out, ", frontend: {}", address_text(address));
            }
            if !event.backend_addresses.is_empty() {
                let backends: Vec<String> = event.backend_addresses.iter().map(address_text).collect();
                let _backends = write!(out, ", backends: [{}]", backends.join(","));
            }
            put_set(&mut out, "type", &event.r#type);
            put_set(&mut out, "traffic policy", &event.traffic_policy);
            put_set(&mut out, "namespace", &event.namespace);
            put_set(&mut out, "name", &event.name);
            Ok(())
        }
        Some(Notification::ServiceDelete(event)) => write!(out, "id: {}", event.id),
        None => write!(out, "UNKNOWN"),
    };
    plain(&out)
}

fn put_set(out: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        out.push_str(&format!(", {name}: {value}"));
    }
}

fn address_text(address: &ServiceUpsertNotificationAddr) -> String {
    let ServiceUpsertNotificationAddr { ip, port } = address;
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// A text without control characters of a terminal.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push_plain(&mut out, text);
    out
}

/// The parts of a debug event: where from, type, CPU, mark, message.
pub(super) struct DebugText {
    pub(super) from: String,
    pub(super) kind: String,
    pub(super) cpu: String,
    pub(super) mark: String,
    pub(super) message: String,
}

pub(super) fn debug_text(event: &DebugEvent) -> DebugText {
    let absent = || "N/A".to_owned();
    let kind = DebugEventType::try_from(event.r#type);
    DebugText {
        from: event.source.as_ref().map_or_else(absent, endpoint),
        kind: kind.map_or_else(|_| event.r#type.to_string(), |kind| kind.as_str_name().into()),
        cpu: event.cpu.map_or_else(absent, |cpu| format!("{cpu:02}")),
        mark: event.hash.map_or_else(absent, |hash| format!("{hash:#x}")),
        message: plain(&event.message),
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let id = format!("ID: {}", endpoint.id);
    let text = match (endpoint.namespace.as_str(), endpoint.pod_name.as_str(), endpoint.labels.as_slice()) {
        (namespace, pod, _) if !namespace.is_empty() && !pod.is_empty() => format!("{namespace}/{pod} ({id})"),
        (_, _, [label]) if label.starts_with("reserved:") => format!("{label} ({id})"),
        _ => id,
    };
    plain(&text)
}

/// Where events were lost.
pub(super) fn lost_source(event: &LostEvent) -> String {
    LostEventSource::try_from(event.source)
        .map_or_else(|_| event.source.to_string(), |source| source.as_str_name().into())
}

/// How many were lost, on which CPU, and when. `separator` stands between CPU and number.
pub(super) fn lost_count(event: &LostEvent, separator: &str, style: &Style) -> String {
    let mut out = format!("CPU({}){separator}{}", event.cpu.unwrap_or(0), event.num_events_lost);
    if event.first.is_some() || event.last.is_some() {
        out.push_str(" (first: ");
        put_time(&mut out, style.time_format, event.first.as_ref());
        out.push_str(", last: ");
        put_time(&mut out, style.time_format, event.last.as_ref());
        out.push(')');
    }
    out
}
