//! The header fields of a message: names in canonical case, sorted, values redacted.

use super::redact::{REDACTED, Redact};

/// Bytes of a value; the rest is cut.
const VALUE: usize = 4096;

/// Fields of a message; more are left out.
const FIELDS: usize = 100;

/// A list with reusable texts.
#[derive(Debug, Default)]
pub(super) struct Headers {
    fields: Vec<(String, String)>,
    used: usize,
}

impl Headers {
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Adds a field, unless Hubble leaves it out.
    pub(super) fn push(&mut self, name: &[u8], value: &[u8], redact: &Redact) {
        const OMITTED: [&[u8]; 4] = [b":path", b":method", b":authority", b"x-forwarded-proto"];
        if self.used >= FIELDS || OMITTED.iter().any(|omitted| name.eq_ignore_ascii_case(omitted)) {
            return;
        }
        if self.fields.len() == self.used {
            self.fields.push(<(String, String)>::default());
        }
        let Some((key, text)) = self.fields.get_mut(self.used) else { return };
        self.used += 1;
        canonical(name, key);
        text.clear();
        if redact.hides_header(key) {
            text.push_str(REDACTED);
        } else {
            let value = value.get(..VALUE).unwrap_or(value);
            text.extend(value.utf8_chunks().map(|chunk| chunk.valid()));
        }
    }

    pub(super) fn sort(&mut self) {
        if let Some(used) = self.fields.get_mut(..self.used) {
            used.sort_unstable();
        }
    }

    pub(super) fn list(&self) -> &[(String, String)] {
        self.fields.get(..self.used).unwrap_or_default()
    }
}

/// Writes a name as Go does: capitals at its start and behind each hyphen.
fn canonical(name: &[u8], out: &mut String) {
    out.clear();
    let mut capital = true;
    for &byte in name.iter().filter(|byte| byte.is_ascii()) {
        out.push(char::from(if capital { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }));
        capital = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 2.2: what is left out, the case of names, their order.
    #[test]
    fn as_hubble_lists_them() {
        let mut headers = Headers::default();
        for _ in 0..2 {
            headers.clear();
            for name in ["x-REQUEST-id", ":path", ":scheme", "X-Forwarded-Proto", "accept"] {
                headers.push(name.as_bytes(), b"v\xff1", &Redact::default());
            }
            headers.sort();
            let list: Vec<_> = headers.list().iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(list, [":scheme=v1", "Accept=v1", "X-Request-Id=v1"]);
        }
        headers.push(b"Cookie", b"secret", &Redact { enabled: true, ..Redact::default() });
        assert_eq!(headers.list()[3].1, REDACTED);
    }
}
