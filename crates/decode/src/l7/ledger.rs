//! The ledger of layer 7: every record and every message is in it once.
//!
//! Records of all outcomes add up to the records that were read; requests are the responses that
//! were matched, those that stay unanswered, and those that are open.

/// Defines an enum with variants that are label values and rows of a tally, each with its meaning
/// for docs/metrics.md.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $label:literal: $meaning:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = concat!("`", $label, "`: ", $meaning)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of their rows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Value of the label.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Meaning of that value, for users.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }
        }
    };
}

labels! {
    /// The protocol of a record.
    Protocol {
        Http1 = "http1": "HTTP/1.0 and HTTP/1.1",
        Http2 = "http2": "HTTP/2 in clear text, gRPC too",
        Dns = "dns": "DNS over UDP",
        DnsTcp = "dns_tcp": "DNS over TCP",
    }
}

labels! {
    /// Outcome of a record.
    RecordOutcome {
        Message = "message": "one message or more begins in it",
        Partial = "partial": "a head of HTTP/1 that goes on in the next segment",
        Part = "part": "a part of frames or of a message over TCP that begins or ends in another record",
        Past = "past": "sent again, or shorter than what was expected next: read before",
        Body = "body": "in the body of a message",
        NotAHead = "not_a_head": "no head where one may begin",
        Opaque = "opaque": "behind an upgrade, a CONNECT or a gap, where nothing is read any more",
        Orphan = "orphan": "a response while no request is open",
        Unmatched = "unmatched": "a message that belongs to no known request, or whose method or status is not known",
        Torn = "torn": "the beginning or the rest of a head or frame is missing",
        Unparsed = "unparsed": "a DNS message that was refused: `webb_l7_unparsed_total` has the reason",
        Unasked = "unasked": "a DNS answer to no open question",
        OtherSide = "other_side": "the other side of the connection reports it, as `l7.http_side` and `l7.dns_side` say",
        Transit = "transit": "it passes a pod that is neither end",
        Malformed = "malformed": "a record that the programs should not have sent; expected is 0",
        Panicked = "panicked": "lost to a panic of the dissector",
    }
}

labels! {
    /// The type of a message.
    MessageType {
        Request = "request": "a request, or a DNS question",
        Response = "response": "a response, or a DNS answer",
        Informational = "informational": "a response with a status of 100 to 199; the final one follows",
        Trailers = "trailers": "headers behind a body of HTTP/2",
        Pushed = "pushed": "a request that an HTTP/2 server made up itself",
        End = "end": "the end of a gRPC call, or of the wait for a DNS answer",
    }
}

labels! {
    /// Outcome of a message.
    MessageOutcome {
        Emitted = "emitted": "a flow: the metrics count it",
        OtherSide = "other_side": "the other side of the connection reports it",
        Transit = "transit": "it passes a pod that is neither end",
        Unmatched = "unmatched": "no flow, as it belongs to no known request, or is of a type that makes none",
    }
}

labels! {
    /// Reason for which a request has no response.
    Unanswered {
        Closed = "closed": "its connection ended, or another took its ports",
        Timeout = "timeout": "no response to an HTTP request within `l7.http_timeout`, 5 minutes",
        Evicted = "evicted": "its connection, or the question, made room for another: too many are open",
        Limit = "limit": "256 later requests of its connection, or 65,536 of all, are open",
        Doubt = "doubt": "it is not known which request the next response answers: `webb_l7_doubts_total` has the reason",
        Reset = "reset": "its stream of HTTP/2 was reset",
        Expired = "expired": "no answer to a DNS question within `l7.dns_timeout`, 10 seconds",
        Restart = "restart": "the dissector was restarted",
        Field = "unknown_field": "the status of its response refers to a header of HTTP/2 that was not seen",
    }
}

labels! {
    /// Reason for which the next answered request, or the content of a table, is unknown.
    Doubt {
        Gap = "gap": "a segment of the server was not seen",
        Beyond = "beyond": "a head begins behind the bytes that were captured of a segment",
        Acknowledged = "acknowledged": "the other side has acknowledged what was not seen",
        Hole = "hole": "a segment of the client was not seen, before the oldest open request",
        Block = "block": "a whole block of headers of HTTP/2 cannot be decoded",
        Table = "table": "the headers that HTTP/2 refers to are not known any more: a gap, a late start, or a bound",
    }
}

labels! {
    /// Reason for which a DNS message was refused.
    Unparsed {
        Short = "short": "fewer than its 12 first bytes",
        Opcode = "opcode": "neither a query nor a notification",
        Questions = "questions": "not exactly one question",
        Name = "name": "the question's name or type cannot be read",
    }
}

labels! {
    /// Reason for which a part of a connection is not followed any more.
    Abandoned {
        Table = "table": "one direction of HTTP/2 wants a table of headers above 64 KiB",
        Memory = "memory": "all tables of headers together had 8 MiB",
        Gap = "gap": "one direction of DNS over TCP, behind a segment that was not seen",
    }
}

labels! {
    /// Part that was shortened or passed over to stay within a bound.
    Cut {
        Head = "head": "a head that counts by its first line, as its rest was not seen",
        Torn = "torn": "a head without a method or status, which does not count",
        Block = "block": "headers of HTTP/2 above 16 KiB, of which the beginning counts",
        Text = "text": "a text that found no room",
        Buffers = "buffers": "a head or frame that found all buffers in use",
        Call = "call": "a gRPC call that was open when the dissector was restarted",
        Untyped = "untyped": "a request of HTTP/2 that may be a gRPC call, as its content type was sent before the agent was there",
    }
}

const PROTOCOLS: usize = Protocol::ALL.len();

/// Counts by two enums.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally<const ROWS: usize, const COLUMNS: usize>([[u64; COLUMNS]; ROWS]);

impl<const ROWS: usize, const COLUMNS: usize> Default for Tally<ROWS, COLUMNS> {
    fn default() -> Self {
        Self([[0; COLUMNS]; ROWS])
    }
}

impl<const ROWS: usize, const COLUMNS: usize> Tally<ROWS, COLUMNS> {
    #[inline]
    fn add(&mut self, row: usize, column: usize, more: u64) {
        if let Some(count) = self.0.get_mut(row).and_then(|columns| columns.get_mut(column)) {
            *count += more;
        }
    }

    fn get(&self, row: usize, column: usize) -> u64 {
        self.0.get(row).and_then(|columns| columns.get(column)).copied().unwrap_or(0)
    }
}

/// The counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    records: Tally<PROTOCOLS, { RecordOutcome::ALL.len() }>,
    emitted: Tally<PROTOCOLS, { MessageType::ALL.len() }>,
    kept: Tally<{ MessageType::ALL.len() }, { MessageOutcome::ALL.len() * PROTOCOLS }>,
    unanswered: Tally<PROTOCOLS, { Unanswered::ALL.len() }>,
    doubts: Tally<1, { Doubt::ALL.len() }>,
    unparsed: Tally<1, { Unparsed::ALL.len() }>,
    abandoned: Tally<1, { Abandoned::ALL.len() }>,
    cut: Tally<1, { Cut::ALL.len() }>,
}

impl Ledger {
    /// Counts a record.
    #[inline]
    pub fn record(&mut self, protocol: Protocol, outcome: RecordOutcome) {
        self.records.add(protocol as usize, outcome as usize, 1);
    }

    #[inline]
    pub(super) fn message(&mut self, protocol: Protocol, of: MessageType, outcome: MessageOutcome) {
        if outcome == MessageOutcome::Emitted {
            self.emitted.add(protocol as usize, of as usize, 1);
        } else {
            self.kept.add(of as usize, outcome as usize * PROTOCOLS + protocol as usize, 1);
        }
    }

    #[inline]
    pub(super) fn unanswered(&mut self, protocol: Protocol, reason: Unanswered, more: u64) {
        self.unanswered.add(protocol as usize, reason as usize, more);
    }

    pub(super) fn doubt(&mut self, reason: Doubt) {
        self.doubts.add(0, reason as usize, 1);
    }

    pub(super) fn unparsed(&mut self, reason: Unparsed) {
        self.unparsed.add(0, reason as usize, 1);
    }

    pub(super) fn abandoned(&mut self, reason: Abandoned) {
        self.abandoned.add(0, reason as usize, 1);
    }

    pub(super) fn cut(&mut self, what: Cut) {
        self.cut.add(0, what as usize, 1);
    }

    /// True if all records that were read have an outcome, and all requests have a response, or a
    /// reason for none, or are open.
    pub fn adds_up(&self, read: u64, open: u64) -> bool {
        let sum = |rows: &mut dyn Iterator<Item = u64>| rows.sum::<u64>();
        let records = sum(&mut self.records.0.iter().flatten().copied());
        let emitted = |of| {
            sum(&mut Protocol::ALL.iter().map(|of_protocol| self.messages(*of_protocol, of, MessageOutcome::Emitted)))
        };
        let unanswered = sum(&mut self.unanswered.0.iter().flatten().copied());
        records == read && emitted(MessageType::Request) == emitted(MessageType::Response) + unanswered + open
    }

    /// Records of a protocol with this outcome.
    pub fn records(&self, protocol: Protocol, outcome: RecordOutcome) -> u64 {
        self.records.get(protocol as usize, outcome as usize)
    }

    /// Messages of a protocol and type with this outcome.
    pub fn messages(&self, protocol: Protocol, of: MessageType, outcome: MessageOutcome) -> u64 {
        if outcome == MessageOutcome::Emitted {
            return self.emitted.get(protocol as usize, of as usize);
        }
        self.kept.get(of as usize, outcome as usize * PROTOCOLS + protocol as usize)
    }

    /// Requests of a protocol that stay without a response for this reason.
    pub fn unanswered_for(&self, protocol: Protocol, reason: Unanswered) -> u64 {
        self.unanswered.get(protocol as usize, reason as usize)
    }

    /// Number of doubts for this reason.
    pub fn doubts(&self, reason: Doubt) -> u64 {
        self.doubts.get(0, reason as usize)
    }

    /// DNS messages refused for this reason.
    pub fn unparsed_for(&self, reason: Unparsed) -> u64 {
        self.unparsed.get(0, reason as usize)
    }

    /// Parts of connections that are not followed any more for this reason.
    pub fn abandoned_for(&self, reason: Abandoned) -> u64 {
        self.abandoned.get(0, reason as usize)
    }

    /// Number of cuts of this part.
    pub fn cuts(&self, what: Cut) -> u64 {
        self.cut.get(0, what as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label that stands at another's row would count one thing under another's name.
    #[test]
    fn each_count_has_its_own_place() {
        let mut ledger = Ledger::default();
        let mut more = 0;
        for &protocol in Protocol::ALL {
            for &of in MessageType::ALL {
                for &outcome in MessageOutcome::ALL {
                    more += 1;
                    (0..more).for_each(|_| ledger.message(protocol, of, outcome));
                }
            }
        }
        more = 0;
        for &protocol in Protocol::ALL {
            for &of in MessageType::ALL {
                for &outcome in MessageOutcome::ALL {
                    more += 1;
                    assert_eq!(ledger.messages(protocol, of, outcome), more, "{protocol:?} {of:?} {outcome:?}");
                }
            }
        }
        ledger.record(Protocol::Dns, RecordOutcome::Unasked);
        assert_eq!(ledger.records(Protocol::Dns, RecordOutcome::Unasked), 1);
        assert_eq!(ledger.records(Protocol::DnsTcp, RecordOutcome::Unasked), 0);
        assert!(Protocol::ALL.iter().enumerate().all(|(row, protocol)| *protocol as usize == row));
    }
}
