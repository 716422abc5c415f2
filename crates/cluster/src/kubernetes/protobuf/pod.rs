//! A Pod in protocol buffers, as far as it is read: field numbers are those of Kubernetes'
//! `generated.proto` files.
//!
//! Go writes a text or a number that was never set as an empty one, where JSON leaves it out: so
//! what is empty is not there. A part that cannot be read is passed over, as in JSON; a message
//! that is cut off has no parts that could be told from each other, and the object is of no use.

use webb_flow::date::date;

use super::wire::{Fields, Value, WireError};
use crate::PassedOver;
use crate::types::{
    Annotations, Container, ContainerPort, Labels, ObjectMeta, OwnerReference, Pod, PodCondition, PodIp, PodSpec,
    PodStatus, Time,
};

/// Reads a pod, and its version.
pub(super) fn read(message: &[u8], odd: &mut PassedOver) -> Result<(Pod, Option<String>), WireError> {
    let (mut pod, mut version) = (Pod::default(), None);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(metadata)) => (pod.metadata, version) = meta(metadata, odd)?,
            (2, Value::Bytes(message)) => pod.spec = Some(spec(message, odd)?),
            (3, Value::Bytes(message)) => pod.status = Some(status(message, odd)?),
            _ => {}
        }
    }
    Ok((pod, version))
}

/// Reads `metadata`, and the version in it.
pub(super) fn meta(message: &[u8], odd: &mut PassedOver) -> Result<(ObjectMeta, Option<String>), WireError> {
    let (mut meta, mut version, mut labels) = (ObjectMeta::default(), None, Labels::default());
    for field in Fields::of(message) {
        match field? {
            (1, value) => meta.name = text(value, "metadata.name", odd),
            (2, value) => meta.generate_name = text(value, "metadata.generateName", odd),
            (3, value) => meta.namespace = text(value, "metadata.namespace", odd),
            (6, value) => version = text(value, "metadata.resourceVersion", odd),
            (8, Value::Bytes(message)) => meta.creation_timestamp = time(message)?,
            (11, Value::Bytes(entry)) => pair(entry, "metadata.labels", &mut labels.texts, odd, |_| true)?,
            (12, Value::Bytes(entry)) => {
                pair(entry, "metadata.annotations", &mut meta.annotations.texts, odd, Annotations::wanted)?;
            }
            (13, Value::Bytes(message)) => {
                meta.owner_references.get_or_insert_default().push(Some(owner(message, odd)?));
            }
            _ => {}
        }
    }
    meta.labels = (!labels.texts.is_empty()).then_some(labels);
    Ok((meta, version))
}

fn owner(message: &[u8], odd: &mut PassedOver) -> Result<OwnerReference, WireError> {
    let mut owner = OwnerReference::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => owner.kind = text(value, "metadata.ownerReferences.kind", odd).unwrap_or_default(),
            (3, value) => owner.name = text(value, "metadata.ownerReferences.name", odd).unwrap_or_default(),
            (6, value) => owner.controller = value.number().map(|number| number != 0),
            _ => {}
        }
    }
    Ok(owner)
}

fn spec(message: &[u8], odd: &mut PassedOver) -> Result<PodSpec, WireError> {
    let mut spec = PodSpec::default();
    for field in Fields::of(message) {
        match field? {
            (2, Value::Bytes(message)) => spec.containers.get_or_insert_default().push(Some(container(message, odd)?)),
            (8, value) => spec.service_account_name = text(value, "spec.serviceAccountName", odd),
            (10, value) => spec.node_name = text(value, "spec.nodeName", odd),
            (11, value) => spec.host_network = value.number().map(|number| number != 0),
            (20, Value::Bytes(message)) => {
                spec.init_containers.get_or_insert_default().push(Some(container(message, odd)?));
            }
            _ => {}
        }
    }
    Ok(spec)
}

fn container(message: &[u8], odd: &mut PassedOver) -> Result<Container, WireError> {
    let mut container = Container::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => container.name = text(value, "spec.containers.name", odd).unwrap_or_default(),
            (6, Value::Bytes(message)) => container.ports.get_or_insert_default().push(Some(port(message, odd)?)),
            (24, value) => container.restart_policy = text(value, "spec.containers.restartPolicy", odd),
            _ => {}
        }
    }
    Ok(container)
}

fn port(message: &[u8], odd: &mut PassedOver) -> Result<ContainerPort, WireError> {
    let mut port = ContainerPort::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => port.name = text(value, "spec.containers.ports.name", odd),
            // A negative number has all 64 bits; one that is too large is none.
            (3, value) => port.container_port = value.number().map_or(0, |number| i32::try_from(number).unwrap_or(-1)),
            (4, value) => port.protocol = text(value, "spec.containers.ports.protocol", odd),
            _ => {}
        }
    }
    Ok(port)
}

fn status(message: &[u8], odd: &mut PassedOver) -> Result<PodStatus, WireError> {
    let mut status = PodStatus::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => status.phase = text(value, "status.phase", odd),
            (2, Value::Bytes(message)) => {
                status.conditions.get_or_insert_default().push(Some(condition(message, odd)?));
            }
            (6, value) => status.pod_ip = text(value, "status.podIP", odd),
            (7, Value::Bytes(message)) => status.start_time = time(message)?,
            (12, Value::Bytes(message)) => {
                let mut ip = PodIp::default();
                for field in Fields::of(message) {
                    if let (1, value) = field? {
                        ip.ip = text(value, "status.podIPs.ip", odd).unwrap_or_default();
                    }
                }
                status.pod_ips.get_or_insert_default().push(Some(ip));
            }
            _ => {}
        }
    }
    Ok(status)
}

fn condition(message: &[u8], odd: &mut PassedOver) -> Result<PodCondition, WireError> {
    let mut condition = PodCondition::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => condition.type_ = text(value, "status.conditions.type", odd).unwrap_or_default(),
            (2, value) => condition.status = text(value, "status.conditions.status", odd).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(condition)
}

/// Reads an entry of a map whose key is wanted.
fn pair(
    entry: &[u8],
    path: &str,
    into: &mut std::collections::BTreeMap<String, String>,
    odd: &mut PassedOver,
    wanted: impl Fn(&str) -> bool,
) -> Result<(), WireError> {
    let (mut key, mut value) = (&[][..], &[][..]);
    for field in Fields::of(entry) {
        match field? {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    match (std::str::from_utf8(key), std::str::from_utf8(value)) {
        (Ok(key), Ok(value)) if wanted(key) => _ = into.insert(key.to_owned(), value.to_owned()),
        (Ok(key), _) if !wanted(key) => {}
        _ => odd.note(format!("{path}.{} is no text", String::from_utf8_lossy(key).escape_debug())),
    }
    Ok(())
}

/// A text; none if it is empty, or no text, which is noted.
fn text(value: Value<'_>, path: &str, odd: &mut PassedOver) -> Option<String> {
    match value.bytes().map(std::str::from_utf8) {
        Some(Ok("")) => None,
        Some(Ok(text)) => Some(text.to_owned()),
        _ => {
            odd.note(format!("{path} is no text"));
            None
        }
    }
}

/// A time: seconds since 1970. None if it is zero, which Go writes for none, or before that.
fn time(message: &[u8]) -> Result<Option<Time>, WireError> {
    let mut seconds = 0;
    for field in Fields::of(message) {
        if let (1, Value::Number(number)) = field? {
            seconds = number;
        }
    }
    let is_later = seconds > 0 && i64::try_from(seconds).is_ok();
    Ok(is_later.then(|| {
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let digits = [month, day, hour, minute, second].into_iter().fold(year, |number, part| number * 100 + part);
        Time(i64::try_from(digits).unwrap_or(i64::MAX))
    }))
}
