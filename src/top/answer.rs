//! An answer of the API, read by pointers: what is missing, or of another type, is absent.

use serde_json::Value;

/// Rows of an answer that are read at most; the API sends no more.
const MAX_ROWS: usize = 500;

/// An answer, and how old its sample was when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    value: Value,
    age: Option<u64>,
}

impl Answer {
    /// Reads an answer's body. `date` is its header of that name, by which the age of the sample is
    /// known without this machine's clock.
    ///
    /// # Errors
    /// If it is no JSON object, with what it is.
    pub fn read(body: &[u8], date: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("the answer is not the API's: {error}"))?;
        if !value.is_object() {
            return Err("the answer is not the API's: it is no object".to_owned());
        }
        let age = value.get("time").and_then(Value::as_str).and_then(seconds_of_day).zip(seconds_of_day(date));
        // A server's date may be a second behind its samples.
        let since =
            |(taken, now): (u64, u64)| Some((now + DAY - taken) % DAY).filter(|age| *age < DAY / 2).unwrap_or(0);
        Ok(Self { age: age.map(since), value })
    }

    /// The whole answer.
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Age of the sample, in seconds, when the answer was sent.
    pub(super) fn age(&self) -> Option<u64> {
        self.age
    }

    /// False while something is incomplete.
    pub(super) fn is_complete(&self) -> bool {
        self.value.get("complete").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The objects of a list.
    pub(super) fn rows(&self, at: &str) -> impl Iterator<Item = &Value> {
        list(&self.value, at).iter().filter(|row| row.is_object()).take(MAX_ROWS)
    }
}

const DAY: u64 = 86_400;

/// Seconds since midnight of the first `HH:MM:SS` in a text.
fn seconds_of_day(text: &str) -> Option<u64> {
    let at = text.find(':')?;
    let mut parts = text.get(at.checked_sub(2)?..at + 6)?.split(':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    (hours < 24 && minutes < 60 && seconds < 61).then_some(hours * 3600 + minutes * 60 + seconds)
}

/// The text at a pointer; empty without one.
pub(super) fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a pointer.
pub(super) fn number(value: &Value, at: &str) -> Option<f64> {
    value.pointer(at).and_then(Value::as_f64)
}

/// The list at a pointer; empty without one.
pub(super) fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The sum of an object's numbers, of those whose key is wanted.
pub(super) fn sum(value: &Value, at: &str, wanted: impl Fn(&str) -> bool) -> f64 {
    let numbers = value.pointer(at).and_then(Value::as_object).into_iter().flatten();
    // A sum of nothing is -0.
    numbers.filter(|(key, _)| wanted(key)).filter_map(|(_, of)| of.as_f64()).sum::<f64>() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The age is the server's own, over midnight too; without a date it is not known.
    #[test]
    fn ages_are_the_servers() {
        let age =
            |time: &str, date: &str| Answer::read(format!("{{\"time\": \"{time}\"}}").as_bytes(), date).unwrap().age();
        assert_eq!(age("2026-11-26T02:14:07Z", "Thu, 26 Nov 2026 02:14:09 GMT"), Some(2));
        assert_eq!(age("2026-11-26T23:59:59Z", "Fri, 27 Nov 2026 00:00:03 GMT"), Some(4));
        assert_eq!(age("2026-11-26T02:14:07Z", "Thu, 26 Nov 2026 02:14:06 GMT"), Some(0));
        for (time, date) in [("", ""), ("2026", "Fri"), (":", "::::::::"), ("a:b:c:d", "99:99:99"), ("é:é:é", "1:2:3")]
        {
            assert_eq!(age(time, date), None, "{time} {date}");
        }
        for wrong in ["", "[]", "7", "{\"a\":", "<html>"] {
            assert!(Answer::read(wrong.as_bytes(), "").unwrap_err().starts_with("the answer is not the API's"));
        }
    }
}
