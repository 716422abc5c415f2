//! A log record, written as protobuf into a buffer that is used again for the next.
//!
//! Structures of the OpenTelemetry SDK would be made, filled and encoded for each record, which
//! costs ten times as much.

use crate::attributes::{Attributes, MAX_RECORD_BYTES};
use crate::protobuf::{put_bytes, put_len, put_varint, varint_len};

/// Bytes of the text of a record at most; a longer one is cut.
pub const MAX_BODY_BYTES: usize = 8 << 10;

/// Bytes of an event's name at most.
const MAX_EVENT_NAME_BYTES: usize = 256;

const TIME: u8 = 1 << 3 | 1;
const SEVERITY: u8 = 2 << 3;
const BODY: u8 = 5 << 3 | 2;
const DROPPED_ATTRIBUTES: u8 = 7 << 3;
const TRACE_ID: u8 = 9 << 3 | 2;
const OBSERVED_TIME: u8 = 11 << 3 | 1;
const EVENT_NAME: u8 = 12 << 3 | 2;
/// `AnyValue.string_value`.
const STRING: u8 = 1 << 3 | 2;

/// How severe what a record says is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Severity {
    /// `INFO`: forwarded.
    Info = 9,
    /// `WARN`: dropped, or audited.
    Warn = 13,
    /// `ERROR`.
    Error = 17,
}

/// What a record has beside its attributes.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Time of the event, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Time at which it was seen, in nanoseconds since 1970.
    pub observed_ns: u64,
    /// Its severity.
    pub severity: Severity,
    /// Type of the event, for example `webb.flow`.
    pub event_name: &'a str,
    /// The trace that it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// Its text; empty is none. One that is cut at [`MAX_BODY_BYTES`] counts as an attribute that
    /// was dropped.
    pub body: &'a str,
}

/// A log record, encoded.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a>(pub(crate) &'a [u8]);

impl Encoded<'_> {
    /// The bytes of the `LogRecord`.
    pub fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// Writes one log record after the other. Allocates nothing once its buffer has grown.
#[derive(Debug, Default)]
pub struct Record {
    attributes: Attributes,
}

impl Record {
    /// A writer with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a record, and returns its attributes, to be written next.
    pub fn begin(&mut self, head: &Head<'_>) -> &mut Attributes {
        self.attributes.clear();
        let out = &mut self.attributes.bytes;
        out.push(TIME);
        out.extend_from_slice(&head.time_ns.to_le_bytes());
        out.push(OBSERVED_TIME);
        out.extend_from_slice(&head.observed_ns.to_le_bytes());
        out.extend_from_slice(&[SEVERITY, head.severity as u8]);
        put_bytes(out, EVENT_NAME, start(head.event_name, MAX_EVENT_NAME_BYTES).as_bytes());
        if let Some(trace) = &head.trace_id {
            put_bytes(out, TRACE_ID, trace);
        }
        let body = start(head.body, MAX_BODY_BYTES);
        if !body.is_empty() {
            out.push(BODY);
            put_len(out, 1 + varint_len(body.len() as u64) + body.len());
            put_bytes(out, STRING, body.as_bytes());
        }
        if body.len() < head.body.len() {
            self.attributes.dropped += 1;
        }
        &mut self.attributes
    }

    /// Ends the record. Its bytes stay until the next one begins.
    pub fn finish(&mut self) -> Encoded<'_> {
        let dropped = self.attributes.dropped();
        let out = &mut self.attributes.bytes;
        if dropped > 0 {
            out.push(DROPPED_ATTRIBUTES);
            put_varint(out, u64::from(dropped));
        }
        debug_assert!(out.len() <= MAX_RECORD_BYTES, "a record of {} bytes", out.len());
        Encoded(out)
    }
}

/// The beginning of a text, of at most so many bytes.
fn start(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}
