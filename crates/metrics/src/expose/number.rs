//! Numbers as Go's `strconv` writes them (`g`, shortest): what the Go client's text shows
//! (hubble-contract §3.6).
//!
//! The exponent form is used for exponents below -4 or from 6 on, so a million is `1e+06`. Parsers
//! take either; it matters only to comparisons of text.

use std::io::Write;

/// Appends a counter's value.
pub(super) fn push_count(out: &mut Vec<u8>, value: u64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    if digits.len() <= 6 {
        out.extend_from_slice(digits);
    } else if value < 1 << 53 {
        // Below 2^53 every integer is a float of its own, so its digits are the shortest that read
        // back.
        push_exponent(out, digits, digits.len() - 1, false);
    } else {
        #[allow(clippy::cast_precision_loss, reason = "a sample is a float; this is where the precision ends")]
        push_number(out, value as f64);
    }
}

/// Appends a whole number with all its digits.
pub(super) fn push_digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends any float.
pub(super) fn push_number(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    // Rust writes the shortest digits that read back too, as `d.ddde-7`.
    let mut buffer = [0_u8; 32];
    let mut rest = buffer.as_mut_slice();
    // 17 digits, a point and an exponent of three digits always fit.
    let _written = write!(rest, "{:e}", value.abs());
    let left = rest.len();
    let text = std::str::from_utf8(buffer.get(..32 - left).unwrap_or_default()).unwrap_or("0e0");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut digits = [0_u8; 32];
    let mut count = 0;
    for (place, digit) in digits.iter_mut().zip(mantissa.bytes().filter(u8::is_ascii_digit)) {
        *place = digit;
        count += 1;
    }
    let digits = digits.get(..count).unwrap_or_default();
    match exponent {
        -4..=-1 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(digits);
        }
        0..=5 => {
            let whole = exponent.unsigned_abs() as usize + 1;
            if digits.len() <= whole {
                out.extend_from_slice(digits);
                out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
            } else {
                let (before, behind) = digits.split_at(whole);
                out.extend_from_slice(before);
                out.push(b'.');
                out.extend_from_slice(behind);
            }
        }
        _ => push_exponent(out, digits, exponent.unsigned_abs() as usize, exponent < 0),
    }
}

/// Appends `d.ddde+NN`, trailing zeros left out.
fn push_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: usize, negative: bool) {
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let (first, rest) = digits.get(..significant).unwrap_or(digits).split_at(1.min(digits.len()));
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if negative { b"e-" } else { b"e+" });
    if exponent < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(value: u64) -> String {
        let mut out = Vec::new();
        push_count(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn number(value: f64) -> String {
        let mut out = Vec::new();
        push_number(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    /// The examples of the hubble-contract §3.6, and the edges around them.
    #[test]
    fn examples() {
        let counts = [
            (0, "0"),
            (7, "7"),
            (668_157, "668157"),
            (999_999, "999999"),
            (1_000_000, "1e+06"),
            (2_178_511, "2.178511e+06"),
            (20_000_000, "2e+07"),
            (123_456_789_012, "1.23456789012e+11"),
            (9_007_199_254_740_993, "9.007199254740992e+15"),
            (u64::MAX, "1.8446744073709552e+19"),
        ];
        for (value, text) in counts {
            assert_eq!(count(value), text);
        }
        let numbers = [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.005, "0.005"),
            (2.5, "2.5"),
            (10.0, "10"),
            (-123.25, "-123.25"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (1e21, "1e+21"),
            (1.5e-300, "1.5e-300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in numbers {
            assert_eq!(number(value), text);
        }
    }

    proptest! {
        /// The shortest form must still be the same number, and a count must look like the float it
        /// is.
        #[test]
        fn reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            if value.is_finite() {
                prop_assert_eq!(number(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
            }
            for shift in [0, 12, 30, 45, 60] {
                let whole = bits >> shift;
                #[allow(clippy::cast_precision_loss, reason = "the point of the test")]
                let float = whole as f64;
                prop_assert_eq!(count(whole), number(float));
            }
        }
    }
}
