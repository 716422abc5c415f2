//! RFC 3339 times, as protobuf's JSON writes them.

/// Nanoseconds since 1970; `None` if it is no time, or one before that.
pub(super) fn nanoseconds(text: &str) -> Option<u64> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let (clock, rest) = rest.split_at_checked(8)?;
    let [year, month, day] = parts(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = parts(clock, ':', [2, 2, 2])?;
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !valid {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn parts<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut values = [0; N];
    let mut parts = text.split(separator);
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

/// Nanoseconds behind the point, and what follows them.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    let digits = rest.get(..end).filter(|digits| (1..=9).contains(&digits.len()))?;
    let scale = 10_u64.pow(9 - u32::try_from(digits.len()).ok()?);
    Some((digits.parse::<u64>().ok()? * scale, rest.get(end..)?))
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, clock) = match zone.as_bytes().first()? {
        b'+' => (1, zone.get(1..)?),
        b'-' => (-1, zone.get(1..)?),
        _ => return None,
    };
    let [hours, minutes] = parts(clock, ':', [2, 2])?;
    Some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970-01-01 in the Gregorian calendar. The year begins in March here, so that the leap day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    /// Exemplars carry these times: a day too many would put them where no dashboard looks.
    #[test]
    fn known_times() {
        assert_eq!(nanoseconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(nanoseconds("2026-01-01T00:00:00.611178002Z"), Some(1_767_225_600_611_178_002));
        assert_eq!(nanoseconds("2024-02-29T12:30:01.5+02:00"), Some(1_709_202_601_500_000_000));
        assert_eq!(nanoseconds("2000-03-01T00:00:00z"), Some(951_868_800_000_000_000));
    }

    /// Anything else is no time, and says so.
    #[test]
    fn no_times() {
        for text in
            ["", "2026", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z"]
        {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
