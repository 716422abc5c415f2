//! Times and sizes as people write them: `250ms`, `2h15m`, `8MiB`.
//!
//! A bare number is refused: whether `5` is seconds or milliseconds, or `KB` 1000 or 1024 bytes,
//! should not be something one has to look up.

use std::time::Duration;

/// Units of time, largest first, with their length in milliseconds.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, largest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a time such as `5s`, `250ms` or `2h15m`: whole numbers with a unit, larger units first,
/// nothing in between.
///
/// # Errors
/// Says what is wrong with the text, without repeating it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut millis: u64 = 0;
    let mut rest = text;
    let mut last_unit = u64::MAX;
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest)?;
        let unit_end = after.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let length = unit_of(&TIMES, unit, after)?;
        if length >= last_unit {
            return Err(format!("`{unit}` must not follow a unit of the same size or smaller"));
        }
        last_unit = length;
        millis = number
            .checked_mul(length)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| "the duration is too large: the most is 2^64 milliseconds".to_owned())?;
        rest = next;
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a time so that [`parse_duration`] reads it back. Below a millisecond is cut off: no
/// setting is that fine.
pub fn show_duration(time: Duration) -> String {
    let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, length) in TIMES {
        // `d` is read but not written: `26h` is easier to compare with `25h` than `1d2h`.
        if unit != "d" && left >= length {
            parts.push(format!("{}{unit}", left / length));
            left %= length;
        }
    }
    parts.concat()
}

/// Reads a size such as `64KiB` or `8MiB`: one whole number, one unit (`B`, `KiB`, `MiB`, `GiB`).
///
/// # Errors
/// Says what is wrong with the text, without repeating it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let (number, unit) = leading_number(text)?;
    let length = unit_of(&SIZES, unit, unit)?;
    number.checked_mul(length).ok_or_else(|| "it does not fit into 64 bits".to_owned())
}

/// Writes a size in the largest unit that divides it, so that [`parse_bytes`] reads it back.
pub fn show_bytes(bytes: u64) -> String {
    SIZES
        .into_iter()
        .find(|(_, length)| bytes >= *length && bytes.is_multiple_of(*length))
        .map_or_else(|| format!("{bytes}B"), |(unit, length)| format!("{}{unit}", bytes / length))
}

/// The whole number at the start of `text`, and what follows it.
fn leading_number(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(format!("a number must come before `{rest}`"));
    }
    if rest.starts_with('.') {
        return Err("only whole numbers are read; use a smaller unit".to_owned());
    }
    let number = digits.parse().map_err(|_| "the number is too large".to_owned())?;
    Ok((number, rest))
}

/// The length of a unit. `seen` is what stood where the unit should be.
fn unit_of(units: &[(&str, u64)], unit: &str, seen: &str) -> Result<u64, String> {
    if let Some((_, length)) = units.iter().find(|(name, _)| *name == unit) {
        return Ok(*length);
    }
    let known = units.iter().rev().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    Err(if seen.is_empty() {
        format!("the unit is missing ({known})")
    } else {
        format!("`{seen}` is not a unit ({known})")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The forms that the documentation promises.
    #[test]
    fn times_and_sizes_as_documented() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h15m"), Ok(Duration::from_mins(135)));
        assert_eq!(parse_duration("1d"), Ok(Duration::from_hours(24)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_bytes("8MiB"), Ok(8 << 20));
        assert_eq!(parse_bytes("100B"), Ok(100));
        assert_eq!(show_duration(Duration::from_millis(8_100_250)), "2h15m250ms");
        assert_eq!(show_bytes(65_536), "64KiB");
        assert_eq!(show_bytes(0), "0B");
    }

    /// An ambiguous text must be refused, with a reason that names the right form.
    #[test]
    fn doubtful_forms_are_refused() {
        for (text, why) in [
            ("", "empty"),
            ("5", "unit is missing"),
            ("s", "number must come before"),
            ("-5s", "number must come before"),
            ("1.5s", "whole numbers"),
            ("5 s", "is not a unit"),
            ("5sec", "is not a unit"),
            ("5m1h", "must not follow"),
            ("5s5s", "must not follow"),
            ("99999999999999999999s", "too large"),
            ("18446744073709551615d", "the most is 2^64 milliseconds"),
        ] {
            let problem = parse_duration(text).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
        for (text, why) in [
            ("", "empty"),
            ("8", "unit is missing"),
            ("8MB", "is not a unit"),
            ("8M", "is not a unit"),
            ("1MiB1KiB", "is not a unit"),
            ("17179869184GiB", "64 bits"),
        ] {
            let problem = parse_bytes(text).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }

    proptest! {
        /// `/config` prints what could be typed: every value survives being shown and read.
        #[test]
        fn shown_values_read_back(millis in 0..10_000_000_000_u64, bytes in any::<u64>()) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(time)), Ok(time));
            prop_assert_eq!(parse_bytes(&show_bytes(bytes)), Ok(bytes));
        }

        /// Any text at all gives an answer, never a panic.
        #[test]
        fn any_text_is_answered(text in ".*", digits in "[0-9]{0,25}[a-zA-Z.]{0,4}") {
            for text in [&text, &digits] {
                let _time = parse_duration(text);
                let _size = parse_bytes(text);
            }
        }
    }
}
