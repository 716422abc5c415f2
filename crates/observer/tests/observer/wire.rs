//! Encoded responses are read as the same flows as the lines that say the same.

use proptest::prelude::*;
use webb_flow::{Event, Extra, Flow, Reply};
use webb_flowlog::{Content, Cursor, Reader, WireFault};
use webb_index::Endpoint;
use webb_observer::json_read;
use webb_observer::schema::schema;

use crate::server::recorded;

/// A line with an envelope, encoded.
fn encoded(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = std::str::from_utf8(line).unwrap();
    json_read::encode(&mut Cursor::new(text), schema().message("observer.ExportEvent"), &mut out).unwrap();
    out
}

/// Lines of real flows and of flows that were made up to have every field.
fn lines() -> Vec<Vec<u8>> {
    let conformance = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/flows.jsonl");
    let all =
        [std::fs::read(conformance).unwrap(), recorded("flows-a.jsonl.zst"), recorded("flows-ev.jsonl.zst")].concat();
    let lines = all.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

/// The one flow of a reader, if it has one, with its ends.
fn flow(reader: &mut Reader) -> Option<(Flow, Extra, Endpoint, Endpoint)> {
    let batch = reader.batch();
    let flow = *batch.flows.first()?;
    let end = |id| *batch.index.endpoint(id);
    Some((flow, batch.extras[0].clone(), end(flow.source), end(flow.destination)))
}

/// Every field that JSON gives a flow the wire gives it too, and lost events count alike.
#[test]
fn responses_and_lines_are_the_same_flows() {
    let mut flows = 0;
    for line in lines() {
        let (mut of_line, mut of_response) = (Reader::default(), Reader::default());
        of_line.line(&line).unwrap();
        of_response.response(&encoded(&line)).unwrap();
        let expected = flow(&mut of_line);
        flows += usize::from(expected.is_some());
        assert_eq!(flow(&mut of_response), expected, "{}", String::from_utf8_lossy(&line));
        assert_eq!(of_response.counts(), of_line.counts());
    }
    assert!(flows > 900, "{flows}");
}

/// One reader of all responses gives what one of all lines gives: rows and endpoints are used
/// again.
#[test]
fn readers_of_many() {
    let (mut of_lines, mut of_responses) = (Reader::default(), Reader::default());
    for line in lines() {
        of_lines.line(&line).unwrap();
        of_responses.response(&encoded(&line)).unwrap();
        if of_lines.is_full() {
            let (expected, found) = (of_lines.batch(), of_responses.batch());
            for (expected, found) in expected.flows.iter().zip(found.flows) {
                assert_eq!(found, expected);
            }
            assert_eq!(found.extras, expected.extras);
            assert!(found.index.endpoints().eq(expected.index.endpoints()));
            of_lines.turn();
            of_responses.turn();
        }
    }
    assert_eq!(of_responses.counts(), of_lines.counts());
}

/// Appends a field of bytes.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut value in [u64::from(number) << 3 | 2, bytes.len() as u64] {
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
    }
    [out, bytes.to_vec()].concat()
}

/// What is wrong is named with its field, and costs one response.
#[test]
fn bad_responses() {
    let l4 = |protocol: u32, message: &[u8]| field(1, &field(6, &field(protocol, message)));
    let mut reader = Reader::default();
    reader.response(&field(1, &[])).unwrap();
    for (response, fault, why) in [
        (field(1, &[0xff]), WireFault::Malformed, "flow: the message ends within a number"),
        (vec![1 << 3 | 2, 9, 0], WireFault::Malformed, "the message ends within a field"),
        (vec![1 << 3 | 3], WireFault::Malformed, "a field of the wire type 3"),
        (vec![0, 0], WireFault::Malformed, "a field without a valid number"),
        (l4(1, &[1 << 3, 0xf0, 0xa2, 4]), WireFault::Value, "flow.l4.TCP.source_port: 70000 is not a whole number of"),
        (field(1, &[2 << 3 | 2, 0]), WireFault::Type, "flow.verdict: expected a number, found bytes"),
        (field(1, &[5 << 3, 1]), WireFault::Type, "flow.IP: expected a text or a message, found a number"),
        (field(1, &field(11, b"a\xff")), WireFault::Text, "flow.node_name: a text that is not UTF-8"),
        (field(1, &field(8, &field(5, b"\xff"))), WireFault::Text, "flow.source.pod_name: a text that is not UTF-8"),
        (field(1, &field(5, &field(1, b"ten"))), WireFault::Value, "flow.IP.source: expected an IP address"),
        (field(1, &field(1, &[1 << 3 | 5, 0, 0, 0, 0])), WireFault::Type, "flow.time.seconds: expected a number"),
    ] {
        let wrong = reader.response(&response).unwrap_err();
        assert_eq!(wrong.fault(), fault, "{wrong}");
        assert!(wrong.to_string().starts_with(why), "{wrong}");
    }
    assert_eq!((reader.batch().flows.len(), reader.counts().bad, reader.counts().lines), (1, 11, 12));
}

/// Fields, enum numbers and envelopes of a newer Hubble are passed over; the last content counts.
#[test]
fn responses_of_a_newer_hubble() {
    let mut reader = Reader::default();
    let unknown = [field(9_999, b"\xff\xff"), vec![0xc0, 0x3e, 7], vec![0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let flow = [&[2 << 3, 99][..], &field(6, &field(77, b"\xff")), &unknown].concat();
    assert_eq!(reader.response(&[unknown.clone(), field(1, &flow)].concat()), Ok(Content::Flow));
    assert_eq!(reader.batch().extras[0].verdict, 99);
    assert_eq!(reader.response(&field(17, b"\xff")), Ok(Content::Other));
    assert_eq!(reader.response(&[]), Ok(Content::Other));
    let lost = [1 << 3, 3, 2 << 3, 0xac, 2];
    assert_eq!(reader.response(&field(3, &lost)), Ok(Content::Lost { source: 3, events: 300 }));
    assert_eq!(reader.counts().lost, [0, 0, 0, 1]);
}

/// Presence and absence where metrics tell them apart.
#[test]
fn what_is_absent_stays_absent() {
    let mut reader = Reader::default();
    reader.response(&field(1, &[])).unwrap();
    let given = [5, 6, 8, 15, 19, 26, 28].map(|number| field(number, &[])).concat();
    reader.response(&field(1, &given)).unwrap();
    let batch = reader.batch();
    let (absent, present) = (&batch.extras[0], &batch.extras[1]);
    assert_eq!((absent.has_ip, absent.has_l4, absent.event_type, &absent.l7), (false, false, None, &None));
    assert_eq!((present.has_ip, present.has_l4, present.event_type), (true, true, Some(0)));
    assert!(present.l7.is_some() && present.interface.is_some());
    assert_eq!((batch.flows[0].reply, batch.flows[1].reply), (Reply::Unknown, Reply::No));
    assert_eq!((batch.flows[0].event, batch.flows[1].event), (Event::Unknown, Event::Unknown));
}

proptest! {
    /// A real response with a few bytes changed or cut is read or refused, and never ends the
    /// program.
    #[test]
    fn damaged_responses(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        static RESPONSES: std::sync::LazyLock<Vec<Vec<u8>>> =
            std::sync::LazyLock::new(|| lines().iter().map(|line| encoded(line)).collect());
        let mut response = which.get(&RESPONSES).clone();
        for (at, byte) in damage {
            let at = at.index(response.len());
            response[at] = byte;
        }
        let mut reader = Reader::default();
        for bytes in [&response[..], &response[..length.index(response.len())]] {
            let (read, bad) = (reader.response(bytes), reader.counts().bad);
            prop_assert_eq!(bad, u64::from(read.is_err()));
            reader = Reader::default();
        }
    }
}
