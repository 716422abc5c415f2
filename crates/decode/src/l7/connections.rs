//! HTTP connections, found by their path, a bounded number of them.
//!
//! When all are used, the one used longest ago makes room; among the oldest few one without open
//! requests does first.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use webb_flow::abi::{Message, message_flag};
use webb_flow::hash::RandomState;

use super::arena::{Arena, Order};
use super::closes::{Close, TICKS_NS};
use super::event::{Connection, Judgement, Path};
use super::frames::is_preface;
use super::http1::{Http1, Http1Reader, Shared};
use super::http2::{Blocks, Http2, Http2Reader};
use super::ledger::{Ledger, MessageOutcome, MessageType, Protocol, RecordOutcome, Unanswered};
use super::out::Out;

/// Maximal number of oldest connections that are searched for one without open requests.
const MAX_PROBES: usize = 16;

/// Protocol state of a connection.
#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Http1(Http1),
    /// A slot of the HTTP/2 connections.
    Http2(u32),
}

#[derive(Debug, Default)]
struct Entry {
    path: Option<Path>,
    /// The connection with its client, once that is known.
    known: Option<(Connection, Judgement)>,
    hash: u64,
    state: State,
}

/// The connections.
#[derive(Debug)]
pub(super) struct Connections {
    arena: Arena<Entry>,
    order: Order,
    found: HashTable<u32>,
    hasher: RandomState,
    shared: Shared,
    http2: Arena<Http2>,
    http2_order: Order,
    blocks: Blocks,
}

impl Connections {
    /// A table of at most `most` connections, of which `http2` are HTTP/2.
    pub(super) fn new(most: usize, http2: usize, shared: Shared, blocks: Blocks) -> Self {
        Self {
            arena: Arena::new(most),
            order: Order::default(),
            found: HashTable::new(),
            hasher: RandomState::default(),
            shared,
            http2: Arena::new(http2),
            http2_order: Order::default(),
            blocks,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn shared_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }

    /// Forgets all.
    pub(super) fn clear(&mut self, reason: Unanswered, out: &mut Out<'_>) {
        while let Some(oldest) = self.order.oldest() {
            self.remove(oldest, reason, out);
        }
    }

    /// Reads a record of HTTP/1.
    pub(super) fn http1(&mut self, record: &Message, bytes: &[u8], out: &mut Out<'_>) -> RecordOutcome {
        let Some((path, sender_is_pod)) = Path::of(record) else { return RecordOutcome::Malformed };
        let hash = self.hasher.hash_one(path);
        let mut id = self.find(hash, &path);
        let first = record.has(message_flag::FIRST);
        if let Some(known) = id
            && (first || self.is_over(known, record, sender_is_pod))
        {
            self.remove(known, Unanswered::Closed, out);
            id = None;
        }
        let id = id.or_else(|| {
            let connection = Connection::of(record, !is_response(bytes))?;
            let known = Some((connection, out.sink.judge(&connection)));
            let entry = Entry { path: Some(path), known, hash, state: State::Http1(Http1::default()) };
            self.insert(entry, out)
        });
        let Some(id) = id else { return RecordOutcome::Malformed };
        self.arena.touch(id, &mut self.order);
        let Some(entry) = self.arena.get_mut(id) else { return RecordOutcome::Malformed };
        let (Some((connection, judgement)), State::Http1(state)) = (&entry.known, &mut entry.state) else {
            return RecordOutcome::Opaque;
        };
        let from_client = sender_is_pod == (connection.path.pod == connection.client());
        match judgement {
            Judgement::Emit => {
                let shared = &mut self.shared;
                Http1Reader { id, state, connection, from_client, record, shared, out }.read(bytes)
            }
            judgement => refused(*judgement, from_client, bytes, out.ledger),
        }
    }

    /// Reads a record of HTTP/2.
    pub(super) fn http2(&mut self, record: &Message, bytes: &[u8], out: &mut Out<'_>) -> RecordOutcome {
        let Some((path, sender_is_pod)) = Path::of(record) else { return RecordOutcome::Malformed };
        let hash = self.hasher.hash_one(path);
        let mut id = self.find(hash, &path);
        let preface = is_preface(bytes);
        if let Some(known) = id {
            let is_http2 = self.arena.get(known).is_some_and(|entry| matches!(entry.state, State::Http2(_)));
            if preface || record.has(message_flag::FIRST) || !is_http2 {
                self.remove(known, Unanswered::Closed, out);
                id = None;
            }
        }
        let id = id.or_else(|| {
            let slot = self.http2.take(&mut self.http2_order).or_else(|| {
                let oldest = self.http2_order.oldest()?;
                let owner = self.http2.get(oldest)?.owner;
                self.remove(owner, Unanswered::Evicted, out);
                self.http2.take(&mut self.http2_order)
            })?;
            let entry = Entry { path: Some(path), known: None, hash, state: State::Http2(slot) };
            let id = self.insert(entry, out);
            match (id, self.http2.get_mut(slot)) {
                (Some(id), Some(state)) => state.begin(id, !preface, record.time_ns, &mut self.blocks),
                _ => self.http2.free(slot, &mut self.http2_order),
            }
            id
        });
        let Some(id) = id else { return RecordOutcome::Malformed };
        self.arena.touch(id, &mut self.order);
        let Some(entry) = self.arena.get_mut(id) else { return RecordOutcome::Malformed };
        let State::Http2(slot) = entry.state else { return RecordOutcome::Opaque };
        self.http2.touch(slot, &mut self.http2_order);
        let Some(state) = self.http2.get_mut(slot) else { return RecordOutcome::Malformed };
        state.seen_ns.1 = record.time_ns;
        let (known, shared, outcome) = (&mut entry.known, &mut self.shared, RecordOutcome::Part);
        Http2Reader { id, known, sender_is_pod, record, shared, out, outcome }.read(state, &mut self.blocks, bytes)
    }

    /// Applies a close: a connection of HTTP/2 that is closed by both sides, or reset, is forgotten
    /// with its requests. Returns how many these were. A close that is older than the connection,
    /// or than its last record, is not that connection's end.
    pub(super) fn close(&mut self, close: &Close, out: &mut Out<'_>) -> usize {
        let hash = self.hasher.hash_one(close.path);
        let Some(id) = self.find(hash, &close.path) else { return 0 };
        let Some(&State::Http2(slot)) = self.arena.get(id).map(|entry| &entry.state) else { return 0 };
        let Some(state) = self.http2.get_mut(slot) else { return 0 };
        let (first_ns, last_ns) = state.seen_ns;
        let latest_ns = close.time_ns.saturating_add(TICKS_NS);
        if first_ns > latest_ns {
            return 0;
        }
        let [pod, peer] = &mut state.closed;
        *pod |= close.from_pod && !close.is_reset;
        *peer |= !close.from_pod && !close.is_reset;
        if last_ns > latest_ns || !(close.is_reset || (*pod && *peer)) {
            return 0;
        }
        let requests = self.shared.requests.count(id);
        self.remove(id, Unanswered::Closed, out);
        requests
    }

    /// Records were lost: no table of HTTP/2 is known any more.
    pub(super) fn lost(&mut self) {
        self.blocks.epoch += 1;
    }

    /// Header blocks and frames that wait for their rest.
    pub(super) fn partial_blocks(&self) -> usize {
        self.blocks.buffers.used()
    }

    fn is_over(&self, id: u32, record: &Message, sender_is_pod: bool) -> bool {
        self.arena.get(id).is_some_and(|entry| match (&entry.state, &entry.known) {
            (State::Http1(state), Some((connection, _))) => {
                state.is_over(record, sender_is_pod == (connection.path.pod == connection.client()))
            }
            _ => false,
        })
    }

    fn find(&self, hash: u64, path: &Path) -> Option<u32> {
        let is = |id: &u32| {
            let entry = self.arena.get(*id);
            entry.is_some_and(|entry| entry.path.as_ref() == Some(path))
        };
        self.found.find(hash, is).copied()
    }

    fn insert(&mut self, entry: Entry, out: &mut Out<'_>) -> Option<u32> {
        let hash = entry.hash;
        let id = self.arena.take(&mut self.order).or_else(|| {
            self.evict(out);
            self.arena.take(&mut self.order)
        })?;
        *self.arena.get_mut(id)? = entry;
        let arena = &self.arena;
        self.found.insert_unique(hash, id, |id| arena.get(*id).map_or(0, |entry| entry.hash));
        Some(id)
    }

    fn evict(&mut self, out: &mut Out<'_>) {
        let (mut busy, mut looked) = (self.order.oldest(), 0);
        while let Some(id) = busy {
            if !self.shared.requests.any(id) || looked == MAX_PROBES {
                break;
            }
            looked += 1;
            busy = self.arena.behind(id);
        }
        if let Some(id) = busy.filter(|id| !self.shared.requests.any(*id)).or(self.order.oldest()) {
            self.remove(id, Unanswered::Evicted, out);
        }
    }

    fn remove(&mut self, id: u32, reason: Unanswered, out: &mut Out<'_>) {
        self.shared.requests.drop_all(id, reason, out);
        if let Some(entry) = self.arena.get_mut(id) {
            match std::mem::take(&mut entry.state) {
                State::Http1(mut state) => state.release(&mut self.shared.buffers, out.ledger),
                State::Http2(slot) => {
                    if let Some(state) = self.http2.get_mut(slot) {
                        state.release(&mut self.blocks);
                    }
                    self.http2.free(slot, &mut self.http2_order);
                }
                State::Free => {}
            }
            entry.path = None;
            if let Ok(found) = self.found.find_entry(entry.hash, |known| *known == id) {
                found.remove();
            }
        }
        self.arena.free(id, &mut self.order);
    }
}

/// True if the first bytes of a connection are a response's. Of one letter nothing can be told; a
/// request is taken for one then.
fn is_response(bytes: &[u8]) -> bool {
    const BEGIN: &[u8] = b"HTTP/1.";
    bytes.starts_with(BEGIN) || (bytes.len() > 1 && BEGIN.starts_with(bytes))
}

/// Counts a record of a connection that is not emitted here.
fn refused(judgement: Judgement, from_client: bool, bytes: &[u8], ledger: &mut Ledger) -> RecordOutcome {
    let (message, record) = match judgement {
        Judgement::Transit => (MessageOutcome::Transit, RecordOutcome::Transit),
        _ => (MessageOutcome::OtherSide, RecordOutcome::OtherSide),
    };
    let of = match (from_client, bytes.starts_with(b"HTTP/1.")) {
        (false, true) => MessageType::Response,
        (true, false) if bytes.first().is_some_and(u8::is_ascii_alphabetic) => MessageType::Request,
        _ => return record,
    };
    ledger.message(Protocol::Http1, of, message);
    record
}
