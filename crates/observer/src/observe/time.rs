//! Times as they are typed and as they are printed.

use std::fmt::Write as _;

use prost_types::Timestamp;
use webb_flow::date::date;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A form of printed times; all are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormat {
    /// `2026-03-01`.
    Day,
    /// `2026-03-01T10Z`.
    Hour,
    /// `2026-03-01T10:00Z`.
    Minute,
    /// `Mar  1 10:00:00.278`.
    #[default]
    StampMilli,
    /// `2026-03-01T10:00:00Z`, with up to so many decimals.
    Rfc3339(usize),
    /// `Sun, 01 Mar 2026 10:00:00 +0000`.
    Rfc1123Z,
}

/// The names of the forms.
pub const TIME_FORMATS: [(&str, TimeFormat); 9] = [
    ("StampMilli", TimeFormat::StampMilli),
    ("YearMonthDay", TimeFormat::Day),
    ("YearMonthDayHour", TimeFormat::Hour),
    ("YearMonthDayHourMinute", TimeFormat::Minute),
    ("RFC3339", TimeFormat::Rfc3339(0)),
    ("RFC3339Milli", TimeFormat::Rfc3339(3)),
    ("RFC3339Micro", TimeFormat::Rfc3339(6)),
    ("RFC3339Nano", TimeFormat::Rfc3339(9)),
    ("RFC1123Z", TimeFormat::Rfc1123Z),
];

/// Appends a time; `N/A` for none.
pub(super) fn put_time(out: &mut String, format: TimeFormat, time: Option<&Timestamp>) {
    let Some(time) = time else {
        out.push_str("N/A");
        return;
    };
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(time.nanos).unwrap_or(0);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let month_name = usize::try_from(month).ok().and_then(|month| MONTHS.get(month.wrapping_sub(1))).unwrap_or(&"");
    // Writing to memory does not fail.
    let _written = match format {
        TimeFormat::Day => write!(out, "{year:04}-{month:02}-{day:02}"),
        TimeFormat::Hour => write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}Z"),
        TimeFormat::Minute => write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}Z"),
        TimeFormat::StampMilli => {
            write!(out, "{month_name} {day:>2} {hour:02}:{minute:02}:{second:02}.{:03}", nanoseconds / 1_000_000)
        }
        TimeFormat::Rfc3339(decimals) => {
            let _date = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
            let fraction = format!("{nanoseconds:09}");
            let fraction = fraction.get(..decimals).unwrap_or_default().trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            write!(out, "{point}{fraction}Z")
        }
        TimeFormat::Rfc1123Z => {
            let name = usize::try_from(seconds / 86_400 % 7).ok().and_then(|day| DAYS.get(day)).unwrap_or(&"");
            write!(out, "{name}, {day:02} {month_name} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
        }
    };
}

/// Reads a time: a duration before now (`5m`, `1h30m`), or a time in one of the forms above but the
/// first. Unix time in nanoseconds.
pub(super) fn read_time(text: &str, now_ns: u64) -> Option<u64> {
    if let Some(before) = duration(text) {
        let then = i128::from(now_ns) - before;
        return Some(u64::try_from(then.max(0)).unwrap_or(u64::MAX));
    }
    if let Some(unix_ns) = webb_flowlog::nanoseconds(text) {
        return Some(unix_ns);
    }
    if text.len() == 10 {
        return webb_flowlog::nanoseconds(&format!("{text}T00:00:00Z"));
    }
    let (day, rest) = text.split_once('T')?;
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(zone)?;
    match clock.len() {
        2 => webb_flowlog::nanoseconds(&format!("{day}T{clock}:00:00{zone}")),
        5 => webb_flowlog::nanoseconds(&format!("{day}T{clock}:00{zone}")),
        _ => None,
    }
}

/// A duration as Go writes it: numbers with units, largest first or not.
fn duration(text: &str) -> Option<i128> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("\u{b5}s", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at_checked(digits)?;
        let number: f64 = number.parse().ok()?;
        let unit = behind.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at_checked(unit)?;
        total += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = behind;
    }
    #[allow(clippy::cast_possible_truncation, reason = "a duration of centuries is cut")]
    (!text.trim_start_matches(['-', '+']).is_empty()).then_some(sign * total as i128)
}

/// Appends a duration as Go prints it: `1h2m3.5s`, `59.2s`.
pub(super) fn put_duration(out: &mut String, nanoseconds: u64) {
    let (seconds, fraction) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let short = |out: &mut String, unit_ns: u64, decimals: usize, unit: &str| {
        let fraction = format!("{:0decimals$}", nanoseconds % unit_ns);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "{}{point}{fraction}{unit}", nanoseconds / unit_ns)
    };
    // Writing to memory does not fail.
    let _written = match nanoseconds {
        0 => write!(out, "0s"),
        1..1000 => write!(out, "{nanoseconds}ns"),
        1000..1_000_000 => short(out, 1000, 3, "\u{b5}s"),
        1_000_000..1_000_000_000 => short(out, 1_000_000, 6, "ms"),
        _ => {
            if hours > 0 {
                let _hours = write!(out, "{hours}h");
            }
            if seconds >= 60 {
                let _minutes = write!(out, "{minutes}m");
            }
            let fraction = format!("{fraction:09}");
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            write!(out, "{}{point}{fraction}s", seconds % 60)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: TimeFormat, seconds: i64, nanos: i32) -> String {
        let mut out = String::new();
        put_time(&mut out, format, Some(&Timestamp { seconds, nanos }));
        out
    }

    /// Each form, as Go's layouts print it.
    #[test]
    fn times_are_printed() {
        let forms = [
            "Mar  1 10:00:40.278",
            "2026-03-01",
            "2026-03-01T10Z",
            "2026-03-01T10:00Z",
            "2026-03-01T10:00:40Z",
            "2026-03-01T10:00:40.278Z",
            "2026-03-01T10:00:40.2781Z",
            "2026-03-01T10:00:40.2781Z",
            "Sun, 01 Mar 2026 10:00:40 +0000",
        ];
        for ((_, format), wanted) in TIME_FORMATS.iter().zip(forms) {
            assert_eq!(printed(*format, 1_772_359_240, 278_100_000), wanted);
        }
        assert_eq!(printed(TimeFormat::Rfc3339(9), 0, 0), "1970-01-01T00:00:00Z");
    }

    /// Durations before now and times of every grain; nothing else.
    #[test]
    fn times_are_read() {
        let (now, second) = (2_000_000_000_000_000_000, 1_000_000_000);
        let day = 1_772_323_200 * second;
        for (text, wanted) in [
            ("1h30m", now - 5400 * second),
            ("1.5s", now - 1_500_000_000),
            ("-10s", now + 10 * second),
            ("0", now),
            ("2026-03-01", day),
            ("2026-03-01T01Z", day + 3600 * second),
            ("2026-03-01T01:01+01:00", day + 60 * second),
            ("2026-03-01T00:00:05.5Z", day + 5_500_000_000),
        ] {
            assert_eq!(read_time(text, now), Some(wanted), "{text}");
        }
        for wrong in ["", "5", "m", "5x", "yesterday", "2026", "2026-3-1", "2026-03-01T", "-", "1h-5m", "\u{e9}"] {
            assert_eq!(read_time(wrong, now), None, "{wrong}");
        }
    }

    /// Durations as Go prints them.
    #[test]
    fn durations_are_printed() {
        for (nanoseconds, wanted) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5\u{b5}s"),
            (2_000_000, "2ms"),
            (59_201_765_107, "59.201765107s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_061_500_000_000, "25h1m1.5s"),
        ] {
            let mut out = String::new();
            put_duration(&mut out, nanoseconds);
            assert_eq!(out, wanted);
        }
    }
}
