//! The dissector: one record in, its messages out; the bounds of all that it keeps.

use webb_flow::abi::{Message, message_kind};

use super::buffers::Buffers;
use super::closes::{Close, Closes};
use super::connections::Connections;
use super::dns_tcp::Streams;
use super::event::{Connection, Event, Judgement, Sink, Wants};
use super::fields::Fields;
use super::http1::Shared;
use super::http2::Blocks;
use super::ledger::{Ledger, Protocol, RecordOutcome, Unanswered};
use super::out::Out;
use super::queries::Queries;
use super::redact::Redact;
use super::requests::Requests;

/// Bounds of a dissector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// HTTP connections.
    pub connections: usize,
    /// Those of them that are HTTP/2.
    pub http2_connections: usize,
    /// HTTP/2 frames and header blocks that wait for their rest.
    pub partial_blocks: usize,
    /// Bytes of all HPACK tables.
    pub table_bytes: usize,
    /// HTTP requests that wait for a response, of all connections.
    pub requests: usize,
    /// Heads that wait for their rest.
    pub partial_heads: usize,
    /// Bytes of such a head.
    pub head_bytes: usize,
    /// Time after which an HTTP request is given up, in nanoseconds.
    pub http_timeout_ns: u64,
    /// DNS queries that wait for an answer.
    pub queries: usize,
    /// Directions of DNS connections over TCP.
    pub dns_streams: usize,
    /// Time after which a DNS query is given up, in nanoseconds.
    pub dns_timeout_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            http2_connections: 4096,
            partial_blocks: 256,
            table_bytes: 8 << 20,
            requests: 65_536,
            partial_heads: 512,
            head_bytes: 2048,
            http_timeout_ns: 300_000_000_000,
            queries: 65_536,
            dns_streams: 1024,
            dns_timeout_ns: 10_000_000_000,
        }
    }
}

/// Numbers of open connections and requests now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// HTTP connections.
    pub connections: u64,
    /// HTTP requests without a response.
    pub requests: u64,
    /// DNS queries without an answer.
    pub queries: u64,
    /// Heads, frames and header blocks that wait for their rest.
    pub partial_heads: u64,
}

/// Turns records into messages.
#[derive(Debug)]
pub struct Dissector {
    wants: Wants,
    ledger: Ledger,
    queries: Queries,
    streams: Streams,
    connections: Connections,
    closes: Closes,
}

/// A consumer for what is dropped: a restart emits nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn judge(&mut self, _: &Connection) -> Judgement {
        Judgement::Transit
    }

    fn emit(&mut self, _: &Event<'_>) {}
}

impl Dissector {
    /// A dissector without state.
    pub fn new(limits: Limits, wants: Wants, redact: Redact) -> Self {
        let shared = Shared {
            requests: Requests::new(limits.requests, limits.http_timeout_ns),
            buffers: Buffers::new(limits.partial_heads),
            fields: Fields::new(redact),
            head_bytes: limits.head_bytes,
        };
        let blocks = Blocks::new(limits.partial_blocks, limits.table_bytes);
        Self {
            wants,
            ledger: Ledger::default(),
            queries: Queries::new(limits.queries, limits.dns_timeout_ns),
            streams: Streams::new(limits.dns_streams),
            connections: Connections::new(limits.connections, limits.http2_connections, shared, blocks),
            closes: Closes::default(),
        }
    }

    /// The counts so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Numbers of open connections and requests now.
    pub fn gauges(&self) -> Gauges {
        let shared = self.connections.shared();
        Gauges {
            connections: self.connections.len() as u64,
            requests: shared.requests.open(),
            queries: self.queries.open(),
            partial_heads: (shared.buffers.used() + self.connections.partial_blocks()) as u64,
        }
    }

    /// Reads a record of the ring. It is counted with exactly one outcome.
    pub fn read(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        let Some((record, payload)) = Message::split(bytes) else {
            // The kind of a record that cannot be read is not known either.
            return self.ledger.record(Protocol::Http1, RecordOutcome::Malformed);
        };
        let Self { wants, ledger, queries, streams, connections, .. } = self;
        let mut out = Out { wants: *wants, now_ns: record.time_ns, ledger, sink };
        let (protocol, outcome) = match record.kind {
            message_kind::HTTP1 => (Protocol::Http1, connections.http1(&record, payload, &mut out)),
            message_kind::HTTP2 => (Protocol::Http2, connections.http2(&record, payload, &mut out)),
            message_kind::DNS => (Protocol::Dns, queries.datagram(&record, payload, &mut out)),
            message_kind::DNS_TCP => (Protocol::DnsTcp, streams.read(&record, payload, queries, &mut out)),
            _ => (Protocol::Http1, RecordOutcome::Malformed),
        };
        self.ledger.record(protocol, outcome);
    }

    /// Records were lost in the ring: what the tables of HTTP/2 hold is not known any more. Frames
    /// do not follow each other, so a connection cannot show it itself.
    pub fn records_lost(&mut self) {
        self.connections.lost();
    }

    /// Drops what waited too long, and emits the DNS questions and gRPC calls among it if they are
    /// wanted: `room` at most, the rest at the next call. Costs nothing but what is dropped.
    /// Returns how many were emitted.
    pub fn expire(&mut self, now_ns: u64, room: usize, sink: &mut dyn Sink) -> usize {
        let Self { wants, ledger, queries, connections, .. } = self;
        let mut out = Out { wants: *wants, now_ns, ledger, sink };
        let questions = queries.expire(now_ns, room, &mut out);
        questions + connections.shared_mut().requests.expire(now_ns, room.saturating_sub(questions), &mut out)
    }

    /// Takes a close of a connection, for [`Dissector::end_closed`].
    pub fn close(&mut self, close: Close) {
        self.closes.add(close);
    }

    /// Drops the connections of HTTP/2 that were closed, and emits the ends of their gRPC calls.
    /// All records from before `now_ns` must have been read. Once `room` were emitted, the rest
    /// waits for the next call; the calls of one connection are emitted together. Returns how many
    /// were.
    pub fn end_closed(&mut self, now_ns: u64, room: usize, sink: &mut dyn Sink) -> usize {
        let Self { wants, ledger, connections, closes, .. } = self;
        let mut out = Out { wants: *wants, now_ns, ledger, sink };
        let mut emitted = 0;
        while emitted < room
            && let Some(close) = closes.next(now_ns)
        {
            emitted += connections.close(&close, &mut out);
        }
        emitted
    }

    /// Forgets all state; open requests count as unanswered by a restart.
    pub fn restart(&mut self) {
        self.queries.clear(Unanswered::Restart, &mut self.ledger);
        self.streams.clear();
        self.connections.clear(
            Unanswered::Restart,
            &mut Out { wants: self.wants, now_ns: 0, ledger: &mut self.ledger, sink: &mut Nowhere },
        );
    }

    /// Counts a record of this kind at which a run of the dissector panicked, and clears all state,
    /// since it may be half written.
    pub fn panicked(&mut self, kind: u8) {
        let protocol = match kind {
            message_kind::HTTP2 => Protocol::Http2,
            message_kind::DNS => Protocol::Dns,
            message_kind::DNS_TCP => Protocol::DnsTcp,
            _ => Protocol::Http1,
        };
        self.ledger.record(protocol, RecordOutcome::Panicked);
        self.restart();
    }

    /// Applies other wishes of the consumers, other time-outs and another redaction from here on.
    pub fn configure(&mut self, limits: Limits, wants: Wants, redact: Redact) {
        self.wants = wants;
        self.queries.set_timeout(limits.dns_timeout_ns);
        let shared = self.connections.shared_mut();
        shared.requests.set_timeout(limits.http_timeout_ns);
        shared.fields.redact = redact;
    }
}
