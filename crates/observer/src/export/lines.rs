//! The line of an event: `{"flow":{...},"node_name":"...","time":"..."}`.

use crate::encode::Encoder;
use crate::json_read::put_time;
use crate::json_write;
use crate::mask::Mask;
use crate::schema::schema;
use crate::segment::{Event, Other, OtherSort, Segment};
use crate::wire::{fields, put_bytes, put_message};

/// Numbers of the fields of `observer.ExportEvent`.
const FLOW: u32 = 1;
const LOST: u32 = 3;
const AGENT: u32 = 4;
const DEBUG: u32 = 5;
const NODE_NAME: u32 = 1000;
const TIME: u32 = 1001;

/// Numbers of the fields of `flow.Flow` that the line repeats.
const FLOW_TIME: u32 = 1;
const FLOW_NODE_NAME: u32 = 11;

/// Writes events as lines.
#[derive(Debug)]
pub(crate) struct Lines {
    encoder: Encoder,
    /// Name of this node, without its cluster's.
    node: String,
    mask: Option<Mask>,
    masked: Vec<u8>,
    event: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(encoder: Encoder, node: String, mask: Option<Mask>) -> Self {
        Self { encoder, node, mask, masked: Vec::new(), event: Vec::new() }
    }

    /// The parts of the flow in a place that the mask leaves, and the whole flow, both encoded.
    pub(super) fn flow(&mut self, segment: &Segment, place: usize) -> (&[u8], bytes::Bytes) {
        let whole = self.encoder.encoded(segment, place);
        self.masked.clear();
        match &self.mask {
            Some(mask) => mask.apply(&whole, &mut self.masked),
            None => self.masked.extend_from_slice(&whole),
        }
        (&self.masked, whole)
    }

    /// Appends the line of an event.
    pub(crate) fn event(&mut self, segment: &Segment, place: usize, out: &mut Vec<u8>) {
        match segment.events.get(place) {
            Some(Event::Flow(_)) => {
                self.flow(segment, place);
                write_flow(&self.masked, &mut self.event, out);
            }
            Some(Event::Other(row)) => {
                if let Some(other) = segment.other(*row) {
                    self.other(other, out);
                }
            }
            None => {}
        }
    }

    fn other(&mut self, other: &Other, out: &mut Vec<u8>) {
        let number = match other.sort {
            OtherSort::Lost => LOST,
            OtherSort::Agent => AGENT,
            OtherSort::Debug => DEBUG,
        };
        self.event.clear();
        put_bytes(&mut self.event, number, &other.message);
        put_bytes(&mut self.event, NODE_NAME, self.node.as_bytes());
        put_message(&mut self.event, TIME, |out| put_time(out, other.time_ns));
        finish(&self.event, out);
    }
}

/// Appends the line of an encoded flow. Its time and its node stand beside it, if it has them.
pub(super) fn write_flow(flow: &[u8], event: &mut Vec<u8>, out: &mut Vec<u8>) {
    event.clear();
    put_bytes(event, FLOW, flow);
    for field in fields(flow) {
        match field.number {
            FLOW_TIME => put_bytes(event, TIME, field.value.bytes()),
            FLOW_NODE_NAME => put_bytes(event, NODE_NAME, field.value.bytes()),
            _ => {}
        }
    }
    finish(event, out);
}

fn finish(event: &[u8], out: &mut Vec<u8>) {
    json_write::write(event, schema().message("observer.ExportEvent"), out);
    out.push(b'\n');
}
