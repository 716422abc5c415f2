//! Entry points for fuzz targets.

use super::{Content, Reader};

/// Reads any bytes as lines of a flow file. Nothing but a panic is a finding.
///
/// # Panics
/// If lines are counted wrongly.
pub fn fuzz(bytes: &[u8]) {
    let mut reader = Reader::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        let _outcome = reader.line(line);
        if reader.is_full() {
            let _batch = reader.batch();
            reader.turn();
        }
    }
    let _batch = reader.batch();
    let counts = reader.counts();
    assert!(counts.flows + counts.others + counts.bad <= counts.lines);
}

/// Reads any bytes as responses of the flow API, each behind its length of two bytes. Nothing but a
/// panic is a finding.
///
/// # Panics
/// If responses are counted wrongly.
pub fn fuzz_responses(mut bytes: &[u8]) {
    let mut reader = Reader::default();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (response, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        bytes = rest;
        if reader.response(response) == Ok(Content::Flow) && response.len() % 7 == 0 {
            reader.retract();
        }
        if reader.is_full() {
            let _batch = reader.batch();
            reader.turn();
        }
    }
    let _batch = reader.batch();
    let counts = reader.counts();
    assert!(counts.flows + counts.others + counts.bad <= counts.lines);
}
