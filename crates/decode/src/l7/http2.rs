//! HTTP/2: requests and responses matched by their stream.
//!
//! A connection may be joined late. Which end is the client is told by the preface, else by the
//! first block with `:method` or `:status`.

use webb_flow::abi::Message;
use webb_flow::extra::L7Kind;

use super::buffers::Buffers;
use super::event::{Connection, Content, Event, Grpc, GrpcStatus, Http, Judgement};
use super::frames::{FrameOutcome, Frames, Unit, is_preface};
use super::grpc::{self, Call};
use super::head::METHOD;
use super::hpack::{Scratch, Seen, Table};
use super::http1::Shared;
use super::ledger::{Abandoned, Cut, Doubt, MessageOutcome, MessageType, Protocol, RecordOutcome, Unanswered};
use super::out::Out;
use super::requests::Method;
use super::{passwords, target};

/// One direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    frames: Frames,
    table: Table,
}

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    /// The pod's, and its peer's.
    pod: Direction,
    peer: Direction,
    /// Losses of records that its tables know of.
    epoch: u64,
    /// The connection's slot.
    pub(super) owner: u32,
    /// Times of its first and its last record.
    pub(super) seen_ns: (u64, u64),
    /// Sides that have sent their last: the pod, the peer.
    pub(super) closed: [bool; 2],
}

/// State that all HTTP/2 connections share.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) buffers: Buffers,
    pub(super) scratch: Scratch,
    path: String,
    /// Bytes of all tables.
    tables: usize,
    /// Maximal sum of `tables`, in bytes.
    pub(super) tables_most: usize,
    /// Counts losses of records.
    pub(super) epoch: u64,
}

impl Blocks {
    pub(super) fn new(buffers: usize, tables_most: usize) -> Self {
        Self {
            buffers: Buffers::new(buffers),
            scratch: Scratch::default(),
            path: String::new(),
            tables: 0,
            tables_most,
            epoch: 0,
        }
    }
}

impl Http2 {
    /// The state of a new connection. `late` if its beginning was not seen.
    pub(super) fn begin(&mut self, owner: u32, late: bool, now_ns: u64, blocks: &mut Blocks) {
        self.release(blocks);
        (self.owner, self.epoch) = (owner, blocks.epoch);
        (self.seen_ns, self.closed) = ((now_ns, now_ns), [false; 2]);
        for direction in [&mut self.pod, &mut self.peer] {
            direction.frames = Frames::default();
            if late {
                direction.table.forget();
            }
        }
    }

    /// Gives buffers and large tables back.
    pub(super) fn release(&mut self, blocks: &mut Blocks) {
        for Direction { frames, table } in [&mut self.pod, &mut self.peer] {
            frames.drop_parts(&mut blocks.buffers);
            let before = table.footprint();
            table.reset();
            blocks.tables = blocks.tables + table.footprint() - before;
        }
    }
}

/// Fields that are read of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    method: Option<Method>,
    status: Option<u16>,
    /// Whether the content type is gRPC's; none if no content type was seen.
    grpc: Option<bool>,
    grpc_status: Option<GrpcStatus>,
    /// A field was inserted before the table was known.
    unknown: bool,
}

impl Head {
    /// Whether the request with this head is a gRPC call, each of which is a POST.
    fn call(&self, wanted: bool) -> Call {
        match self.grpc {
            Some(true) if wanted => Call::Yes,
            None if wanted && self.unknown && self.method.is_some_and(|method| method.text() == "POST") => {
                Call::Perhaps
            }
            _ => Call::No,
        }
    }

    /// What is known of a call with the head of its response, or with its trailers. In trailers
    /// there is no content type.
    fn decides(&self, call: Call, trailers: bool) -> Call {
        match (call, self.grpc) {
            (Call::Perhaps, Some(true)) => Call::Yes,
            (Call::Perhaps, Some(false)) => Call::No,
            (Call::Perhaps, None) if self.grpc_status.is_some() => Call::Yes,
            (Call::Perhaps, None) if !self.unknown && (trailers || self.status == Some(200)) => Call::No,
            _ => call,
        }
    }
}

/// A block that was decoded.
#[derive(Debug, Clone, Copy)]
struct Decoded {
    stream: u32,
    ends: bool,
    pushed: bool,
    time_ns: u64,
    head: Head,
}

/// Reader of one record of a connection.
pub(super) struct Http2Reader<'a, 'b> {
    pub(super) id: u32,
    pub(super) known: &'a mut Option<(Connection, Judgement)>,
    pub(super) sender_is_pod: bool,
    pub(super) record: &'a Message,
    pub(super) shared: &'a mut Shared,
    pub(super) out: &'a mut Out<'b>,
    pub(super) outcome: RecordOutcome,
}

impl Http2Reader<'_, '_> {
    /// Reads the record.
    pub(super) fn read(&mut self, state: &mut Http2, blocks: &mut Blocks, bytes: &[u8]) -> RecordOutcome {
        if is_preface(bytes) {
            self.learn(true);
        }
        if let Some(refused) = self.refused() {
            return refused;
        }
        if state.epoch != blocks.epoch {
            state.epoch = blocks.epoch;
            for direction in [&mut state.pod, &mut state.peer] {
                direction.frames.drop_parts(&mut blocks.buffers);
                direction.table.forget();
            }
            self.out.ledger.doubt(Doubt::Table);
        }
        let Direction { frames, table } = if self.sender_is_pod { &mut state.pod } else { &mut state.peer };
        let Blocks { buffers, scratch, path, tables, tables_most, .. } = blocks;
        let before = table.footprint();
        let reading = frames.read(self.record, bytes, buffers, &mut |unit| self.unit(unit, table, scratch, path));
        *tables = *tables + table.footprint() - before;
        if *tables > *tables_most {
            *tables -= table.footprint();
            table.release();
            *tables += table.footprint();
            self.out.ledger.abandoned(Abandoned::Memory);
        }
        match reading {
            FrameOutcome::Past => RecordOutcome::Past,
            FrameOutcome::Torn => RecordOutcome::Torn,
            FrameOutcome::Read => self.outcome,
        }
    }

    /// Records the sender as the client, or as the server.
    fn learn(&mut self, sender_is_client: bool) {
        if self.known.is_none()
            && let Some(connection) = Connection::of(self.record, sender_is_client)
        {
            let judgement = self.out.sink.judge(&connection);
            *self.known = Some((connection, judgement));
        }
    }

    /// The outcome of a record of a connection that is not emitted here.
    fn refused(&self) -> Option<RecordOutcome> {
        match self.known.as_ref()?.1 {
            Judgement::Emit => None,
            Judgement::OtherSide => Some(RecordOutcome::OtherSide),
            Judgement::Transit => Some(RecordOutcome::Transit),
        }
    }

    fn unit(&mut self, unit: Unit<'_>, table: &mut Table, scratch: &mut Scratch, path: &mut String) {
        match unit {
            Unit::Lost => {
                table.forget();
                self.out.ledger.doubt(Doubt::Table);
            }
            Unit::Cut(what) => self.out.ledger.cut(what),
            Unit::Reset { stream, code } => self.reset(stream, code),
            Unit::Block { stream, ends, pushed, time_ns, bytes, whole } => {
                let oversized = table.oversized;
                let mut head = self.decode(bytes, whole, table, scratch, path);
                head.unknown |= !whole;
                if table.oversized && !oversized {
                    self.out.ledger.abandoned(Abandoned::Table);
                    self.out.ledger.doubt(Doubt::Table);
                }
                self.block(Decoded { stream, ends, pushed, time_ns, head }, path);
            }
        }
    }

    /// Decodes a block into what is read of it. One that is not whole ends somewhere.
    fn decode(
        &mut self,
        bytes: &[u8],
        whole: bool,
        table: &mut Table,
        scratch: &mut Scratch,
        path: &mut String,
    ) -> Head {
        let mut head = Head::default();
        let wants = self.out.wants;
        let fields = &mut self.shared.fields;
        fields.clear();
        path.clear();
        let decoded = table.decode(bytes, wants.headers, scratch, &mut |seen| {
            let Seen::Field(name, value) = seen else {
                head.unknown = true;
                return;
            };
            match name {
                b":method" => {
                    head.method = method(value);
                    head.unknown |= head.method.is_none();
                }
                b":status" => head.status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
                b":path" if wants.url || wants.grpc_path => {
                    path.clear();
                    path.push_str(std::str::from_utf8(value).unwrap_or_default());
                }
                b"content-type" => head.grpc = Some(grpc::is_grpc(value)),
                b"grpc-status" => head.grpc_status = Some(grpc::of_text(value)),
                _ => {}
            }
            fields.take(name, value, wants);
        });
        if decoded.is_err() && whole {
            self.out.ledger.doubt(Doubt::Block);
            head.unknown = true;
        }
        head
    }

    /// Takes a block.
    fn block(&mut self, block: Decoded, path: &str) {
        let Head { method, status, unknown, .. } = block.head;
        if block.pushed {
            self.count(MessageType::Pushed, MessageOutcome::Unmatched);
        } else if let Some(method) = method {
            self.learn(true);
            if self.is_from(true) {
                self.request(block, method, path);
            }
        } else if let Some(status) = status {
            self.learn(false);
            if self.is_from(false) {
                self.response(block, status);
            }
        } else if unknown {
            self.unknown(block);
        } else {
            self.trailers(block);
        }
    }

    /// True if it is known that the client, or the server, sent the record, and its messages are
    /// emitted.
    fn is_from(&mut self, client: bool) -> bool {
        match *self.known {
            Some((connection, Judgement::Emit)) => {
                self.sender_is_pod == ((connection.path.pod == connection.client()) == client)
            }
            Some(_) => {
                self.outcome = self.refused().unwrap_or(self.outcome);
                false
            }
            None => false,
        }
    }

    /// Counts a message, and what becomes of its record: emitted messages come first.
    fn count(&mut self, of: MessageType, outcome: MessageOutcome) {
        self.out.ledger.message(Protocol::Http2, of, outcome);
        let unmatched = of == MessageType::Response || of == MessageType::Request;
        if outcome == MessageOutcome::Unmatched && unmatched {
            if self.outcome != RecordOutcome::Message {
                self.outcome = RecordOutcome::Unmatched;
            }
        } else {
            self.outcome = RecordOutcome::Message;
        }
    }

    fn request(&mut self, block: Decoded, method: Method, path: &str) {
        let Some((connection, _)) = *self.known else { return };
        let Shared { requests, fields, .. } = &mut *self.shared;
        if let Some((id, _)) = requests.find(self.id, block.stream) {
            requests.remove(id, Some(Unanswered::Closed), self.out);
        }
        fields.request(path, self.out.wants);
        let open = &mut fields.open;
        (open.at, open.time_ns, open.method) = (block.stream, block.time_ns, method);
        (open.protocol, open.call) = ("HTTP/2", block.head.call(self.out.wants.grpc));
        if open.call != Call::No && self.out.wants.grpc_path {
            // The name of a method is the path alone: what else a target has may be a secret.
            open.texts.path.push_str(target::path(path));
            passwords::hide(&mut open.texts.path, 0);
        }
        requests.add(self.id, Protocol::Http2, open, self.out);
        if open.call != Call::No {
            requests.note_calls(self.id, &connection);
        }
        let http = Http {
            method: open.method.text(),
            protocol: open.protocol,
            code: 0,
            url: &open.texts.url,
            headers: fields.headers.list(),
            trace_id: &open.texts.trace_id,
            latency_ns: 0,
        };
        let content = Content::Http(http);
        self.out.sink.emit(&Event { time_ns: block.time_ns, connection, kind: L7Kind::Request, content });
        self.count(MessageType::Request, MessageOutcome::Emitted);
    }

    fn response(&mut self, block: Decoded, code: u16) {
        let Some((connection, _)) = *self.known else { return };
        if code < 200 {
            return self.count(MessageType::Informational, MessageOutcome::Unmatched);
        }
        let Shared { requests, fields, .. } = &mut *self.shared;
        let Some((id, open)) = requests.find(self.id, block.stream).filter(|(_, open)| !open.answered) else {
            self.count(MessageType::Response, MessageOutcome::Unmatched);
            if self.outcome == RecordOutcome::Unmatched {
                self.outcome = RecordOutcome::Orphan;
            }
            return;
        };
        fields.response(&open.texts.request_id, self.out.wants);
        let http = Http {
            method: open.method.text(),
            protocol: open.protocol,
            code,
            url: &open.texts.url,
            headers: fields.headers.list(),
            trace_id: &open.texts.trace_id,
            latency_ns: block.time_ns.saturating_sub(open.time_ns),
        };
        let content = Content::Http(http);
        self.out.sink.emit(&Event { time_ns: block.time_ns, connection, kind: L7Kind::Response, content });
        open.call = block.head.decides(open.call, false);
        let call = open.call;
        let ended = block.head.grpc_status.or(match code {
            200 if block.ends => Some(GrpcStatus::Unknown),
            200 => None,
            _ => Some(grpc::of_http(code)),
        });
        requests.answered(id, true, self.out);
        self.count(MessageType::Response, MessageOutcome::Emitted);
        match (call, ended) {
            (Call::Yes, Some(status)) => self.end_call(id, status, block.time_ns),
            (Call::Yes | Call::Perhaps, None) => {}
            _ => self.forget(id),
        }
    }

    /// A block without method and status, of which all fields are known.
    fn trailers(&mut self, block: Decoded) {
        self.count(MessageType::Trailers, MessageOutcome::Unmatched);
        if self.is_from(false)
            && let Some((id, open)) = self.shared.requests.find(self.id, block.stream)
            && open.answered
        {
            open.call = block.head.decides(open.call, true);
            match open.call {
                Call::Yes => self.end_call(id, block.head.grpc_status.unwrap_or(GrpcStatus::Unknown), block.time_ns),
                _ => self.forget(id),
            }
        }
    }

    /// A block with fields that are not known, the method or status perhaps among them.
    fn unknown(&mut self, block: Decoded) {
        let from_server = self.is_from(false);
        let found = self.shared.requests.find(self.id, block.stream).map(|(id, open)| (id, open.answered));
        match found {
            Some((id, false)) if from_server => {
                self.shared.requests.remove(id, Some(Unanswered::Field), self.out);
                self.count(MessageType::Response, MessageOutcome::Unmatched);
            }
            Some(_) => self.trailers(block),
            None if from_server => self.count(MessageType::Response, MessageOutcome::Unmatched),
            None => self.count(MessageType::Request, MessageOutcome::Unmatched),
        }
    }

    fn reset(&mut self, stream: u32, code: u32) {
        let Some((id, open)) = self.shared.requests.find(self.id, stream) else { return };
        let (answered, call) = (open.answered, open.call);
        if !answered {
            self.out.ledger.unanswered(Protocol::Http2, Unanswered::Reset, 1);
            self.shared.requests.answered(id, true, self.out);
        }
        match call {
            Call::Yes => self.end_call(id, grpc::of_reset(code), self.record.time_ns),
            _ => self.forget(id),
        }
        self.outcome = RecordOutcome::Message;
    }

    /// Forgets an answered request without an end of a call, which it may have been.
    fn forget(&mut self, id: u32) {
        if self.shared.requests.get(id).is_some_and(|open| open.call == Call::Perhaps) {
            self.out.ledger.cut(Cut::Untyped);
        }
        self.shared.requests.remove(id, None, self.out);
    }

    /// Emits the end of a call, and forgets it.
    fn end_call(&mut self, id: u32, status: GrpcStatus, time_ns: u64) {
        if let Some((connection, _)) = *self.known
            && let Some(open) = self.shared.requests.get(id)
        {
            let duration_ns = time_ns.saturating_sub(open.time_ns);
            let content = Content::Grpc(Grpc { status, path: &open.texts.path, duration_ns });
            self.out.sink.emit(&Event { time_ns, connection, kind: L7Kind::Response, content });
            self.out.ledger.message(Protocol::Http2, MessageType::End, MessageOutcome::Emitted);
        }
        self.shared.requests.remove(id, None, self.out);
    }
}

/// A method, if it is one.
fn method(value: &[u8]) -> Option<Method> {
    let text = std::str::from_utf8(value).ok()?;
    let fits = !text.is_empty() && text.len() <= METHOD;
    let letters = text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&letter));
    (fits && letters).then(|| Method::new(text))
}
