//! Finds the end of an HTTP/1 message, from its head's fields about the body.

use super::head::{self, Body, Head};

/// Next position of the reader behind a head.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// At this distance from the head's first byte.
    At(u64),
    /// Somewhere behind the segment.
    After,
    /// Never again.
    Never,
}

/// A sequence number so many bytes on; a body longer than 4 GiB ends where they wrap to.
pub(super) fn advanced(sequence: u32, bytes: u64) -> u32 {
    let [a, b, c, d, ..] = bytes.to_le_bytes();
    sequence.wrapping_add(u32::from_le_bytes([a, b, c, d]))
}

/// Next position of the reader behind a request.
pub(super) fn request_body(head: &Head<'_>, behind: &[u8]) -> Step {
    let length = head.length as u64;
    match head.body {
        // The body comes when a 100 has come, or never.
        _ if head.expects => Step::After,
        Body::Unsaid => Step::At(length),
        Body::Length(body) => Step::At(length.saturating_add(body)),
        Body::Chunked => head::chunks_end(behind).map_or(Step::After, |end| Step::At(length + end as u64)),
        Body::Malformed => Step::After,
    }
}

/// Next position of the reader behind a response that may have a body.
pub(super) fn response_body(head: &Head<'_>, behind: &[u8]) -> Step {
    match head.body {
        Body::Unsaid => Step::Never,
        _ => request_body(&Head { expects: false, ..*head }, behind),
    }
}

/// True if a request with this method may have a body.
pub(super) fn has_body(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS" | "TRACE" | "CONNECT")
}
