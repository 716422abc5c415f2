//! JSON of encoded messages.

use serde_json::Value;
use webb_flow::names;
use webb_flowlog::Cursor;
use webb_observer::schema::schema;
use webb_observer::{Mask, json_read, json_write};

use crate::server::recorded;

/// Text to bytes and back.
fn there_and_back(message: &str, json: &str) -> String {
    let shape = schema().message(message);
    let (mut encoded, mut out) = (Vec::new(), Vec::new());
    json_read::encode(&mut Cursor::new(json), shape, &mut encoded).unwrap();
    json_write::write(&encoded, shape, &mut out);
    String::from_utf8(out).unwrap()
}

/// Fields of which the value that others have when they are absent means something.
const WRAPPED: [&str; 7] = ["is_reply", "cpu", "hash", "arg1", "arg2", "arg3", "old_identity"];

/// Removes the fields that have the value of an absent one.
fn remove_unset(value: &mut Value) {
    let unset = [Value::from(0), Value::from("0"), Value::from(""), Value::from(false), "AGENT_EVENT_UNKNOWN".into()];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| WRAPPED.contains(&name.as_str()) || !unset.contains(value));
            fields.values_mut().for_each(remove_unset);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_unset),
        // Decimals are written in groups of three.
        Value::String(text) if text.starts_with("2026-") => {
            if let Some((seconds, decimals)) = text.clone().trim_end_matches('Z').split_once('.') {
                *text = format!("{seconds}.{decimals:0<width$}Z", width = decimals.len().next_multiple_of(3));
            }
        }
        _ => {}
    }
}

/// All fields of generated flows and events survive.
#[test]
fn recorded_events_survive() {
    for file in ["flows-a.jsonl.zst", "flows-ev.jsonl.zst"] {
        for line in String::from_utf8(recorded(file)).unwrap().lines() {
            let back = there_and_back("observer.ExportEvent", line);
            let [mut written, back] = [line, &back].map(|text| serde_json::from_str::<Value>(text).unwrap());
            remove_unset(&mut written);
            // A number that has a name is written by it.
            if let Some(reason) = written.pointer_mut("/flow/drop_reason_desc")
                && let Some(number) = reason.as_i64()
            {
                let text = names::text(&names::DROP_REASONS, i32::try_from(number).unwrap());
                *reason = text.parse::<u64>().map_or_else(|_| text.clone().into(), Into::into);
            }
            assert_eq!(written, back);
        }
    }
}

/// The forms that Hubble's exporter writes: the order of the proto files, letters of HTML escaped,
/// numbers of 64 bits as texts, as many decimals as a time needs, unset fields left out.
#[test]
fn forms() {
    let written = r#"{"Summary":"a<b>&\"\u2028\n\u0001é","verdict":"DROPPED","uuid":"","drop_reason_desc":206,"node_labels":["","x"],
        "time":"2026-02-28T23:59:59.12Z","is_reply":false,"l4":{"TCP":{"flags":{}}},"socket_cookie":7,"reply":false,
        "event_type":{"type":0,"sub_type":-1},"source":{"ID":4294967295},"newer":{"a":[1]},"Type":"NEWER"}"#;
    let wanted = concat!(
        r#"{"time":"2026-02-28T23:59:59.120Z","verdict":"DROPPED","l4":{"TCP":{"flags":{}}},"source":{"ID":4294967295},"#,
        r#""node_labels":["","x"],"event_type":{"sub_type":-1},"drop_reason_desc":206,"is_reply":false,"#,
        r#""socket_cookie":"7","Summary":"a\u003cb\u003e\u0026\"\u2028\n\u0001é"}"#
    );
    assert_eq!(there_and_back("flow.Flow", written), wanted);
    for (time, wanted) in [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2024-02-29T12:00:00.000001Z", "2024-02-29T12:00:00.000001Z"),
        ("2000-03-01T00:00:00.000000001Z", "2000-03-01T00:00:00.000000001Z"),
        ("2100-12-31T23:59:59.5+01:00", "2100-12-31T22:59:59.500Z"),
    ] {
        let flow = format!(r#"{{"time":"{time}"}}"#);
        assert_eq!(there_and_back("flow.Flow", &flow), format!(r#"{{"time":"{wanted}"}}"#));
    }
}

/// A value of another type is an error at its place.
#[test]
fn wrong_values() {
    for (json, wanted) in [
        (r#"{"verdict":{}}"#, "verdict: "),
        (r#"{"l4":{"TCP":{"source_port":"x"}}}"#, "l4.TCP.source_port: "),
        (r#"{"time":"yesterday"}"#, "time: expected a time"),
        (r#"{"source_names":"a"}"#, "source_names: expected a list"),
    ] {
        let mut out = Vec::new();
        let error = json_read::encode(&mut Cursor::new(json), schema().message("flow.Flow"), &mut out).unwrap_err();
        assert!(error.to_string().starts_with(wanted), "{error}");
    }
}

/// Bytes that are no message: nothing panics, and what comes out is JSON and a message again.
#[test]
fn any_bytes_are_written_and_masked() {
    use proptest::prelude::*;
    let masks = ["l4.TCP.flags", "source", "l7.http.headers", "IP.source", "time"];
    let mask = Mask::new(masks).unwrap();
    proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0_usize..4)| {
        let shape = schema().message(["flow.Flow", "flow.FlowFilter", "observer.ExportEvent", "flow.DebugEvent"][kind]);
        let (mut json, mut masked) = (Vec::new(), Vec::new());
        json_write::write(&bytes, shape, &mut json);
        prop_assert!(serde_json::from_slice::<Value>(&json).is_ok(), "{}", String::from_utf8_lossy(&json));
        mask.apply(&bytes, &mut masked);
        let mut again = Vec::new();
        mask.apply(&masked, &mut again);
        prop_assert_eq!(masked, again, "a mask of what is masked changes nothing");
    });
}
