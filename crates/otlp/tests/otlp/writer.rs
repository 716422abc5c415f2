//! The writer against the messages of `opentelemetry-proto`.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message;
use webb_otlp::{
    Attributes, Encoding, Head, MAX_ATTRIBUTES, MAX_BODY_BYTES, MAX_RECORD_BYTES, MAX_VALUE_BYTES, Record,
    RequestBuilder, Severity, Stream,
};

fn head(body: &str) -> Head<'_> {
    Head {
        time_ns: 1_700_000_000_000_000_000,
        observed_ns: 1_700_000_000_500_000_000,
        severity: Severity::Warn,
        event_name: "webb.flow",
        trace_id: None,
        body,
    }
}

fn any_value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(any_value(value)), ..KeyValue::default() }
}

/// An attribute to be written.
#[derive(Debug, Clone)]
enum Kind {
    Text(String),
    Int(i64),
    Bool(bool),
    Double(f64),
    Texts(Vec<String>),
    Ints(Vec<i64>),
}

fn write(attributes: &mut Attributes, key: &str, kind: &Kind) {
    match kind {
        Kind::Text(text) => attributes.string(key, text),
        Kind::Int(number) => attributes.int(key, *number),
        Kind::Bool(bool) => attributes.bool(key, *bool),
        Kind::Double(number) => attributes.double(key, *number),
        Kind::Texts(texts) => attributes.strings(key, texts.iter().map(String::as_str)),
        Kind::Ints(numbers) => attributes.ints(key, numbers.iter().copied()),
    }
}

/// As the message has it; none if it is left out.
fn expected(key: &str, kind: &Kind) -> Option<KeyValue> {
    let array = |values: Vec<Value>| {
        let values = values.into_iter().map(|value| AnyValue { value: Some(value) }).collect();
        Value::ArrayValue(ArrayValue { values })
    };
    let value = match kind {
        Kind::Text(text) => (!text.is_empty()).then(|| Value::StringValue(text.clone()))?,
        Kind::Int(number) => Value::IntValue(*number),
        Kind::Bool(bool) => Value::BoolValue(*bool),
        Kind::Double(number) => Value::DoubleValue(*number),
        Kind::Texts(texts) if texts.is_empty() => return None,
        Kind::Texts(texts) => array(texts.iter().cloned().map(Value::StringValue).collect()),
        Kind::Ints(numbers) if numbers.is_empty() => return None,
        Kind::Ints(numbers) => array(numbers.iter().copied().map(Value::IntValue).collect()),
    };
    Some(attribute(key, value))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        any::<String>().prop_map(Kind::Text),
        "[a-z\"\\\\\0]{0,200}".prop_map(Kind::Text),
        any::<i64>().prop_map(Kind::Int),
        any::<bool>().prop_map(Kind::Bool),
        (-1e300..1e300).prop_map(Kind::Double),
        proptest::collection::vec(any::<String>(), 0..5).prop_map(Kind::Texts),
        proptest::collection::vec(any::<i64>(), 0..20).prop_map(Kind::Ints),
    ]
}

proptest! {
    /// Any record decodes to what was written, whether its attributes are written into it or
    /// copied.
    #[test]
    fn any_record_decodes_equal(
        time_ns: u64,
        trace_id: Option<[u8; 16]>,
        body: String,
        ready in proptest::collection::vec(("[a-z.]{1,40}", kind()), 0..10),
        own in proptest::collection::vec((".{0,150}", kind()), 0..10),
    ) {
        let mut blob = Attributes::new();
        for (key, kind) in &ready {
            write(&mut blob, key, kind);
        }
        let mut record = Record::new();
        let attributes = record.begin(&Head { time_ns, trace_id, ..head(&body) });
        attributes.copy(&blob);
        for (key, kind) in &own {
            write(attributes, key, kind);
        }
        let decoded = LogRecord::decode(record.finish().bytes()).unwrap();
        let expected = LogRecord {
            time_unix_nano: time_ns,
            observed_time_unix_nano: 1_700_000_000_500_000_000,
            severity_number: 13,
            event_name: "webb.flow".to_owned(),
            trace_id: trace_id.map(Vec::from).unwrap_or_default(),
            body: if body.is_empty() { None } else { Some(any_value(Value::StringValue(body))) },
            attributes: ready.iter().chain(&own).filter_map(|(key, kind)| expected(key, kind)).collect(),
            ..LogRecord::default()
        };
        prop_assert_eq!(decoded, expected);
    }

    /// However much is written, a record stays within its bounds and is a record, and counts what
    /// it lost.
    #[test]
    fn bounds_hold(
        values in proptest::collection::vec((0_usize..600, 0_usize..9000, 0_usize..40), 0..60),
        body in 0_usize..20_000,
    ) {
        let mut record = Record::new();
        let text = "ä".repeat(10_000);
        let attributes = record.begin(&head(&text[..body * 2 / 2 / 2 * 2]));
        let mut lost = u32::from(body / 2 * 2 > MAX_BODY_BYTES);
        for (key, value, copies) in &values {
            let mut blob = Attributes::new();
            blob.string(&"k".repeat(*key), &"v".repeat(*value));
            for copy in 0..copies % 3 {
                blob.int(&format!("copy{copy}"), -1);
            }
            let before = attributes.len();
            let wanted = u32::from(*value > 0) + u32::try_from(copies % 3).unwrap();
            let cut = u32::from(*value > MAX_VALUE_BYTES && *key <= 512);
            attributes.copy(&blob);
            lost += wanted - (attributes.len() - before) + cut;
        }
        let kept = attributes.len();
        prop_assert!(kept <= MAX_ATTRIBUTES);
        let bytes = record.finish().bytes().to_vec();
        prop_assert!(bytes.len() <= MAX_RECORD_BYTES, "{}", bytes.len());
        let decoded = LogRecord::decode(&bytes[..]).unwrap();
        prop_assert_eq!(u32::try_from(decoded.attributes.len()).unwrap(), kept);
        prop_assert_eq!(decoded.dropped_attributes_count, lost);
    }
}

/// A text of 64 KiB is cut between letters and counted; quotes and NUL survive; an attribute beyond
/// the bound is counted.
#[test]
fn what_does_not_fit_is_cut_and_counted() {
    let mut record = Record::new();
    let long = "é".repeat(32 << 10);
    let attributes = record.begin(&head("a \"body\"\0"));
    attributes.string("x", "y");
    attributes.string("x2", &long);
    attributes.string("k".repeat(600).as_str(), "v");
    for number in 0..50 {
        attributes.int(&format!("n{number}"), number);
    }
    let decoded = LogRecord::decode(record.finish().bytes()).unwrap();
    assert_eq!(decoded.attributes.len(), 48);
    assert_eq!(decoded.attributes[1], attribute("x2", Value::StringValue("é".repeat(MAX_VALUE_BYTES / 2))));
    assert_eq!(decoded.dropped_attributes_count, 2 + 4);
    assert_eq!(decoded.body, Some(any_value(Value::StringValue("a \"body\"\0".to_owned()))));
    // Nothing of it is in the next record.
    record.begin(&head(&long)).bool("b", true);
    let decoded = LogRecord::decode(record.finish().bytes()).unwrap();
    assert_eq!(decoded.attributes, [attribute("b", Value::BoolValue(true))]);
    assert_eq!(decoded.dropped_attributes_count, 1);
    assert_eq!(decoded.body, Some(any_value(Value::StringValue("é".repeat(MAX_BODY_BYTES / 2)))));
}

/// A request has its resource, its scope and its records, in each encoding.
#[test]
fn requests_decode() {
    let mut resource = Attributes::new();
    resource.string("service.name", "webb");
    resource.int("number", 7);
    let mut record = Record::new();
    for encoding in Encoding::ALL {
        let mut builder = RequestBuilder::new(Stream::Rollups, &resource, "webb.rollups", "1");
        assert!(builder.take(encoding).unwrap().is_none());
        for number in 0..300 {
            record.begin(&head("")).int("number", number);
            builder.push(record.finish());
        }
        let guessed = builder.plain_bytes();
        let request = builder.take(encoding).unwrap().unwrap();
        assert_eq!((request.records, builder.records()), (300, 0));
        assert!(request.plain_bytes <= guessed && request.plain_bytes + 16 > guessed);
        let plain = match encoding {
            Encoding::None => request.body.to_vec(),
            Encoding::Gzip => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&request.body[..]), &mut plain).unwrap();
                plain
            }
            Encoding::Zstd => zstd::decode_all(&request.body[..]).unwrap(),
        };
        assert_eq!(plain.len(), request.plain_bytes);
        let decoded = ExportLogsServiceRequest::decode(&plain[..]).unwrap();
        let [logs] = &decoded.resource_logs[..] else { panic!("{decoded:?}") };
        let resource = logs.resource.as_ref().unwrap();
        assert_eq!(
            resource.attributes,
            [attribute("service.name", Value::StringValue("webb".to_owned())), attribute("number", Value::IntValue(7))]
        );
        let [scope] = &logs.scope_logs[..] else { panic!("{decoded:?}") };
        let name = scope.scope.as_ref().unwrap();
        assert_eq!((name.name.as_str(), name.version.as_str()), ("webb.rollups", "1"));
        let numbers: Vec<_> = scope.log_records.iter().map(|record| record.attributes.clone()).collect();
        let expected: Vec<_> = (0..300).map(|number| vec![attribute("number", Value::IntValue(number))]).collect();
        assert_eq!(numbers, expected);
    }
}
