//! The end of a certificate's validity, read from its DER (RFC 5280 §4.1): a few lines for one
//! field, where a parser of certificates would be a crate with several below it.

use rustls::pki_types::CertificateDer;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// The version, which stands in front of the serial number unless it is 1.
const VERSION: u8 = 0xa0;

/// The second since 1970 at which the first certificate of a chain expires; `None` if no
/// certificate has a date that can be read.
pub(super) fn expiry(chain: &[CertificateDer<'_>]) -> Option<i64> {
    chain.iter().filter_map(|certificate| not_after(certificate)).min()
}

/// True for a certificate of X.509's first version, which has no names for servers.
pub(super) fn is_version_1(certificate: &[u8]) -> bool {
    let fields = element(certificate, SEQUENCE).and_then(|(certificate, _)| element(certificate, SEQUENCE));
    fields.is_some_and(|(fields, _)| element(fields, INTEGER).is_some())
}

fn not_after(certificate: &[u8]) -> Option<i64> {
    let (mut certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    // Serial number, algorithm, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    (certificate, _) = element(fields, SEQUENCE)?;
    let (_, until) = time(certificate)?;
    time(until).map(|(seconds, _)| seconds)
}

/// The content of the first element, if it has that tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            // Longer than any certificate.
            let length =
                (digits.len() <= 4).then(|| digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))?;
            (length, rest)
        }
    };
    if *found == tag { rest.split_at_checked(length) } else { None }
}

/// A time as seconds since 1970, and what follows it. Certificates have whole seconds of UTC.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, full) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, false),
        None => element(bytes, GENERALIZED_TIME).map(|(text, rest)| (text, rest, true))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest_of_text) = text.split_at_checked(if full { 4 } else { 2 })?;
    let year: i64 = year.parse().ok()?;
    let year = if full { year } else { year + if year < 50 { 2000 } else { 1900 } };
    let number = |at: usize| rest_of_text.get(at..at + 2)?.parse::<i64>().ok();
    let [month, day, hour, minute, second] = [number(0)?, number(2)?, number(4)?, number(6)?, number(8)?];
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second, rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March, so that the leap
/// day is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (date_time_ymd(1999, 1, 1), date_time_ymd(year, 2, 28));
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// Both forms of a date are read, and the first certificate of a chain to expire counts.
    #[test]
    fn expiries_are_read() {
        let (soon, late) = (certificate(2026), certificate(2051));
        assert_eq!(expiry(std::slice::from_ref(&soon)), Some(1_772_236_800));
        assert_eq!(expiry(std::slice::from_ref(&late)), Some(2_561_155_200));
        assert_eq!(expiry(&[late, soon]), Some(1_772_236_800));
        assert_eq!(expiry(&[]), None);
        assert_eq!((days(1970, 1, 1), days(2000, 2, 29), days(2000, 3, 1)), (0, 11_016, 11_017));
    }

    /// A certificate without a version is of the first one.
    #[test]
    fn versions_are_read() {
        let der = certificate(2026);
        assert!(!is_version_1(&der));
        // The same without the version, which has five bytes: the lengths in front of it are read,
        // not held against what follows.
        let at = der.windows(3).position(|bytes| bytes == [VERSION, 3, INTEGER]).unwrap();
        let mut old = der.to_vec();
        old.drain(at..at + 5);
        old.extend([0; 5]);
        assert!(is_version_1(&old));
        assert!(!is_version_1(&[]) && !is_version_1(&[SEQUENCE, 0]));
    }

    proptest! {
        /// A damaged certificate has some date or none, and no panic.
        #[test]
        fn damage_is_survived(at in 0_usize..200, byte: u8, length in 0_usize..400) {
            let mut bytes = certificate(2026).to_vec();
            bytes[at] = byte;
            bytes.truncate(length);
            let _some_or_none = not_after(&bytes);
        }
    }
}
