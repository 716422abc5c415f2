//! DNS over TCP: each direction is put together by sequence numbers, and cut into messages by their
//! lengths (RFC 1035, 4.2.2).
//!
//! Bytes that came early wait, up to a bound. A direction with a gap that is not filled, or one
//! that was joined in the middle of a message, is not followed any more.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use webb_flow::abi::{Message, message_flag};
use webb_flow::hash::RandomState;

use super::arena::{Arena, Order};
use super::dns;
use super::event::{Connection, Judgement, Path};
use super::ledger::{Abandoned, Ledger, Protocol, RecordOutcome};
use super::out::Out;
use super::queries::{Queries, refused};

/// Bytes of a message that are kept; of a longer one the rest is passed over.
const MESSAGE: usize = 8 * 1024;

/// Bytes that may wait for others before them.
const EARLY: usize = 8 * 1024;

/// Records that may wait.
const EARLY_RECORDS: usize = 16;

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    key: Option<(Path, bool)>,
    hash: u64,
    /// The sequence number behind the last byte in order.
    next: u32,
    /// Time of the record in which the message begins.
    time_ns: u64,
    /// The message so far, its length first.
    message: Vec<u8>,
    /// Bytes of a long message still to be passed over.
    skip: usize,
    /// Sequence number and length of what waits in `early`.
    waiting: Vec<(u32, usize)>,
    early: Vec<u8>,
    /// Whether a first message has shown that this is DNS.
    proved: bool,
    abandoned: bool,
    judgement: Option<Judgement>,
}

/// The directions that are followed.
#[derive(Debug)]
pub(super) struct Streams {
    arena: Arena<Stream>,
    order: Order,
    found: HashTable<u32>,
    hasher: RandomState,
}

impl Stream {
    /// Begins anew and keeps its buffers.
    fn begin(&mut self, key: (Path, bool), hash: u64, record: &Message) {
        let mut kept = std::mem::take(self);
        kept.message.clear();
        kept.early.clear();
        kept.waiting.clear();
        let Stream { message, early, waiting, .. } = kept;
        // A first record that is not the stream's first byte is where a message begins, or the
        // direction cannot be joined.
        *self = Self { key: Some(key), hash, next: record.begin, message, early, waiting, ..Self::default() };
    }

    fn abandon(&mut self, reason: Abandoned, ledger: &mut Ledger) {
        self.abandoned = true;
        self.message.clear();
        self.early.clear();
        self.waiting.clear();
        ledger.abandoned(reason);
    }

    /// Keeps bytes that came early. False if they find no room.
    fn wait(&mut self, sequence: u32, bytes: &[u8]) -> bool {
        if self.early.len() + bytes.len() > EARLY || self.waiting.len() >= EARLY_RECORDS {
            return false;
        }
        self.waiting.push((sequence, bytes.len()));
        self.early.extend_from_slice(bytes);
        true
    }
}

/// Shared parts for reading a message of a stream.
struct RecordReader<'a, 'b> {
    record: &'a Message,
    queries: &'a mut Queries,
    out: &'a mut Out<'b>,
    outcome: RecordOutcome,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        Self {
            arena: Arena::new(most),
            order: Order::default(),
            found: HashTable::new(),
            hasher: RandomState::default(),
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.found.clear();
        while let Some(id) = self.order.oldest() {
            self.arena.free(id, &mut self.order);
        }
    }

    /// Reads a record.
    pub(super) fn read(
        &mut self,
        record: &Message,
        bytes: &[u8],
        queries: &mut Queries,
        out: &mut Out<'_>,
    ) -> RecordOutcome {
        let Some(key) = Path::of(record) else { return RecordOutcome::Malformed };
        let Some(stream) = self.stream(key, record) else { return RecordOutcome::Malformed };
        if stream.abandoned {
            return RecordOutcome::Opaque;
        }
        let ahead = record.sequence.wrapping_sub(stream.next).cast_signed();
        if ahead > 0 {
            return if stream.wait(record.sequence, bytes) {
                RecordOutcome::Part
            } else {
                stream.abandon(Abandoned::Gap, out.ledger);
                RecordOutcome::Opaque
            };
        }
        let Some(fresh) = bytes.get(ahead.unsigned_abs() as usize..).filter(|fresh| !fresh.is_empty()) else {
            return RecordOutcome::Past;
        };
        let mut reader = RecordReader { record, queries, out, outcome: RecordOutcome::Part };
        reader.feed(stream, fresh);
        reader.late(stream);
        reader.outcome
    }

    /// The stream of a record; the one used longest ago makes room.
    fn stream(&mut self, key: (Path, bool), record: &Message) -> Option<&mut Stream> {
        let hash = self.hasher.hash_one(key);
        let arena = &self.arena;
        let is = |id: &u32| arena.get(*id).is_some_and(|stream| stream.key == Some(key));
        if let Some(id) = self.found.find(hash, is).copied() {
            self.arena.touch(id, &mut self.order);
            let stream = self.arena.get_mut(id)?;
            if record.has(message_flag::FIRST) {
                stream.begin(key, hash, record);
            }
            return Some(stream);
        }
        let id = self.arena.take(&mut self.order).or_else(|| {
            let oldest = self.order.oldest()?;
            let old = self.arena.get(oldest).map_or(0, |stream| stream.hash);
            if let Ok(entry) = self.found.find_entry(old, |id| *id == oldest) {
                entry.remove();
            }
            self.arena.touch(oldest, &mut self.order);
            Some(oldest)
        })?;
        self.arena.get_mut(id)?.begin(key, hash, record);
        let arena = &self.arena;
        self.found.insert_unique(hash, id, |id| arena.get(*id).map_or(0, |stream| stream.hash));
        self.arena.get_mut(id)
    }
}

impl RecordReader<'_, '_> {
    /// Takes bytes in order.
    fn feed(&mut self, stream: &mut Stream, bytes: &[u8]) {
        let advance = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        stream.next = stream.next.wrapping_add(advance);
        let mut rest = bytes;
        while !rest.is_empty() && !stream.abandoned {
            let skipped = stream.skip.min(rest.len());
            stream.skip -= skipped;
            rest = rest.get(skipped..).unwrap_or_default();
            if stream.message.is_empty() {
                stream.time_ns = self.record.time_ns;
            }
            let length = match *stream.message {
                [high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 2,
                _ => 2,
            };
            let missing = length.min(MESSAGE).saturating_sub(stream.message.len());
            let (taken, behind) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
            stream.message.extend_from_slice(taken);
            rest = behind;
            if stream.message.len() > 2 && stream.message.len() == length.min(MESSAGE) {
                stream.skip = length - stream.message.len();
                self.message(stream);
                stream.message.clear();
            } else if length == 2 && stream.message == [0, 0] {
                self.refuse(stream);
            }
        }
    }

    /// Takes what waited for the bytes that are there now.
    fn late(&mut self, stream: &mut Stream) {
        let early = std::mem::take(&mut stream.early);
        let mut again = true;
        while again && !stream.abandoned {
            again = false;
            let mut at = 0;
            for index in 0..stream.waiting.len() {
                let Some(&(sequence, length)) = stream.waiting.get(index) else { break };
                let ahead = sequence.wrapping_sub(stream.next).cast_signed();
                let bytes = early.get(at..at + length).unwrap_or_default();
                at += length;
                if ahead > 0 || length == 0 {
                    continue;
                }
                let fresh = bytes.get(ahead.unsigned_abs() as usize..).unwrap_or_default();
                if !fresh.is_empty() {
                    self.feed(stream, fresh);
                    again = true;
                }
            }
        }
        stream.early = early;
        let next = stream.next;
        if stream.waiting.iter().all(|(sequence, _)| sequence.wrapping_sub(next).cast_signed() <= 0) {
            stream.waiting.clear();
            stream.early.clear();
        }
    }

    fn message(&mut self, stream: &mut Stream) {
        let bytes = stream.message.get(2..).unwrap_or_default();
        if !stream.proved && !dns::plausible(bytes) {
            return self.refuse(stream);
        }
        stream.proved = true;
        let sender_is_client = !dns::is_response(bytes);
        let Some(connection) = Connection::of(self.record, sender_is_client) else { return };
        let judgement = *stream.judgement.get_or_insert_with(|| self.out.sink.judge(&connection));
        let outcome = if judgement == Judgement::Emit {
            self.queries.message(&connection, stream.time_ns, bytes, Protocol::DnsTcp, self.out)
        } else {
            refused(judgement, Protocol::DnsTcp, bytes, self.out.ledger)
        };
        if self.outcome != RecordOutcome::Message {
            self.outcome = outcome;
        }
    }

    /// Counts a stream that is no DNS, and drops it.
    fn refuse(&mut self, stream: &mut Stream) {
        stream.abandon(Abandoned::Gap, self.out.ledger);
        if self.outcome != RecordOutcome::Message {
            self.outcome = RecordOutcome::Unparsed;
        }
    }
}
