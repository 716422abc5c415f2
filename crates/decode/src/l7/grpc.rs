//! Derives the end of a gRPC call from its observed parts.
//!
//! The status is in the trailers, or in a response that is trailers only. Where there is none,
//! gRPC's own tables map the HTTP status of the response, or the code of a reset.

use super::event::GrpcStatus;

const CANCELLED: GrpcStatus = GrpcStatus::Number(1);
const UNKNOWN: GrpcStatus = GrpcStatus::Number(2);
const PERMISSION_DENIED: GrpcStatus = GrpcStatus::Number(7);
const RESOURCE_EXHAUSTED: GrpcStatus = GrpcStatus::Number(8);
const UNIMPLEMENTED: GrpcStatus = GrpcStatus::Number(12);
const INTERNAL: GrpcStatus = GrpcStatus::Number(13);
const UNAVAILABLE: GrpcStatus = GrpcStatus::Number(14);
const UNAUTHENTICATED: GrpcStatus = GrpcStatus::Number(16);

/// Whether a request is a gRPC call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Call {
    /// It has another content type, or calls are not wanted.
    #[default]
    No,
    /// Its content type is a field of a table that was not seen: its response or trailers may say.
    Perhaps,
    Yes,
}

/// True for the content types of gRPC: `application/grpc`, alone or with a format or parameters.
pub(super) fn is_grpc(content_type: &[u8]) -> bool {
    let (begin, rest) = content_type.split_at_checked(16).unwrap_or_default();
    begin.eq_ignore_ascii_case(b"application/grpc")
        && matches!(rest.trim_ascii_start().first(), None | Some(b'+' | b';'))
}

/// The status that `grpc-status` names.
pub(super) fn of_text(text: &[u8]) -> GrpcStatus {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    match number {
        Some(number @ 0..=16) => GrpcStatus::Number(number),
        _ => GrpcStatus::Other,
    }
}

/// The status of a response that has none of its own (gRPC, http-grpc-status-mapping).
pub(super) fn of_http(code: u16) -> GrpcStatus {
    match code {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// The status of a stream that was reset (gRPC over HTTP/2, errors).
pub(super) fn of_reset(code: u32) -> GrpcStatus {
    match code {
        // STREAM_CLOSED has no mapping.
        5 => GrpcStatus::Unknown,
        7 => UNAVAILABLE,
        8 => CANCELLED,
        11 => RESOURCE_EXHAUSTED,
        12 => PERMISSION_DENIED,
        0..=10 | 13 => INTERNAL,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gRPC over HTTP/2, Content-Type: other types begin alike.
    #[test]
    fn content_types() {
        for (text, wanted) in [
            ("application/grpc", true),
            ("Application/gRPC", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc ;x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcfoo", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(text.as_bytes()), wanted, "{text}");
        }
    }

    /// Numbers are as they are written; all else is `other`, not a number of gRPC's.
    #[test]
    fn statuses() {
        assert_eq!(of_text(b"0"), GrpcStatus::Number(0));
        assert_eq!(of_text(b"16"), GrpcStatus::Number(16));
        assert!([&b"17"[..], b"", b"-1", b"x", b"999"].iter().all(|text| of_text(text) == GrpcStatus::Other));
        assert_eq!([of_http(404), of_http(503), of_http(418)], [UNIMPLEMENTED, UNAVAILABLE, UNKNOWN]);
        assert_eq!([of_reset(8), of_reset(7), of_reset(2), of_reset(99)], [CANCELLED, UNAVAILABLE, INTERNAL, UNKNOWN]);
    }
}
