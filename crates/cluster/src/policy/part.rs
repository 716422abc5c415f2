//! Strict reading of a policy, field by field.
//!
//! An unreadable part is never taken for absent, because in a policy absent often means all. Each
//! function that reads a part returns its meaning, unknown included, and notes the reason. So one
//! unreadable part costs only itself.

use serde_json::{Map, Value};

pub(super) use crate::passed_over::PassedOver as Problems;

/// The fields of a mapping; `null` is absent, as for the API server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// True if it has a field that is not known here.
    pub(super) odd: bool,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which has no others than these; none if it is no mapping.
    pub(super) fn of(path: &str, value: &'a Value, known: &[&str], problems: &mut Problems) -> Option<Self> {
        let Value::Object(map) = value else {
            problems.note(format!("{path} is {}, expected fields", shape(value)));
            return None;
        };
        let mut odd = false;
        for (name, _) in map.iter().filter(|(name, value)| !known.contains(&name.as_str()) && !value.is_null()) {
            odd = true;
            problems.note(format!("{path}.{name} is unknown, expected {}", known.join(", ")));
        }
        Some(Self { map, odd })
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub(super) fn required(&self, path: &str, name: &str, problems: &mut Problems) -> Option<&'a Value> {
        let found = self.get(name);
        if found.is_none() {
            problems.note(format!("{path}.{name} is missing"));
        }
        found
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The items of a list: none if it is absent, an error if it is something else.
    pub(super) fn list(
        &self,
        path: &str,
        name: &str,
        problems: &mut Problems,
    ) -> Result<Option<&'a [Value]>, Unreadable> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => {
                problems.note(format!("{path}.{name} is {}, expected a list", shape(other)));
                Err(Unreadable)
            }
        }
    }
}

/// A part could not be read; why is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A text.
pub(super) fn text<'a>(path: &str, value: &'a Value, problems: &mut Problems) -> Result<&'a str, Unreadable> {
    value.as_str().ok_or_else(|| {
        problems.note(format!("{path} is {}, expected a text", shape(value)));
        Unreadable
    })
}

/// A whole number within bounds.
pub(super) fn number(
    path: &str,
    value: &Value,
    (least, most): (u16, u16),
    problems: &mut Problems,
) -> Result<u16, Unreadable> {
    let number = value.as_i64().and_then(|number| u16::try_from(number).ok());
    number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
        problems.note(format!("{path} is {}, expected {least} to {most}", shape(value)));
        Unreadable
    })
}

/// A value for a message: itself if it is short, else what it is.
pub(super) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() <= 60 => format!("`{}`", text.escape_debug()),
        Value::String(_) => "a long text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
