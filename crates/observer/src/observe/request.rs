//! The requests that options make.

use prost_types::{FieldMask, Timestamp};
use webb_flowlog::Cursor;

use super::flags::Flags;
use super::options::Options;
use super::style::Output;
use super::time::read_time;
use crate::json_read;
use crate::mask::Mask;
use crate::proto::flow::FlowFilter;
use crate::proto::observer::{GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest};
use crate::responses::time_of;
use crate::schema::schema;

/// Flows that are printed unless options say how many.
const DEFAULT_COUNT: u64 = 20;

/// Fields that every form but JSON prints.
const DEFAULT_MASK: [&str; 26] = [
    "time",
    "verdict",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "is_reply",
    "Summary",
    "ip_trace_id",
    "traffic_direction",
    "policy_match_type",
    "ingress_allowed_by",
    "ingress_denied_by",
    "egress_allowed_by",
    "egress_denied_by",
];

/// The request for flows. `now_ns` is Unix time in nanoseconds.
///
/// # Errors
/// In the words of Hubble's command line.
pub(super) fn flows(options: &Options, output: Output, now_ns: u64) -> Result<GetFlowsRequest, String> {
    let mut flags = Flags::default();
    for (flag, value) in &options.filters {
        flags.add(flag, value)?;
    }
    let (mut whitelist, mut blacklist) = flags.filters()?;
    let paths = mask(options, output)?;
    let limits = limits(options, now_ns)?;
    whitelist.append(&mut raw(&options.allowlist, "allowlist")?);
    blacklist.append(&mut raw(&options.denylist, "denylist")?);
    if let Some(path) = paths.iter().find(|path| Mask::new([path.as_str()]).is_err()) {
        return Err(format!("failed to construct field mask: proto: invalid path {path:?} for message \"flow.Flow\""));
    }
    Ok(GetFlowsRequest {
        number: limits.number,
        first: limits.first,
        follow: options.follow,
        since: limits.since,
        until: limits.until,
        whitelist,
        blacklist,
        field_mask: (!paths.is_empty()).then_some(FieldMask { paths }),
        ..GetFlowsRequest::default()
    })
}

/// The request for agent events.
pub(super) fn agent_events(options: &Options, now_ns: u64) -> Result<GetAgentEventsRequest, String> {
    let Limits { number, first, since, until } = limits(options, now_ns)?;
    Ok(GetAgentEventsRequest { number, first, follow: options.follow, since, until })
}

/// The request for debug events.
pub(super) fn debug_events(options: &Options, now_ns: u64) -> Result<GetDebugEventsRequest, String> {
    let Limits { number, first, since, until } = limits(options, now_ns)?;
    Ok(GetDebugEventsRequest { number, first, follow: options.follow, since, until })
}

struct Limits {
    number: u64,
    first: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn limits(options: &Options, now_ns: u64) -> Result<Limits, String> {
    let (first, last) = (options.first > 0, options.last > 0);
    for (both, one, other) in [
        (first && last, "first", "last"),
        (first && options.all, "first", "all"),
        (first && options.follow, "first", "follow"),
        (last && options.all, "last", "all"),
    ] {
        if both {
            return Err(format!("cannot set both --{one} and --{other}"));
        }
    }
    let time = |text: &Option<String>, name: &str| match text {
        None => Ok(None),
        Some(text) => match read_time(text, now_ns) {
            Some(unix_ns) => Ok(Some(time_of(unix_ns))),
            None => Err(format!("failed to parse the {name} time: failed to convert {text} to time")),
        },
    };
    let since = time(&options.since, "since")?;
    let until = if options.follow { None } else { time(&options.until, "until")? };
    let mut number = if first { options.first } else { options.last };
    if since.is_none() && until.is_none() && !first {
        if options.all {
            number = u64::MAX;
        } else if number == 0 && !options.follow && options.input_file.is_none() {
            number = DEFAULT_COUNT;
        }
    }
    Ok(Limits { number, first, since, until })
}

fn mask(options: &Options, output: Output) -> Result<Vec<String>, String> {
    if output == Output::Json {
        return Ok(options.field_mask.clone());
    }
    if !options.field_mask.is_empty() {
        return Err(format!("{} output format is not compatible with custom field mask", options.output));
    }
    let default = DEFAULT_MASK.iter().map(|path| (*path).to_owned());
    Ok(if options.default_masks { default.collect() } else { Vec::new() })
}

/// Filters as JSON, several after each other or one an option.
fn raw(texts: &[String], flag: &str) -> Result<Vec<FlowFilter>, String> {
    let mut filters = Vec::new();
    for text in texts {
        let mut rest = text.as_str();
        while !rest.trim_start().is_empty() {
            let mut encoded = Vec::new();
            let mut cursor = Cursor::new(rest);
            let wrong =
                |error: &dyn std::fmt::Display| format!("invalid --{flag} flag: failed to decode '{text}': {error}");
            json_read::encode(&mut cursor, schema().message("flow.FlowFilter"), &mut encoded)
                .map_err(|error| wrong(&error))?;
            filters.push(prost::Message::decode(encoded.as_slice()).map_err(|error| wrong(&error))?);
            rest = cursor.rest();
        }
    }
    Ok(filters)
}
