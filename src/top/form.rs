//! How a value of a row is written: for people, in base units for scripts, and as what rows are
//! sorted by.

use std::cmp::Ordering;

use serde_json::Value;
use unicode_width::UnicodeWidthChar as _;

use super::answer::{day, list, number, sum, text};
use crate::display::{duration, percent, plain_name, scaled, visible};

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// An end of a pair.
    End,
    /// Any other text.
    Word,
    /// A state, or a verdict.
    State,
    /// The port, or else the protocols.
    Port,
    /// Bytes a second.
    Bytes,
    /// Events a second.
    Rate,
    /// A number of things.
    Count,
    /// A sum of the numbers of an object.
    Sum,
    /// A duration in seconds.
    Seconds,
    /// The last minutes, as a small chart.
    Trend,
    /// A figure, whose unit is beside it.
    Figure,
    /// A share.
    Share,
    /// The share of attempts that were not accepted, of the object of outcomes.
    Failed,
    /// The share of responses with a status of this class, of the object of classes.
    Class(&'static str),
    /// What dropped or forbade it.
    Why,
    /// What changed, behind the object that it is of.
    What,
    /// The time of the first sample with it.
    Since,
}

/// How values are written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Units<'a> {
    /// Bits instead of bytes.
    pub(super) bits: bool,
    /// Nothing but ASCII.
    pub(super) ascii: bool,
    /// Time of the answer.
    pub(super) now: &'a str,
}

/// What rows are sorted by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    Absent,
    Text(String),
    Number(f64),
}

impl Key {
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.total_cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (one, other) => one.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Text(_) => 1,
            Self::Number(_) => 2,
        }
    }
}

impl Form {
    /// True for a form that is aligned to the right.
    pub(super) fn is_number(self) -> bool {
        !matches!(self, Self::End | Self::Word | Self::State | Self::Why | Self::What)
    }

    /// The number at a pointer of a row, if this form has one.
    fn number(self, row: &Value, at: &str) -> Option<f64> {
        let share = |part: f64, all: f64| (all > 0.0).then(|| part / all);
        match self {
            Self::Sum => row.pointer(at).is_some_and(Value::is_object).then(|| sum(row, at, |_| true)),
            Self::Failed => share(sum(row, at, |outcome| outcome != "accepted"), sum(row, at, |_| true)),
            Self::Class(class) => share(sum(row, at, |of| of == class), sum(row, at, |_| true)),
            Self::Bytes | Self::Rate | Self::Count | Self::Seconds | Self::Share | Self::Figure => number(row, at),
            Self::Port => number(row, "/port"),
            Self::End | Self::Word | Self::State | Self::Why | Self::What | Self::Since | Self::Trend => None,
        }
    }

    /// The value as people read it; empty or `-` if it was not measured.
    pub(super) fn shown(self, row: &Value, at: &str, units: &Units<'_>) -> String {
        let joined = |value: f64| {
            let (digits, prefix) = scaled(value);
            digits + prefix
        };
        let text = match (self, self.number(row, at)) {
            (Self::End, _) => plain_name(text(row, at)),
            (Self::Word, _) => visible(text(row, at)),
            (Self::State, _) => state(text(row, at)),
            (Self::Port, Some(port)) => format!("{port:.0}"),
            (Self::Port, None) => protocols(row, at),
            (Self::Why, _) => why(row),
            (Self::What, _) => what(row),
            (Self::Trend, _) => trend(list(row, at), units.ascii),
            (Self::Since, _) => since(row, at, units.now),
            (_, None) => "-".to_owned(),
            (Self::Bytes, Some(value)) => joined(if units.bits { value * 8.0 } else { value }),
            (Self::Figure, Some(value)) if text(row, "/unit") != "seconds" => joined(value),
            (Self::Seconds | Self::Figure, Some(value)) => seconds(value),
            (Self::Share | Self::Failed | Self::Class(_), Some(0.0)) => "0".to_owned(),
            (Self::Share | Self::Failed | Self::Class(_), Some(value)) => percent(value) + "%",
            (Self::Count | Self::Sum, Some(value)) => count(value),
            (Self::Rate, Some(value)) => joined(value),
        };
        plain(&text, units.ascii)
    }

    /// The value in base units, as one word; `-` if it was not measured.
    pub(super) fn base(self, row: &Value, at: &str) -> String {
        let text = match (self, self.number(row, at)) {
            (Self::State, _) if text(row, at) == "forwarded" => "ok".to_owned(),
            (Self::Since, _) => text(row, at).to_owned(),
            (Self::Seconds | Self::Figure, Some(value)) => format!("{value:.6}"),
            (Self::Share | Self::Failed | Self::Class(_), Some(value)) => format!("{value:.3}"),
            (Self::Rate, Some(value)) => format!("{value:.2}"),
            (Self::Bytes | Self::Count | Self::Sum, Some(value)) => format!("{value:.0}"),
            _ => self.shown(row, at, &Units::default()),
        };
        let word: String = text.split_whitespace().collect::<Vec<_>>().join("_");
        if word.is_empty() { "-".to_owned() } else { plain(&word, true) }
    }

    /// What rows are sorted by.
    pub(super) fn key(self, row: &Value, at: &str) -> Key {
        if let Some(number) = self.number(row, at) {
            return Key::Number(number);
        }
        match self {
            Self::Since => Key::Text(text(row, at).to_owned()),
            Self::End | Self::Word | Self::State | Self::Port | Self::Why | Self::What => {
                Key::Text(self.shown(row, at, &Units::default()))
            }
            _ => Key::Absent,
        }
    }
}

/// A text in which each character takes place of its own; the others are named. With `ascii` all
/// but ASCII are.
pub(super) fn plain(text: &str, ascii: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.width().is_none_or(|width| width == 0) || (ascii && !letter.is_ascii()) {
            shown.push_str(&format!("[U+{:04X}]", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A number of things: in full below 100,000.
pub(super) fn count(value: f64) -> String {
    let (digits, prefix) = crate::display::count(value, "");
    digits + prefix
}

/// A duration: three digits and its unit.
pub(super) fn seconds(value: f64) -> String {
    let (digits, unit) = duration(value, true);
    digits + &unit
}

fn state(state: &str) -> String {
    if state == "passed" { "forbidden, passed".to_owned() } else { visible(state) }
}

fn protocols(row: &Value, at: &str) -> String {
    let names = list(row, at).iter().filter_map(Value::as_str).chain(row.pointer(at).and_then(Value::as_str));
    let joined = names.take(8).collect::<Vec<_>>().join(",");
    if joined.is_empty() { "-".to_owned() } else { visible(&joined) }
}

/// Cells of a small chart.
const TREND: usize = 11;

/// The last minutes by heights of letters: each the largest of the values that it stands for.
fn trend(values: &[Value], ascii: bool) -> String {
    let values: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let heights: Vec<char> = if ascii { "_.-=+*#@" } else { "▁▂▃▄▅▆▇█" }.chars().collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let cells = values.chunks(values.len().div_ceil(TREND).max(1));
    let height = |chunk: &[f64]| {
        let value = chunk.iter().copied().fold(0.0, f64::max);
        let share = if most > 0.0 { value / most } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of eight heights")]
        let at = (share * 7.0).round() as usize;
        heights.get(at).copied().unwrap_or(' ')
    };
    cells.map(height).collect()
}

/// What changed, behind the object that it is of.
pub(super) fn what(row: &Value) -> String {
    visible(format!("{} {}", text(row, "/object"), text(row, "/text")).trim())
}

fn why(row: &Value) -> String {
    let (reason, direction) = (text(row, "/reason"), text(row, "/direction"));
    let policies: Vec<&str> = list(row, "/policies").iter().filter_map(Value::as_str).collect();
    let mut by = if policies.is_empty() { String::new() } else { format!(", selected by {}", policies.join(", ")) };
    if let Some(hidden) = row.pointer("/policies_hidden").and_then(Value::as_u64).filter(|hidden| *hidden > 0) {
        by.push_str(&format!(" and {hidden} more"));
    }
    visible(&match text(row, "/verdict") {
        "passed" => format!("not enforced {direction}").trim_end().to_owned() + &by,
        _ => format!("{reason}{by}"),
    })
}

/// Time of day, or days ago; a star within the hour.
pub(super) fn since(row: &Value, at: &str, now: &str) -> String {
    let first = text(row, at);
    let star = if row.get("new").and_then(Value::as_bool) == Some(true) { "*" } else { "" };
    let text = match (day(first), day(now)) {
        (Some(first_day), Some(today)) if today > first_day => format!("{} d", today - first_day),
        (Some(_), _) => first.get(11..16).unwrap_or_default().to_owned(),
        (None, _) => return "start".to_owned(),
    };
    visible(&(text + star))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Values as people read them, and as scripts do.
    #[test]
    fn values_are_written() {
        let row = json!({"bytes": 61_000_000.0, "p95": 0.000_638, "share": 0.0004, "none": null, "count": 99_999,
            "outcomes": {"accepted": 90, "refused": 10}, "status": {"2xx": 3, "5xx": 1}, "protocols": ["TCP", "UDP"],
            "state": "forwarded", "to": "reserved:world", "odd": "a b\u{301}\u{202e}é"});
        let units = Units::default();
        for (form, at, shown, base) in [
            (Form::Bytes, "/bytes", "61.0M", "61000000"),
            (Form::Seconds, "/p95", "638us", "0.000638"),
            (Form::Share, "/share", "<0.1%", "0.000"),
            (Form::Rate, "/none", "-", "-"),
            (Form::Count, "/count", "99999", "99999"),
            (Form::Failed, "/outcomes", "10.0%", "0.100"),
            (Form::Class("5xx"), "/status", "25.0%", "0.250"),
            (Form::Class("4xx"), "/status", "0", "0.000"),
            (Form::Sum, "/status", "4", "4"),
            (Form::Port, "/protocols", "TCP,UDP", "TCP,UDP"),
            (Form::State, "/state", "forwarded", "ok"),
            (Form::End, "/to", "world", "world"),
            (Form::Word, "/odd", "a b[U+0301][U+202E]é", "a_b[U+0301][U+202E][U+00E9]"),
        ] {
            assert_eq!((form.shown(&row, at, &units).as_str(), form.base(&row, at).as_str()), (shown, base), "{at}");
        }
        let trend = json!({"trend": [0, 7, 3.5, 7], "none": []});
        assert_eq!(Form::Trend.shown(&trend, "/trend", &units), "▁█▅█");
        assert_eq!(Form::Trend.shown(&trend, "/trend", &Units { ascii: true, ..units }), "_@+@");
        assert_eq!(Form::Trend.shown(&trend, "/none", &units), "");
        let long = json!({"trend": vec![1; 31]});
        assert!(Form::Trend.shown(&long, "/trend", &units).chars().count() <= TREND);
        assert_eq!(Form::Bytes.shown(&row, "/bytes", &Units { bits: true, ..units }), "488M");
        assert_eq!(Form::Port.shown(&json!({"port": 443}), "/protocols", &units), "443");
    }

    /// A time of today, of the last hour, of days ago, and of before the agent looked.
    #[test]
    fn times_are_short() {
        let units = Units { now: "2026-03-01T02:14:07Z", ..Units::default() };
        let since = |row: Value| Form::Since.shown(&row, "/first_seen", &units);
        assert_eq!(since(json!({"first_seen": "2026-03-01T01:58:00Z", "new": true})), "01:58*");
        assert_eq!(since(json!({"first_seen": "2026-02-28T01:58:00Z"})), "1 d");
        assert_eq!(since(json!({"first_seen": "2025-12-31T01:58:00Z", "new": false})), "60 d");
        assert_eq!(since(json!({"first_seen": null})), "start");
        assert_eq!(since(json!({"first_seen": "2026-99-99"})), "start");
    }
}
