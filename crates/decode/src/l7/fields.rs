//! Reads the fields of a head: only wanted ones are copied.

use super::event::Wants;
use super::grpc::Call;
use super::head::{self, Parsed};
use super::headers::Headers;
use super::redact::Redact;
use super::requests::Open;
use super::url;

/// Buffers for one message at a time.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// The request, before it is kept.
    pub(super) open: Open,
    host: String,
    pub(super) headers: Headers,
    cut: Vec<u8>,
    pub(super) redact: Redact,
}

impl Fields {
    pub(super) fn new(redact: Redact) -> Self {
        Self { redact, ..Self::default() }
    }

    /// Parses a head of HTTP/1, and keeps its fields.
    pub(super) fn parse<'a>(&mut self, bytes: &'a [u8], from_client: bool, wants: Wants) -> Parsed<'a> {
        if !(wants.url || wants.headers || wants.trace) {
            return head::parse(bytes, from_client, &mut |_| {});
        }
        self.clear();
        head::parse(bytes, from_client, &mut |(name, value)| self.take(name.as_bytes(), value, wants))
    }

    /// Keeps the fields of a head of which the end is not there.
    pub(super) fn parse_cut(&mut self, bytes: &[u8], from_client: bool, wants: Wants) {
        let lines = bytes.iter().rposition(|byte| *byte == b'\n').and_then(|last| bytes.get(..=last));
        let mut cut = std::mem::take(&mut self.cut);
        cut.clear();
        cut.extend_from_slice(lines.unwrap_or_default());
        cut.extend_from_slice(b"\r\n");
        self.parse(&cut, from_client, wants);
        self.cut = cut;
    }

    pub(super) fn clear(&mut self) {
        self.open.texts.clear();
        self.open.call = Call::No;
        self.host.clear();
        self.headers.clear();
    }

    /// Keeps a field, if it is wanted. `:authority` is the host too.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8], wants: Wants) {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        if wants.url && (is("host") || is(":authority")) {
            self.host.clear();
            self.host.push_str(std::str::from_utf8(value).unwrap_or_default());
        } else if wants.trace && is("traceparent") {
            self.open.texts.trace_id.clear();
            self.open.texts.trace_id.push_str(trace_id(value).unwrap_or_default());
        }
        if wants.headers {
            if is("x-request-id") {
                self.open.texts.request_id.clear();
                self.open.texts.request_id.push_str(std::str::from_utf8(value).unwrap_or_default());
            }
            self.headers.push(name, value, &self.redact);
        }
    }

    /// Completes a request from its stored fields.
    pub(super) fn request(&mut self, target: &str, wants: Wants) {
        if wants.url {
            url::write(&mut self.open.texts.url, &self.host, target, &self.redact);
        }
        self.headers.sort();
    }

    /// Completes a response: it bears its request's X-Request-Id.
    pub(super) fn response(&mut self, request_id: &str, wants: Wants) {
        if wants.headers && !request_id.is_empty() {
            self.headers.push(b"x-request-id", request_id.as_bytes(), &self.redact);
        }
        self.headers.sort();
    }

    pub(super) fn headers(&self) -> &[(String, String)] {
        self.headers.list()
    }
}

/// The trace id of a W3C `traceparent`.
fn trace_id(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |part: &str| part.bytes().all(|digit| digit == b'0');
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let later = version != "00" || parts.next().is_none();
    (whole && later && version != "ff" && !zero(trace) && !zero(span)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W3C Trace Context, 3.2.2.
    #[test]
    fn trace_ids() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |text: String| trace_id(text.as_bytes()).map(str::to_owned);
        assert_eq!(of(format!("00-{TRACE}-00f067aa0ba902b7-01")).as_deref(), Some(TRACE));
        assert_eq!(of(format!("fe-{TRACE}-00f067aa0ba902b7-01-more")).as_deref(), Some(TRACE));
        for wrong in [
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}"),
            String::new(),
        ] {
            assert_eq!(of(wrong.clone()), None, "{wrong}");
        }
    }
}
