//! HTTP requests that wait for a response, by connection and in the order of their time.
//!
//! A request is given up after a time-out, when its connection has too many, and when all have. Its
//! method and texts are kept for the response, since that bears them too.

use webb_flow::extra::L7Kind;

use super::arena::{Arena, NONE, Order};
use super::event::{Connection, Content, Event, Grpc, GrpcStatus};
use super::grpc::Call;
use super::head::METHOD;
use super::ledger::{Cut, MessageOutcome, MessageType, Protocol, Unanswered};
use super::out::Out;

/// Requests that may be open on a connection.
pub(super) const MAX_REQUESTS_PER_CONNECTION: u16 = 256;

/// Bytes of texts that are kept in all.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// Bytes that a text may keep after its request has ended.
const KEPT_TEXT_BYTES: usize = 1024;

/// A method, kept in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Method {
    letters: [u8; METHOD],
    length: u8,
}

impl Method {
    /// The first letters of a text.
    pub(super) fn new(text: &str) -> Self {
        let mut method = Self::default();
        for (to, from) in method.letters.iter_mut().zip(text.bytes()) {
            *to = from;
            method.length += 1;
        }
        method
    }

    pub(super) fn text(&self) -> &str {
        self.letters.get(..usize::from(self.length)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Texts of a request that its response bears too.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    pub(super) url: String,
    pub(super) trace_id: String,
    pub(super) request_id: String,
    /// The path of a gRPC call.
    pub(super) path: String,
}

impl Texts {
    fn all(&mut self) -> [&mut String; 4] {
        [&mut self.url, &mut self.trace_id, &mut self.request_id, &mut self.path]
    }

    pub(super) fn clear(&mut self) {
        self.all().into_iter().for_each(String::clear);
    }
}

/// A request.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// The sequence number of its head, or its stream.
    pub(super) at: u32,
    pub(super) acknowledgement: u32,
    pub(super) time_ns: u64,
    pub(super) method: Method,
    pub(super) protocol: &'static str,
    /// Whether it is a gRPC call; one stays when its response has come, for its end.
    pub(super) call: Call,
    pub(super) answered: bool,
    pub(super) texts: Texts,
    connection: u32,
    next: u32,
    of: Option<Protocol>,
}

/// Requests of one connection.
#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u32,
    count: u16,
    /// The connection, once it has had a gRPC call.
    of_calls: Option<Connection>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { first: NONE, count: 0, of_calls: None }
    }
}

/// All that wait.
#[derive(Debug)]
pub(super) struct Requests {
    arena: Arena<Open>,
    order: Order,
    /// Open requests, by connection.
    queues: Vec<Queue>,
    timeout_ns: u64,
    texts: usize,
    /// Those that are not answered.
    open: u64,
}

impl Requests {
    pub(super) fn new(most: usize, timeout_ns: u64) -> Self {
        Self { arena: Arena::new(most), order: Order::default(), queues: Vec::new(), timeout_ns, texts: 0, open: 0 }
    }

    pub(super) fn open(&self) -> u64 {
        self.open
    }

    pub(super) fn set_timeout(&mut self, timeout_ns: u64) {
        self.timeout_ns = timeout_ns;
    }

    fn queue(&self, connection: u32) -> Queue {
        self.queues.get(connection as usize).copied().unwrap_or_default()
    }

    fn queue_mut(&mut self, connection: u32) -> Option<&mut Queue> {
        let index = connection as usize;
        if self.queues.len() <= index {
            self.queues.resize(index + 1, Queue::default());
        }
        self.queues.get_mut(index)
    }

    /// True if a request of the connection is kept.
    #[inline]
    pub(super) fn any(&self, connection: u32) -> bool {
        self.queues.get(connection as usize).is_some_and(|queue| queue.count > 0)
    }

    /// Number of requests of the connection that are kept.
    pub(super) fn count(&self, connection: u32) -> usize {
        usize::from(self.queue(connection).count)
    }

    /// The connection's request that was sent first.
    #[inline]
    pub(super) fn oldest(&self, connection: u32) -> Option<&Open> {
        self.arena.get(self.queues.get(connection as usize)?.first)
    }

    /// The request at a sequence number, or of a stream.
    pub(super) fn find(&mut self, connection: u32, at: u32) -> Option<(u32, &mut Open)> {
        let mut id = self.queue(connection).first;
        while self.arena.get(id)?.at != at {
            id = self.arena.get(id)?.next;
        }
        Some((id, self.arena.get_mut(id)?))
    }

    /// Adds a request, in the order of sequence numbers. The texts are kept as far as there is
    /// room.
    pub(super) fn add(&mut self, connection: u32, of: Protocol, request: &Open, out: &mut Out<'_>) {
        let queue = self.queue(connection);
        if queue.count >= MAX_REQUESTS_PER_CONNECTION {
            self.remove(queue.first, Some(Unanswered::Limit), out);
        }
        let taken = self.arena.take(&mut self.order).or_else(|| {
            self.remove(self.order.oldest()?, Some(Unanswered::Limit), out);
            self.arena.take(&mut self.order)
        });
        let Some(id) = taken else { return };
        self.open += 1;
        let (before, next) = self.place(connection, request.at);
        if let Some(slot) = self.arena.get_mut(id) {
            let mut texts = std::mem::take(&mut slot.texts);
            texts.clear();
            let Open { at, acknowledgement, time_ns, method, protocol, call, .. } = *request;
            *slot = Open {
                at,
                acknowledgement,
                time_ns,
                method,
                protocol,
                call,
                answered: false,
                texts,
                connection,
                next,
                of: Some(of),
            };
            let wanted = [&request.texts.url, &request.texts.trace_id, &request.texts.request_id, &request.texts.path];
            for (to, from) in slot.texts.all().into_iter().zip(wanted) {
                let held = to.capacity();
                if self.texts + from.len().saturating_sub(held) > MAX_TEXT_BYTES {
                    out.ledger.cut(Cut::Text);
                    continue;
                }
                to.push_str(from);
                self.texts += to.capacity() - held;
            }
        }
        match self.arena.get_mut(before) {
            Some(before) => before.next = id,
            None => _ = self.queue_mut(connection).map(|queue| queue.first = id),
        }
        if let Some(queue) = self.queue_mut(connection) {
            queue.count += 1;
        }
    }

    /// The requests between which one at `at` belongs. Nearly always it is the last, but of few.
    fn place(&self, connection: u32, at: u32) -> (u32, u32) {
        let (mut before, mut next) = (NONE, self.queue(connection).first);
        while let Some(open) = self.arena.get(next) {
            if open.at.wrapping_sub(at).cast_signed() > 0 {
                break;
            }
            (before, next) = (next, open.next);
        }
        (before, next)
    }

    /// Marks a request as answered, and forgets it unless more of it is to come.
    pub(super) fn answered(&mut self, id: u32, stays: bool, out: &mut Out<'_>) {
        if let Some(open) = self.arena.get_mut(id)
            && !open.answered
        {
            open.answered = true;
            self.open -= 1;
        }
        if !stays {
            self.remove(id, None, out);
        }
    }

    /// The id of the connection's request that was sent first.
    pub(super) fn first(&self, connection: u32) -> Option<u32> {
        self.queues.get(connection as usize).map(|queue| queue.first).filter(|first| *first != NONE)
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Open> {
        self.arena.get(id)
    }

    /// Raises what the open requests of a connection acknowledge: so much of the responses was
    /// seen.
    pub(super) fn acknowledge(&mut self, connection: u32, to: u32) {
        let mut id = self.queue(connection).first;
        while let Some(open) = self.arena.get_mut(id) {
            if to.wrapping_sub(open.acknowledgement).cast_signed() > 0 {
                open.acknowledgement = to;
            }
            id = open.next;
        }
    }

    /// Forgets all requests of a connection. Returns whether there were any.
    pub(super) fn drop_all(&mut self, connection: u32, reason: Unanswered, out: &mut Out<'_>) -> bool {
        let any = self.any(connection);
        while let Some(first) = self.first(connection) {
            self.remove(first, Some(reason), out);
        }
        any
    }

    /// Notes the connection of a gRPC call, whose end may have to be emitted without a record.
    pub(super) fn note_calls(&mut self, id: u32, connection: &Connection) {
        if let Some(queue) = self.queue_mut(id) {
            queue.of_calls = Some(*connection);
        }
    }

    /// Drops expired requests, and emits the ends of calls among them, `room` at most. Returns how
    /// many were emitted.
    pub(super) fn expire(&mut self, now_ns: u64, room: usize, out: &mut Out<'_>) -> usize {
        let mut emitted = 0;
        while let Some(oldest) = self.order.oldest() {
            let over = |open: &&Open| open.time_ns.saturating_add(self.timeout_ns) <= now_ns;
            let Some(open) = self.arena.get(oldest).filter(over) else { break };
            if open.call == Call::Yes {
                if emitted == room {
                    break;
                }
                emitted += 1;
            }
            self.remove(oldest, Some(Unanswered::Timeout), out);
        }
        emitted
    }

    /// Emits the end of a call that was not seen.
    fn give_up(&self, open: &Open, reason: Unanswered, out: &mut Out<'_>) {
        let Some(connection) = self.queue(open.connection).of_calls.filter(|_| reason != Unanswered::Restart) else {
            return out.ledger.cut(Cut::Call);
        };
        let content = Content::Grpc(Grpc { status: GrpcStatus::Unknown, path: &open.texts.path, duration_ns: 0 });
        out.sink.emit(&Event { time_ns: out.now_ns, connection, kind: L7Kind::Response, content });
        out.ledger.message(Protocol::Http2, MessageType::End, MessageOutcome::Emitted);
    }

    /// Forgets a request. With a reason, it has no response, or its call no end, because of that.
    pub(super) fn remove(&mut self, id: u32, reason: Option<Unanswered>, out: &mut Out<'_>) {
        if let (Some(open), Some(reason)) = (self.arena.get(id), reason) {
            match open.call {
                Call::Yes => self.give_up(open, reason, out),
                Call::Perhaps => out.ledger.cut(Cut::Untyped),
                Call::No => {}
            }
        }
        let Some(open) = self.arena.get_mut(id) else { return };
        let (connection, next) = (open.connection, open.next);
        if !open.answered {
            self.open -= 1;
            if let Some((reason, of)) = reason.zip(open.of) {
                out.ledger.unanswered(of, reason, 1);
            }
        }
        for text in open.texts.all() {
            if text.capacity() > KEPT_TEXT_BYTES {
                self.texts -= text.capacity();
                *text = String::new();
            }
        }
        let first = self.queue(connection).first;
        if first == id {
            if let Some(queue) = self.queue_mut(connection) {
                queue.first = next;
            }
        } else {
            let mut before = first;
            while let Some(open) = self.arena.get_mut(before) {
                if open.next == id {
                    open.next = next;
                    break;
                }
                before = open.next;
            }
        }
        if let Some(queue) = self.queue_mut(connection) {
            queue.count = queue.count.saturating_sub(1);
        }
        self.arena.free(id, &mut self.order);
    }
}
