//! Flow filters as the file writes them: strict protobuf JSON (hubble-contract §2.5.3).
//!
//! Unlike the levels above, this one is strict: a field that flow.proto does not have, a number
//! where a text belongs, an enum by a name it does not know, each is a problem of its own. Fields
//! go by their name in flow.proto or its lowerCamelCase form.

use webb_flow::names::{DIRECTIONS, DROP_REASONS, IP_VERSIONS, VERDICTS};
use webb_index::filters::{FilterSpec, FlowFilter};
use webb_settings::{Mark, Origin, Problem};

use super::json::{Items, members};
use super::tree::{Node, Value};

/// One field of `flow.FlowFilter`: its name, and how its values are read.
type Field = (&'static str, fn(&mut FilterSpec, &mut Items<'_>));

/// All fields but `experimental`.
const FIELDS: [Field; 40] = [
    ("uuid", |spec, items| spec.uuid = items.texts()),
    ("source_ip", |spec, items| spec.source_ip = items.texts()),
    ("source_ip_xlated", |spec, items| spec.source_ip_xlated = items.texts()),
    ("source_pod", |spec, items| spec.source_pod = items.texts()),
    ("source_fqdn", |spec, items| spec.source_fqdn = items.texts()),
    ("source_label", |spec, items| spec.source_label = items.texts()),
    ("source_service", |spec, items| spec.source_service = items.texts()),
    ("source_workload", |spec, items| spec.source_workload = items.workloads()),
    ("source_cluster_name", |spec, items| spec.source_cluster_name = items.texts()),
    ("destination_ip", |spec, items| spec.destination_ip = items.texts()),
    ("destination_pod", |spec, items| spec.destination_pod = items.texts()),
    ("destination_fqdn", |spec, items| spec.destination_fqdn = items.texts()),
    ("destination_label", |spec, items| spec.destination_label = items.texts()),
    ("destination_service", |spec, items| spec.destination_service = items.texts()),
    ("destination_workload", |spec, items| spec.destination_workload = items.workloads()),
    ("destination_cluster_name", |spec, items| spec.destination_cluster_name = items.texts()),
    ("traffic_direction", |spec, items| spec.traffic_direction = items.enums(&DIRECTIONS)),
    ("verdict", |spec, items| spec.verdict = items.enums(&VERDICTS)),
    ("drop_reason_desc", |spec, items| spec.drop_reason_desc = items.enums(&DROP_REASONS)),
    ("interface", |spec, items| spec.interface = items.interfaces()),
    ("event_type", |spec, items| spec.event_type = items.event_types()),
    ("http_status_code", |spec, items| spec.http_status_code = items.texts()),
    ("protocol", |spec, items| spec.protocol = items.texts()),
    ("source_port", |spec, items| spec.source_port = items.texts()),
    ("destination_port", |spec, items| spec.destination_port = items.texts()),
    ("reply", |spec, items| spec.reply = items.bools()),
    ("dns_query", |spec, items| spec.dns_query = items.texts()),
    ("source_identity", |spec, items| spec.source_identity = items.numbers()),
    ("destination_identity", |spec, items| spec.destination_identity = items.numbers()),
    ("http_method", |spec, items| spec.http_method = items.texts()),
    ("http_path", |spec, items| spec.http_path = items.texts()),
    ("http_url", |spec, items| spec.http_url = items.texts()),
    ("http_header", |spec, items| spec.http_header = items.headers()),
    ("tcp_flags", |spec, items| spec.tcp_flags = items.tcp_flags()),
    ("node_name", |spec, items| spec.node_name = items.texts()),
    ("node_labels", |spec, items| spec.node_labels = items.texts()),
    ("ip_version", |spec, items| spec.ip_version = items.enums(&IP_VERSIONS)),
    ("trace_id", |spec, items| spec.trace_id = items.texts()),
    ("ip_trace_id", |spec, items| spec.ip_trace_id = items.numbers()),
    ("encrypted", |spec, items| spec.encrypted = items.bools()),
];

/// Holds expressions of another language, in the field `cel_expression`.
const EXPERIMENTAL: &str = "experimental";
const CEL: &str = "cel_expression";

/// Reads a filter; none if something is wrong with it.
pub fn filter(node: &Node, problems: &mut Vec<Problem>) -> Option<FlowFilter> {
    let before = problems.len();
    let mut spec = FilterSpec::default();
    let mut places: Vec<(&str, Vec<Mark>)> = Vec::new();
    let names: Vec<&'static str> = FIELDS.iter().map(|(name, _)| *name).chain([EXPERIMENTAL]).collect();
    for (name, value) in members(node, "a flow filter", &names, problems) {
        if name == EXPERIMENTAL {
            let so_far = problems.len();
            let marks = experimental(value, &mut spec, problems);
            if problems.len() == so_far {
                places.push((CEL, marks));
            }
            continue;
        }
        let nodes = match &value.value {
            Value::List(nodes) => nodes,
            Value::Null => continue,
            _ => {
                problems.push(value.problem(format!("{name}: expected a list, found {}", value.describe())));
                continue;
            }
        };
        let so_far = problems.len();
        if let Some((_, set)) = FIELDS.iter().find(|(known, _)| *known == name) {
            set(&mut spec, &mut Items { field: name, nodes, problems });
        }
        if problems.len() == so_far {
            places.push((name, nodes.iter().map(|item| item.mark).collect()));
        } else if name == "event_type" {
            // Half of it would only make the other fields look wrong.
            spec.event_type.clear();
        }
    }
    match FlowFilter::new(spec) {
        Ok(filter) => (problems.len() == before).then_some(filter),
        Err(errors) => {
            // A field that is not as it should be already has its problem.
            let placed = errors.into_iter().filter_map(|error| {
                let (_, marks) = places.iter().find(|(field, _)| *field == error.field)?;
                let mark = marks.get(error.item).copied().unwrap_or(node.mark);
                Some(Problem::new(Origin::File(mark), error.to_string()))
            });
            problems.extend(placed);
            None
        }
    }
}

/// Reads `experimental`: the places of its expressions, if there are any.
fn experimental(node: &Node, spec: &mut FilterSpec, problems: &mut Vec<Problem>) -> Vec<Mark> {
    if matches!(node.value, Value::Null) {
        return Vec::new();
    }
    let mut marks = Vec::new();
    for (name, value) in members(node, EXPERIMENTAL, &[CEL], problems) {
        match &value.value {
            Value::List(nodes) => {
                spec.cel_expression = Items { field: CEL, nodes, problems }.texts();
                marks = nodes.iter().map(|item| item.mark).collect();
            }
            Value::Null => {}
            _ => problems.push(value.problem(format!("{name}: expected a list, found {}", value.describe()))),
        }
    }
    marks
}
