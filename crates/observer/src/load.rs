//! Fills a history from files of flows.

use std::sync::Arc;

use bytes::Bytes;
use webb_flow::clock::now_ns;
use webb_flowlog::{Cursor, JsonError, Reader};

use crate::history::History;
use crate::json_read;
use crate::schema::schema;
use crate::segment::{Event, Other, OtherSort, Segment};
use crate::wire;

/// Events of a segment at most.
const SEGMENT: usize = 512;

/// Number of the field of an envelope that is a flow.
const FLOW: u32 = 1;

/// Keeps the place of a flow.
const PLACE: Event = Event::Other(u32::MAX);

/// Parses lines of flows and events and appends them to a history. A flow is kept as the file has
/// it, with every field of the API.
#[derive(Debug)]
pub struct Loader<'a> {
    history: &'a History,
    reader: Reader,
    segment: Segment,
    encoded: Vec<u8>,
}

impl<'a> Loader<'a> {
    /// A loader of `history`.
    pub fn new(history: &'a History) -> Self {
        Self { history, reader: Reader::default(), segment: Segment::default(), encoded: Vec::new() }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// The error in the line and its position; the line is left out then.
    pub fn line(&mut self, line: &[u8]) -> Result<(), JsonError> {
        let text = String::from_utf8_lossy(line);
        self.encoded.clear();
        if !text.trim_ascii_start().is_empty() {
            // First, so that a line which is refused here makes no flow there.
            if let Err(error) = encode(&text, &mut self.encoded) {
                self.reader.bad_line();
                return Err(error);
            }
        }
        let flows = self.reader.counts().flows;
        self.reader.line(line)?;
        if self.reader.counts().flows > flows {
            // Taken from the reader's batch at the end of the segment; its place is kept.
            self.segment.events.push(PLACE);
            self.segment.encoded.push(flow(&self.encoded));
        } else if let Some(other) = other(&self.encoded) {
            let row = u32::try_from(self.segment.others.len()).unwrap_or(u32::MAX);
            self.segment.others.push(other);
            self.segment.events.push(Event::Other(row));
            self.segment.encoded.push(Bytes::new());
        }
        if self.reader.is_full() || self.segment.events.len() >= SEGMENT {
            self.end();
        }
        Ok(())
    }

    /// Hands over what was read since the last segment.
    pub fn end(&mut self) {
        let batch = self.reader.batch();
        let mut segment = std::mem::take(&mut self.segment);
        segment.extras = batch.extras.to_vec();
        segment.index = Arc::clone(batch.index);
        let mut flows = batch.flows.iter();
        for event in &mut segment.events {
            if *event == PLACE
                && let Some(flow) = flows.next()
            {
                *event = Event::Flow(*flow);
            }
        }
        self.history.push(segment, now_ns());
        self.reader.turn();
    }

    /// A line that was not even kept.
    pub fn bad_line(&mut self) {
        self.reader.bad_line();
    }

    /// Counts of the lines so far.
    pub fn counts(&self) -> &webb_flowlog::Counts {
        self.reader.counts()
    }
}

/// Appends a line as an `observer.ExportEvent`; a flow without an envelope is put into one.
fn encode(line: &str, out: &mut Vec<u8>) -> Result<(), JsonError> {
    json_read::encode(&mut Cursor::new(line), schema().message("observer.ExportEvent"), out)?;
    if !wire::fields(out).any(|field| (1..=5).contains(&field.number)) {
        out.clear();
        let flow = |out: &mut Vec<u8>| json_read::encode(&mut Cursor::new(line), schema().message("flow.Flow"), out);
        wire::put_message(out, FLOW, flow)?;
    }
    Ok(())
}

/// The flow of an encoded `observer.ExportEvent`.
fn flow(envelope: &[u8]) -> Bytes {
    let flow = wire::fields(envelope).filter(|field| field.number == FLOW).last();
    flow.map(|field| Bytes::copy_from_slice(field.value.bytes())).unwrap_or_default()
}

/// The event of an encoded `observer.ExportEvent` that is no flow, if it is one that a node has.
fn other(envelope: &[u8]) -> Option<Other> {
    let mut event = None;
    let mut node_name = String::new();
    let mut time_ns = 0;
    for field in wire::fields(envelope) {
        let sort = match field.number {
            3 => OtherSort::Lost,
            4 => OtherSort::Agent,
            5 => OtherSort::Debug,
            1000 => {
                node_name = String::from_utf8_lossy(field.value.bytes()).into_owned();
                continue;
            }
            1001 => {
                time_ns = time_of(field.value.bytes());
                continue;
            }
            _ => continue,
        };
        event = Some((sort, Bytes::copy_from_slice(field.value.bytes())));
    }
    event.map(|(sort, message)| Other { sort, message, node_name, time_ns })
}

/// Nanoseconds of an encoded timestamp.
fn time_of(timestamp: &[u8]) -> u64 {
    let fields = wire::fields(timestamp);
    fields.fold(0, |time, field| match field.number {
        1 => field.value.number().saturating_mul(1_000_000_000).saturating_add(time),
        2 => field.value.number().saturating_add(time),
        _ => time,
    })
}
