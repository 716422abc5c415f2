//! What a success says of the records: `ExportLogsServiceResponse`, as protobuf or as JSON.

use serde_json::Value as Json;

use crate::protobuf::{Fields, Value, beginning};

/// Text of a success that was not read to its end.
const TOO_LONG: &str = "its answer is longer than 64 KiB, and the rest was not looked at";

/// Text of a success whose body is something else.
pub(crate) const NOT_OTLP: &str = "its answer is no ExportLogsServiceResponse; is it a receiver of OTLP?";

/// The body of an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Content<'a> {
    pub(crate) bytes: &'a [u8],
    /// These are its first bytes only.
    pub(crate) is_cut: bool,
}

impl<'a> Content<'a> {
    /// A body that was read to its end.
    pub(crate) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, is_cut: false }
    }
}

/// The records that were not taken, and a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) rejected: u32,
    /// As the receiver has written it, or what is wrong with its answer.
    pub(crate) text: Vec<u8>,
}

impl Partial {
    /// Reads the body of a success. Some receivers answer with JSON whatever they were asked in;
    /// no message of protobuf begins as an object of JSON does.
    pub(crate) fn read(body: Content<'_>) -> Self {
        let Content { bytes, is_cut } = body;
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Self::of_protobuf(bytes, is_cut);
        }
        if is_cut {
            return Self::said(TOO_LONG);
        }
        serde_json::from_slice(bytes).ok().and_then(|answer| Self::of_json(&answer)).unwrap_or(Self::said(NOT_OTLP))
    }

    fn said(text: &str) -> Self {
        Self { rejected: 0, text: text.into() }
    }

    fn of_protobuf(bytes: &[u8], is_cut: bool) -> Self {
        let is_other = Fields(bytes).any(|field| field.is_err());
        let mut read = Self::said(match (is_cut, is_other) {
            (true, _) => TOO_LONG,
            (false, true) => NOT_OTLP,
            (false, false) => "",
        });
        // The numbers stand before the text, which makes an answer long.
        let partial = beginning(bytes, 1).filter(|_| is_cut || !is_other).unwrap_or_default();
        if let Some(records) = Fields(partial).filter_map(|field| varint_of(field.ok()?, 1)).last() {
            read.rejected = count(records.cast_signed());
        }
        if let Some(message) = beginning(partial, 2) {
            message.clone_into(&mut read.text);
        }
        read
    }

    /// None if the fields are of other types. They may have their names of JSON or of protobuf, and
    /// a number of 64 bits may be a string.
    fn of_json(answer: &Json) -> Option<Self> {
        let field = |object: &Json, names: [&str; 2]| {
            let value = names.into_iter().find_map(|name| object.get(name));
            value.filter(|value| !value.is_null()).cloned()
        };
        let Some(partial) = field(answer, ["partialSuccess", "partial_success"]) else { return Some(Self::default()) };
        partial.as_object()?;
        let rejected = match field(&partial, ["rejectedLogRecords", "rejected_log_records"]) {
            None => 0,
            Some(Json::String(digits)) => digits.parse().ok()?,
            Some(number) => number.as_i64()?,
        };
        let text = match field(&partial, ["errorMessage", "error_message"]) {
            None => String::new(),
            Some(text) => text.as_str()?.to_owned(),
        };
        Some(Self { rejected: count(rejected), text: text.into_bytes() })
    }
}

/// A negative number of records is none.
fn count(records: i64) -> u32 {
    u32::try_from(records.max(0)).unwrap_or(u32::MAX)
}

/// The value of the field with this number.
fn varint_of((number, value): (u64, Value<'_>), wanted: u64) -> Option<u64> {
    value.varint().filter(|_| number == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that are rejected in JSON count, in each form that JSON has for the number; what has
    /// other types is said to be no answer of OTLP.
    #[test]
    fn json_is_read() {
        let read = |body: &str| {
            let Partial { rejected, text } = Partial::read(Content::whole(body.as_bytes()));
            (rejected, String::from_utf8(text).unwrap())
        };
        let partial = |fields: &str| read(&format!(" {{\"partialSuccess\": {{{fields}}}}}"));
        for (fields, rejected, text) in [
            ("", 0, ""),
            (r#""rejectedLogRecords":"1","errorMessage":"no""#, 1, "no"),
            (r#""rejectedLogRecords":12,"errorMessage":"no""#, 12, "no"),
            (r#""rejected_log_records":"3","error_message":"no""#, 3, "no"),
            (r#""rejectedLogRecords":null,"errorMessage":"careful""#, 0, "careful"),
            (r#""rejectedLogRecords":"-5""#, 0, ""),
            (r#""rejectedLogRecords":"9223372036854775807""#, u32::MAX, ""),
            (r#""rejectedLogRecords":"many""#, 0, NOT_OTLP),
            (r#""rejectedLogRecords":[]"#, 0, NOT_OTLP),
            (r#""errorMessage":7"#, 0, NOT_OTLP),
        ] {
            assert_eq!(partial(fields), (rejected, text.to_owned()), "{fields}");
        }
        assert_eq!(read(r#"{"partial_success":{"rejectedLogRecords":2}}"#), (2, String::new()));
        for nothing in ["{}", r#"{"partialSuccess":null}"#, r#"{"other":1}"#] {
            assert_eq!(read(nothing), (0, String::new()), "{nothing}");
        }
        for other in ["{", r#"{"partialSuccess":1}"#] {
            assert_eq!(read(other), (0, NOT_OTLP.to_owned()), "{other}");
        }
        let long = Partial::read(Content { bytes: br#"{"partialSuccess":{"errorMessage":"xx"#, is_cut: true });
        assert_eq!(long, Partial::said(TOO_LONG));
    }
}
