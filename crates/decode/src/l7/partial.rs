//! Heads of HTTP/1 that come in pieces: their beginning is kept until the rest comes, or until it
//! is sure that it will not be seen.
//!
//! A request whose method is known and a response whose status is known count without their rest;
//! of it only the body's length would matter, and that is found by what comes next.

use super::body::has_body;
use super::head::{Head, Line, Parsed};
use super::http1::Http1Reader;
use super::ledger::{Cut, RecordOutcome};
use super::place::{Next, Partial, ahead};
use super::span::Span;

impl Http1Reader<'_, '_> {
    /// Counts a response that waits for its rest, if the client has read more than its beginning.
    pub(super) fn end_response(&mut self) {
        let acknowledgement = self.record.acknowledgement;
        if self.from_client && self.state.server.partial.is_some_and(|partial| ahead(acknowledgement, partial.end) > 0)
        {
            self.give_up(false);
        }
    }

    /// Counts a request that waits for its rest, and is the only one, since the server answers it.
    pub(super) fn end_request(&mut self) {
        if self.state.client.partial.is_some() && !self.shared.requests.any(self.id) {
            self.give_up(true);
        }
    }

    /// Ends the wait of a head whose rest is not seen any more: it counts as one that was cut if
    /// its first line is known, and is counted as torn otherwise.
    pub(super) fn give_up(&mut self, of_client: bool) {
        let half = if of_client { &mut self.state.client } else { &mut self.state.server };
        let Some(partial) = half.partial.take() else { return };
        (half.next, half.open) = (Next::After(partial.end), false);
        let Some(buffer) = self.shared.buffers.get_mut(partial.buffer) else { return };
        let bytes = std::mem::take(buffer);
        if !of_client {
            self.end_request();
        }
        let parsed = self.shared.fields.parse(&bytes, of_client, self.out.wants);
        if let Parsed::Partial(Some(head)) = parsed {
            self.out.ledger.cut(Cut::Head);
            self.shared.fields.parse_cut(&bytes, of_client, self.out.wants);
            let Partial { begin, end, acknowledgement, time_ns, .. } = partial;
            let span = Span {
                bytes: &bytes,
                sequence: begin,
                end,
                acknowledgement,
                time_ns,
                continues: false,
                torn: false,
                more: false,
                overtaken: false,
            };
            match head.line {
                Line::Request { method, target } => {
                    self.request(method, target, &head, begin, span);
                    self.state.client.open = has_body(method);
                }
                Line::Response { code } => {
                    _ = self.response(code, &Head { closes: false, ..head }, &[], begin, span);
                }
            }
        } else {
            self.out.ledger.cut(Cut::Torn);
        }
        if let Some(buffer) = self.shared.buffers.get_mut(partial.buffer) {
            *buffer = bytes;
        }
        self.shared.buffers.free(partial.buffer);
    }

    /// Joins the beginning of a head and the record that follows it. If they are no head, the
    /// record is read by itself.
    pub(super) fn join(&mut self, partial: Partial, fresh: &[u8], span: Span<'_>) -> RecordOutcome {
        let Some(buffer) = self.shared.buffers.get_mut(partial.buffer) else { return RecordOutcome::Torn };
        let mut joined = std::mem::take(buffer);
        joined.extend_from_slice(fresh);
        let Partial { begin, time_ns, .. } = partial;
        // A request was sent when it began, and a response when it ended: what begins it may be the
        // end of something else.
        let acknowledgement = if self.from_client { partial.acknowledgement } else { span.acknowledgement };
        let both = Span { bytes: &joined, sequence: begin, acknowledgement, time_ns, continues: false, ..span };
        self.half().next = Next::At(partial.begin);
        let mut outcome = self.heads(both);
        if outcome == RecordOutcome::NotAHead {
            self.half().next = Next::After(partial.end);
            outcome = self.place(span);
        }
        if let Some(buffer) = self.shared.buffers.get_mut(partial.buffer) {
            *buffer = joined;
        }
        outcome
    }

    /// Keeps the beginning of a head, if there is room.
    pub(super) fn keep(&mut self, rest: &[u8], begin: u32, span: Span<'_>) -> bool {
        let Some(buffer) = self.shared.buffers.take() else {
            self.out.ledger.cut(Cut::Buffers);
            return false;
        };
        if let Some(bytes) = self.shared.buffers.get_mut(buffer) {
            bytes.extend_from_slice(rest);
        }
        let half = self.half();
        let Span { end, acknowledgement, time_ns, .. } = span;
        half.partial = Some(Partial { buffer, begin, end, acknowledgement, time_ns });
        (half.next, half.open) = (Next::At(span.end), false);
        true
    }
}
