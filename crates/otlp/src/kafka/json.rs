//! Records as JSON: an object for each, without objects in it.
//!
//! Fields of a record have the names that OTLP has for them, attributes their keys: first those of
//! the resource, then those of the record. 64-bit integers are numbers with all their digits.

use crate::protobuf::{Fields, Malformed, Value};
use crate::request::Parts;

/// Depth of lists in lists that is read.
const MAX_DEPTH: u8 = 4;

/// `KeyValue` and the kinds of `AnyValue`.
const KEY: u64 = 1;
const VALUE: u64 = 2;
const STRING: u64 = 1;
const BOOL: u64 = 2;
const INT: u64 = 3;
const DOUBLE: u64 = 4;
const ARRAY: u64 = 5;

/// Fields of `LogRecord`.
const TIME: u64 = 1;
const SEVERITY: u64 = 2;
const BODY: u64 = 5;
const ATTRIBUTE: u64 = 6;
const TRACE_ID: u64 = 9;
const OBSERVED_TIME: u64 = 11;
const EVENT_NAME: u64 = 12;

/// The records of a request, each an object.
pub(super) fn objects(parts: &Parts<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    let mut resource = Vec::new();
    for field in Fields(content(parts.resource)?) {
        if let (1, Value::Bytes(attribute)) = field? {
            put_attribute(&mut resource, attribute)?;
        }
    }
    parts.records.iter().map(|record| object(&resource, content(record)?)).collect()
}

/// What a field with its tag holds.
pub(super) fn content(field: &[u8]) -> Result<&[u8], Malformed> {
    Fields(field).next().ok_or(Malformed)??.1.bytes().ok_or(Malformed)
}

fn object(resource: &[u8], record: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (mut fields, mut attributes) = (Vec::new(), Vec::new());
    for field in Fields(record) {
        match field? {
            (TIME, Value::Fixed64(time)) => put_number(&mut fields, "time_unix_nano", time),
            (OBSERVED_TIME, Value::Fixed64(time)) => put_number(&mut fields, "observed_time_unix_nano", time),
            (SEVERITY, Value::Varint(number)) => put_number(&mut fields, "severity_number", number),
            (EVENT_NAME, Value::Bytes(name)) => {
                put_key(&mut fields, b"event_name");
                put_text(&mut fields, name);
            }
            (TRACE_ID, Value::Bytes(id)) if !id.is_empty() => {
                put_key(&mut fields, b"trace_id");
                let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                let hex: Vec<u8> =
                    digits.map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }).collect();
                put_text(&mut fields, &hex);
            }
            (BODY, Value::Bytes(value)) => {
                put_key(&mut fields, b"body");
                put_value(&mut fields, value, 0)?;
                fields.push(b',');
            }
            (ATTRIBUTE, Value::Bytes(attribute)) => put_attribute(&mut attributes, attribute)?,
            _ => {}
        }
    }
    // Each part ends with a comma, of which the last one closes the object.
    let mut object = [b"{", &fields[..], resource, &attributes].concat();
    match object.last_mut() {
        Some(last @ b',') => *last = b'}',
        _ => object.push(b'}'),
    }
    Ok(object)
}

fn put_attribute(out: &mut Vec<u8>, attribute: &[u8]) -> Result<(), Malformed> {
    let (mut key, mut value) = (&b""[..], None);
    for field in Fields(attribute) {
        match field? {
            (KEY, Value::Bytes(name)) => key = name,
            (VALUE, Value::Bytes(bytes)) => value = Some(bytes),
            _ => {}
        }
    }
    if let Some(value) = value {
        put_key(out, key);
        put_value(out, value, 0)?;
        out.push(b',');
    }
    Ok(())
}

fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    put_string(out, key);
    out.push(b':');
}

fn put_number(out: &mut Vec<u8>, key: &str, number: u64) {
    put_key(out, key.as_bytes());
    out.extend_from_slice(number.to_string().as_bytes());
    out.push(b',');
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_string(out, text);
    out.push(b',');
}

/// Appends a string. Bytes that are no UTF-8 are replaced.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    // Neither a string nor memory can be wrong.
    let _never_fails = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}

/// Appends a value; `null` for what has none here.
fn put_value(out: &mut Vec<u8>, value: &[u8], depth: u8) -> Result<(), Malformed> {
    let Some(field) = Fields(value).next() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    match field? {
        (STRING, Value::Bytes(text)) => put_string(out, text),
        (BOOL, Value::Varint(on)) => out.extend_from_slice(if on == 0 { b"false" } else { b"true" }),
        (INT, Value::Varint(number)) => out.extend_from_slice(number.cast_signed().to_string().as_bytes()),
        (DOUBLE, Value::Fixed64(bits)) => {
            // What is no number is `null`.
            let _never_fails = serde_json::to_writer(out, &f64::from_bits(bits));
        }
        (ARRAY, Value::Bytes(list)) if depth < MAX_DEPTH => {
            out.push(b'[');
            for (at, element) in Fields(list).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                put_value(out, element?.1.bytes().ok_or(Malformed)?, depth + 1)?;
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Attributes, Encoding, Head, Record, RequestBuilder, Severity, Stream};

    fn written(write: impl FnOnce(&mut Attributes)) -> serde_json::Value {
        let mut resource = Attributes::new();
        resource.string("k8s.node.name", "node \"1\"");
        let mut builder = RequestBuilder::new(Stream::Flows, &resource, "webb.flows", "1");
        let mut record = Record::new();
        let head = Head {
            time_ns: u64::MAX,
            observed_ns: 2,
            severity: Severity::Info,
            event_name: "webb.flow",
            trace_id: Some([0xab; 16]),
            body: "a\nline",
        };
        write(record.begin(&head));
        builder.push(record.finish());
        let request = builder.take(Encoding::None).unwrap().unwrap();
        let objects = objects(&Parts::read(&request.body).unwrap()).unwrap();
        let [object] = &objects[..] else { panic!("{objects:?}") };
        serde_json::from_slice(object).unwrap()
    }

    /// Fields, the resource and each kind of attribute are in one object, with their types.
    #[test]
    fn a_record_is_one_flat_object() {
        let object = written(|attributes| {
            attributes.int("flow.start", i64::MIN);
            attributes.bool("webb.primary", false);
            attributes.double("share", 0.5);
            attributes.string("source.address", "é\u{1}");
            attributes.strings("names", ["a", "b"].into_iter());
        });
        let expected = serde_json::json!({
            "time_unix_nano": u64::MAX,
            "observed_time_unix_nano": 2,
            "severity_number": 9,
            "event_name": "webb.flow",
            "trace_id": "ab".repeat(16),
            "body": "a\nline",
            "k8s.node.name": "node \"1\"",
            "flow.start": i64::MIN,
            "webb.primary": false,
            "share": 0.5,
            "source.address": "é\u{1}",
            "names": ["a", "b"],
        });
        assert_eq!(object, expected);
    }

    proptest! {
        /// Any bytes are an object of JSON or an error.
        #[test]
        fn any_record_is_survived(bytes: Vec<u8>) {
            if let Ok(object) = object(b"", &bytes) {
                // A key that is there twice is the sender's.
                let read: Result<serde_json::Value, _> = serde_json::from_slice(&object);
                prop_assert!(read.is_ok(), "{}", String::from_utf8_lossy(&object));
            }
        }
    }
}
