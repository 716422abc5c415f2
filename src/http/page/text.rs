//! Numbers, times and names as the page writes them.

use std::time::Duration;

use maud::{Markup, html};

use crate::display::scaled;
pub(super) use crate::display::{percent as percent_text, plain_name, visible};
use crate::readings::State;

fn number(text: &str, unit: &str) -> Markup {
    let nought = if text == "0" { "n nought" } else { "n" };
    html! { span class=(nought) { (text) @if !unit.is_empty() { small { "\u{a0}" (unit) } } } }
}

/// What was not measured.
pub(super) fn absent() -> Markup {
    html! { span.n.nought { span aria-hidden="true" { "–" } span.sr { "not measured" } } }
}

/// Bytes a second, or bits.
pub(super) fn bytes(rate: Option<f64>, bits: bool) -> Markup {
    let Some(rate) = rate else { return absent() };
    let (text, prefix) = scaled(if bits { rate * 8.0 } else { rate });
    number(&text, &format!("{prefix}{}/s", if bits { "bit" } else { "B" }))
}

/// Bytes or bits a second without their unit, where all numbers have it.
pub(super) fn bytes_short(rate: f64, bits: bool) -> String {
    let (text, prefix) = scaled(if bits { rate * 8.0 } else { rate });
    text + prefix
}

/// Bytes or bits a second as plain text.
pub(super) fn bytes_text(rate: f64, bits: bool) -> String {
    let (text, prefix) = scaled(if bits { rate * 8.0 } else { rate });
    format!("{text} {prefix}{}/s", if bits { "bit" } else { "B" })
}

/// Events a second.
pub(super) fn per_second(rate: Option<f64>) -> Markup {
    let Some(rate) = rate else { return absent() };
    let (text, prefix) = scaled(rate);
    number(&text, &format!("{prefix}/s"))
}

/// A duration in seconds.
pub(super) fn seconds(value: Option<f64>) -> Markup {
    let Some(value) = value else { return absent() };
    let (digits, unit) = crate::display::duration(value, false);
    number(&digits, &unit)
}

/// A share in per cent.
pub(super) fn percent(ratio: Option<f64>) -> Markup {
    ratio.map_or_else(absent, |ratio| number(&percent_text(ratio), "%"))
}

/// A number of things: in full below 100,000.
pub(super) fn count(value: f64) -> Markup {
    let (text, prefix) = crate::display::count(value, ",");
    number(&text, prefix)
}

/// [`count`] of a whole number.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn total(value: u64) -> Markup {
    count(value as f64)
}

/// Time of day in UTC.
pub(super) fn clock(unix: Duration) -> String {
    let of_day = unix.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// When something was first seen; what was there at the start has no such time.
pub(super) fn since(first: u64, now: Duration) -> Markup {
    if first == 0 {
        return html! { span.muted title="it was there when the agent began to look" { "from the start" } };
    }
    let age = now.as_secs().saturating_sub(first);
    let text = match age / 86_400 {
        0 => clock(Duration::from_secs(first)).chars().take(5).collect(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    };
    let stamp = crate::http::api::rfc3339(first);
    html! { @if age < 3600 { span.new { "new" } " " } time datetime=(stamp) title=(stamp) { (text) } }
}

/// An end's name, isolated from the text around it.
pub(super) fn name(end: &str) -> Markup {
    let shown = plain_name(end);
    html! {
        span.name title=(visible(end)) {
            // One box, or each part would be a line of its own to the clamp.
            span {
                @if shown.is_empty() { span.muted { "without a name" } }
                @else if let Some((namespace, name)) = shown.split_once('/') { i { (namespace) "/" } bdi { (name) } }
                @else { bdi { (shown) } }
            }
        }
    }
}

/// Two ends in a cell.
pub(super) fn pair(from: &str, to: &str, is_directed: bool) -> Markup {
    let (arrow, word) = if is_directed { ("→", "to") } else { ("↔", "and") };
    html! {
        span.pair { (name(from)) span.arrow { span aria-hidden="true" { (arrow) } span.sr { " " (word) " " } } (name(to)) }
    }
}

/// The symbol of a state, which no other has.
pub(super) fn symbol(state: State) -> Markup {
    let (class, path) = match state {
        State::Passed => ("audit", "M7 1l6 6-6 6-6-6z"),
        State::Denied => {
            ("denied", "M2.5 1L7 5.5 11.5 1 13 2.5 8.5 7l4.5 4.5-1.5 1.5L7 8.5 2.5 13 1 11.5 5.5 7 1 2.5z")
        }
        State::Failing => ("fail", "M7 1l6.5 12H.5z"),
        State::Slow => (
            "slow",
            "M7 1a6 6 0 1 0 0 12A6 6 0 0 0 7 1zm0 1.6a4.4 4.4 0 1 1 0 8.8 4.4 4.4 0 0 1 0-8.8zM6.2 4v3.5l2.6 1.6.8-1.3-1.9-1.1V4z",
        ),
        State::Dropped => ("muted", "M1 6h12v2H1z"),
        State::Forwarded | State::Idle => return html! {},
    };
    html! { svg.symbol.(class) width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" { path d=(path) fill="currentColor" {} } }
}

/// A state in words, with its symbol.
pub(super) fn state(state: State) -> Markup {
    let word = match state {
        State::Passed => "forbidden, passed",
        other => other.label(),
    };
    html! { span.state { (symbol(state)) " " (word) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(markup: &Markup) -> String {
        let mut text = String::new();
        let mut inside = false;
        for letter in markup.0.chars() {
            match letter {
                '<' => inside = true,
                '>' => inside = false,
                other if !inside => text.push(other),
                _ => {}
            }
        }
        text.replace('\u{a0}', " ")
    }

    /// Three digits, SI prefixes, and the unit at each number.
    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0 B/s"),
            (0.001, "&lt;0.01 B/s"),
            (1.0, "1.00 B/s"),
            (999.4, "999 B/s"),
            (999.6, "1.00 kB/s"),
            (1_240_000.0, "1.24 MB/s"),
            (99.96, "100 B/s"),
            (5e9, "5.00 GB/s"),
            (1e19, "10000 PB/s"),
        ] {
            assert_eq!(plain(&bytes(Some(value), false)), text, "{value}");
        }
        assert_eq!(plain(&bytes(Some(1000.0), true)), "8.00 kbit/s");
        assert_eq!(plain(&seconds(Some(0.000_638))), "638 µs");
        assert_eq!(plain(&seconds(Some(0.212))), "212 ms");
        assert_eq!(plain(&seconds(Some(2.5))), "2.50 s");
        assert_eq!((plain(&total(36_211)), plain(&total(2_410_000))), ("36,211".into(), "2.41 M".into()));
        assert_eq!(plain(&absent()), "–not measured");
    }

    /// Neither a small loss is nothing, nor nearly all is all.
    #[test]
    fn shares_are_not_rounded_away() {
        for (ratio, text) in [(0.0, "0"), (0.0001, "<0.1"), (0.5, "50.0"), (0.99999, "99.9"), (1.0, "100")] {
            assert_eq!(percent_text(ratio), text);
        }
    }

    /// Names are data: markup is escaped, directions are named and not obeyed.
    #[test]
    fn names_are_data() {
        let shown = name("shop/<script>alert(1)</script>\u{202e}x").0;
        assert!(!shown.contains("<script>") && !shown.contains('\u{202e}'), "{shown}");
        assert!(shown.contains("&lt;script&gt;") && shown.contains("[U+202E]"), "{shown}");
        assert!(name("\" onmouseover=\"x").0.contains("&quot; onmouseover"));
        assert!(plain(&name("reserved:world")).contains("world"));
    }
}
