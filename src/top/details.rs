//! All about one row, and the list of keys.

use serde_json::Value;

use super::answer::text;
use super::form::seconds;
use super::keys::KEYS;
use super::screen::{Screen, bold, normal};
use super::state::Top;
use crate::display::{percent, plain_name, scaled, visible};

/// Depth of a row's fields that are shown.
const MAX_DEPTH: usize = 3;

/// Fields of a row that are shown at most.
const MAX_FIELDS: usize = 500;

/// Cells of a field's name.
const NAME: u16 = 34;

/// Draws every field of the row under the cursor: those of a later agent too.
pub(super) fn row(screen: &mut Screen<'_>, top: &Top, y: u16, end: u16) {
    let Some(row) = top.shown.table.selected() else {
        screen.put(1, y, screen.width() - 2, "The row is gone. Esc leads back.", normal());
        return;
    };
    let value = &row.value;
    let (from, to) = (plain_name(text(value, "/from")), plain_name(text(value, "/to")));
    let title = if to.is_empty() { visible(text(value, "/name")) } else { format!("{from} -> {to}") };
    screen.put(1, y, screen.width() - 2, &title, bold());
    let mut fields = Vec::new();
    collect(value, "", 0, top.appearance.bits, &mut fields);
    let lines = usize::from(end.saturating_sub(y + 2));
    // Two columns where they fit, if one is not enough.
    let columns = if screen.width() >= 160 && fields.len() > lines { 2 } else { 1 };
    let place = screen.width() / columns;
    for (column, fields) in (0..columns).zip(fields.chunks(lines.max(1))) {
        for (line, (name, said)) in (y + 2..end).zip(fields) {
            screen.put(column * place + 1, line, NAME, name, normal());
            screen.put(column * place + 2 + NAME, line, place.saturating_sub(NAME + 3), said, normal());
        }
    }
}

/// The fields of an object, with those of objects in it.
fn collect(value: &Value, name: &str, depth: usize, bits: bool, fields: &mut Vec<(String, String)>) {
    if fields.len() >= MAX_FIELDS {
        return;
    }
    match value {
        Value::Object(map) if depth < MAX_DEPTH => {
            for (key, value) in map {
                let name = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
                collect(value, &name, depth + 1, bits, fields);
            }
        }
        // What buckets have is in the quantiles beside them.
        Value::Array(_) if name.ends_with("bounds_seconds") || name.ends_with("counts") => {}
        value => fields.push((visible(&name.replace('_', " ")), said(name, value, bits))),
    }
}

/// A value, whose unit is in the name of its field.
fn said(name: &str, value: &Value, bits: bool) -> String {
    let joined = |value: f64, unit: &str| {
        let (digits, prefix) = scaled(value);
        format!("{digits} {prefix}{unit}")
    };
    match value {
        Value::Null => "not measured".to_owned(),
        Value::String(text) => visible(text),
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(0.0);
            if name.ends_with("bytes_per_second") {
                return if bits { joined(number * 8.0, "bit/s") } else { joined(number, "B/s") };
            }
            if name.ends_with("per_second") {
                return joined(number, "/s");
            }
            match name.rsplit_once('_').map_or("", |(_, unit)| unit) {
                "seconds" => seconds(number),
                "ratio" => format!("{} %", percent(number)),
                _ => format!("{number:.0}"),
            }
        }
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Array(values) => {
            let words = values.iter().take(32).map(|value| said(name, value, bits));
            words.collect::<Vec<_>>().join(", ")
        }
        Value::Object(_) => "...".to_owned(),
    }
}

/// Draws the list of keys.
pub(super) fn keys(screen: &mut Screen<'_>, y: u16) {
    for (line, (key, does)) in (y..screen.height().saturating_sub(3)).zip(KEYS) {
        screen.put(2, line, 24, key, bold());
        screen.put(27, line, screen.width().saturating_sub(28), does, normal());
    }
}
