//! The ledger of layer 7: every record and every message is in it once.
//!
//! Records of all outcomes add up to the records that were read; requests are the responses that
//! were matched, those that stay unanswered, and those that are open.

/// Defines an enum with variants that are label values and rows of a tally.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $(#[doc = concat!("`", $label, "`")] $variant,)+
        }

        impl $name {
            /// All of them, in the order of their rows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Value of the label.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

labels! {
    /// The protocol of a record.
    Protocol { Http1 = "http1", Http2 = "http2", Dns = "dns", DnsTcp = "dns_tcp", }
}

labels! {
    /// Outcome of a record.
    RecordOutcome {
        Message = "message",
        Partial = "partial",
        Part = "part",
        Past = "past",
        Body = "body",
        NotAHead = "not_a_head",
        Opaque = "opaque",
        Orphan = "orphan",
        Unmatched = "unmatched",
        Torn = "torn",
        Unparsed = "unparsed",
        Unasked = "unasked",
        OtherSide = "other_side",
        Transit = "transit",
        Malformed = "malformed",
        Panicked = "panicked",
    }
}

labels! {
    /// The type of a message.
    MessageType {
        Request = "request",
        Response = "response",
        Informational = "informational",
        Trailers = "trailers",
        Pushed = "pushed",
        End = "end",
    }
}

labels! {
    /// Outcome of a message.
    MessageOutcome {
        Emitted = "emitted",
        OtherSide = "other_side",
        Transit = "transit",
        Unmatched = "unmatched",
    }
}

labels! {
    /// Reason for which a request has no response.
    Unanswered {
        Closed = "closed",
        Timeout = "timeout",
        Evicted = "evicted",
        Crowd = "crowd",
        Doubt = "doubt",
        Reset = "reset",
        Expired = "expired",
        Restart = "restart",
        Field = "unknown_field",
    }
}

labels! {
    /// Reason for which the next answered request, or the content of a table, is unknown.
    Doubt {
        Gap = "gap",
        Beyond = "beyond",
        Acknowledged = "acknowledged",
        Hole = "hole",
        Block = "block",
        Table = "table",
    }
}

labels! {
    /// Reason for which a DNS message was refused.
    Unparsed { Short = "short", Opcode = "opcode", Questions = "questions", Name = "name", }
}

labels! {
    /// Reason for which a part of a connection is not followed any more.
    Abandoned { Table = "table", Memory = "memory", Gap = "gap", }
}

labels! {
    /// Part that was shortened or passed over to stay within a bound.
    Cut { Head = "head", Torn = "torn", Block = "block", Text = "text", Buffers = "buffers", Call = "call", }
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
