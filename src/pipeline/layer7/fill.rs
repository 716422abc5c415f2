//! Fills a flow and its extra from a message, as Hubble would make them of its proxies' logs.

use webb_decode::l7::{Connection, Content, Dns, Event, Http, Side, UnansweredQuestion, type_name};
use webb_flow::extra::{self, L7, L7Kind, L7Record};
use webb_flow::{Direction, Event as FlowEvent, Extra, Flow, L4, Point, Reply, Verdict};

/// `event_type.type` of layer 7.
const ACCESS_LOG: i32 = 129;

fn set(text: &mut String, value: &str) {
    text.clear();
    text.push_str(value);
}

/// Writes texts over the former ones and reuses their memory.
fn set_all<'a>(texts: &mut Vec<String>, values: impl ExactSizeIterator<Item = &'a str>) {
    texts.resize_with(values.len(), String::new);
    texts.iter_mut().zip(values).for_each(|(text, value)| set(text, value));
}

/// Writes the flow of an event. It has no names yet; where it was seen says which end is at the
/// interface, and goes when it is named.
pub(super) fn flow(flow: &mut Flow, event: &Event<'_>) {
    let Connection { path, side, l4, family } = event.connection;
    let (client, server) = (event.connection.client(), event.connection.server());
    let reply = event.kind == L7Kind::Response;
    let (from, to) = if reply { (server, client) } else { (client, server) };
    *flow = Flow {
        time_ns: event.time_ns,
        source_ip: from.address,
        destination_ip: to.address,
        source_port: from.port,
        destination_port: to.port,
        ifindex: path.ifindex,
        family,
        l4,
        event: match event.content {
            Content::Dns(_) | Content::Http(_) => FlowEvent::L7,
            // The end of a call or of a wait is none of Hubble's flows.
            Content::Grpc(_) | Content::Unanswered(_) => FlowEvent::Flush,
        },
        packets: match event.content {
            Content::Unanswered(UnansweredQuestion { askings, .. }) => askings,
            _ => 0,
        },
        point: if from == path.pod { Point::ToStack } else { Point::ToEndpoint },
        verdict: Verdict::Forwarded,
        direction: if side == Side::Client { Direction::Egress } else { Direction::Ingress },
        reply: if reply { Reply::Yes } else { Reply::No },
        ..Flow::default()
    };
}

/// Writes what the flow carries. `is_only_report`: the other side's agent does not report it too.
pub(super) fn extra(extra: &mut Extra, event: &Event<'_>, is_only_report: bool) {
    extra.live = true;
    extra.is_only_report = is_only_report;
    extra.has_ip = true;
    extra.has_l4 = event.connection.l4 != L4::None;
    extra.event_type = Some(ACCESS_LOG);
    extra.verdict = Verdict::Forwarded as i32;
    let direction = if event.connection.side == Side::Client { Direction::Egress } else { Direction::Ingress };
    extra.traffic_direction = direction as i32;
    extra.trace_id.clear();
    let l7 = extra.l7.get_or_insert_with(L7::default);
    l7.kind = event.kind;
    match event.content {
        Content::Dns(message) => {
            // Hubble's is always 0.
            l7.latency_ns = 0;
            if !matches!(l7.record, L7Record::Dns(_)) {
                l7.record = L7Record::Dns(extra::Dns::default());
            }
            if let L7Record::Dns(row) = &mut l7.record {
                dns(row, &message);
            }
        }
        Content::Http(message) => {
            l7.latency_ns = message.latency_ns;
            if !matches!(l7.record, L7Record::Http(_)) {
                l7.record = L7Record::Http(extra::Http::default());
            }
            if let L7Record::Http(row) = &mut l7.record {
                http(row, &message);
            }
            set(&mut extra.trace_id, message.trace_id);
        }
        Content::Grpc(call) => {
            l7.latency_ns = call.duration_ns;
            if !matches!(l7.record, L7Record::Grpc(_)) {
                l7.record = L7Record::Grpc(extra::Grpc::default());
            }
            if let L7Record::Grpc(row) = &mut l7.record {
                row.status = call.status;
                set(&mut row.path, call.path);
            }
        }
        Content::Unanswered(question) => {
            l7.latency_ns = 0;
            if !matches!(l7.record, L7Record::Unanswered(_)) {
                l7.record = L7Record::Unanswered(extra::Unanswered::default());
            }
            if let L7Record::Unanswered(row) = &mut l7.record {
                set(&mut row.query, question.query);
            }
        }
    }
}

fn dns(row: &mut extra::Dns, message: &Dns<'_>) {
    set(&mut row.query, message.query);
    row.ips = message.ips;
    row.rcode = message.rcode.into();
    row.latency_ns = message.latency_ns;
    row.ttl = if message.ttl == u32::MAX { 0 } else { message.ttl };
    row.addresses.clear();
    row.addresses.extend_from_slice(message.answered);
    set_all(&mut row.cnames, message.cnames.iter().map(String::as_str));
    set_all(&mut row.qtypes, [type_name(message.qtype)].into_iter());
    set_all(&mut row.rrtypes, message.rrtypes.iter().map(|number| type_name(*number)));
}

fn http(row: &mut extra::Http, message: &Http<'_>) {
    row.code = message.code.into();
    set(&mut row.method, message.method);
    set(&mut row.url, message.url);
    set(&mut row.protocol, message.protocol);
    row.headers.resize_with(message.headers.len(), Default::default);
    for ((name, value), (new_name, new_value)) in row.headers.iter_mut().zip(message.headers) {
        set(name, new_name);
        set(value, new_value);
    }
}
