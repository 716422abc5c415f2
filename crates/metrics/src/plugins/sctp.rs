//! `sctp`: associations opened, closed and aborted, by the first chunk of a packet (hubble-contract
//! §1.11).

use super::{number, tcp};
use crate::expose::Spec;
use crate::options::Options;
use crate::plugin::{Emit, Plugin, Table, Texts};
use crate::tuples::Tuples;
use webb_flow::{Family, Flow, L4, SctpChunk};

/// Forwarded SCTP flows with a known first chunk.
#[derive(Debug)]
pub(super) struct Sctp;

const CHUNKS: [SctpChunk; 7] = [
    SctpChunk::Unsupported,
    SctpChunk::Init,
    SctpChunk::InitAck,
    SctpChunk::Shutdown,
    SctpChunk::ShutdownAck,
    SctpChunk::ShutdownComplete,
    SctpChunk::Abort,
];

impl Plugin for Sctp {
    const NAME: &'static str = "sctp";
    const TABLES: &'static [Table] = &[Table::counters(
        &[Spec { name: "hubble_sctp_chunk_types_total", help: "SCTP chunk type occurrences" }],
        &["chunk_type", "family"],
    )];

    fn new(_options: &Options) -> Self {
        Self
    }

    #[inline]
    fn observe(&self, flow: &Flow, emit: &mut Emit<'_, Self>) {
        if flow.l4 != L4::Sctp || !flow.verdict.passed() || !tcp::has_ip(flow, emit) {
            return;
        }
        let key = match emit.extra().map_or(flow.sctp_chunk as i32, |extra| extra.sctp_chunk) {
            0 => return,
            1..=6 => u64::from(u16::from_le_bytes([flow.sctp_chunk as u8, flow.family as u8])),
            other => emit.tuple().number(other).text(flow.family.name()).id() | number::TUPLE,
        };
        emit.count(0, key);
    }

    fn texts(_table: usize, key: u64, tuples: &Tuples) -> Texts {
        if let Some(tuple) = number::tuple(key) {
            return tuples.texts(tuple);
        }
        let [chunk, family, ..] = key.to_le_bytes();
        let chunk = CHUNKS.get(usize::from(chunk)).copied().unwrap_or_default();
        vec![chunk.name().into(), Family::of(family).name().into()]
    }
}
