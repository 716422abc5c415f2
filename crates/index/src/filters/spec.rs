//! A flow filter as plain data: what was written, decoded but not yet understood.

/// `flow.FlowFilter`: all fields that are not empty must match, the values of a field are
/// alternatives.
///
/// Fields have the names and the meaning of the hubble-contract §2.6.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each field is flow.proto's of the same name (hubble-contract §2.6)")]
pub struct FilterSpec {
    pub uuid: Vec<String>,
    pub source_ip: Vec<String>,
    pub source_ip_xlated: Vec<String>,
    pub source_pod: Vec<String>,
    pub source_fqdn: Vec<String>,
    pub source_label: Vec<String>,
    pub source_service: Vec<String>,
    pub source_workload: Vec<WorkloadSpec>,
    pub source_cluster_name: Vec<String>,
    pub destination_ip: Vec<String>,
    pub destination_pod: Vec<String>,
    pub destination_fqdn: Vec<String>,
    pub destination_label: Vec<String>,
    pub destination_service: Vec<String>,
    pub destination_workload: Vec<WorkloadSpec>,
    pub destination_cluster_name: Vec<String>,
    pub traffic_direction: Vec<i32>,
    pub verdict: Vec<i32>,
    pub drop_reason_desc: Vec<i32>,
    pub interface: Vec<InterfaceSpec>,
    pub event_type: Vec<EventTypeSpec>,
    pub http_status_code: Vec<String>,
    pub protocol: Vec<String>,
    pub source_port: Vec<String>,
    pub destination_port: Vec<String>,
    pub reply: Vec<bool>,
    pub dns_query: Vec<String>,
    pub source_identity: Vec<u32>,
    pub destination_identity: Vec<u32>,
    pub http_method: Vec<String>,
    pub http_path: Vec<String>,
    pub http_url: Vec<String>,
    pub http_header: Vec<HeaderSpec>,
    /// Bits of [`webb_flow::TcpFlags`].
    pub tcp_flags: Vec<u16>,
    pub node_name: Vec<String>,
    pub node_labels: Vec<String>,
    pub ip_version: Vec<i32>,
    pub trace_id: Vec<String>,
    pub ip_trace_id: Vec<u64>,
    pub encrypted: Vec<bool>,
    /// `experimental.cel_expression`.
    pub cel_expression: Vec<String>,
}

/// `flow.Workload`; an empty member is any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct WorkloadSpec {
    pub name: String,
    pub kind: String,
}

/// `flow.NetworkInterface`; 0 and the empty name are any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct InterfaceSpec {
    pub index: u32,
    pub name: String,
}

/// `flow.EventTypeFilter`; type 0 is any, `sub_type` counts only with `match_sub_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are flow.proto's")]
pub struct EventTypeSpec {
    pub kind: i32,
    pub match_sub_type: bool,
    pub sub_type: i32,
}

/// `flow.HTTPHeader`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct HeaderSpec {
    pub key: String,
    pub value: String,
}

/// An event that is no flow, as filters see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherEvent {
    /// Events that were lost: every filter on types of events matches them.
    Lost,
    /// Its type and its sub-type, as `event_type` has them.
    Typed(i32, i32),
}
