//! What a receiver's answer means for a request.
//!
//! | answer | meaning |
//! |---|---|
//! | gRPC 0, HTTP 2xx | taken; `partial_success` says how many records were not |
//! | gRPC 1, 4, 8, 10, 11, 14, 15; HTTP 429, 502, 503, 504 | to be sent again, after the time it names |
//! | gRPC 2; HTTP 500 | to be sent again, a few times |
//! | gRPC 8 or 11 about the size; HTTP 413 | to be sent in halves |
//! | gRPC 12, or 13 about the encoding; HTTP 415 | to be sent in another encoding; of plain bytes refused |
//! | gRPC 7, 16; HTTP 401, 403 | to be sent again while headers are those of files |
//! | any other | refused |
//!
//! RESOURCE_EXHAUSTED is to be sent again without `RetryInfo` too: a collector that is short of
//! memory answers so. UNIMPLEMENTED may be about the encoding whatever its text says: gRPC
//! prescribes the status and no text.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::environment::percent_decoded;
use crate::partial::{Content, Partial};
use crate::protobuf::Fields;

/// Characters of a receiver's text that are shown.
const MAX_SHOWN: usize = 300;

/// Names of the status codes of gRPC.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver has it, but for some records.
    Taken { rejected: u32 },
    /// It is sent again, after this time if the receiver names one. `few`: a few times only.
    Retry { after: Option<Duration>, few: bool },
    /// It is too large.
    TooLarge,
    /// It is compressed in a way that the receiver does not know, if it is compressed at all.
    Encoding,
    /// The receiver does not know the sender.
    Login,
    /// It is dropped.
    Refused,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Name or number of its status.
    pub(crate) code: String,
    pub(crate) verdict: Verdict,
    /// What the receiver says of it.
    pub(crate) text: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl Answer {
    /// An answer by gRPC. `message` and `details` are as in the trailers, `body` is the message of
    /// the response, if there is one.
    pub(crate) fn grpc(status: u32, message: &[u8], details: Option<&[u8]>, body: Content<'_>) -> Self {
        let name = usize::try_from(status).ok().and_then(|status| CODES.get(status));
        let code = name.map_or_else(|| "UNKNOWN".to_owned(), |name| (*name).to_owned());
        if status == 0 {
            return Self::taken(code, body);
        }
        let text = shown(&percent_decoded(&String::from_utf8_lossy(message)));
        let says = |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
        let is_size = says(&["larger than max", "too large", "exceeds maximum"]);
        let verdict = match status {
            8 | 11 if is_size => Verdict::TooLarge,
            1 | 4 | 8 | 10 | 11 | 14 | 15 => Verdict::Retry { after: details.and_then(retry_info), few: false },
            12 => Verdict::Encoding,
            13 if says(&["encoding", "compress"]) => Verdict::Encoding,
            7 | 16 => Verdict::Login,
            2 | 17.. => Verdict::Retry { after: None, few: true },
            _ => Verdict::Refused,
        };
        Self { code, verdict, text }
    }

    /// An answer by gRPC whose `grpc-status` is none that there is: UNKNOWN, as gRPC has it.
    pub(crate) fn grpc_without_status(found: &[u8], message: &[u8]) -> Self {
        let mut answer = Self::grpc(2, message, None, Content::default());
        let said = std::mem::take(&mut answer.text);
        // Without escapes: what is masked is found as it was sent.
        answer.text = format!("its grpc-status is \"{}\", and statuses are 0 to 16", shown(found));
        if !said.is_empty() {
            answer.text.push_str("; ");
            answer.text.push_str(&said);
        }
        answer
    }

    /// An answer by HTTP. `retry_after` and `location` are the headers of these names.
    pub(crate) fn http(status: u16, retry_after: Option<&str>, location: Option<&str>, body: Content<'_>) -> Self {
        let code = status.to_string();
        if (200..300).contains(&status) {
            return Self::taken(code, body);
        }
        let body = body.bytes;
        let verdict = match status {
            429 | 502 | 503 | 504 => Verdict::Retry { after: retry_after.and_then(wait), few: false },
            500 => Verdict::Retry { after: None, few: true },
            413 => Verdict::TooLarge,
            415 => Verdict::Encoding,
            401 | 403 => Verdict::Login,
            _ => Verdict::Refused,
        };
        let text = match location {
            Some(location) if (300..400).contains(&status) => {
                format!("it redirects to {}, and redirects are not followed", shown(location.as_bytes()))
            }
            _ => status_message(body).map_or_else(|| shown(body), |message| shown(message.as_bytes())),
        };
        Self { code, verdict, text }
    }

    /// The answer to gRPC by what is no server of gRPC, or by a proxy before one.
    pub(crate) fn not_grpc(status: u16, location: Option<&str>, body: &[u8]) -> Self {
        let of_http = Self::http(status, None, location, Content::whole(body));
        let verdict = match of_http.verdict {
            Verdict::Taken { .. } | Verdict::Encoding => Verdict::Refused,
            verdict => verdict,
        };
        let mut text = format!("the answer is not of gRPC (HTTP status {status})");
        if !of_http.text.is_empty() {
            text.push_str(": ");
            text.push_str(&of_http.text);
        }
        Self { code: status.to_string(), verdict, text }
    }

    /// A success, with what its body says of the records.
    fn taken(code: String, body: Content<'_>) -> Self {
        let Partial { rejected, text } = Partial::read(body);
        Self { code, verdict: Verdict::Taken { rejected }, text: shown(&text) }
    }
}

/// The delay of a `RetryInfo` in `google.rpc.Status`, which is base64 with or without padding.
fn retry_info(details: &[u8]) -> Option<Duration> {
    const INDIFFERENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let status = INDIFFERENT.decode(details).ok()?;
    let infos = Fields(&status).filter_map(Result::ok).filter(|(number, _)| *number == 3);
    infos.filter_map(|(_, value)| value.bytes()).find_map(|any| {
        let (mut is_retry_info, mut content) = (false, None);
        for (number, value) in Fields(any).filter_map(Result::ok) {
            match (number, value.bytes()) {
                (1, Some(url)) => is_retry_info = url.ends_with(b"google.rpc.RetryInfo"),
                (2, bytes) => content = bytes,
                _ => {}
            }
        }
        let delay = Fields(content.filter(|_| is_retry_info)?).find_map(|field| field.ok()?.1.bytes())?;
        let (mut seconds, mut nanos) = (0, 0);
        for (number, value) in Fields(delay).filter_map(Result::ok) {
            match (number, value.varint()) {
                (1, Some(number)) => seconds = number,
                (2, Some(number)) => nanos = u32::try_from(number).unwrap_or(0).min(999_999_999),
                _ => {}
            }
        }
        // A negative delay is none.
        i64::try_from(seconds).is_ok().then(|| Duration::new(seconds, nanos))
    })
}

/// The time of `Retry-After`: seconds, or a date.
fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The message of a `google.rpc.Status`, if the body is one.
fn status_message(body: &[u8]) -> Option<String> {
    let fields: Result<Vec<_>, _> = Fields(body).collect();
    let message = fields.ok()?.into_iter().find(|(number, _)| *number == 2)?.1.bytes()?;
    String::from_utf8(message.to_vec()).ok()
}

/// The beginning of a receiver's text, on one line.
pub(crate) fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text.get(..(MAX_SHOWN + 1) * 4).unwrap_or(text));
    // Controls, ends of lines, and signs that turn the direction of what follows.
    let is_obeyed = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let printable = text.trim().chars().map(|letter| if is_obeyed(letter) { ' ' } else { letter });
    let mut shown: String = printable.take(MAX_SHOWN + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(MAX_SHOWN) {
        // A secret that a receiver repeats is looked for as a whole: half a word is not shown.
        let end = shown.get(..end).and_then(|start| start.rfind(char::is_whitespace)).unwrap_or(0);
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long text is cut between words, of which one may be a secret; ends of lines do nothing.
    #[test]
    fn long_texts_are_cut_between_words() {
        assert_eq!(shown(b" one\ntwo\xe2\x80\xa8three "), "one two three");
        let whole = "w".repeat(300);
        assert_eq!(shown(whole.as_bytes()), whole);
        assert_eq!(shown(format!("refused: {whole}secret").as_bytes()), "refused:…");
        assert_eq!(shown(format!("{whole}secret").as_bytes()), "…");
        let wide = "\u{1d11e}".repeat(301);
        assert_eq!(shown(wide.as_bytes()), "…");
    }

    /// What answers 200 has taken the request, by the protocol; that it speaks of something else is
    /// said.
    #[test]
    fn a_success_of_something_else_is_said() {
        for body in [&[0; 100][..], b"<html>", b"fine"] {
            let answer = Answer::http(200, None, None, Content::whole(body));
            assert_eq!(answer.verdict, Verdict::Taken { rejected: 0 });
            assert!(answer.text.contains("no ExportLogsServiceResponse"), "{body:?}");
        }
        for body in [&b""[..], b"{}", b" {\"partialSuccess\":{}}", b"\x0a\x00"] {
            assert_eq!(Answer::http(200, None, None, Content::whole(body)).text, "", "{body:?}");
        }
    }
}
