//! Entry point of the fuzz target.

use super::echo_message::{parse_reply, request};
use super::head::parse_status;

/// Reads arbitrary bytes as answers to both kinds of probes: for fuzzing, where no input may do
/// more than end.
///
/// # Panics
/// If more bytes change a status that was complete, or if a reply does not read back.
pub fn fuzz(bytes: &[u8]) {
    let mut complete = None;
    for end in [bytes.len() / 3, bytes.len() / 2, bytes.len()] {
        let status = bytes.get(..end).and_then(|part| parse_status(part).ok().flatten());
        assert!(complete.is_none() || status == complete, "a complete head stays what it is");
        complete = status;
    }
    for is_v4 in [true, false] {
        if let Some(reply) = parse_reply(is_v4, bytes) {
            let sent = request(is_v4, reply);
            assert!(sent.get(6..) == bytes.get(6..), "a reply carries its request");
        }
    }
}
