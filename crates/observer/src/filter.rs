//! Filters of a request, compiled by the filters that metrics use as well; refusals in the words
//! of the reference server, which clients print.

use tonic::Status;
use webb_flow::TcpFlags;
use webb_index::filters::{
    EventTypeSpec, FilterError, FilterSpec, Filters, FlowFilter, HeaderSpec, InterfaceSpec, RegexBudget, WorkloadSpec,
    expression_error,
};

use crate::proto::flow;

/// `event_type.type` of layer-7 events.
const L7: i32 = 129;

/// Filters of a request at most.
const MAX_FILTERS: usize = 1000;

/// Regular expressions of a request at most. The memory that they take has a budget of its own.
const MAX_EXPRESSIONS: usize = 100;

/// CEL expressions of a request at most: each may take some microseconds for each event.
const MAX_CEL_EXPRESSIONS: usize = 32;

/// Compiles the filters of a request. The memory of their expressions is taken from `budget`.
///
/// # Errors
/// Status UNKNOWN, as clients expect for whatever cannot be used, with the first value that cannot.
pub(crate) fn compile(
    whitelist: Vec<flow::FlowFilter>,
    blacklist: Vec<flow::FlowFilter>,
    budget: &RegexBudget,
) -> Result<Filters, Status> {
    let filters = || whitelist.iter().chain(&blacklist);
    if filters().count() > MAX_FILTERS {
        return Err(Status::unknown(format!("more than {MAX_FILTERS} filters")));
    }
    if filters().map(regular_expressions).sum::<usize>() > MAX_EXPRESSIONS {
        return Err(Status::unknown(format!("more than {MAX_EXPRESSIONS} regular expressions")));
    }
    if filters().map(|filter| cel(filter).len()).sum::<usize>() > MAX_CEL_EXPRESSIONS {
        return Err(Status::unknown(format!("more than {MAX_CEL_EXPRESSIONS} CEL expressions")));
    }
    let all = |filters: Vec<flow::FlowFilter>| {
        filters.into_iter().map(|filter| one(filter, budget)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Filters { include: all(whitelist)?, exclude: all(blacklist)? })
}

/// True for a filter with expressions of CEL.
pub(crate) fn has_cel(filter: &flow::FlowFilter) -> bool {
    !cel(filter).is_empty()
}

/// Number of the regular expressions of a filter, but for those in expressions of CEL.
pub(crate) fn regular_expressions(filter: &flow::FlowFilter) -> usize {
    filter.dns_query.len() + filter.http_path.len() + filter.http_url.len()
}

fn cel(filter: &flow::FlowFilter) -> &[String] {
    filter.experimental.as_ref().map_or(&[], |experimental| &experimental.cel_expression)
}

fn one(filter: flow::FlowFilter, budget: &RegexBudget) -> Result<FlowFilter, Status> {
    let expressions = cel(&filter).to_vec();
    let spec = spec(filter);
    if let Some(why) = http_without_layer_7(&spec) {
        return Err(Status::unknown(why));
    }
    FlowFilter::within(spec, budget)
        .map_err(|errors| Status::unknown(errors.first().map(|error| refusal(error, &expressions)).unwrap_or_default()))
}

fn spec(filter: flow::FlowFilter) -> FilterSpec {
    let workloads = |list: Vec<flow::Workload>| {
        list.into_iter().map(|one| WorkloadSpec { name: one.name, kind: one.kind }).collect::<Vec<_>>()
    };
    let event_type = |one: flow::EventTypeFilter| EventTypeSpec {
        kind: one.r#type,
        match_sub_type: one.match_sub_type,
        sub_type: one.sub_type,
    };
    FilterSpec {
        uuid: filter.uuid,
        source_ip: filter.source_ip,
        source_ip_xlated: filter.source_ip_xlated,
        source_pod: filter.source_pod,
        source_fqdn: filter.source_fqdn,
        source_label: filter.source_label,
        source_service: filter.source_service,
        source_workload: workloads(filter.source_workload),
        source_cluster_name: filter.source_cluster_name,
        destination_ip: filter.destination_ip,
        destination_pod: filter.destination_pod,
        destination_fqdn: filter.destination_fqdn,
        destination_label: filter.destination_label,
        destination_service: filter.destination_service,
        destination_workload: workloads(filter.destination_workload),
        destination_cluster_name: filter.destination_cluster_name,
        traffic_direction: filter.traffic_direction,
        verdict: filter.verdict,
        drop_reason_desc: filter.drop_reason_desc,
        interface: filter.interface.into_iter().map(|one| InterfaceSpec { index: one.index, name: one.name }).collect(),
        event_type: filter.event_type.into_iter().map(event_type).collect(),
        http_status_code: filter.http_status_code,
        protocol: filter.protocol,
        source_port: filter.source_port,
        destination_port: filter.destination_port,
        reply: filter.reply,
        dns_query: filter.dns_query,
        source_identity: filter.source_identity,
        destination_identity: filter.destination_identity,
        http_method: filter.http_method,
        http_path: filter.http_path,
        http_url: filter.http_url,
        http_header: filter.http_header.into_iter().map(|one| HeaderSpec { key: one.key, value: one.value }).collect(),
        tcp_flags: filter.tcp_flags.iter().map(tcp_flags).collect(),
        node_name: filter.node_name,
        node_labels: filter.node_labels,
        ip_version: filter.ip_version,
        trace_id: filter.trace_id,
        ip_trace_id: filter.ip_trace_id,
        encrypted: filter.encrypted,
        cel_expression: filter.experimental.unwrap_or_default().cel_expression,
    }
}

fn tcp_flags(flags: &flow::TcpFlags) -> u16 {
    let bits = [
        (flags.fin, TcpFlags::FIN),
        (flags.syn, TcpFlags::SYN),
        (flags.rst, TcpFlags::RST),
        (flags.psh, TcpFlags::PSH),
        (flags.ack, TcpFlags::ACK),
        (flags.urg, TcpFlags::URG),
        (flags.ece, TcpFlags::ECE),
        (flags.cwr, TcpFlags::CWR),
        (flags.ns, TcpFlags::NS),
    ];
    bits.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, bit)| all | bit)
}

/// A filter on HTTP that leaves out layer 7 could never match.
fn http_without_layer_7(spec: &FilterSpec) -> Option<String> {
    if spec.event_type.is_empty() || spec.event_type.iter().any(|event| event.kind == L7) {
        return None;
    }
    let fields = [
        ("http status code", spec.http_status_code.is_empty()),
        ("http method", spec.http_method.is_empty()),
        ("http path", spec.http_path.is_empty()),
        ("http url", spec.http_url.is_empty()),
        ("http headers", spec.http_header.is_empty()),
    ];
    let (field, _) = fields.into_iter().find(|(_, is_empty)| !is_empty)?;
    Some(format!("filtering by {field} requires the event type filter to only match 'l7' events"))
}

/// The refusal of a value. Its beginning is the reference server's, for scripts that look for it.
fn refusal(error: &FilterError, expressions: &[String]) -> String {
    let FilterError { field, value, why, item } = error;
    let end = if field.starts_with("destination") { "destination" } else { "source" };
    match *field {
        "source_ip" | "destination_ip" | "source_ip_xlated" if value.contains('/') => {
            format!("invalid IP prefix {value:?} in filter: netip.ParsePrefix({value:?}): {}", prefix_fault(value, why))
        }
        "source_ip" | "destination_ip" | "source_ip_xlated" => {
            format!("invalid IP address {value:?} in filter: ParseAddr({value:?}): {}", address_fault(value, why))
        }
        "source_port" | "destination_port" => {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let fault = if digits { "value out of range" } else { "invalid syntax" };
            format!("invalid {end} port filter: invalid port {value:?}: strconv.ParseUint: parsing {value:?}: {fault}")
        }
        "protocol" => format!("invalid protocol filter: unknown protocol: {value:?}"),
        "source_label" | "destination_label" => {
            format!("invalid {end} label filter: unable to parse requirement: {why}")
        }
        "node_labels" => format!("invalid node label filter: unable to parse requirement: {why}"),
        "source_fqdn" | "destination_fqdn" | "node_name" => pattern_fault(value, why),
        "http_path" => format!("invalid http path filter: {value}: error parsing regexp: {}", regex_fault(value, why)),
        "http_url" => format!("invalid http url filter: {value}: error parsing regexp: {}", regex_fault(value, why)),
        "dns_query" => format!(
            "invalid DNS query filter: failed to compile regexp: error parsing regexp: {}",
            regex_fault(value, why)
        ),
        "http_status_code" => format!("invalid http status code filter: invalid status code prefix: {value:?}"),
        "source_pod" | "destination_pod" => "invalid filter, name must not be empty".to_owned(),
        "source_service" | "destination_service" => {
            format!("invalid {end} service filter: invalid filter, name must not be empty")
        }
        "cel_expression" => {
            let text = expressions.get(*item).map_or("", String::as_str);
            let shown = expression_error(text).map(|error| error.shown(text));
            format!("error compiling CEL expression: {}", shown.as_deref().unwrap_or(why))
        }
        _ => error.to_string(),
    }
}

fn address_fault<'a>(value: &str, why: &'a str) -> &'a str {
    let decimal = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match value.split('.').count() {
        2..=3 if decimal => "IPv4 address too short",
        count if decimal && count > 4 => "IPv4 address too long",
        _ => why,
    }
}

fn prefix_fault<'a>(value: &str, why: &'a str) -> &'a str {
    let parts = value.rsplit_once('/').filter(|(address, _)| address.parse::<std::net::IpAddr>().is_ok());
    match parts.map(|(_, bits)| bits.parse::<u32>()) {
        Some(Ok(_)) => "prefix length out of range",
        _ => why,
    }
}

/// The fault of a pattern of names.
fn pattern_fault(value: &str, why: &str) -> String {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "-._*/".contains(letter);
    let trimmed = value.trim();
    if value.matches('/').count() > 1 {
        return "too many slashes in pattern".to_owned();
    }
    if trimmed.is_empty() || trimmed == "." {
        return "empty pattern".to_owned();
    }
    if trimmed.ends_with("..") {
        return "multiple trailing dots in pattern".to_owned();
    }
    match trimmed.chars().find(|letter| !letters(*letter)) {
        Some(wrong) => format!("'{wrong}': invalid rune in pattern"),
        None => why.to_owned(),
    }
}

fn regex_fault(value: &str, why: &str) -> String {
    let why = why.strip_prefix("not a regular expression: ").unwrap_or(why);
    match why {
        "unclosed group" => format!("missing closing ): `{value}`"),
        other => other.to_owned(),
    }
}
