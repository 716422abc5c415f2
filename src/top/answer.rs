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
        let taken = value.get("time").and_then(Value::as_str).and_then(|time| seconds_of(time, time));
        // A server's date may be a second behind its samples.
        let since = |(taken, now): (i64, i64)| u64::try_from(now - taken).unwrap_or(0);
        Ok(Self { age: taken.zip(seconds_of(&iso(date).unwrap_or_default(), date)).map(since), value })
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

/// Seconds of the date that a text begins with, and of the first `HH:MM:SS` in another; only
/// differences mean anything.
fn seconds_of(date: &str, text: &str) -> Option<i64> {
    let at = text.find(':')?;
    let mut parts = text.get(at.checked_sub(2)?..at + 6)?.split(':').map(str::parse::<u8>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let of_day = i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
    (hours < 24 && minutes < 60 && seconds < 61).then_some(day(date)? * 86_400 + of_day)
}

/// The date of a header as `2026-11-26`, which there is `Thu, 26 Nov 2026` with a time behind it.
fn iso(date: &str) -> Option<String> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = date.split(' ').skip(1);
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Some(format!("{year}-{month:02}-{day}"))
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

/// The number of a day in RFC 3339; only differences mean anything.
pub(super) fn day(time: &str) -> Option<i64> {
    let mut parts = time.get(..10)?.split('-').map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    // Years begin with March, so that a leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Some(365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day)
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
        assert_eq!(age("2026-11-26T02:14:07Z", "Thu, 26 Nov 2026 16:14:07 GMT"), Some(14 * 3600));
        assert_eq!(age("2026-02-28T02:14:07Z", "Sun, 01 Mar 2026 02:14:08 GMT"), Some(86_401));
        for (time, date) in [("", ""), ("2026", "Fri"), (":", "::::::::"), ("a:b:c:d", "99:99:99"), ("é:é:é", "1:2:3")]
        {
            assert_eq!(age(time, date), None, "{time} {date}");
        }
        for wrong in ["", "[]", "7", "{\"a\":", "<html>"] {
            assert!(Answer::read(wrong.as_bytes(), "").unwrap_err().starts_with("the answer is not the API's"));
        }
    }
}
