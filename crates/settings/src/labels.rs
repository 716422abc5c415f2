//! Labels of Kubernetes objects as values, `name=value`.

use super::value::{InvalidValue, Item, Value};

pub(super) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
    InvalidValue::each(&value.items(true)?, label)
}

/// Kubernetes checks the rest: one that it refuses is on no pod.
fn label(item: &Item) -> Result<String, InvalidValue> {
    let fits = |text: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        text.len() <= 317 && text.bytes().all(known)
    };
    match item.text.split_once('=') {
        Some((name, value)) if !name.is_empty() && fits(name) && fits(value) => Ok(item.text.clone()),
        _ => Err(InvalidValue::item(item, "it is not a label, `name=value`")),
    }
}

pub(super) fn show(labels: &[String]) -> Value {
    Value::list(labels.iter().map(String::as_str))
}
