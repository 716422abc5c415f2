//! Matches DNS messages: each answer needs an open query with the same id, name and type on the
//! same path.
//!
//! Queries are forgotten in the order of their last asking, after a time-out and at a bound.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use webb_flow::abi::Message;
use webb_flow::extra::L7Kind;
use webb_flow::hash::RandomState;

use super::arena::{Arena, Order};
use super::dns::{self, Head, Parser};
use super::event::{Connection, Content, Dns, Event, Judgement, Side, Unanswered as UnansweredQuestion, Wants};
use super::ledger::{Cut, Ledger, MessageOutcome, MessageType, Protocol, RecordOutcome, Unanswered};
use super::out::Out;

/// Bytes of names that are kept in all, for questions that are given up.
const MAX_TEXT_BYTES: usize = 4 << 20;

/// A question on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    connection: Connection,
    /// The hash of its name; 64 bits with seeds of this process.
    name: u64,
    qtype: u16,
    id: u16,
}

#[derive(Debug, Default)]
struct PendingQuery {
    question: Option<Question>,
    hash: u64,
    time_ns: u64,
    /// Askings that have no answer.
    open: u32,
    /// True if it was repeated before an answer.
    again: bool,
    protocol: Option<Protocol>,
    /// Its name, if questions that are given up are wanted and names are.
    query: String,
}

impl PendingQuery {
    /// Emits it in place of the answer that did not come.
    fn give_up(&self, time_ns: u64, out: &mut Out<'_>) {
        let (Some(Question { connection, qtype, .. }), Some(protocol)) = (self.question, self.protocol) else { return };
        let content = Content::Unanswered(UnansweredQuestion { query: &self.query, qtype, askings: self.open });
        out.sink.emit(&Event { time_ns, connection, kind: L7Kind::Response, content });
        out.ledger.message(protocol, MessageType::End, MessageOutcome::Emitted);
    }
}

/// The queries that have no answer yet.
#[derive(Debug)]
pub(super) struct Queries {
    arena: Arena<PendingQuery>,
    order: Order,
    found: HashTable<u32>,
    hasher: RandomState,
    parser: Parser,
    timeout_ns: u64,
    open: u64,
    /// Bytes of all names.
    texts: usize,
}

impl Queries {
    /// A table of at most `most` queries, each for `timeout_ns`.
    pub(super) fn new(most: usize, timeout_ns: u64) -> Self {
        Self {
            arena: Arena::new(most),
            order: Order::default(),
            found: HashTable::new(),
            hasher: RandomState::default(),
            parser: Parser::default(),
            timeout_ns,
            open: 0,
            texts: 0,
        }
    }

    /// Askings that have no answer yet.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Sets the time-out from now on.
    pub(super) fn set_timeout(&mut self, timeout_ns: u64) {
        self.timeout_ns = timeout_ns;
    }

    /// Drops expired queries, and emits them if they are wanted, `room` at most. Returns how many
    /// were emitted.
    pub(super) fn expire(&mut self, now_ns: u64, room: usize, out: &mut Out<'_>) -> usize {
        let mut emitted = 0;
        while let Some(oldest) = self.order.oldest() {
            let over = |asked: &&PendingQuery| asked.time_ns.saturating_add(self.timeout_ns) <= now_ns;
            let Some(asked) = self.arena.get(oldest).filter(over) else { break };
            if out.wants.unanswered {
                if emitted == room {
                    break;
                }
                emitted += 1;
                asked.give_up(now_ns, out);
            }
            self.forget(oldest, Unanswered::Expired, out.ledger);
        }
        emitted
    }

    /// Forgets all.
    pub(super) fn clear(&mut self, reason: Unanswered, ledger: &mut Ledger) {
        while let Some(oldest) = self.order.oldest() {
            self.forget(oldest, reason, ledger);
        }
    }

    fn forget(&mut self, id: u32, reason: Unanswered, ledger: &mut Ledger) {
        if let Some(asked) = self.arena.get_mut(id) {
            if let Some(protocol) = asked.protocol {
                ledger.unanswered(protocol, reason, u64::from(asked.open));
            }
            self.open -= u64::from(asked.open);
            if let Ok(entry) = self.found.find_entry(asked.hash, |known| *known == id) {
                entry.remove();
            }
        }
        self.arena.free(id, &mut self.order);
    }

    /// Reads a datagram.
    pub(super) fn datagram(&mut self, record: &Message, bytes: &[u8], out: &mut Out<'_>) -> RecordOutcome {
        let response = dns::is_response(bytes);
        let Some(connection) = Connection::of(record, !response) else { return RecordOutcome::Malformed };
        match out.sink.judge(&connection) {
            Judgement::Emit => self.message(&connection, record.time_ns, bytes, Protocol::Dns, out),
            judgement => refused(judgement, Protocol::Dns, bytes, out.ledger),
        }
    }

    /// Reads a whole message.
    pub(super) fn message(
        &mut self,
        connection: &Connection,
        time_ns: u64,
        bytes: &[u8],
        protocol: Protocol,
        out: &mut Out<'_>,
    ) -> RecordOutcome {
        let wants = Wants { addresses: out.wants.addresses && connection.side == Side::Client, ..out.wants };
        let head = match self.parser.parse(bytes, wants) {
            Ok(head) => head,
            Err(reason) => {
                out.ledger.unparsed(reason);
                return RecordOutcome::Unparsed;
            }
        };
        let question = Question { connection: *connection, name: head.name, qtype: head.qtype, id: head.id };
        let hash = self.hasher.hash_one(question);
        let arena = &self.arena;
        let is = |id: &u32| arena.get(*id).is_some_and(|asked| asked.question == Some(question));
        let known = self.found.find(hash, is).copied();
        let latency_ns = if head.response {
            let Some(known) = known else {
                out.ledger.message(protocol, MessageType::Response, MessageOutcome::Unmatched);
                return RecordOutcome::Unasked;
            };
            self.answered(known, time_ns)
        } else {
            self.ask((known, hash), question, time_ns, protocol, out);
            None
        };
        let (kind, of) = if head.response {
            (L7Kind::Response, MessageType::Response)
        } else {
            (L7Kind::Request, MessageType::Request)
        };
        out.ledger.message(protocol, of, MessageOutcome::Emitted);
        let content = Content::Dns(self.content(&head, latency_ns));
        out.sink.emit(&Event { time_ns, connection: *connection, kind, content });
        RecordOutcome::Message
    }

    fn content(&self, head: &Head, latency_ns: Option<u64>) -> Dns<'_> {
        let Parser { query, rrtypes, addresses, answered, cnames, .. } = &self.parser;
        let rcode = if head.response { head.rcode } else { 0 };
        let (qtype, ips, ttl) = (head.qtype, head.ips, head.ttl);
        Dns { query, qtype, rcode, ips, rrtypes, latency_ns, ttl, addresses, answered, cnames }
    }

    /// Takes an answer to a known question. The latency is known if that was asked once.
    fn answered(&mut self, id: u32, time_ns: u64) -> Option<u64> {
        let asked = self.arena.get_mut(id)?;
        asked.open -= 1;
        self.open -= 1;
        let latency_ns = (!asked.again).then(|| time_ns.saturating_sub(asked.time_ns));
        if asked.open == 0 {
            if let Ok(entry) = self.found.find_entry(asked.hash, |known| *known == id) {
                entry.remove();
            }
            self.arena.free(id, &mut self.order);
        }
        latency_ns
    }

    fn ask(
        &mut self,
        (known, hash): (Option<u32>, u64),
        question: Question,
        time_ns: u64,
        protocol: Protocol,
        out: &mut Out<'_>,
    ) {
        self.open += 1;
        if let Some(id) = known {
            if let Some(asked) = self.arena.get_mut(id) {
                asked.open += 1;
                asked.again = true;
                asked.time_ns = time_ns;
            }
            self.arena.touch(id, &mut self.order);
            return;
        }
        let taken = self.arena.take(&mut self.order).or_else(|| {
            self.forget(self.order.oldest()?, Unanswered::Evicted, out.ledger);
            self.arena.take(&mut self.order)
        });
        let Some(id) = taken else { return };
        if let Some(slot) = self.arena.get_mut(id) {
            let mut query = std::mem::take(&mut slot.query);
            query.clear();
            let name = if out.wants.unanswered { self.parser.query.as_str() } else { "" };
            let held = query.capacity();
            if self.texts + name.len().saturating_sub(held) <= MAX_TEXT_BYTES {
                query.reserve_exact(name.len());
                query.push_str(name);
                self.texts += query.capacity() - held;
            } else {
                out.ledger.cut(Cut::Text);
            }
            *slot = PendingQuery {
                question: Some(question),
                hash,
                time_ns,
                open: 1,
                again: false,
                protocol: Some(protocol),
                query,
            };
        }
        let arena = &self.arena;
        self.found.insert_unique(hash, id, |id| arena.get(*id).map_or(0, |asked| asked.hash));
    }
}

/// Counts a message that is not emitted here.
pub(super) fn refused(judgement: Judgement, protocol: Protocol, bytes: &[u8], ledger: &mut Ledger) -> RecordOutcome {
    let of = if dns::is_response(bytes) { MessageType::Response } else { MessageType::Request };
    let (message, record) = match judgement {
        Judgement::Transit => (MessageOutcome::Transit, RecordOutcome::Transit),
        _ => (MessageOutcome::OtherSide, RecordOutcome::OtherSide),
    };
    ledger.message(protocol, of, message);
    record
}
