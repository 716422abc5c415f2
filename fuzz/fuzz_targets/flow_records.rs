//! The flows of any lines are log records that another implementation reads as they were written:
//! each attribute has a value, and all of it is within the bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use webb_otlp::{MAX_ATTRIBUTES, MAX_RECORD_BYTES};

fuzz_target!(|bytes: &[u8]| webb_observer::fuzz::fuzz_records(bytes, |written| {
    assert!(written.len() <= MAX_RECORD_BYTES, "{} bytes", written.len());
    let record = LogRecord::decode(written).expect("a record");
    assert_eq!(LogRecord::decode(record.encode_to_vec().as_slice()).as_ref(), Ok(&record));
    assert!(record.attributes.len() <= MAX_ATTRIBUTES as usize);
    let mut keys: Vec<&str> = record.attributes.iter().map(|pair| pair.key.as_str()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "twice: {keys:?}");
    for pair in &record.attributes {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let is_empty = match value {
            Some(Value::StringValue(text)) => text.is_empty(),
            Some(Value::ArrayValue(list)) => list.values.is_empty(),
            other => other.is_none(),
        };
        assert!(!is_empty, "{} has no value", pair.key);
    }
}));
