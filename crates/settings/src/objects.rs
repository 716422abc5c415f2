//! Objects in JSON as values: a list of texts, or one text, each with one object or several, as
//! Cilium's options have them. Their content is read on a higher floor.

use super::value::{InvalidValue, Item, Value};

pub(super) fn read(value: &Value) -> Result<Vec<String>, InvalidValue> {
    match value {
        Value::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::Text(text) => object(&Item { text: text.clone(), mark: None }).map(|text| vec![text]),
        Value::List(items) => items.iter().map(object).collect(),
        _ => Err(InvalidValue::of(value)),
    }
}

fn object(item: &Item) -> Result<String, InvalidValue> {
    if item.text.trim_start().starts_with('{') {
        Ok(item.text.clone())
    } else {
        Err(InvalidValue::item(item, "it is not an object in JSON, in quotes"))
    }
}

pub(super) fn show(objects: &[String]) -> Value {
    Value::list(objects.iter().map(String::as_str))
}
