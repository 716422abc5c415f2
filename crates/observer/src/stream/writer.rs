//! Writes flows as log records, straight from the flow to the wire.

use std::collections::HashMap;

use webb_flow::extra::{Dns, Http, L7, L7Kind, L7Record};
use webb_flow::hash::RandomState;
use webb_flow::names::{DROP_REASONS, number_of};
use webb_flow::{ConnectionEvent, Direction, Event, Extra, Family, Flow, L4, Point, Reason, Reply, TcpFlags, Verdict};
use webb_index::{End, Index};
use webb_otlp::{Encoded, Head, Record, Severity};

use super::attributes::{Attribute, DESTINATION, Put, SOURCE, Side, Wanted};
use super::ends::EndCache;
use super::line::Line;
use super::settings::{Body, FlowSettings};
use crate::details::{Interfaces, put_place, write_run};
use crate::encode::{Encoder, push_address};
use crate::export::{Lines, Node};
use crate::mask::InvalidMask;
use crate::segment::Segment;

/// Name of the event.
const FLOW: &str = "webb.flow";

/// Reasons that are kept.
const MAX_REASONS: usize = 1024;

/// Flags by their bits, as texts.
const FLAGS: [(u16, &str); 9] = [
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags::RST, "RST"),
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::PSH, "PSH"),
    (TcpFlags::URG, "URG"),
    (TcpFlags::ECE, "ECE"),
    (TcpFlags::CWR, "CWR"),
    (TcpFlags::NS, "NS"),
];

/// Writes one record after the other. Allocates nothing a flow once its buffers have grown, but for
/// a body of JSON.
#[derive(Debug)]
pub(super) struct Writer {
    record: Record,
    wanted: Wanted,
    ends: EndCache,
    sample_every: u32,
    line: Line,
    json: Lines,
    json_line: Vec<u8>,
    interfaces: Interfaces,
    reasons: HashMap<Reason, (i32, String), RandomState>,
    seed: u64,
    /// The part of ids that the flows of a generation have in common, and that generation.
    run: (u64, String),
    id: Vec<u8>,
    text: String,
}

impl Writer {
    /// A writer for flows of a node.
    ///
    /// # Errors
    /// If a path of a field leads nowhere.
    pub(super) fn new(settings: &FlowSettings, node: &Node) -> Result<Self, InvalidMask> {
        let mask = settings.mask()?;
        let wanted = Wanted::new(mask.as_ref(), settings.uid);
        let encoder = Encoder::new(node.qualified.clone(), node.version.clone(), node.run);
        Ok(Self {
            record: Record::new(),
            wanted,
            ends: EndCache::new(wanted, &settings.labels),
            sample_every: settings.sample_every,
            line: Line::default(),
            json: Lines::new(encoder, node.name.clone(), mask),
            json_line: Vec::new(),
            interfaces: Interfaces::default(),
            reasons: HashMap::default(),
            seed: node.run,
            run: (0, String::new()),
            id: Vec::new(),
            text: String::new(),
        })
    }

    /// The record of the flow in a place of a segment, with a text of this form. `now_ns`: Unix
    /// time. `is_sampled`: it stands for those that are not sent.
    pub(super) fn write(
        &mut self,
        (segment, place): (&Segment, usize),
        flow: &Flow,
        (body, is_sampled): (Body, bool),
        now_ns: u64,
    ) -> Encoded<'_> {
        self.ends.enter(segment);
        let (index, extra) = (&*segment.index, segment.extra(flow));
        let number = self.note_reason(flow);
        let reason = self.reasons.get(&flow.reason).filter(|_| has_reason(flow));
        let outcome = flow.connection_event().map(|(event, _)| event);
        let l7 = extra.and_then(|extra| extra.l7.as_ref());
        let body = match body {
            Body::None => "",
            // Hubble has no such flow.
            Body::Hubble if outcome.is_some() => "",
            Body::Summary => self.line.write(segment, flow, reason.map(|(number, name)| (*number, name.as_str()))),
            Body::Hubble => {
                self.json_line.clear();
                self.json.event(segment, place, &mut self.json_line);
                std::str::from_utf8(&self.json_line).unwrap_or_default().trim_end()
            }
        };
        let head = Head {
            time_ns: segment.flow_time_ns(flow),
            observed_ns: now_ns,
            severity: if outcome.is_some() { Severity::Warn } else { severity(flow.verdict) },
            event_name: FLOW,
            trace_id: extra.and_then(|extra| trace_id(&extra.trace_id)),
            body,
        };
        let mut put = Put { to: self.record.begin(&head), wanted: self.wanted };
        let ends = self.ends.of(flow, index);
        for end in ends.into_iter().flatten() {
            put.to.copy(&end.attributes);
        }
        if let [Some(source), Some(destination)] = ends
            && !source.zone.is_empty()
            && !destination.zone.is_empty()
        {
            put.boolean(Attribute::InterZone, source.zone != destination.zone);
        }
        if self.wanted.has(Attribute::Uid) {
            let generation = index.generation();
            if self.run.0 != generation || self.run.1.is_empty() {
                self.run.0 = generation;
                self.run.1.clear();
                write_run(self.seed, generation, &mut self.run.1);
            }
            self.id.clear();
            self.id.extend_from_slice(self.run.1.as_bytes());
            put_place(segment.before + place, &mut self.id);
            put.text(Attribute::Uid, std::str::from_utf8(&self.id).unwrap_or_default());
        }
        match outcome {
            Some(outcome) => put.text(Attribute::Outcome, outcome.name()),
            None => put.text(Attribute::Verdict, flow.verdict.name()),
        }
        if let Some((_, name)) = reason {
            put.text(Attribute::DropReason, name);
        }
        put_addresses(&mut put, flow, &mut self.text);
        put_layer_4(&mut put, flow, &mut self.text);
        put_direction(&mut put, flow);
        if flow.ifindex != 0 && self.wanted.has(Attribute::Interface) {
            put.text(Attribute::Interface, self.interfaces.name(flow.ifindex));
        }
        if outcome.is_none() {
            put_event(&mut put, flow, number);
        }
        for (side, end) in [(&SOURCE, End::Source), (&DESTINATION, End::Destination)] {
            put_names(&mut put, side, (end, flow), extra, index);
        }
        for (attribute, count) in [(Attribute::Bytes, flow.bytes), (Attribute::Packets, flow.packets.into())] {
            if count > 0 && outcome.is_none() {
                put.number(attribute, count);
            }
        }
        if let Some(l7) = l7 {
            put_layer_7(&mut put, l7, &mut self.text);
        }
        put_policy(&mut put, segment, flow, &mut self.text);
        if is_sampled {
            put.number(Attribute::SampleEvery, self.sample_every.into());
        }
        for end in ends.into_iter().flatten().filter(|end| !end.labels.is_empty()) {
            put.to.copy(&end.labels);
        }
        self.record.finish()
    }

    /// Notes the name of a drop's reason, and returns its number: 0 for a reason that only the
    /// kernel has, and for what was not dropped.
    fn note_reason(&mut self, flow: &Flow) -> i32 {
        if !has_reason(flow) {
            return 0;
        }
        if self.reasons.len() >= MAX_REASONS {
            self.reasons.clear();
        }
        let known = self.reasons.entry(flow.reason).or_insert_with(|| {
            let name = flow.reason.0.text();
            (number_of(&DROP_REASONS, &name).unwrap_or(0), name.to_string())
        });
        known.0
    }
}

/// True for what was dropped, and for an attempt to connect that failed by a drop.
fn has_reason(flow: &Flow) -> bool {
    let failed_by_drop =
        || matches!(flow.connection_event(), Some((ConnectionEvent::Denied | ConnectionEvent::Dropped, _)));
    flow.verdict == Verdict::Dropped || failed_by_drop()
}

fn severity(verdict: Verdict) -> Severity {
    match verdict {
        Verdict::Dropped | Verdict::Audit => Severity::Warn,
        Verdict::Error => Severity::Error,
        _ => Severity::Info,
    }
}

/// A trace's id of 32 hexadecimal digits.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(u128::to_be_bytes)
}

fn put_addresses(put: &mut Put<'_>, flow: &Flow, text: &mut String) {
    let family = match flow.family {
        Family::NotUsed => return,
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    for (side, address) in [(&SOURCE, flow.source_ip), (&DESTINATION, flow.destination_ip)] {
        text.clear();
        push_address(text, address.ip());
        put.text(side.address, text);
    }
    put.text(Attribute::NetworkType, family);
}

fn put_layer_4(put: &mut Put<'_>, flow: &Flow, text: &mut String) {
    let name = match flow.l4 {
        L4::None => return,
        L4::Tcp => "tcp",
        L4::Udp => "udp",
        L4::IcmpV4 => "icmpv4",
        L4::IcmpV6 => "icmpv6",
        L4::Sctp => "sctp",
        L4::Vrrp => "vrrp",
        L4::Igmp => "igmp",
    };
    put.text(Attribute::Transport, name);
    if flow.l4.has_ports() {
        put.number(SOURCE.port, flow.source_port.into());
        put.number(DESTINATION.port, flow.destination_port.into());
    }
    if flow.l4 == L4::Tcp && flow.tcp_flags.is_known() {
        text.clear();
        for (bit, name) in FLAGS {
            if flow.tcp_flags.has(bit) {
                text.push_str(if text.is_empty() { "" } else { "," });
                text.push_str(name);
            }
        }
        put.text(Attribute::TcpFlags, text);
    }
    if matches!(flow.l4, L4::IcmpV4 | L4::IcmpV6) {
        put.number(Attribute::IcmpType, flow.icmp_type.into());
        put.number(Attribute::IcmpCode, flow.icmp_code.into());
    }
}

/// The direction at the pod's interface, seen from the pod: that of the packet, while a flow has
/// that of the connection.
fn put_direction(put: &mut Put<'_>, flow: &Flow) {
    let is_sent = match flow.direction {
        Direction::Unknown => return,
        Direction::Egress => flow.reply != Reply::Yes,
        Direction::Ingress => flow.reply == Reply::Yes,
    };
    put.text(Attribute::Direction, if is_sent { "transmit" } else { "receive" });
}

fn put_event(put: &mut Put<'_>, flow: &Flow, reason: i32) {
    if flow.reply != Reply::Unknown {
        put.boolean(Attribute::IsReply, flow.reply == Reply::Yes);
    }
    if flow.event == Event::Unknown {
        return;
    }
    put.number(Attribute::EventType, u64::from(flow.event as u8));
    match flow.event {
        Event::Trace if flow.point != Point::Other => {
            put.number(Attribute::EventSubType, u64::from(flow.point as u8));
        }
        Event::Drop if reason > 0 => put.number(Attribute::EventSubType, reason.unsigned_abs().into()),
        _ => {}
    }
}

/// The Service that an end was called through, and its names in DNS.
fn put_names(put: &mut Put<'_>, side: &Side, (end, flow): (End, &Flow), extra: Option<&Extra>, index: &Index) {
    let service = end.service(flow, extra, index);
    if !service.is_empty() {
        put.text(side.service, &service.text());
    }
    let names = end.dns_names(flow, extra, index);
    if !names.is_empty() {
        put.text(side.names, &names.text());
    }
}

fn put_layer_7(put: &mut Put<'_>, l7: &L7, text: &mut String) {
    put.text(
        Attribute::MessageType,
        match l7.kind {
            L7Kind::Unknown => "",
            L7Kind::Request => "REQUEST",
            L7Kind::Response => "RESPONSE",
            L7Kind::Sample => "SAMPLE",
        },
    );
    if l7.latency_ns > 0 {
        put.number(Attribute::Latency, l7.latency_ns);
    }
    match &l7.record {
        L7Record::Http(message) => put_http(put, message),
        L7Record::Dns(message) => put_dns(put, l7.kind, message, text),
        // webb's own, in no flow of the API.
        L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_) => {}
    }
}

fn put_http(put: &mut Put<'_>, message: &Http) {
    put.text(Attribute::Method, &message.method);
    if message.code > 0 {
        put.number(Attribute::Status, message.code.into());
    }
    put.text(Attribute::UrlPath, url_path(&message.url));
    put.text(Attribute::ProtocolVersion, message.protocol.split_once('/').map_or("", |(_, version)| version));
}

fn put_dns(put: &mut Put<'_>, kind: L7Kind, message: &Dns, text: &mut String) {
    put.text(Attribute::Question, &message.query);
    put.texts(Attribute::QuestionTypes, message.qtypes.iter().map(String::as_str));
    if kind == L7Kind::Response {
        put.number(Attribute::Rcode, message.rcode.into());
    }
    if !message.addresses.is_empty() {
        text.clear();
        for (at, address) in message.addresses.iter().enumerate() {
            text.push_str(if at > 0 { "," } else { "" });
            push_address(text, address.ip());
        }
        put.texts(Attribute::Answers, text.split(','));
    }
}

/// The path of a URL, as it was written, without scheme, host and query.
fn url_path(url: &str) -> &str {
    let (host, behind_host) = match url.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
            rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
        }
        _ => ("", url),
    };
    let path = behind_host.split(['?', '#']).next().unwrap_or_default();
    if is_readable(host) {
        return path;
    }
    // Hubble's URL of a host that is none has the query in its path, with the `?` escaped.
    let end = ["%3F", "%23"].into_iter().filter_map(|escaped| path.find(escaped)).min();
    end.and_then(|end| path.get(..end)).unwrap_or(path)
}

/// True for a host that could be read: letters of ASCII are never escaped there.
fn is_readable(host: &str) -> bool {
    !host.split('%').skip(1).any(|escape| escape.starts_with(|digit: char| ('0'..'8').contains(&digit)))
}

/// The policy that decided, in the list of its direction and outcome.
fn put_policy(put: &mut Put<'_>, segment: &Segment, flow: &Flow, text: &mut String) {
    let row = flow.ruling.policy().and_then(|row| usize::try_from(row).ok());
    let Some(policy) = row.and_then(|row| segment.policies.get(row)) else { return };
    let attribute = match (flow.direction, flow.verdict == Verdict::Forwarded) {
        (Direction::Egress, true) => Attribute::EgressAllowedBy,
        (Direction::Ingress, true) => Attribute::IngressAllowedBy,
        (Direction::Egress, false) => Attribute::EgressDeniedBy,
        (Direction::Ingress, false) => Attribute::IngressDeniedBy,
        (Direction::Unknown, _) => return,
    };
    text.clear();
    if !policy.namespace.is_empty() {
        text.push_str(&policy.namespace.text());
        text.push('/');
    }
    text.push_str(&policy.name.text());
    put.texts(attribute, std::iter::once(text.as_str()));
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
