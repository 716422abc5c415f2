//! Encodes flows that were seen here as `flow.Flow`.
//!
//! Straight from the flow to the wire: no structure with texts of its own is built. An endpoint is
//! encoded once, and found by its number in a segment, and by its names in the next.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use webb_flow::extra::{Dns, Http, L7, L7Record};
use webb_flow::hash::RandomState;
use webb_flow::names::{DROP_REASONS, number_of};
use webb_flow::sym::{self, Sym};
use webb_flow::{
    EndpointId, Event, Extra, Family, Flow, L4, Point, Reason, Reply, SctpChunk, ServiceEnd, TcpFlags, Verdict,
};
use webb_index::{End, Endpoint, Index};

use crate::details::{Interfaces, put_place, write_run};
use crate::json_read::put_time;
use crate::segment::{Event as Kept, Segment};
use crate::summary;
use crate::wire::{put_bytes, put_message, put_number};

/// Reasons whose number is kept.
const MAX_REASONS: usize = 1024;

/// Endpoints that are kept encoded, some 300 bytes each.
const MAX_ENDPOINTS: usize = 2048;

/// Bytes of the buffer that encoded flows share.
const CHUNK: usize = 1 << 16;

/// Points of a trace in the API that have another number than in an event's type.
const TO_ENDPOINT: u64 = 101;

/// Encodes flows of one node.
#[derive(Debug)]
pub struct Encoder {
    node_name: String,
    version: String,
    /// Distinguishes the ids of this run's flows from those of others.
    seed: u64,
    /// Generation of the index that `ends` and `run` belong to.
    generation: u64,
    /// Rows of `endpoints`.
    ends: HashMap<EndpointId, usize, RandomState>,
    endpoints: Endpoints,
    /// The part of the flows' ids that those of a segment have in common.
    run: String,
    reasons: HashMap<Reason, i32, RandomState>,
    interfaces: Interfaces,
    text: String,
    flow: Vec<u8>,
    chunk: BytesMut,
}

/// Endpoints, encoded.
#[derive(Debug, Default)]
struct Endpoints {
    encoded: Vec<Vec<u8>>,
    /// Rows by what is encoded.
    rows: HashMap<EndpointKey, usize, RandomState>,
    /// Names that were dropped when the oldest row was made.
    dropped_names: u64,
}

/// What an endpoint is encoded from.
type EndpointKey = (u32, [Sym; 5]);

impl Encoder {
    /// An encoder of the flows of this node; `seed` is a number of this run.
    pub fn new(node_name: String, version: String, seed: u64) -> Self {
        Self {
            node_name,
            version,
            seed,
            generation: 0,
            ends: HashMap::default(),
            endpoints: Endpoints::default(),
            run: String::new(),
            reasons: HashMap::default(),
            interfaces: Interfaces::default(),
            text: String::new(),
            flow: Vec::new(),
            chunk: BytesMut::new(),
        }
    }

    /// The flow in a place, encoded: as it was read, or by [`Encoder::flow`].
    pub(crate) fn encoded(&mut self, segment: &Segment, place: usize) -> Bytes {
        match (segment.encoded.get(place), segment.events.get(place)) {
            (Some(written), _) => written.clone(),
            (None, Some(Kept::Flow(flow))) => {
                let mut out = std::mem::take(&mut self.flow);
                out.clear();
                self.flow(segment, place, flow, &mut out);
                if self.chunk.capacity() < out.len() {
                    self.chunk.reserve(CHUNK.max(out.len()));
                }
                self.chunk.extend_from_slice(&out);
                self.flow = out;
                self.chunk.split().freeze()
            }
            (None, _) => Bytes::new(),
        }
    }

    /// Appends the flow in a place of a segment.
    pub fn flow(&mut self, segment: &Segment, place: usize, flow: &Flow, out: &mut Vec<u8>) {
        let (index, extra) = (&*segment.index, segment.extra(flow));
        if self.generation != index.generation() {
            self.generation = index.generation();
            self.ends.clear();
            self.endpoints.make_room();
            self.run.clear();
            write_run(self.seed, self.generation, &mut self.run);
        }
        put_message(out, 1, |out| put_time(out, segment.flow_time_ns(flow)));
        put_message(out, 34, |out| {
            out.extend_from_slice(self.run.as_bytes());
            put_place(segment.before + place, out);
        });
        put_message(out, 41, |out| {
            put_bytes(out, 1, b"webb");
            put_bytes(out, 2, self.version.as_bytes());
        });
        put_set(out, 2, flow.verdict as u64);
        let reason = self.put_reason(flow, out);
        self.put_addresses(flow, extra, out);
        put_layer_4(flow, out);
        for (number, end) in [(8, End::Source), (9, End::Destination)] {
            self.put_end(number, end.id(flow), index, out);
        }
        put_set(out, 10, if flow.event == Event::L7 { 2 } else { 1 });
        put_text(out, 11, &self.node_name);
        for label in &*segment.node_labels {
            put_text(out, 37, label);
        }
        for (number, end) in [(13, End::Source), (14, End::Destination)] {
            let names = end.dns_names(flow, extra, index);
            if !names.is_empty() {
                put_list(out, number, &names.text());
            }
        }
        if let Some(l7) = extra.and_then(|extra| extra.l7.as_ref()) {
            put_layer_7(l7, &mut self.text, out);
        }
        put_set(out, 16, u64::from(flow.reply == Reply::Yes));
        put_event(flow, reason, out);
        put_services(flow, index, out);
        put_set(out, 22, flow.direction as u64);
        put_trace(flow, out);
        if flow.reply != Reply::Unknown {
            put_message(out, 26, |out| put_set(out, 1, u64::from(flow.reply == Reply::Yes)));
        }
        if flow.ifindex != 0 {
            put_message(out, 28, |out| {
                put_set(out, 1, flow.ifindex.into());
                put_text(out, 2, self.interfaces.name(flow.ifindex));
            });
        }
        if let Some(trace_id) = extra.map(|extra| &extra.trace_id).filter(|id| !id.is_empty()) {
            put_message(out, 30, |out| put_message(out, 1, |out| put_text(out, 1, trace_id)));
        }
        summary::write(flow, extra, &mut self.text);
        put_text(out, 100_000, &self.text);
        put_ruling(segment, flow, out);
    }

    /// The reason of a drop; its number, which is 0 of a reason that only the kernel has.
    fn put_reason(&mut self, flow: &Flow, out: &mut Vec<u8>) -> u64 {
        if flow.verdict != Verdict::Dropped {
            return 0;
        }
        if self.reasons.len() >= MAX_REASONS {
            self.reasons.clear();
        }
        let known = self.reasons.entry(flow.reason);
        let number = *known.or_insert_with(|| number_of(&DROP_REASONS, &flow.reason.0.text()).unwrap_or(0));
        let number = u64::try_from(number).unwrap_or(0);
        put_set(out, 3, number);
        put_set(out, 25, number);
        number
    }

    fn put_addresses(&mut self, flow: &Flow, extra: Option<&Extra>, out: &mut Vec<u8>) {
        if flow.family == Family::NotUsed {
            return;
        }
        put_message(out, 5, |out| {
            put_address(out, 1, flow.source_ip.ip(), &mut self.text);
            if let Some(address) = extra.and_then(|extra| extra.source_xlated) {
                put_address(out, 5, address.ip(), &mut self.text);
            }
            put_address(out, 2, flow.destination_ip.ip(), &mut self.text);
            put_set(out, 3, flow.family as u64);
            put_set(out, 4, u64::from(extra.is_some_and(|extra| extra.encrypted)));
        });
    }

    fn put_end(&mut self, number: u32, id: EndpointId, index: &Index, out: &mut Vec<u8>) {
        if id == EndpointId::NONE {
            return;
        }
        let endpoints = &mut self.endpoints;
        let row = *self.ends.entry(id).or_insert_with(|| endpoints.row(index.endpoint(id), index.identity(id)));
        if let Some(encoded) = self.endpoints.encoded.get(row) {
            put_bytes(out, number, encoded);
        }
    }
}

impl Endpoints {
    /// Forgets all if a symbol may mean another by now, or if there are many. Not while rows are in
    /// use: a segment may have more.
    fn make_room(&mut self) {
        let dropped = sym::dropped();
        if dropped != self.dropped_names || self.encoded.len() >= MAX_ENDPOINTS {
            self.encoded.clear();
            self.rows.clear();
            self.dropped_names = dropped;
        }
    }

    fn row(&mut self, end: &Endpoint, identity: Sym) -> usize {
        let names = [end.cluster, end.namespace, identity, end.pod_name, end.workloads];
        *self.rows.entry((end.identity_number, names)).or_insert_with(|| {
            self.encoded.push(endpoint(end, identity));
            self.encoded.len() - 1
        })
    }
}

/// An endpoint, encoded.
fn endpoint(endpoint: &Endpoint, identity: Sym) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_set(&mut out, 2, endpoint.identity_number.into());
    put_text(&mut out, 7, &endpoint.cluster.text());
    put_text(&mut out, 3, &endpoint.namespace.text());
    put_list(&mut out, 4, &identity.text());
    put_text(&mut out, 5, &endpoint.pod_name.text());
    let workloads = endpoint.workloads.text();
    for (name, kind) in workloads.split(',').filter_map(|text| text.rsplit_once('/')) {
        put_message(&mut out, 6, |out| {
            put_text(out, 1, name);
            put_text(out, 2, kind);
        });
    }
    out
}

fn put_layer_4(flow: &Flow, out: &mut Vec<u8>) {
    let number = match flow.l4 {
        L4::None => return,
        protocol => u32::from(protocol as u8),
    };
    put_message(out, 6, |out| {
        put_message(out, number, |out| match flow.l4 {
            L4::Tcp | L4::Udp | L4::Sctp => {
                put_set(out, 1, flow.source_port.into());
                put_set(out, 2, flow.destination_port.into());
                if flow.l4 == L4::Tcp && flow.tcp_flags.is_known() {
                    put_message(out, 3, |out| put_flags(flow.tcp_flags, out));
                }
                if flow.l4 == L4::Sctp && flow.sctp_chunk != SctpChunk::Unsupported {
                    put_set(out, 3, flow.sctp_chunk as u64);
                }
            }
            L4::IcmpV4 | L4::IcmpV6 => {
                put_set(out, 1, flow.icmp_type.into());
                put_set(out, 2, flow.icmp_code.into());
            }
            L4::Vrrp | L4::Igmp | L4::None => {}
        });
    });
}

/// The flags have the numbers 1 to 9 in the order of their bits.
fn put_flags(flags: TcpFlags, out: &mut Vec<u8>) {
    for (number, bit) in (1..=9).zip((0..9).map(|shift| 1 << shift)) {
        put_set(out, number, u64::from(flags.has(bit)));
    }
}

fn put_layer_7(l7: &L7, text: &mut String, out: &mut Vec<u8>) {
    put_message(out, 15, |out| {
        put_set(out, 1, l7.kind as u64);
        put_set(out, 2, l7.latency_ns);
        match &l7.record {
            L7Record::Dns(message) => put_message(out, 100, |out| put_dns(message, text, out)),
            L7Record::Http(message) => put_message(out, 101, |out| put_http(message, out)),
            // webb's own, in no flow of the API.
            L7Record::None | L7Record::Grpc(_) | L7Record::Unanswered(_) => {}
        }
    });
}

fn put_dns(message: &Dns, text: &mut String, out: &mut Vec<u8>) {
    put_text(out, 1, &message.query);
    for address in &message.addresses {
        put_address(out, 2, address.ip(), text);
    }
    put_set(out, 3, message.ttl.into());
    for name in &message.cnames {
        put_text(out, 4, name);
    }
    put_set(out, 6, message.rcode.into());
    for (number, types) in [(7, &message.qtypes), (8, &message.rrtypes)] {
        for name in types {
            put_bytes(out, number, name.as_bytes());
        }
    }
}

fn put_http(message: &Http, out: &mut Vec<u8>) {
    put_set(out, 1, message.code.into());
    put_text(out, 2, &message.method);
    put_text(out, 3, &message.url);
    put_text(out, 4, &message.protocol);
    for (key, value) in &message.headers {
        put_message(out, 5, |out| {
            put_text(out, 1, key);
            put_text(out, 2, value);
        });
    }
}

/// `event_type`: the number of the event, and of the point or reason.
fn put_event(flow: &Flow, reason: u64, out: &mut Vec<u8>) {
    put_message(out, 19, |out| {
        put_set(out, 1, flow.event as u64);
        match flow.event {
            Event::Trace if flow.point != Point::Other => put_set(out, 2, flow.point as u64),
            Event::Drop => put_set(out, 2, reason),
            _ => {}
        }
    });
}

fn put_services(flow: &Flow, index: &Index, out: &mut Vec<u8>) {
    if flow.service == ServiceEnd::NONE {
        return;
    }
    for (number, service) in [(20, flow.service.at_source()), (21, flow.service.at_destination())] {
        let service = index.services().name(service);
        if !service.name.is_empty() {
            put_message(out, number, |out| {
                put_text(out, 1, &service.name.text());
                put_text(out, 2, &service.namespace.text());
            });
        }
    }
}

/// The point of a trace, and the reason as far as it is known: a reply, or the packet that opens a
/// connection.
fn put_trace(flow: &Flow, out: &mut Vec<u8>) {
    const NEW: u64 = 1;
    const REPLY: u64 = 3;
    if flow.event != Event::Trace {
        return;
    }
    match flow.point {
        Point::ToEndpoint => put_set(out, 24, TO_ENDPOINT),
        Point::Other => {}
        point => put_set(out, 24, point as u64),
    }
    let opens = flow.l4 == L4::Tcp && flow.tcp_flags.has(TcpFlags::SYN) && !flow.tcp_flags.has(TcpFlags::ACK);
    match flow.reply {
        Reply::Yes => put_set(out, 36, REPLY),
        Reply::No if opens => put_set(out, 36, NEW),
        _ => {}
    }
}

/// The policy that decided, in the list of its direction and outcome.
fn put_ruling(segment: &Segment, flow: &Flow, out: &mut Vec<u8>) {
    if !flow.ruling.is_given() {
        return;
    }
    put_set(out, 23, flow.ruling.matched().into());
    let row = flow.ruling.policy().and_then(|row| usize::try_from(row).ok());
    let Some(policy) = row.and_then(|row| segment.policies.get(row)) else { return };
    let allows = flow.verdict == Verdict::Forwarded;
    let number = match (flow.direction, allows) {
        (webb_flow::Direction::Egress, true) => 21_001,
        (webb_flow::Direction::Ingress, true) => 21_002,
        (webb_flow::Direction::Egress, false) => 21_004,
        (webb_flow::Direction::Ingress, false) => 21_005,
        (webb_flow::Direction::Unknown, _) => return,
    };
    put_message(out, number, |out| {
        put_text(out, 1, &policy.name.text());
        put_text(out, 2, &policy.namespace.text());
        put_text(out, 5, policy.kind.name());
    });
}

fn put_address(out: &mut Vec<u8>, number: u32, address: IpAddr, text: &mut String) {
    text.clear();
    push_address(text, address);
    put_text(out, number, text);
}

/// Appends an address as text, that of IPv4 faster than a format does.
pub(crate) fn push_address(text: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (at, byte) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                for (unit, is_shown) in [(100, byte >= 100), (10, byte >= 10), (1, true)] {
                    if is_shown {
                        text.push(char::from(b'0' + byte / unit % 10));
                    }
                }
            }
        }
        // Writing to memory does not fail.
        IpAddr::V6(address) => _ = write!(text, "{address}"),
    }
}

/// A number, unless it is the one that an absent field has.
fn put_set(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_number(out, number, value);
    }
}

/// A text, unless it is empty.
fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, number, text.as_bytes());
    }
}

/// Texts that are joined with `,`.
fn put_list(out: &mut Vec<u8>, number: u32, texts: &str) {
    for text in texts.split(',').filter(|text| !text.is_empty()) {
        put_bytes(out, number, text.as_bytes());
    }
}
