//! Redacts passwords of URLs inside of a path, as a request to a proxy or a redirector has them:
//! `/fetch/http://user:password@host/x`.
//!
//! What follows `//`, or `:` and a slash, up to the next slash is taken for an authority, also
//! where these letters are escaped. In doubt text is taken for a password, since paths are shown.

use std::ops::Range;

use super::redact::REDACTED;

/// Digits of a port at most.
const PORT_DIGITS: usize = 5;

/// Replaces the passwords in the part of a text from `from` on.
pub(super) fn hide(text: &mut String, from: usize) {
    let mut at = from;
    if !text.as_bytes().get(from..).unwrap_or_default().iter().any(|byte| matches!(byte, b':' | b'%')) {
        return;
    }
    let (mut slashes, mut is_scheme) = (0, false);
    while let Some((letter, next)) = letter(text.as_bytes(), at) {
        if letter == b'/' {
            slashes += 1;
            at = next;
            continue;
        }
        if slashes > 1 || (slashes == 1 && is_scheme) {
            let authority = Authority::find(text.as_bytes(), at);
            if let Some(password) = authority.password(text.as_bytes(), is_scheme && slashes > 1) {
                at = password.start + REDACTED.len();
                text.replace_range(password, REDACTED);
                (slashes, is_scheme) = (0, false);
                continue;
            }
        }
        (slashes, is_scheme) = (0, letter == b':');
        at = next;
    }
}

/// Where the parts of an authority are.
#[derive(Debug, Default)]
struct Authority {
    /// Behind the first colon that is not in an IPv6 address.
    behind_colon: Option<usize>,
    /// The last `@`.
    at_sign: Option<usize>,
    end: usize,
}

impl Authority {
    fn find(bytes: &[u8], mut at: usize) -> Self {
        let mut found = Self::default();
        let mut is_bracketed = false;
        while let Some((letter, next)) = letter(bytes, at).filter(|(letter, _)| *letter != b'/') {
            match letter {
                b'[' => is_bracketed = true,
                b']' => is_bracketed = false,
                b'@' => found.at_sign = Some(at),
                b':' if !is_bracketed && found.behind_colon.is_none() => found.behind_colon = Some(next),
                _ => {}
            }
            at = next;
        }
        found.end = at;
        found
    }

    /// The password. In a URL (`is_url`), what looks like a port and is none is one too: one with a
    /// slash in it, or cut before its `@`.
    fn password(&self, bytes: &[u8], is_url: bool) -> Option<Range<usize>> {
        let start = self.behind_colon?;
        if let Some(end) = self.at_sign {
            return (start <= end).then_some(start..end);
        }
        let port = bytes.get(start..self.end)?;
        if !is_url || (port.len() <= PORT_DIGITS && port.iter().all(u8::is_ascii_digit)) {
            return None;
        }
        let (mut at, mut end) = (self.end, self.end);
        while let Some((letter, next)) = letter(bytes, at) {
            end = if letter == b'@' { at } else { end };
            at = next;
        }
        Some(start..end)
    }
}

/// The letter at a place, and the place of the next one. One that divides a URL may be escaped; a
/// byte of any other is itself.
fn letter(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    let escaped = |escape: &[u8]| match escape {
        b"2F" | b"2f" => Some(b'/'),
        b"3A" | b"3a" => Some(b':'),
        b"40" => Some(b'@'),
        b"5B" | b"5b" => Some(b'['),
        b"5D" | b"5d" => Some(b']'),
        _ => None,
    };
    let byte = *bytes.get(at)?;
    let letter = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(escaped);
    Some(letter.map_or((byte, at + 1), |letter| (letter, at + 3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(path: &str) -> String {
        let mut text = format!("u:p@h{path}");
        hide(&mut text, 5);
        text.split_off(5)
    }

    /// Passwords are replaced, whatever a URL in a path is written like, and nothing else is.
    #[test]
    fn passwords_in_paths() {
        for (path, wanted) in [
            ("/x//u:PASSW@h/y", "/x//u:-@h/y"),
            ("/x///u:PASSW@h", "/x///u:-@h"),
            ("/fetch/http://u:PASSW@h:80/y", "/fetch/http://u:-@h:80/y"),
            ("/fetch/http:/u:PASSW@h/y", "/fetch/http:/u:-@h/y"),
            ("/fetch/http://u:PA:SS@W@h/y", "/fetch/http://u:-@h/y"),
            ("/fetch/http://u:PA/SS@h/y", "/fetch/http://u:-@h/y"),
            ("/fetch/http://u:PASSW", "/fetch/http://u:-"),
            ("/fetch/http://u:@h", "/fetch/http://u:-@h"),
            ("/fetch/http%3A%2F%2Fu%3aPASSW%40h%2fy", "/fetch/http%3A%2F%2Fu%3a-%40h%2fy"),
            ("/a/http://u:PASSW@h/b/wss://v:PASSW@i/c", "/a/http://u:-@h/b/wss://v:-@i/c"),
            ("/fetch/http://u:PASS\u{e9}W@h/\u{e9}", "/fetch/http://u:-@h/\u{e9}"),
        ] {
            assert_eq!(hidden(path), wanted.replace('-', REDACTED), "{path}");
        }
        for path in [
            "/",
            "/a/b",
            "/a:b@c/d",
            "/npm:x@1/y",
            "//two",
            "/x//u@h/y",
            "/x//a:b/y",
            "/fetch/http://web:8080/@me",
            "/fetch/http://[::1]:80/a",
            "/fetch/http://[::1]/a:b@c",
            "/fetch/http%3A%2F%2Fweb%2Fa",
            "/100%/a%zz:b%",
            "",
        ] {
            assert_eq!(hidden(path), path);
        }
    }
}
