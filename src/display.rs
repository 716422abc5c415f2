//! Numbers and names as people read them, on the page and in a terminal.

/// Three digits, and the prefix of the unit; prefixes are powers of 1,000.
pub fn scaled(value: f64) -> (String, &'static str) {
    let (mut value, mut prefix) = (value, "");
    for larger in ["k", "M", "G", "T", "P"] {
        // What would be written as 1000 is 1.00 of the next.
        if value < 999.5 {
            break;
        }
        (value, prefix) = (value / 1000.0, larger);
    }
    let text = if value == 0.0 {
        "0".to_owned()
    } else if value < 0.01 && prefix.is_empty() {
        "<0.01".to_owned()
    } else if value < 9.995 {
        format!("{value:.2}")
    } else if value < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    };
    (text, prefix)
}

/// A duration in seconds: three digits, and its unit. With `ascii` that of 10⁻⁶ s is `us`.
pub fn duration(value: f64, ascii: bool) -> (String, String) {
    let (value, unit) = if value < 0.000_999_5 {
        (value * 1e6, if ascii { "us" } else { "µs" })
    } else if value < 0.9995 {
        (value * 1e3, "ms")
    } else {
        (value, "s")
    };
    let (digits, prefix) = scaled(value);
    (digits, format!("{prefix}{unit}"))
}

/// A number of things: in full below 100,000, with `between` between thousands; else three digits
/// and a prefix.
pub fn count(value: f64, between: &str) -> (String, &'static str) {
    if value.abs() >= 100_000.0 {
        return scaled(value);
    }
    let digits = format!("{:.0}", value.abs());
    // A difference may be below nought.
    let mut text = String::from(if value < 0.0 && digits != "0" { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push_str(between);
        }
        text.push(digit);
    }
    (text, "")
}

/// A share in per cent: never rounded to 100 or to 0.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if ratio <= 0.0 {
        "0".to_owned()
    } else if percent < 0.1 {
        "<0.1".to_owned()
    } else if ratio >= 1.0 {
        "100".to_owned()
    } else {
        format!("{:.1}", percent.min(99.9))
    }
}

/// True for a character that is obeyed, or that looks like none or like a space.
fn is_hidden(letter: char) -> bool {
    let is_format = matches!(letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    let is_blank = matches!(letter, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}');
    letter.is_control() || is_format || is_blank
}

/// A text of which nothing is obeyed: control and direction characters are named.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.push_str(&format!("[U+{:04X}]", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// An end's name as plain text.
pub fn plain_name(end: &str) -> String {
    visible(end.strip_prefix("reserved:").unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Durations and counts as people read them.
    #[test]
    fn units_are_chosen() {
        let said = |value| {
            let (digits, unit) = duration(value, true);
            digits + " " + &unit
        };
        assert_eq!([0.000_638, 0.0015, 0.9996, 7.0].map(said), ["638 us", "1.50 ms", "1.00 s", "7.00 s"]);
        assert_eq!(duration(0.000_638, false).1, "µs");
        assert_eq!(count(99_999.0, ","), ("99,999".to_owned(), ""));
        assert_eq!(count(-1234.0, ""), ("-1234".to_owned(), ""));
        assert_eq!(count(4_118_000.0, ","), ("4.12".to_owned(), "M"));
    }

    /// What a terminal or a browser obeys, and what cannot be seen, is named; letters stay.
    #[test]
    fn what_is_obeyed_is_named() {
        let hidden = "\u{1b}\u{9b}\u{61c}\u{200d}\u{2028}\u{2029}\u{202e}\u{fff9}\u{fffb}\u{115f}\u{2800}\u{e0041}";
        for letter in hidden.chars() {
            assert_eq!(visible(&format!("a{letter}b")), format!("a[U+{:04X}]b", u32::from(letter)));
        }
        assert_eq!(visible("shop/cart é 日本"), "shop/cart é 日本");
    }
}
