//! Entry points for fuzz targets.

use webb_flow::abi::{Message, VERSION, message_kind};
use zerocopy::IntoBytes;

use super::dissector::{Dissector, Limits};
use super::event::{Connection, Event, Judgement, Sink, Wants};
use super::redact::Redact;

struct Nowhere;

impl Sink for Nowhere {
    fn judge(&mut self, connection: &Connection) -> Judgement {
        if connection.path.peer.port == 1 { Judgement::OtherSide } else { Judgement::Emit }
    }

    fn emit(&mut self, _: &Event<'_>) {}
}

/// Cuts the bytes into records of one kind, or of any, and reads them: in any order, with any
/// flags, of a few connections. A panic is a finding, and a ledger that does not add up.
///
/// # Panics
/// If the ledger does not add up.
pub fn fuzz(kind: Option<u8>, bytes: &[u8]) {
    let limits = Limits {
        connections: 4,
        http2_connections: 2,
        requests: 16,
        partial_heads: 2,
        partial_blocks: 2,
        queries: 8,
        dns_streams: 2,
        ..Limits::default()
    };
    let mut dissector = Dissector::new(limits, Wants::ALL, Redact::default());
    let (mut rest, mut read, mut sequences, mut record) = (bytes, 0, [0_u32; 2], Vec::new());
    while let Some(([what, flags, step, length], behind)) = rest.split_first_chunk() {
        let (payload, behind) = behind.split_at_checked(usize::from(*length)).unwrap_or((behind, &[]));
        rest = behind;
        let [client, server] = sequences;
        let [ours, theirs] = if what & 1 == 0 { [client, server] } else { [server, client] };
        let sequence = ours.wrapping_add_signed(i32::from(step.cast_signed()));
        let captured = u16::from(u8::try_from(payload.len()).unwrap_or(u8::MAX));
        let header = Message {
            version: VERSION,
            kind: kind.unwrap_or(message_kind::HTTP1 + (what >> 1 & 3)),
            captured,
            time_ns: read,
            ifindex: 1,
            source_port: u16::from(if what & 1 == 0 { what >> 3 & 7 } else { 9 }),
            destination_port: u16::from(if what & 1 == 0 { 9 } else { what >> 3 & 7 }),
            sequence,
            acknowledgement: theirs,
            payload: u32::from(captured) + if flags & 2 == 0 { 0 } else { u32::from(*step) },
            begin: sequence.wrapping_sub(u32::from(flags >> 5)),
            family: 4,
            protocol: 6,
            hook: what & 1,
            flags: flags & 15,
            ..Message::default()
        };
        let end = sequence.wrapping_add(header.payload);
        sequences = if what & 1 == 0 { [end, theirs] } else { [theirs, end] };
        record.clear();
        record.extend_from_slice(header.as_bytes());
        record.extend_from_slice(payload);
        dissector.read(&record, &mut Nowhere);
        read += 1;
        if flags & 16 != 0 {
            dissector.records_lost();
            dissector.expire(read, 2, &mut Nowhere);
        }
        let gauges = dissector.gauges();
        let adds_up = dissector.ledger().adds_up(read, gauges.requests + gauges.queries);
        assert!(adds_up, "the ledger does not add up: {:?} {gauges:?}", dissector.ledger());
    }
}
