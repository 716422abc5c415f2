//! Entry points for fuzz targets.

use super::Reader;

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
