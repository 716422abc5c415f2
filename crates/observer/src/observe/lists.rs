//! A server's state, nodes and namespaces as texts.

use std::fmt::Write as _;

use super::style::Output;
use super::table::Table;
use super::time::put_duration;
use crate::json_write;
use crate::proto::observer::{GetNamespacesResponse, GetNodesResponse, ServerStatusResponse};
use crate::proto::peer::{ChangeNotification, ChangeNotificationType};
use crate::proto::relay::NodeState;
use crate::schema::schema;

/// A number with a comma between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn duration(nanoseconds: u64) -> String {
    let mut out = String::new();
    put_duration(&mut out, nanoseconds);
    out
}

/// The state of a server.
pub(super) fn status(status: &ServerStatusResponse, output: Output) -> String {
    let count = |nodes: Option<u32>| nodes.map_or_else(|| "N/A".to_owned(), |nodes| nodes.to_string());
    let rate = if status.flows_rate > 0.0 { format!("{:.2}", status.flows_rate) } else { "N/A".to_owned() };
    let fields = [
        ("NUM FLOWS", "NUM FLOWS", grouped(status.num_flows)),
        ("MAX FLOWS", "MAX FLOWS", grouped(status.max_flows)),
        ("SEEN FLOWS", "SEEN FLOWS", grouped(status.seen_flows)),
        ("FLOWS PER SECOND", "FLOWS PER SECOND", rate),
        ("UPTIME", "UPTIME", duration(status.uptime_ns)),
        ("NUM CONNECTED NODES", "NUM CONNECTED NODES", count(status.num_connected_nodes)),
        ("NUM UNAVAILABLE NODES", "NUM UNAVAIL. NODES", count(status.num_unavailable_nodes)),
        ("VERSION", "VERSION", status.version.clone()),
    ];
    let mut out = String::new();
    match output {
        Output::Table => {
            let mut table = Table::default();
            table.add(fields.iter().map(|(name, ..)| (*name).to_owned()).collect());
            table.add(fields.into_iter().map(|(.., value)| value).collect());
            table.put(&mut out);
        }
        Output::Dict => {
            for (_, name, value) in &fields {
                out.push_str(&format!("{name:>19}: {value}\n"));
            }
        }
        Output::Compact => put_compact(&mut out, status),
        Output::Json => {
            let mut json = Vec::new();
            let encoded = prost::Message::encode_to_vec(status);
            json_write::write(&encoded, schema().message("observer.ServerStatusResponse"), &mut json);
            out.push_str(&String::from_utf8_lossy(&json));
            out.push('\n');
        }
    }
    out
}

#[allow(clippy::cast_precision_loss, reason = "shares and rates are printed with two decimals")]
fn put_compact(out: &mut String, status: &ServerStatusResponse) {
    let (held, limit) = (status.num_flows, status.max_flows);
    // Writing to memory does not fail.
    let _flows = write!(out, "Current/Max Flows: {}/{}", grouped(held), grouped(limit));
    if limit > 0 {
        let _share = write!(out, " ({:.2}%)", held as f64 / limit as f64 * 100.0);
    }
    let uptime_s = status.uptime_ns as f64 / 1e9;
    let rate = if status.flows_rate > 0.0 { Some(status.flows_rate) } else { None };
    let rate = rate.or_else(|| (uptime_s > 0.0).then(|| status.seen_flows as f64 / uptime_s));
    let _rate = match rate {
        Some(rate) => writeln!(out, "\nFlows/s: {rate:.2}"),
        None => writeln!(out, "\nFlows/s: N/A"),
    };
    let unavailable = status.num_unavailable_nodes;
    if let Some(connected) = status.num_connected_nodes {
        let total = unavailable.map(|unavailable| format!("/{}", unavailable.saturating_add(connected)));
        let _connected = writeln!(out, "Connected Nodes: {connected}{}", total.unwrap_or_default());
    }
    if let Some(count) = unavailable.filter(|count| *count > 0) {
        let _unavailable = writeln!(out, "Unavailable Nodes: {count}");
        let mut names = status.unavailable_nodes.clone();
        names.sort_unstable();
        let more = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(names.len());
        if !names.is_empty() && more > 0 {
            names.push(format!("and {more} more..."));
        }
        for name in &names {
            out.push_str(&format!("  - {name}\n"));
        }
    }
}

/// The nodes of a cluster.
#[allow(clippy::cast_precision_loss, reason = "shares and rates are printed with two decimals")]
pub(super) fn nodes(response: &GetNodesResponse, output: Output) -> String {
    if output == Output::Json {
        return pretty(response, "observer.GetNodesResponse", "nodes");
    }
    let mut table = Table::default();
    let names = ["NAME", "STATUS", "AGE", "FLOWS/S", "CURRENT/MAX-FLOWS", "VERSION", "ADDRESS", "TLS"];
    table.add(names.map(str::to_owned).to_vec());
    for node in &response.nodes {
        let state = match NodeState::try_from(node.state) {
            Ok(NodeState::NodeConnected) => "Connected".to_owned(),
            Ok(NodeState::NodeUnavailable) => "Unavailable".to_owned(),
            Ok(NodeState::NodeGone) => "Gone".to_owned(),
            Ok(NodeState::NodeError) => "Error".to_owned(),
            _ => "Unknown".to_owned(),
        };
        let is_up = node.uptime_ns > 0;
        let or_absent = |text: String| if is_up { text } else { "N/A".to_owned() };
        let share = if node.max_flows == 0 { 0.0 } else { node.num_flows as f64 / node.max_flows as f64 * 100.0 };
        let tls = node.tls.as_ref().is_some_and(|tls| tls.enabled);
        table.add(vec![
            node.name.clone(),
            state,
            or_absent(duration(node.uptime_ns / 1_000_000_000 * 1_000_000_000)),
            or_absent(format!("{:.2}", node.seen_flows as f64 / (node.uptime_ns as f64 / 1e9))),
            or_absent(format!("{}/{} ({share:6.2}%)", grouped(node.num_flows), grouped(node.max_flows))),
            node.version.clone(),
            node.address.clone(),
            if tls { "Enabled".to_owned() } else { "Disabled".to_owned() },
        ]);
    }
    let mut out = String::new();
    table.put(&mut out);
    out
}

/// The namespaces of the last hour's flows.
pub(super) fn namespaces(response: &GetNamespacesResponse, output: Output) -> String {
    if output == Output::Json {
        return pretty(response, "observer.GetNamespacesResponse", "namespaces");
    }
    let has_clusters = response.namespaces.iter().any(|one| !one.cluster.is_empty());
    let mut table = Table::default();
    let row = |cluster: &str, namespace: &str| {
        let cluster = has_clusters.then(|| cluster.to_owned());
        cluster.into_iter().chain([namespace.to_owned()]).collect()
    };
    table.add(row("CLUSTER", "NAMESPACE"));
    for one in &response.namespaces {
        table.add(row(&one.cluster, &one.namespace));
    }
    let mut out = String::new();
    table.put(&mut out);
    out
}

/// A list of a message as JSON over several lines.
fn pretty(message: &impl prost::Message, name: &str, list: &str) -> String {
    let mut json = Vec::new();
    json_write::write(&message.encode_to_vec(), schema().message(name), &mut json);
    let text = String::from_utf8_lossy(&json);
    let inner = text.strip_prefix(&format!("{{\"{list}\":")).and_then(|text| text.strip_suffix('}')).unwrap_or("[]");
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for letter in inner.chars() {
        if quoted {
            quoted = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            out.push(letter);
            continue;
        }
        match letter {
            '{' | '[' => {
                depth += 1;
                out.push(letter);
                indent(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                indent(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                indent(&mut out, depth);
            }
            ':' => out.push_str(": "),
            letter => {
                quoted = letter == '"';
                out.push(letter);
            }
        }
    }
    out.push('\n');
    out
}

/// A node that came, changed or went.
pub(super) fn peer(change: &ChangeNotification) -> String {
    let kind = ChangeNotificationType::try_from(change.r#type).unwrap_or_default();
    let tls = change.tls.as_ref().map(|tls| format!(" (TLS.ServerName: {})", tls.server_name)).unwrap_or_default();
    format!("{:<12} {} {}{tls}\n", kind.as_str_name(), change.address, change.name)
}
