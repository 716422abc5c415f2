//! RFC 3339 times, as protobuf's JSON writes them.

/// Nanoseconds since 1970; `None` if it is no time, or one before that.
pub fn nanoseconds(text: &str) -> Option<u64> {
    let (date, rest) = text.as_bytes().split_first_chunk::<10>()?;
    let (b'T' | b't', rest) = rest.split_first()? else { return None };
    let (clock, rest) = rest.split_first_chunk::<8>()?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
    let (year, month, day) = (digits(&[y1, y2, y3, y4])?, digits(&[m1, m2])?, digits(&[d1, d2])?);
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = clock else { return None };
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?);
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !valid {
        return None;
    }
    let (fraction, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Nanoseconds behind the point, and what follows them.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some((b'.', rest)) = text.split_first() else { return Some((0, text)) };
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (fraction, zone) = rest.split_at_checked(end).filter(|_| (1..=9).contains(&end))?;
    let scale = 10_u64.pow(9 - u32::try_from(end).ok()?);
    Some((u64::try_from(digits(fraction)?).ok()? * scale, zone))
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let ahead = digits(&[h1, h2])? * 3600 + digits(&[m1, m2])? * 60;
            Some(if sign == b'+' { ahead } else { -ahead })
        }
        _ => None,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar. The year begins in March here, so that the leap
/// day is its last.
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

    /// Any other text is refused with an error.
    #[test]
    fn no_times() {
        for text in
            ["", "2026", "2026-01-01 00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z"]
        {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
