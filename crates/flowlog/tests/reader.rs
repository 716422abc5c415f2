//! The reader of flow files: whatever form a flow is written in, it is the same flow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may end where it is wrong"
)]

use proptest::prelude::*;
use serde_json::Value;
use webb_flow::names::{DIRECTIONS, DROP_REASONS, IP_VERSIONS, L7_TYPES, SCTP_CHUNKS, VERDICTS, number_of};
use webb_flow::{EndpointId, Event, Extra, Flow, Reply};
use webb_flowlog::Reader;
use webb_index::Endpoint;

/// The flow of a line with its ends, or why it cannot be read.
fn read(line: &str) -> Result<(Flow, Extra, Endpoint, Endpoint), String> {
    let mut reader = Reader::default();
    reader.line(line.as_bytes()).map_err(|wrong| wrong.to_string())?;
    let batch = reader.batch();
    assert_eq!((batch.flows.len(), batch.extras.len()), (1, 1), "{line}");
    let flow = batch.flows[0];
    let end = |id| *batch.index.endpoint(id);
    Ok((flow, batch.extras[0].clone(), end(flow.source), end(flow.destination)))
}

fn real_lines() -> Vec<Value> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/flows.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same message in another spelling: fields reversed, enums as numbers, 32-bit numbers in
/// quotes, unknown fields.
fn respell(value: &Value, field: &str) -> Value {
    let enums = |table: &[(i32, &'static str)], name: &str| number_of(table, name).map(Value::from);
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (key.clone(), respell(value, key))).collect();
            fields.reverse();
            fields.push(("unknown_field".to_owned(), serde_json::json!({"a": [1, null, {"b": "}]"}]})));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(|item| respell(item, field)).collect(),
        Value::String(name) => {
            let table: &[_] = match field {
                "verdict" => &VERDICTS,
                "traffic_direction" => &DIRECTIONS,
                "ipVersion" => &IP_VERSIONS,
                "drop_reason_desc" => &DROP_REASONS,
                "chunk_type" => &SCTP_CHUNKS,
                "type" => &L7_TYPES,
                _ => return value.clone(),
            };
            enums(table, name).unwrap_or_else(|| value.clone())
        }
        Value::Number(number) if field != "drop_reason_desc" => Value::from(number.to_string()),
        _ => value.clone(),
    }
}

/// Order, spelling of enums and numbers, unknown fields and the envelope make no difference
/// (hubble-contract §4.1).
#[test]
fn the_spelling_does_not_matter() {
    for line in real_lines() {
        let expected = read(&line.to_string()).unwrap();
        let respelled = respell(&line, "");
        assert_eq!(read(&respelled.to_string()).unwrap(), expected);
        assert_eq!(read(&respelled["flow"].to_string()).unwrap(), expected, "without envelope");
        assert_eq!(read(&serde_json::to_string_pretty(&line).unwrap()).unwrap(), expected, "with white space");
    }
}

/// A flow of a row that was used before is the flow, not a mixture of two.
#[test]
fn rows_are_used_again() {
    let lines: Vec<String> = real_lines().iter().map(Value::to_string).collect();
    let mut reader = Reader::default();
    let mut at = 0;
    for _ in 0..3 {
        for line in &lines {
            reader.line(line.as_bytes()).unwrap();
            if reader.is_full() {
                let batch = reader.batch();
                for (flow, extra) in batch.flows.iter().zip(batch.extras) {
                    let (alone, alone_extra, source, destination) = read(&lines[at % lines.len()]).unwrap();
                    at += 1;
                    let ids =
                        Flow { source: alone.source, destination: alone.destination, extra: alone.extra, ..*flow };
                    assert_eq!(ids, alone);
                    assert_eq!(*extra, alone_extra);
                    assert_eq!(*batch.index.endpoint(flow.source), source);
                    assert_eq!(*batch.index.endpoint(flow.destination), destination);
                }
                reader.turn();
            }
        }
    }
    assert!(at > lines.len(), "more than one round was compared");
}

/// A line that cannot be read says where, and leaves the batch as it was.
#[test]
fn a_bad_line_costs_only_itself() {
    let mut reader = Reader::default();
    reader.line(br#"{"flow":{"verdict":"FORWARDED"}}"#).unwrap();
    for (line, why) in [
        (r#"{"flow":{"l4":{"TCP":{"source_port":70000}}}}"#, "flow.l4.TCP.source_port: not a whole number of 16 bits"),
        (r#"{"flow":{"verdict":true}}"#, "flow.verdict: "),
        (r#"{"flow":{"IP":{"source":"ten"}}}"#, "flow.IP.source: expected an IP address, found \"ten\""),
        (r#"{"flow":{"time":"noon"}}"#, "flow.time: expected a time such as"),
        (r#"{"flow":{"source":{"labels":"a"}}}"#, "flow.source.labels: expected a list, found a string"),
        (r#"{"flow":{}"#, "expected `,` or `}`, found the end of the line"),
        ("[]", "expected an object, found a list"),
        ("flow", "expected an object, found 'f'"),
    ] {
        let wrong = reader.line(line.as_bytes()).unwrap_err().to_string();
        assert!(wrong.starts_with(why), "{line}: {wrong}");
        assert!(wrong.contains("(column "), "{wrong}");
    }
    assert_eq!(reader.batch().flows.len(), 1);
    assert_eq!((reader.counts().bad, reader.counts().lines), (8, 9));
}

/// Lost events count as Hubble counts them; other events and blank lines are passed over
/// (hubble-contract §3.1 and §4.1).
#[test]
fn lines_that_are_no_flows() {
    let mut reader = Reader::default();
    for line in [
        r#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"10000"},"node_name":"a"}"#,
        r#"{"node_name":"a","lost_events":{"source":2,"num_events_lost":5}}"#,
        r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"1"}}"#,
        r#"{"node_status":{"state_change":"NODE_CONNECTED"}}"#,
        r#"{"agent_event":{"type":"AGENT_STARTED"}}"#,
        r#"{"node_name":"a","time":"2026-01-01T00:00:00Z"}"#,
        "{}",
        "  ",
        "",
    ] {
        reader.line(line.as_bytes()).unwrap();
    }
    assert!(reader.batch().flows.is_empty());
    assert_eq!(reader.counts().lost, [0, 1, 5, 1]);
    assert_eq!((reader.counts().others, reader.counts().bad, reader.counts().lines), (4, 0, 9));
}

/// Presence and absence where metrics tell them apart.
#[test]
fn what_is_absent_stays_absent() {
    let (flow, extra, source, _) = read(r#"{"flow":{"time":"2026-01-01T00:00:01Z"}}"#).unwrap();
    assert_eq!((flow.source, flow.reply, flow.event), (EndpointId::NONE, Reply::Unknown, Event::Unknown));
    assert_eq!((extra.has_ip, extra.has_l4, extra.event_type, extra.l7), (false, false, None, None));
    assert_eq!(source, Endpoint::EMPTY);
    assert_eq!(flow.time_ns, 1_767_225_601_000_000_000);

    let line = r#"{"flow":{"IP":{},"l4":{},"event_type":{},"is_reply":false,"l7":{},"source":null,"interface":{}}}"#;
    let (flow, extra, ..) = read(line).unwrap();
    assert_eq!((extra.has_ip, extra.has_l4, extra.event_type), (true, true, Some(0)));
    assert_eq!((flow.reply, flow.source), (Reply::No, EndpointId::NONE));
    assert!(extra.l7.is_some() && extra.interface.is_some());
    assert!(!flow.tcp_flags.is_known());

    let (flow, ..) = read(r#"{"flow":{"event_type":{"type":255},"l4":{"TCP":{"flags":{}}}}}"#).unwrap();
    assert_eq!(flow.event, Event::Unknown, "255 is webb's own");
    assert!(flow.tcp_flags.is_known());
}

/// Bytes that are not UTF-8 are replaced, and counted.
#[test]
fn what_is_not_utf8_is_replaced() {
    let mut reader = Reader::default();
    reader.line(b"{\"flow\":{\"node_name\":\"a\xffb\"}}").unwrap();
    assert_eq!(reader.batch().extras[0].node_name, "a\u{fffd}b");
    assert_eq!(reader.counts().replaced, 1);
}

/// However many endpoints a file makes up, the index stays bounded, and ids of a batch mean what
/// they say.
#[test]
fn endpoints_without_end() {
    let mut reader = Reader::default();
    let (mut largest, mut indexes) = (0, std::collections::HashSet::new());
    for number in 0..200_000 {
        let line = format!(r#"{{"flow":{{"source":{{"pod_name":"p-{number}"}}}}}}"#);
        reader.line(line.as_bytes()).unwrap();
        if reader.is_full() {
            let batch = reader.batch();
            largest = largest.max(batch.index.endpoints().count());
            indexes.insert(std::sync::Arc::as_ptr(batch.index));
            let last = batch.index.endpoint(batch.flows.last().unwrap().source);
            assert_eq!(&*last.pod_name.text(), format!("p-{number}"));
            reader.turn();
        }
    }
    assert!((60_000..70_000).contains(&largest), "{largest}");
}

/// Without new endpoints, the index is the same one, so that what metrics remember of it holds.
#[test]
fn a_known_index_is_not_made_again() {
    let mut reader = Reader::default();
    let line = br#"{"flow":{"source":{"pod_name":"a"},"destination":{"pod_name":"b"}}}"#;
    reader.line(line).unwrap();
    let first = std::sync::Arc::clone(reader.batch().index);
    reader.turn();
    reader.line(line).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, reader.batch().index));
}

proptest! {
    /// A real line with a few bytes changed is read or refused, and never ends the program.
    #[test]
    fn damaged_lines(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static LINES: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| real_lines().iter().map(Value::to_string).collect());
        let mut line = which.get(&LINES).clone().into_bytes();
        for (at, byte) in damage {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let mut reader = Reader::default();
        let read = reader.line(&line);
        prop_assert_eq!(reader.counts().bad, u64::from(read.is_err()));
    }
}
