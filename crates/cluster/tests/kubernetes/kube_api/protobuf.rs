//! Pods, lists, events and errors in protocol buffers, as an API server writes them: what Go's
//! generated code writes of the fields that webb reads. All others follow under numbers of no
//! meaning, so that an object is about as long as a real one.

use serde_json::Value;

fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [number(field << 3 | 2), number(value.len() as u64), value.to_vec()].concat()
}

fn varint(field: u64, value: u64) -> Vec<u8> {
    [number(field << 3), number(value)].concat()
}

/// A text, which is written also if it is empty.
fn text(field: u64, value: &Value) -> Vec<u8> {
    bytes(field, value.as_str().unwrap_or_default().as_bytes())
}

/// A text that is a pointer in Go.
fn pointer(field: u64, value: &Value) -> Vec<u8> {
    value.as_str().map(|value| bytes(field, value.as_bytes())).unwrap_or_default()
}

fn flag(field: u64, value: &Value) -> Vec<u8> {
    varint(field, u64::from(value.as_bool().unwrap_or_default()))
}

fn each(field: u64, list: &Value, message: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    list.as_array().into_iter().flatten().flat_map(|item| bytes(field, &message(item))).collect()
}

fn map(field: u64, map: &Value) -> Vec<u8> {
    let pairs = map.as_object().into_iter().flatten();
    let entry = |key: &str, value: &Value| [bytes(1, key.as_bytes()), text(2, value)].concat();
    pairs.flat_map(|(key, value)| bytes(field, &entry(key, value))).collect()
}

/// Seconds since 1970 of a text such as 2026-01-02T15:04:05Z; an empty message for none.
fn time(value: &Value) -> Vec<u8> {
    let Some(text) = value.as_str() else { return Vec::new() };
    let part = |range: std::ops::Range<usize>| text[range].parse::<u64>().unwrap();
    let (year, month, day) = (part(0..4), part(5..7), part(8..10));
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let of_month = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = years + (1..month).map(of_month).sum::<u64>() + day - 1;
    let seconds = days * 86_400 + part(11..13) * 3600 + part(14..16) * 60 + part(17..19);
    [varint(1, seconds), varint(2, 0)].concat()
}

/// The fields of an object that are not `known`, from this number on.
fn rest(object: &Value, known: &[&str], from: u64) -> Vec<u8> {
    let others = object.as_object().into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()));
    others.zip(from..).flat_map(|((_, value), field)| any(field, value)).collect()
}

fn any(field: u64, value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(is) => varint(field, u64::from(*is)),
        Value::Number(count) => varint(field, count.as_u64().unwrap_or_default()),
        Value::String(text) => bytes(field, text.as_bytes()),
        Value::Array(items) => items.iter().flat_map(|item| any(field, item)).collect(),
        Value::Object(_) => bytes(field, &rest(value, &[], 1)),
    }
}

fn meta(meta: &Value) -> Vec<u8> {
    let owner = |owner: &Value| {
        [
            text(1, &owner["kind"]),
            text(3, &owner["name"]),
            text(4, &owner["uid"]),
            text(5, &owner["apiVersion"]),
            owner["controller"].as_bool().map(|is| varint(6, u64::from(is))).unwrap_or_default(),
        ]
        .concat()
    };
    let managed =
        |entry: &Value| [text(1, &entry["manager"]), bytes(7, entry["fieldsV1"].to_string().as_bytes())].concat();
    [
        text(1, &meta["name"]),
        text(2, &meta["generateName"]),
        text(3, &meta["namespace"]),
        bytes(4, b""),
        text(5, &meta["uid"]),
        text(6, &meta["resourceVersion"]),
        varint(7, 0),
        bytes(8, &time(&meta["creationTimestamp"])),
        map(11, &meta["labels"]),
        map(12, &meta["annotations"]),
        each(13, &meta["ownerReferences"], owner),
        each(17, &meta["managedFields"], managed),
    ]
    .concat()
}

/// A pod without its envelope.
pub(crate) fn pod(pod: &Value) -> Vec<u8> {
    let port = |port: &Value| {
        [
            text(1, &port["name"]),
            varint(2, 0),
            varint(3, port["containerPort"].as_i64().unwrap_or_default().cast_unsigned()),
            text(4, &port["protocol"]),
            bytes(5, b""),
        ]
        .concat()
    };
    let container = |container: &Value| {
        [
            text(1, &container["name"]),
            text(2, &container["image"]),
            each(6, &container["ports"], port),
            pointer(24, &container["restartPolicy"]),
            rest(container, &["name", "image", "ports", "restartPolicy"], 7),
        ]
        .concat()
    };
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let spec = [
        each(2, &spec["containers"], container),
        text(3, &spec["restartPolicy"]),
        text(8, &spec["serviceAccountName"]),
        text(9, &spec["serviceAccountName"]),
        text(10, &spec["nodeName"]),
        flag(11, &spec["hostNetwork"]),
        flag(12, &spec["hostPID"]),
        each(20, &spec["initContainers"], container),
        rest(
            spec,
            &[
                "containers",
                "initContainers",
                "restartPolicy",
                "serviceAccountName",
                "serviceAccount",
                "nodeName",
                "hostNetwork",
                "hostPID",
            ],
            30,
        ),
    ]
    .concat();
    let condition = |condition: &Value| {
        [text(1, &condition["type"]), text(2, &condition["status"]), rest(condition, &["type", "status"], 3)].concat()
    };
    let start = if status["startTime"].is_string() { bytes(7, &time(&status["startTime"])) } else { Vec::new() };
    let status = [
        text(1, &status["phase"]),
        each(2, &status["conditions"], condition),
        text(6, &status["podIP"]),
        start,
        each(12, &status["podIPs"], |ip| text(1, &ip["ip"])),
        rest(status, &["phase", "conditions", "podIP", "startTime", "podIPs"], 13),
    ]
    .concat();
    [bytes(1, &meta(&pod["metadata"])), bytes(2, &spec), bytes(3, &status)].concat()
}

/// The envelope of an object.
fn envelope(kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, b"v1"), bytes(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), bytes(1, &type_meta), bytes(2, object), bytes(3, b""), bytes(4, b"")].concat()
}

/// A list of pods, each without its envelope, of JSON's metadata.
pub(crate) fn list(metadata: &Value, pods: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let items: Vec<u8> = pods.flat_map(|pod| item(&pod)).collect();
    [list_head(metadata, items.len()), items, LIST_END.to_vec()].concat()
}

/// A pod in a list.
pub(crate) fn item(pod: &[u8]) -> Vec<u8> {
    bytes(2, pod)
}

/// A list up to its items, which are so many bytes. [`LIST_END`] is behind them.
pub(crate) fn list_head(metadata: &Value, items: usize) -> Vec<u8> {
    let remaining = metadata["remainingItemCount"].as_u64().map(|count| varint(4, count)).unwrap_or_default();
    let metadata =
        [bytes(1, b""), text(2, &metadata["resourceVersion"]), text(3, &metadata["continue"]), remaining].concat();
    let metadata = bytes(1, &metadata);
    let type_meta = [bytes(1, b"v1"), bytes(2, b"PodList")].concat();
    let length = number((metadata.len() + items) as u64);
    [b"k8s\0".to_vec(), bytes(1, &type_meta), number(2 << 3 | 2), length, metadata].concat()
}

/// The end of the envelope of a list: two empty texts.
pub(crate) const LIST_END: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// An event of a watch, with its length, of a pod or a `Status`.
pub(crate) fn event(what: &str, object: &Value) -> Vec<u8> {
    let object =
        if object["kind"] == "Status" { envelope("Status", &status(object)) } else { envelope("Pod", &pod(object)) };
    let event = [bytes(1, what.as_bytes()), bytes(2, &bytes(1, &object))].concat();
    [u32::try_from(event.len()).unwrap().to_be_bytes().to_vec(), event].concat()
}

fn status(status: &Value) -> Vec<u8> {
    [
        bytes(1, b""),
        text(2, &status["status"]),
        text(3, &status["message"]),
        text(4, &status["reason"]),
        varint(6, status["code"].as_u64().unwrap_or_default()),
    ]
    .concat()
}
