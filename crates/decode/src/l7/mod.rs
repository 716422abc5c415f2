//! Layer 7: segments of DNS and HTTP in, messages out.
//!
//! A [`Dissector`] reads the records of one ring in their order. It is pure: the time is that of
//! the records, and what it knows of pods it asks its [`Sink`]. State is bounded by entries, bytes
//! and time. What cannot be matched is counted by reason in the [`Ledger`], never guessed.

mod arena;
mod buffers;
mod connections;
mod dns;
mod dns_tcp;
mod event;
mod fields;
mod head;
mod headers;
mod http1;
mod ledger;
mod out;
mod place;
mod queries;
mod redact;
mod requests;
#[cfg(test)]
mod tests;
mod url;

use buffers::Buffers;
use connections::Connections;
pub use dns::type_name;
use dns_tcp::Streams;
pub use event::{Connection, Content, Dns, Event, Grpc, GrpcStatus, Http, Judgement, Path, Port, Side, Sink, Wants};
use fields::Fields;
use http1::Shared;
use ledger::Protocol;
pub use ledger::{
    Abandoned, Cut, Doubt, Ledger, MessageOutcome, MessageType, Protocol as MessageProtocol, RecordOutcome, Unanswered,
    Unparsed,
};
use out::Out;
use queries::Queries;
pub use redact::{HeaderRule, REDACTED, Redact};
use requests::Requests;
use webb_flow::abi::{Message, message_kind};

/// Bounds of a dissector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// HTTP connections.
    pub connections: usize,
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

/// What is open now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// HTTP connections.
    pub connections: u64,
    /// HTTP requests without a response.
    pub requests: u64,
    /// DNS queries without an answer.
    pub queries: u64,
    /// Heads that wait for their rest.
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
        Self {
            wants,
            ledger: Ledger::default(),
            queries: Queries::new(limits.queries, limits.dns_timeout_ns),
            streams: Streams::new(limits.dns_streams),
            connections: Connections::new(limits.connections, shared),
        }
    }

    /// The counts so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is open now.
    pub fn gauges(&self) -> Gauges {
        let shared = self.connections.shared();
        Gauges {
            connections: self.connections.len() as u64,
            requests: shared.requests.open(),
            queries: self.queries.open(),
            partial_heads: shared.buffers.used() as u64,
        }
    }

    /// Reads a record of the ring. It is counted with exactly one outcome.
    pub fn read(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        let Some((record, payload)) = Message::split(bytes) else {
            // The kind of a record that cannot be read is not known either.
            return self.ledger.record(Protocol::Http1, RecordOutcome::Malformed);
        };
        let Self { wants, ledger, queries, streams, connections } = self;
        let mut out = Out { wants: *wants, ledger, sink };
        let (protocol, outcome) = match record.kind {
            message_kind::HTTP1 => (Protocol::Http1, connections.http1(&record, payload, &mut out)),
            message_kind::DNS => (Protocol::Dns, queries.datagram(&record, payload, &mut out)),
            message_kind::DNS_TCP => (Protocol::DnsTcp, streams.read(&record, payload, queries, &mut out)),
            _ => (Protocol::Http1, RecordOutcome::Malformed),
        };
        self.ledger.record(protocol, outcome);
    }

    /// Gives up what waited too long. Costs nothing but what is given up.
    pub fn expire(&mut self, now_ns: u64) {
        self.queries.expire(now_ns, &mut self.ledger);
        self.connections.shared_mut().requests.expire(now_ns, &mut self.ledger);
    }

    /// Forgets all state; open requests count as unanswered by a restart.
    pub fn restart(&mut self) {
        self.queries.clear(Unanswered::Restart, &mut self.ledger);
        self.streams.clear();
        self.connections.clear(Unanswered::Restart, &mut self.ledger);
    }

    /// Takes other wishes of the consumers, other time-outs and another redaction from here on.
    pub fn configure(&mut self, limits: Limits, wants: Wants, redact: Redact) {
        self.wants = wants;
        self.queries.set_timeout(limits.dns_timeout_ns);
        let shared = self.connections.shared_mut();
        shared.requests.set_timeout(limits.http_timeout_ns);
        shared.fields.redact = redact;
    }
}
