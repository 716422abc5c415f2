//! Entry points for fuzz targets.

use bytes::Bytes;

use crate::answer::Answer;
use crate::encoding::Encoding;
use crate::kafka;
use crate::partial::Content;
use crate::request::{Request, Stream};

/// Reads any bytes as an answer: that of gRPC with its status in the first byte, of HTTP, or of a
/// broker of Kafka. Its text is short and on one line.
///
/// # Panics
/// If it is not.
pub fn fuzz_answer(bytes: &[u8]) {
    let Some(([kind, status], rest)) = bytes.split_first_chunk() else { return };
    let (head, body) = rest.split_at(rest.len() / 2);
    let text = std::str::from_utf8(head).ok();
    if kind % 5 == 4 {
        return kafka::fuzz_answer(rest);
    }
    let answer = match kind % 5 {
        0 => Answer::grpc(u32::from(*status), head, Some(body), Content::default()),
        1 => Answer::grpc(0, head, None, Content { bytes: body, is_cut: head.len() % 2 == 1 }),
        2 => Answer::not_grpc(u16::from(*status) * 4, text, body),
        _ => Answer::http(u16::from(*status) * 4, text, text, Content::whole(body)),
    };
    let shown = answer.to_string();
    assert!(!shown.contains(char::is_control) && shown.chars().count() < 500, "{shown:?}");
}

/// Reads any bytes as a file of the spool directory, compressed in the way of the first byte. What
/// is a request is the same in another encoding, and has as many records in its halves.
///
/// # Panics
/// If it is not so.
pub fn fuzz_spool_file(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let Some(encoding) = Encoding::ALL.get(usize::from(first % 3)).copied() else { return };
    let Ok((records, plain_bytes)) = Request::inspect(encoding, body) else { return };
    let request = Request { stream: Stream::Flows, records, plain_bytes, encoding, body: Bytes::copy_from_slice(body) };
    for other in Encoding::ALL {
        let recoded = request.recoded(other).map(|recoded| Request::inspect(other, &recoded.body));
        assert!(matches!(recoded, Ok(Ok(same)) if same == (records, plain_bytes)), "{recoded:?}");
    }
    match request.halves() {
        Ok(None) => assert!(records < 2),
        Ok(Some(halves)) => {
            let counted: u32 = halves.iter().map(|half| half.records).sum();
            assert_eq!(counted, records);
            for half in halves {
                let inspected = Request::inspect(encoding, &half.body).ok();
                assert_eq!(inspected, Some((half.records, half.plain_bytes)));
            }
        }
        Err(error) => assert!(records == 0, "{error}"),
    }
    let _any_name = request.event_name();
    kafka::fuzz_objects(encoding, body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Attributes, Head, Record, RequestBuilder, Severity};

    /// A file with so many records.
    fn file(encoding: Encoding, records: i64) -> Vec<u8> {
        let mut resource = Attributes::new();
        resource.string("service.name", "webb");
        let mut builder = RequestBuilder::new(Stream::Flows, &resource, "webb.flows", "1");
        let mut record = Record::new();
        for number in 0..records {
            let head = Head {
                time_ns: 1,
                observed_ns: 2,
                severity: Severity::Info,
                event_name: "webb.flow",
                trace_id: None,
                body: "text",
            };
            record.begin(&head).int("number", number);
            builder.push(record.finish());
        }
        let request = builder.take(encoding).unwrap().unwrap();
        [&[encoding as u8][..], &request.body].concat()
    }

    /// Files of ours pass, in each encoding.
    #[test]
    fn own_files_pass() {
        for encoding in Encoding::ALL {
            for records in [1, 2, 3, 100] {
                let file = file(encoding, records);
                fuzz_spool_file(&file);
                let inspected = Request::inspect(encoding, &file[1..]).unwrap();
                assert_eq!(i64::from(inspected.0), records);
            }
        }
    }

    proptest! {
        /// Any bytes are an answer.
        #[test]
        fn any_answer_is_survived(bytes: Vec<u8>) {
            fuzz_answer(&bytes);
        }

        /// A damaged file is a file with as many records, or none.
        #[test]
        fn damaged_files_are_survived(at in 0_usize..300, byte: u8, length in 1_usize..400, kind in 0_usize..3) {
            let mut bytes = file(Encoding::ALL[kind], 4);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(length);
            fuzz_spool_file(&bytes);
        }

        /// So is any other.
        #[test]
        fn any_file_is_survived(bytes: Vec<u8>) {
            fuzz_spool_file(&bytes);
        }
    }
}
