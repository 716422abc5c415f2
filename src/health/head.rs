//! Parses the head of the answer to `GET /hello`: its status is all that counts.

use super::{MAX_HEAD_BYTES, MAX_HEADERS, ProbeError};

/// Parses the status out of what has come so far; `None` while the head is not complete.
///
/// # Errors
/// If it is no head of HTTP/1, if it is too large, or for a status other than 200.
pub fn parse_status(bytes: &[u8]) -> Result<Option<u16>, ProbeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => check(response.code.unwrap_or_default()).map(Some),
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(ProbeError::LargeHead),
        Err(error) => Err(ProbeError::Invalid(error.to_string())),
    }
}

fn check(status: u16) -> Result<u16, ProbeError> {
    match status {
        200 => Ok(status),
        300..=399 => Err(ProbeError::Redirect(status)),
        _ => Err(ProbeError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What an agent, a broken one, a proxy and something else entirely may answer.
    #[test]
    fn answers_have_names() {
        let parse = |text: &str| parse_status(text.as_bytes());
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Ok(Some(200)));
        assert_eq!(parse("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nxxxx"), Ok(Some(200)));
        assert_eq!(parse("HTTP/1.1 500 Oh\r\n\r\n"), Err(ProbeError::Status(500)));
        assert_eq!(parse("HTTP/1.0 502 Bad Gateway\r\nvia: proxy\r\n\r\n"), Err(ProbeError::Status(502)));
        assert_eq!(parse("HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\n\r\n"), Err(ProbeError::Redirect(302)));
        assert!(matches!(parse("SSH-2.0-OpenSSH_9.9\r\n"), Err(ProbeError::Invalid(_))));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nx: "), Ok(None));
        assert_eq!(parse(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(65))), Err(ProbeError::LargeHead));
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse(&long[..MAX_HEAD_BYTES]), Err(ProbeError::LargeHead));
    }

    proptest! {
        /// Any bytes at all have an answer, and a full buffer never waits for more.
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _parsed = parse_status(&bytes);
            let full: Vec<u8> = bytes.iter().copied().chain(std::iter::repeat(b'a')).take(MAX_HEAD_BYTES).collect();
            prop_assert_ne!(parse_status(&full), Ok(None));
        }

        /// A head gives the same in whatever pieces it comes: nothing before its end, then the
        /// status.
        #[test]
        fn pieces_make_no_difference(status in 100_u16..600, value in "[ -~]{0,40}", cut in any::<prop::sample::Index>()) {
            let head = format!("HTTP/1.1 {status} reason\r\nx-a: {value}\r\n\r\n");
            prop_assert_eq!(parse_status(&head.as_bytes()[..cut.index(head.len())]), Ok(None));
            prop_assert_eq!(parse_status(head.as_bytes()), check(status).map(Some));
        }
    }
}
