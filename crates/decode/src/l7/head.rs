//! Heads of HTTP/1 messages: what of them decides about matching, the body's length, and the
//! connection's end.

use std::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

/// Fields of a head that are read; of a head with more only the first line is.
const FIELDS: usize = 100;

/// Letters that a method may have.
pub(super) const METHOD: usize = 24;

/// Framing of the bytes behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// The head has no field about a body.
    Unsaid,
    /// The body has this length in bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Lengths that contradict each other, or are none.
    Malformed,
}

/// A head's first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Request { method: &'a str, target: &'a str },
    Response { code: u16 },
}

/// A head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) line: Line<'a>,
    /// Bytes, the empty line included.
    pub(super) length: usize,
    /// HTTP/1.0 is older.
    pub(super) old: bool,
    pub(super) body: Body,
    /// `Expect: 100-continue`.
    pub(super) expects: bool,
    /// The connection ends with the message.
    pub(super) closes: bool,
}

/// Outcome of parsing the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    Head(Head<'a>),
    /// The beginning of a head. The first line is there if it is whole; of a request its method is
    /// enough, with as much of the target as there is.
    Partial(Option<Head<'a>>),
    /// A head with more fields than are read, of which the end was not looked for.
    Crowded(Head<'a>),
    /// Something else.
    Other,
}

/// Fields of a head, in its order.
pub(super) type Field<'a> = (&'a str, &'a [u8]);

/// Parses the beginning of `bytes`, and shows each field to `field`.
#[inline]
pub(super) fn parse<'a>(bytes: &'a [u8], from_client: bool, field: &mut dyn FnMut(Field<'a>)) -> Parsed<'a> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
    let mut config = ParserConfig::default();
    config.ignore_invalid_headers_in_requests(true).ignore_invalid_headers_in_responses(true);
    let (status, line, version, fields) = if from_client {
        let mut request = httparse::Request::new(&mut []);
        let status = config.parse_request_with_uninit_headers(&mut request, bytes, &mut fields);
        let line = request.method.zip(request.path).map(|(method, target)| Line::Request { method, target });
        if status == Ok(Status::Partial) && request.version.is_none() {
            return partial_line(bytes, request.method, request.path);
        }
        (status, line, request.version, &*request.headers)
    } else {
        let mut response = httparse::Response::new(&mut []);
        let status = config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields);
        let line = response.code.map(|code| Line::Response { code });
        (status, line, response.version, &*response.headers)
    };
    let Some((line, version)) = line.filter(is_line).zip(version) else {
        return match status {
            Ok(Status::Partial) if line.is_none_or(|line| is_line(&line)) => Parsed::Partial(None),
            _ => Parsed::Other,
        };
    };
    let bare = Head { line, length: 0, old: version == 0, body: Body::Unsaid, expects: false, closes: version == 0 };
    match status {
        Ok(Status::Complete(length)) => Parsed::Head(read_fields(Head { length, ..bare }, fields, field)),
        Ok(Status::Partial) => Parsed::Partial(Some(bare)),
        Err(httparse::Error::TooManyHeaders) => Parsed::Crowded(bare),
        Err(_) => Parsed::Other,
    }
}

fn is_line(line: &Line<'_>) -> bool {
    match line {
        Line::Request { method, .. } => method.len() <= METHOD,
        Line::Response { code } => (100..1000).contains(code),
    }
}

/// The beginning of a request's first line. Without its end the version is not known: nearly all
/// are HTTP/1.1. A target shows that it is no text of a body.
fn partial_line<'a>(bytes: &'a [u8], method: Option<&'a str>, target: Option<&'a str>) -> Parsed<'a> {
    let Some(method) = method else { return Parsed::Partial(None) };
    let target = target.unwrap_or_else(|| {
        let line = bytes.trim_ascii_start().get(method.len()..).unwrap_or_default().trim_ascii_start();
        line.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    });
    let begins = |of: &str| target.starts_with(of) || of.starts_with(target);
    let line = Line::Request { method, target };
    if !is_line(&line) || !(begins("/") || begins("*") || begins("http://") || method == "CONNECT") {
        return if method.len() > METHOD { Parsed::Other } else { Parsed::Partial(None) };
    }
    let body = Body::Unsaid;
    Parsed::Partial(Some(Head { line, length: 0, old: false, body, expects: false, closes: false }))
}

fn read_fields<'a>(mut head: Head<'a>, fields: &[Header<'a>], field: &mut dyn FnMut(Field<'a>)) -> Head<'a> {
    for &Header { name, value } in fields {
        // The length distinguishes nearly all names.
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => head.body = with_length(head.body, value),
            17 if name.eq_ignore_ascii_case("transfer-encoding") && last(value).eq_ignore_ascii_case(b"chunked") => {
                head.body = Body::Chunked;
            }
            6 if name.eq_ignore_ascii_case("expect") => head.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if option.eq_ignore_ascii_case(b"close") {
                        head.closes = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        head.closes = false;
                    }
                }
            }
            _ => {}
        }
        field((name, value));
    }
    head
}

/// The last item of a list.
fn last(value: &[u8]) -> &[u8] {
    value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii()
}

/// The body with one more Content-Length. Chunks win over it; equal ones are one, also in a list.
fn with_length(body: Body, value: &[u8]) -> Body {
    let mut body = body;
    for item in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let digits = !item.is_empty() && item.len() <= 18 && item.iter().all(u8::is_ascii_digit);
        let length = item.iter().fold(0_u64, |sum, digit| sum.wrapping_mul(10) + u64::from(digit.wrapping_sub(b'0')));
        body = match body {
            Body::Chunked => Body::Chunked,
            Body::Unsaid if digits => Body::Length(length),
            Body::Length(known) if digits && known == length => body,
            _ => Body::Malformed,
        };
    }
    body
}

/// End of the chunks, trailers included, if they end within `bytes`.
pub(super) fn chunks_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(bytes, at)?;
        let digits =
            line.split(|byte| !byte.is_ascii_hexdigit()).next().filter(|digits| (1..=8).contains(&digits.len()))?;
        let size = digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | char::from(*digit).to_digit(16)?))?;
        at += line.len();
        if size == 0 {
            break;
        }
        at = at.checked_add(size as usize)?;
        at += self::line(bytes, at).filter(|line| line.trim_ascii().is_empty())?.len();
    }
    loop {
        let line = line(bytes, at)?;
        at += line.len();
        if line.trim_ascii().is_empty() {
            return Some(at);
        }
    }
}

/// The line at `at`, its end included.
fn line(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    rest.get(..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head<'_> {
        match parse(text.as_bytes(), !text.starts_with("HTTP/"), &mut |_| {}) {
            Parsed::Head(head) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    /// RFC 9112, 6.3: framing of a body by its head.
    #[test]
    fn bodies() {
        for (fields, wanted) in [
            ("", Body::Unsaid),
            ("Content-Length: 27\r\n", Body::Length(27)),
            ("content-LENGTH:27 \r\nContent-Length: 27\r\n", Body::Length(27)),
            ("Content-Length: 27, 27\r\n", Body::Length(27)),
            ("Content-Length: 27\r\nContent-Length: 28\r\n", Body::Malformed),
            ("Content-Length: +27\r\n", Body::Malformed),
            ("Content-Length:\r\n", Body::Malformed),
            ("Content-Length: 9999999999999999999\r\n", Body::Malformed),
            ("Transfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n", Body::Chunked),
            ("Content-Length: 3\r\nTransfer-Encoding: Chunked\r\n", Body::Chunked),
            ("Transfer-Encoding: chunked, gzip\r\n", Body::Unsaid),
        ] {
            let text = format!("POST / HTTP/1.1\r\n{fields}\r\nrest");
            let found = head(&text);
            assert_eq!((found.body, found.length), (wanted, text.len() - 4), "{fields}");
        }
    }

    /// Whether the connection ends with the message.
    #[test]
    fn ends_of_connections() {
        for (text, closes) in [
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\n\r\n", false),
        ] {
            assert_eq!(head(text).closes, closes, "{text}");
        }
    }

    /// A head is partial at every byte but the last, and whatever cannot become one is none.
    #[test]
    fn every_cut_is_partial() {
        for text in ["GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nServer: b\r\n\r\n"] {
            let from_client = text.starts_with('G');
            for length in 1..text.len() {
                let parsed = parse(&text.as_bytes()[..length], from_client, &mut |_| {});
                assert!(matches!(parsed, Parsed::Partial(_)), "{length} of {text:?}: {parsed:?}");
            }
        }
        for text in ["GET / HTTP/2.0\r\n", "G\0", "ABCDEFGHIJKLMNOPQRSTUVWXYZ / HTTP/1.1\r\n\r\n", "THE end is"] {
            assert_eq!(parse(text.as_bytes(), true, &mut |_| {}), Parsed::Other, "{text:?}");
        }
    }

    /// A request is known by its method, as soon as what follows may be a target.
    #[test]
    fn first_lines_in_part() {
        for (text, wanted) in [
            ("GET", None),
            ("GET ", Some(("GET", ""))),
            ("GET /ab", Some(("GET", "/ab"))),
            ("get /ab", Some(("get", "/ab"))),
            ("\r\nPOST /a?b HT", Some(("POST", "/a?b"))),
            ("GET http://h/a", Some(("GET", "http://h/a"))),
            ("CONNECT h:4", Some(("CONNECT", "h:4"))),
            ("THE end", None),
        ] {
            let found = match parse(text.as_bytes(), true, &mut |_| {}) {
                Parsed::Partial(Some(Head { line: Line::Request { method, target }, .. })) => Some((method, target)),
                Parsed::Partial(None) => None,
                other => panic!("{text:?}: {other:?}"),
            };
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    /// The end of chunks is found at no byte too early.
    #[test]
    fn chunks() {
        for text in
            ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "A;x=y\r\nGET / HTTP\r\n1\r\n\n\r\n0\r\nTrailer: 1\r\n\r\n"]
        {
            assert_eq!(chunks_end(format!("{text}GET /").as_bytes()), Some(text.len()), "{text:?}");
            (0..text.len()).for_each(|length| assert_eq!(chunks_end(&text.as_bytes()[..length]), None, "{length}"));
        }
        for text in ["x\r\n", "\r\n", "5\r\nhelloo\r\n", "fffffffff\r\n", "-1\r\n"] {
            assert_eq!(chunks_end(format!("{text}0\r\n\r\n0\r\n\r\n").as_bytes()), None, "{text:?}");
        }
    }
}
