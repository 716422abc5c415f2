//! HTTP/1: requests and responses of a connection, matched in their order.
//!
//! A response answers the oldest request that is open. Whenever it is not sure any more which that
//! is, the connection is in doubt: open requests are given up, and responses are matched again when
//! a single request is followed by a single response. So alternation heals, and pipelining is not
//! guessed.

use webb_flow::abi::{Message, message_flag};
use webb_flow::extra::L7Kind;

use super::body::{Step, advanced, has_body, request_body, response_body};
use super::buffers::Buffers;
use super::event::{Connection, Content, Event, Http};
use super::fields::Fields;
use super::head::{Head, Line, Parsed};
use super::ledger::{Cut, Doubt, Ledger, MessageOutcome, MessageType, Protocol, RecordOutcome, Unanswered};
use super::out::Out;
use super::place::{Acknowledged, Half, Next, Place, ahead};
use super::requests::{Method, Requests};
use super::span::Span;

/// Bytes of a response that a client can have read without having read a head.
const SLACK: i32 = 12;

/// Bytes of a segment from which on the kernel does not look for the rest of a response's head:
/// most have a body behind it, and each segment of that would be sent.
const CONTINUED: u32 = 512;

/// Phase of a direction, behind the heads that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    Heads,
    /// Another protocol, since a 101 or a CONNECT.
    Opaque,
    /// The end of the connection.
    Closed,
}

/// Error: the request that is answered next is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct InDoubt {
    /// Whether all requests from now on are known to be behind what was missed.
    clean: bool,
    /// Requests since then.
    since: u32,
}

/// A connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Http1 {
    pub(super) client: Half,
    pub(super) server: Half,
    doubt: Option<InDoubt>,
    phase: Phase,
}

/// State that all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) requests: Requests,
    pub(super) buffers: Buffers,
    pub(super) fields: Fields,
    /// Bytes of a head that are put together at most.
    pub(super) head_bytes: usize,
}

/// Reader of one record of a connection.
pub(super) struct Http1Reader<'a, 'b> {
    pub(super) id: u32,
    pub(super) state: &'a mut Http1,
    pub(super) connection: &'a Connection,
    pub(super) from_client: bool,
    pub(super) record: &'a Message,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Out<'b>,
}

impl Http1 {
    /// Gives its buffers back.
    pub(super) fn release(&mut self, buffers: &mut Buffers, ledger: &mut Ledger) {
        for half in [&mut self.client, &mut self.server] {
            if let Some(partial) = half.partial.take() {
                ledger.cut(Cut::Torn);
                buffers.free(partial.buffer);
            }
        }
    }

    /// True if the connection has ended and the record is of another one with the same ends.
    pub(super) fn is_over(&self, record: &Message, from_client: bool) -> bool {
        self.phase == Phase::Closed && from_client && !self.client.repeats(record.sequence)
    }
}

impl Http1Reader<'_, '_> {
    pub(super) fn half(&mut self) -> &mut Half {
        if self.from_client { &mut self.state.client } else { &mut self.state.server }
    }

    /// Reads the record.
    pub(super) fn read(&mut self, bytes: &[u8]) -> RecordOutcome {
        match self.state.phase {
            Phase::Opaque => return RecordOutcome::Opaque,
            Phase::Closed if self.from_client => return RecordOutcome::Past,
            Phase::Closed => return RecordOutcome::Body,
            Phase::Heads => {}
        }
        self.end_response();
        if self.state.phase != Phase::Heads {
            return RecordOutcome::Opaque;
        }
        self.acknowledge();
        let record = self.record;
        let span = Span {
            bytes,
            sequence: record.sequence,
            end: record.sequence.wrapping_add(record.payload),
            acknowledgement: record.acknowledgement,
            time_ns: record.time_ns,
            continues: record.has(message_flag::CONTINUES),
            torn: false,
            more: self.from_client || record.has(message_flag::CONTINUES) || record.payload < CONTINUED,
            overtaken: false,
        };
        let Some(partial) = self.half().partial else {
            return self.place(Span { torn: span.continues, ..span });
        };
        let known = ahead(partial.end, span.sequence);
        if known >= 0 && ahead(span.end, partial.end) <= 0 {
            return RecordOutcome::Past;
        }
        let fresh = usize::try_from(known).ok().and_then(|known| bytes.get(known..));
        let Some(fresh) = fresh else {
            self.give_up(self.from_client);
            return match self.place(span) {
                RecordOutcome::NotAHead => RecordOutcome::Torn,
                other => other,
            };
        };
        self.half().partial = None;
        let outcome = self.join(partial, fresh, span);
        self.shared.buffers.free(partial.buffer);
        outcome
    }

    /// Rule (0): applies the record's acknowledgement of the other direction.
    fn acknowledge(&mut self) {
        let up_to = self.record.acknowledgement;
        let from_client = self.from_client;
        let other = if from_client { &mut self.state.server } else { &mut self.state.client };
        if other.acknowledged(up_to) == Acknowledged::Unseen && self.waits() {
            self.doubt(Doubt::Acknowledged, from_client);
        }
    }

    /// True if the client has received a response since the oldest open request: what it sends now
    /// is behind that.
    fn has_read_on(&self, acknowledgement: u32) -> bool {
        let oldest = self.shared.requests.oldest(self.id);
        oldest.is_some_and(|oldest| ahead(acknowledgement, oldest.acknowledgement) >= SLACK)
    }

    /// True if the bytes at `begin` are the next that the client had not received when it sent the
    /// oldest open request. Behind them may be a body that looks like a head.
    fn follows(&self, begin: u32) -> bool {
        self.shared.requests.oldest(self.id).is_some_and(|oldest| oldest.acknowledgement == begin)
    }

    /// True if a request has no response, or that is not known.
    fn waits(&self) -> bool {
        self.state.doubt.is_some() || self.shared.requests.any(self.id)
    }

    /// Rules (2) to (8): reads the span if heads may be there.
    pub(super) fn place(&mut self, span: Span<'_>) -> RecordOutcome {
        let (begin, from_client) = (self.record.begin, self.from_client);
        let waits = self.waits() && !self.has_read_on(span.acknowledgement);
        match self.half().place(begin, span.sequence, span.end, from_client, waits) {
            Place::Past => RecordOutcome::Past,
            Place::Body => RecordOutcome::Body,
            Place::Here(known) => match span.bytes.get(known..) {
                Some(bytes) if !bytes.is_empty() => {
                    let known = u32::try_from(known).unwrap_or(u32::MAX);
                    self.heads(Span { bytes, sequence: span.sequence.wrapping_add(known), ..span })
                }
                _ => RecordOutcome::Past,
            },
            Place::BehindGap => {
                if !from_client {
                    self.doubt(Doubt::Gap, false);
                }
                self.heads(span)
            }
            Place::Overtaken => self.heads(Span { overtaken: true, ..span }),
        }
    }

    /// Reads heads as long as they follow each other.
    pub(super) fn heads(&mut self, span: Span<'_>) -> RecordOutcome {
        if span.torn {
            let open = self.half().open;
            self.advance(span, Next::After(span.end), open);
            return RecordOutcome::NotAHead;
        }
        if !self.from_client && span.bytes.starts_with(b"HTTP/1.") {
            self.end_request();
        }
        let mut found = None;
        let mut at = 0;
        loop {
            let rest = span.bytes.get(at..).unwrap_or_default();
            if self.from_client {
                at += rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            }
            let rest = span.bytes.get(at..).unwrap_or_default();
            let begin = span.sequence.wrapping_add(u32::try_from(at).unwrap_or(u32::MAX));
            if rest.is_empty() {
                return self.ends(span, at as u64, found);
            }
            let parsed = self.shared.fields.parse(rest, self.from_client, self.out.wants);
            let head = match parsed {
                Parsed::Head(head) => head,
                Parsed::Partial(_)
                    if span.more
                        && !span.overtaken
                        && !span.is_cut()
                        && rest.len() <= self.shared.head_bytes
                        && self.keep(rest, begin, span) =>
                {
                    return found.unwrap_or(RecordOutcome::Partial);
                }
                Parsed::Partial(None) => {
                    // A hole with a head that is not read stays one: its response will be missed.
                    let outcome = found.unwrap_or(RecordOutcome::NotAHead);
                    return if span.overtaken { outcome } else { self.nothing(span, found) };
                }
                Parsed::Partial(Some(line)) | Parsed::Crowded(line) => {
                    self.out.ledger.cut(Cut::Head);
                    self.shared.fields.parse_cut(rest, self.from_client, self.out.wants);
                    return self.cut_head(&line, begin, span, found);
                }
                Parsed::Other => return self.nothing(span, found),
            };
            let behind = rest.get(head.length..).unwrap_or_default();
            let step = match head.line {
                Line::Request { method, target } => {
                    self.request(method, target, &head, begin, span);
                    found = Some(RecordOutcome::Message);
                    request_body(&head, behind)
                }
                Line::Response { code } => {
                    let (outcome, step) = self.response(code, &head, behind, begin, span);
                    // A record with a message counts as that, whatever else is in it.
                    if found != Some(RecordOutcome::Message) {
                        found = Some(outcome);
                    }
                    step
                }
            };
            match step {
                Step::At(behind) if at as u64 + behind < span.bytes.len() as u64 => {
                    at += usize::try_from(behind).unwrap_or(usize::MAX);
                }
                Step::At(behind) => return self.ends(span, at as u64 + behind, found),
                Step::After => {
                    self.advance(span, Next::After(span.end), self.from_client);
                    return found.unwrap_or(RecordOutcome::NotAHead);
                }
                Step::Never => {
                    self.advance(span, Next::Never, false);
                    return found.unwrap_or(RecordOutcome::NotAHead);
                }
            }
            if self.state.phase != Phase::Heads {
                return found.unwrap_or(RecordOutcome::Opaque);
            }
        }
    }

    /// The next head begins at `at`, which is not among the captured bytes.
    fn ends(&mut self, span: Span<'_>, at: u64, found: Option<RecordOutcome>) -> RecordOutcome {
        if at < span.whole() {
            self.advance(span, Next::After(span.end), false);
            self.doubt(Doubt::Beyond, false);
        } else {
            let at = advanced(span.sequence, at);
            self.advance(span, Next::At(at), false);
        }
        found.unwrap_or(RecordOutcome::NotAHead)
    }

    /// Handles a span that begins with no head, or has none behind its heads.
    fn nothing(&mut self, span: Span<'_>, found: Option<RecordOutcome>) -> RecordOutcome {
        if !span.continues {
            let open = self.half().open;
            self.advance(span, Next::After(span.end), open);
        }
        found.unwrap_or(RecordOutcome::NotAHead)
    }

    /// Moves the position of this direction's next head. A span that was overtaken only fills its
    /// hole.
    fn advance(&mut self, span: Span<'_>, next: Next, open: bool) {
        let half = self.half();
        if span.overtaken {
            half.fill(span.sequence, span.end);
        } else {
            (half.next, half.open) = (next, open);
        }
    }

    /// Handles a head with only its first line certain: the missing fields may concern the body.
    fn cut_head(&mut self, head: &Head<'_>, begin: u32, span: Span<'_>, found: Option<RecordOutcome>) -> RecordOutcome {
        match head.line {
            Line::Request { method, target } => {
                self.request(method, target, head, begin, span);
                self.advance(span, Next::After(span.end), has_body(method));
                RecordOutcome::Message
            }
            Line::Response { code } => {
                let head = Head { closes: false, ..*head };
                let (outcome, _) = self.response(code, &head, &[], begin, span);
                if self.state.phase == Phase::Heads {
                    self.advance(span, Next::After(span.end), false);
                }
                if found == Some(RecordOutcome::Message) { RecordOutcome::Message } else { outcome }
            }
        }
    }

    /// Takes a request.
    pub(super) fn request(&mut self, method: &str, target: &str, head: &Head<'_>, begin: u32, span: Span<'_>) {
        let mut acknowledgement = span.acknowledgement;
        if self.has_read_on(acknowledgement) {
            self.doubt(Doubt::Acknowledged, true);
        }
        // A response that was on its way when the request was sent is a response to an earlier one.
        if let Next::At(seen) = self.state.server.next
            && ahead(seen, acknowledgement) > 0
        {
            acknowledgement = seen;
        }
        if let Some(doubt) = &mut self.state.doubt {
            doubt.since = doubt.since.saturating_add(1);
        }
        self.shared.fields.request(target, self.out.wants);
        let Shared { requests, fields, .. } = &mut *self.shared;
        let open = &mut fields.open;
        (open.at, open.acknowledgement, open.time_ns) = (begin, acknowledgement, span.time_ns);
        open.method = Method::new(method);
        open.protocol = if head.old { "HTTP/1" } else { "HTTP/1.1" };
        requests.add(self.id, Protocol::Http1, open, self.out);
        self.out.ledger.message(Protocol::Http1, MessageType::Request, MessageOutcome::Emitted);
        let Fields { open, headers, .. } = &*fields;
        let http = Http {
            method,
            protocol: open.protocol,
            code: 0,
            url: &open.texts.url,
            headers: headers.list(),
            trace_id: &open.texts.trace_id,
            latency_ns: 0,
        };
        let (connection, content) = (*self.connection, Content::Http(http));
        self.out.sink.emit(&Event { time_ns: span.time_ns, connection, kind: L7Kind::Request, content });
    }

    /// Takes a response, and returns the next position of the reader.
    pub(super) fn response(
        &mut self,
        code: u16,
        head: &Head<'_>,
        behind: &[u8],
        begin: u32,
        span: Span<'_>,
    ) -> (RecordOutcome, Step) {
        if code < 200 && code != 101 {
            self.shared.requests.acknowledge(self.id, advanced(begin, head.length as u64));
            self.out.ledger.message(Protocol::Http1, MessageType::Informational, MessageOutcome::Unmatched);
            return (RecordOutcome::Message, Step::At(head.length as u64));
        }
        let oldest = self.shared.requests.oldest(self.id).map(|oldest| oldest.at);
        if let Some(oldest) = oldest
            && ahead(span.acknowledgement, oldest) <= 0
        {
            // It answers something that was not seen: the oldest request has not come yet.
            return self.unmatched(head, RecordOutcome::Orphan);
        }
        if let Some((_, hole_end)) = self.state.client.hole
            && oldest.is_none_or(|oldest| ahead(oldest, hole_end) >= 0)
        {
            self.state.client.hole = None;
            if oldest.is_some() {
                self.doubt(Doubt::Hole, false);
            }
        }
        let doubt = self.state.doubt.take();
        if let Some(InDoubt { clean, since }) = doubt
            && !(clean && since == 1 && self.follows(begin))
        {
            self.shared.requests.drop_all(self.id, Unanswered::Doubt, self.out);
            self.state.doubt = Some(InDoubt { clean: true, since: 0 });
            return self.unmatched(head, RecordOutcome::Unmatched);
        }
        let Some(first) = self.shared.requests.first(self.id) else {
            if self.state.client.next == Next::Start {
                // What the client has sent so far was not seen, and is answered.
                self.state.client.next = Next::After(span.acknowledgement);
            }
            return self.unmatched(head, RecordOutcome::Orphan);
        };
        let Some(request) = self.shared.requests.get(first) else { return (RecordOutcome::Orphan, Step::After) };
        let (is_head, is_connect) = (request.method.text() == "HEAD", request.method.text() == "CONNECT");
        self.shared.fields.response(&request.texts.request_id, self.out.wants);
        let http = Http {
            method: request.method.text(),
            protocol: request.protocol,
            code,
            url: &request.texts.url,
            headers: self.shared.fields.headers(),
            trace_id: &request.texts.trace_id,
            latency_ns: span.time_ns.saturating_sub(request.time_ns),
        };
        let event = Event {
            time_ns: span.time_ns,
            connection: *self.connection,
            kind: L7Kind::Response,
            content: Content::Http(http),
        };
        self.out.sink.emit(&event);
        self.out.ledger.message(Protocol::Http1, MessageType::Response, MessageOutcome::Emitted);
        self.shared.requests.answered(first, false, self.out);
        let tunnels = code == 101 || is_connect && code < 300;
        let step = if tunnels || is_head || matches!(code, 204 | 304) {
            Step::At(head.length as u64)
        } else {
            response_body(head, behind)
        };
        if tunnels {
            self.end(Phase::Opaque);
        } else if head.closes {
            self.end(Phase::Closed);
        } else if let Step::At(behind) = step
            && self.shared.requests.any(self.id)
        {
            // What comes with this response was seen; reading it says nothing of another one.
            self.shared.requests.acknowledge(self.id, advanced(begin, behind));
        }
        (RecordOutcome::Message, step)
    }

    /// A response that answers nothing known. Its length may mean nothing, since it may answer
    /// HEAD.
    fn unmatched(&mut self, head: &Head<'_>, outcome: RecordOutcome) -> (RecordOutcome, Step) {
        self.out.ledger.message(Protocol::Http1, MessageType::Response, MessageOutcome::Unmatched);
        if head.closes {
            self.end(Phase::Closed);
        }
        (outcome, Step::After)
    }

    /// Ends the direction: no HTTP follows.
    fn end(&mut self, phase: Phase) {
        self.state.phase = phase;
        self.shared.requests.drop_all(self.id, Unanswered::Closed, self.out);
        self.state.release(&mut self.shared.buffers, self.out.ledger);
    }

    /// Gives up what is open, since it is not known what of it is answered. `clean` if a request
    /// from now on can only be answered behind what was missed.
    fn doubt(&mut self, reason: Doubt, clean: bool) {
        self.out.ledger.doubt(reason);
        self.shared.requests.drop_all(self.id, Unanswered::Doubt, self.out);
        self.state.doubt = Some(InDoubt { clean, since: 0 });
    }
}
