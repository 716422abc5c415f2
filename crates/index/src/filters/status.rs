//! HTTP status codes by value or prefix: `404`, `4+`, `40+`.

/// One value of `http_status_code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Exact(u32),
    /// Codes that begin with these digits in decimal, padded to three digits.
    Prefix {
        number: u32,
        digits: u32,
    },
}

impl Status {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (number, prefix) = text.strip_suffix('+').map_or((text, false), |number| (number, true));
        let digits = number.len();
        let plain = number.bytes().all(|byte| byte.is_ascii_digit()) && number.starts_with(['1', '2', '3', '4', '5']);
        match (plain, prefix, digits, number.parse()) {
            (true, true, 1 | 2, Ok(number)) => Ok(Self::Prefix { number, digits: if digits == 1 { 1 } else { 2 } }),
            (true, false, 3, Ok(number)) => Ok(Self::Exact(number)),
            _ => Err("expected a status such as 404, or a prefix such as 4+ or 40+".to_owned()),
        }
    }

    /// Code 0 is none.
    pub(super) fn fits(self, code: u32) -> bool {
        match self {
            Self::Exact(wanted) => code == wanted,
            Self::Prefix { number, digits } => {
                let length = code.checked_ilog10().map_or(1, |log| log + 1).max(3);
                code != 0 && code / 10_u32.pow(length - digits) == number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract, 2.6, http_status_code: against the rule's own words.
    #[test]
    fn codes() {
        for (value, prefix) in [("4+", "4"), ("40+", "40"), ("59+", "59")] {
            let status = Status::read(value).unwrap();
            for code in (1..2000).chain([4040, u32::MAX]) {
                assert_eq!(status.fits(code), format!("{code:03}").starts_with(prefix), "{value} {code}");
            }
            assert!(!status.fits(0));
        }
        assert!(Status::read("404").unwrap().fits(404) && !Status::read("404").unwrap().fits(4040));
        for wrong in ["", "4", "40", "6+", "0+", "600", "4040", "404+", "+", "4++", "x+", "-4+"] {
            assert!(Status::read(wrong).is_err(), "{wrong}");
        }
    }
}
