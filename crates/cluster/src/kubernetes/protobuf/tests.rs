//! Pods, events and lists in protocol buffers against the same in JSON.

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::super::RESOURCES;
use super::*;
use crate::kubernetes::answer;

#[allow(clippy::cast_possible_truncation, reason = "a byte of a number at a time")]
#[path = "../../../tests/kubernetes/kube_api/protobuf.rs"]
mod encode;

fn read(pod: &Json) -> Item<Object> {
    item(&RESOURCES[0], &encode::pod(pod))
}

fn read_json(pod: &Json) -> Item<Object> {
    answer::item(&RESOURCES[0], &RawValue::from_string(pod.to_string()).unwrap())
}

fn same(pod: &Json) {
    let (one, other) = (read(pod), read_json(pod));
    assert_eq!(one.head, other.head, "{pod}");
    assert_eq!(format!("{:?}", one.object.ok()), format!("{:?}", other.object.ok()), "{pod}");
}

fn whole() -> Json {
    json!({
        "metadata": {
            "name": "a-1", "generateName": "a-", "namespace": "n", "uid": "u", "resourceVersion": "77",
            "creationTimestamp": "2024-02-29T23:59:58Z", "labels": {"app": "a", "empty": ""},
            "annotations": {"k8s.v1.cni.cncf.io/network-status": "[{\"ips\":[\"10.0.0.1\"]},{\"ips\":[\"192.168.5.1\"]}]",
                "other": "x"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "a-5d4f8c7b9", "uid": "v", "apiVersion": "apps/v1", "controller": true}],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {
            "containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
            "initContainers": [{"name": "s", "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 1}]}],
            "nodeName": "n1", "hostNetwork": false, "serviceAccountName": "account",
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "startTime": "2024-03-01T00:00:00Z", "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

/// All fields that are used come out as from JSON; so do those that are not there.
#[test]
fn a_pod_is_the_same_as_in_json() {
    same(&whole());
    let Ok(Object::Pod(key, pod)) = read(&whole()).object else { panic!() };
    assert_eq!((key.to_string().as_str(), pod.node.as_str(), pod.ready), ("n/a-1", "n1", true));
    assert_eq!((pod.created, pod.ports.len(), pod.other_addresses.len()), (20_240_229_235_958, 2, 1));
    for without in [
        "metadata/namespace",
        "metadata/labels",
        "spec",
        "status",
        "metadata/creationTimestamp",
        "spec/serviceAccountName",
    ] {
        let mut pod = whole();
        let (parent, child) = without.split_once('/').unwrap_or(("", without));
        let parent = if parent.is_empty() { &mut pod } else { &mut pod[parent] };
        parent.as_object_mut().unwrap().remove(child);
        same(&pod);
    }
}

/// A part that is no text costs itself; what is cut off costs the object, but for its name.
#[test]
fn broken_pods() {
    let mut bytes = encode::pod(&whole());
    let at = bytes.windows(4).position(|part| part == b"http").unwrap();
    bytes[at] = 0xff;
    let item = super::item(&RESOURCES[0], &bytes);
    assert!(item.object.is_ok());
    assert_eq!(item.passed_over.described[0].to_string(), "spec.containers.ports.name is no text");
    let cut = super::item(&RESOURCES[0], &encode::pod(&whole())[..bytes.len() - 3]);
    assert_eq!(cut.object.unwrap_err(), "a message ends within a field");
    assert_eq!(cut.head.version.as_deref(), Some("77"));
    assert!(super::item(&RESOURCES[0], b"").object.unwrap_err().contains("metadata.name is missing"));
}

fn event_of(what: &str, object: &Json) -> Result<Event<Object>, ApiError> {
    event(&RESOURCES[0], &encode::event(what, object)[4..], item)
}

/// Events of each type, as in JSON.
#[test]
fn events() {
    let Ok(Event::Applied(added)) = event_of("ADDED", &whole()) else { panic!() };
    assert_eq!(added.head.version.as_deref(), Some("77"));
    let Ok(Event::Deleted(head)) = event_of("DELETED", &whole()) else { panic!() };
    assert_eq!(head.key.unwrap().to_string(), "n/a-1");
    let mut ending =
        json!({"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}});
    let Ok(Event::Bookmark { version, complete }) = event_of("BOOKMARK", &ending) else { panic!() };
    assert_eq!((version.as_deref(), complete), (Some("9"), true));
    ending["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "false"});
    assert!(matches!(event_of("BOOKMARK", &ending), Ok(Event::Bookmark { complete: false, .. })));
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    assert!(matches!(event_of("ERROR", &gone), Ok(Event::Error(ApiError::Gone(text))) if text == "too old"));
    assert!(matches!(event_of("OTHER", &whole()), Err(ApiError::Malformed(text)) if text.contains("\"OTHER\"")));
    let json = event(&RESOURCES[0], br#"{"type":"ADDED","object":{}}"#, item);
    assert!(matches!(json, Err(ApiError::Malformed(_))));
}

/// Items of a list, its metadata, and whether it has come to its end.
type Parts = (Vec<Vec<u8>>, Vec<u8>, bool);

/// Cuts a list that comes in pieces of so many bytes.
fn cut(list: &[u8], size: usize) -> Result<Parts, ListError> {
    let (mut cutter, mut items) = (ListCutter::of(&RESOURCES[0]), Vec::new());
    for piece in list.chunks(size) {
        cutter.push(piece);
        while let Some(item) = cutter.next()? {
            items.push(item.to_vec());
        }
    }
    Ok((items, cutter.metadata().to_vec(), cutter.is_complete()))
}

/// A list in pieces of any size has its items and its version; one that is cut off is not complete.
#[test]
fn lists() {
    let metadata = json!({"resourceVersion": "12", "continue": "x", "remainingItemCount": 3});
    let pods = [whole(), json!({"metadata": {"name": "b"}})];
    let list = encode::list(&metadata, pods.iter().map(encode::pod));
    for size in [1, 7, 4096] {
        let (items, metadata, complete) = cut(&list, size).unwrap();
        assert_eq!(items, pods.each_ref().map(encode::pod));
        assert_eq!(page(&RESOURCES[0], &metadata), Ok(Page { version: "12".into(), next: "x".into(), remaining: 3 }));
        assert!(complete);
    }
    assert!(!cut(&list[..list.len() - 20], 64).unwrap().2);
    let empty = cut(&encode::list(&json!({"resourceVersion": "1"}), [].into_iter()), 5).unwrap();
    assert!(empty.0.is_empty() && empty.2);
}

/// What is no list is an error and never an empty one.
#[test]
fn what_is_no_list() {
    let status = &encode::event("", &json!({"kind": "Status", "code": 500}))[4..];
    let at = status.windows(4).position(|part| part == MAGIC).unwrap();
    let long = [MAGIC, &[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x12, 0xff, 0xff, 0xff, 0xff, 0x01]].concat();
    for (bytes, expected) in [
        (&status[at..], "the kind \"Status\""),
        (b"{\"items\":[]}", "does not begin"),
        (&[MAGIC, &[0x12, 3, 0x12, 9, 1]].concat(), "longer than the list"),
        (&long, "longer than 33554432 bytes"),
        (&[MAGIC, &[0x12, 0, 0x1a, 4, b'g', b'z', b'i', b'p']].concat(), "compressed as \"gzip\""),
        (&[MAGIC, &[0x0b]].concat(), "wire type 3"),
    ] {
        let error = cut(bytes, 4096).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z]{1,8}", any::<String>()]
}

prop_compose! {
    fn any_pod()(
        names in prop::array::uniform8(text()),
        labels in prop::collection::btree_map(text(), text(), 0..4),
        ips in prop::collection::vec(prop_oneof![Just("10.0.0.1".to_owned()), Just("fd00::9".to_owned()), text()], 0..3),
        ports in prop::collection::vec((text(), -2..70_000_i64, prop_oneof![Just("TCP"), Just("UDP"), Just("X"), Just("")]), 0..4),
        flags in prop::array::uniform3(any::<bool>()),
        phase in prop_oneof![Just("Running"), Just("Succeeded"), Just("Failed"), Just("")],
        day in 0..30_000_u64,
    ) -> Json {
        let [name, namespace, version, node, account, owner, kind, generated] = names;
        let (year, month, day) = webb_flow::date::date(day);
        let ports: Vec<Json> = ports
            .into_iter()
            .map(|(name, port, protocol)| {
                let mut port = json!({"containerPort": port});
                // JSON leaves out what is empty.
                for (key, value) in [("name", name.as_str()), ("protocol", protocol)] {
                    if !value.is_empty() {
                        port[key] = json!(value);
                    }
                }
                port
            })
            .collect();
        let mut pod = json!({
            "metadata": {
                "creationTimestamp": format!("{year:04}-{month:02}-{day:02}T01:02:03Z"),
                "ownerReferences": [{"kind": kind, "name": owner, "controller": flags[0]}],
            },
            "spec": {"containers": [{"name": "c", "ports": ports}], "hostNetwork": flags[1]},
            "status": {"podIPs": ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
                "conditions": [{"type": "Ready", "status": if flags[2] { "True" } else { "False" }}]},
        });
        if !labels.is_empty() {
            pod["metadata"]["labels"] = json!(labels);
        }
        for (parent, key, value) in [
            ("metadata", "name", name.as_str()), ("metadata", "namespace", &namespace), ("metadata", "resourceVersion", &version),
            ("metadata", "generateName", &generated), ("spec", "nodeName", &node), ("spec", "serviceAccountName", &account),
            ("status", "phase", phase), ("status", "podIP", ips.first().map_or("", String::as_str)),
        ] {
            if !value.is_empty() {
                pod[parent][key] = json!(value);
            }
        }
        pod
    }
}

proptest! {
    /// Both readers give the same object, whatever is in it, and pass over as many parts.
    #[test]
    fn both_readers_agree(pod in any_pod()) {
        let (one, other) = (read(&pod), read_json(&pod));
        prop_assert_eq!(one.head, other.head);
        prop_assert_eq!(one.passed_over.count(), other.passed_over.count());
        prop_assert_eq!(format!("{:?}", one.object), format!("{:?}", other.object));
    }

    /// Whatever a server sends, reading it ends in an answer; pieces of another size change
    /// nothing.
    #[test]
    fn nothing_panics(at in any::<prop::sample::Index>(), with in any::<u8>(), size in 1..200_usize) {
        let metadata = json!({"resourceVersion": "12"});
        let mut list = encode::list(&metadata, [whole(), whole()].iter().map(encode::pod));
        let place = at.index(list.len());
        list[place] = with;
        super::fuzz::fuzz(&list);
        if let (Ok(whole), Ok(pieces)) = (cut(&list, usize::MAX), cut(&list, size)) {
            prop_assert_eq!(whole, pieces);
        }
        let mut event = encode::event("ADDED", &self::whole());
        let place = at.index(event.len());
        event[place] = with;
        super::fuzz::fuzz(&event);
    }
}
