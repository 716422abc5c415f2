//! The URL of a request, put together as Hubble does and written as Go writes it.
//!
//! A path is left as it is if every byte of it may stand in one, and otherwise decoded and encoded
//! anew. What Go cannot read becomes one path with all that is special in it encoded.

use super::redact::{REDACTED, Redact};
use super::{passwords, target};

/// Bytes that a URL may have; the rest is cut.
const MAX_URL_BYTES: usize = 4096;

/// Writes the URL of a request to `out`. `host` is the Host field, `target` as in the first line.
pub(super) fn write(out: &mut String, host: &str, target: &str, redact: &Redact) {
    out.clear();
    let (authority, path) = target::split(target);
    let host = authority.unwrap_or(host);
    let path = path.strip_prefix('/').unwrap_or(path);
    if read(out, host, path, redact).is_none() {
        out.clear();
        out.push_str("http://");
        // A password is none of the host's letters: what cannot be read is not shown either.
        encode(host.rsplit('@').next().unwrap_or_default().as_bytes(), out, in_host);
        out.push('/');
        let path = if redact.drops_query() { path.split(['?', '#']).next().unwrap_or_default() } else { path };
        let begin = out.len() - 1;
        encode(path.as_bytes(), out, |byte| byte == b'/' || in_path(byte));
        hide_passwords(out, begin, redact);
    }
    let mut end = MAX_URL_BYTES.min(out.len());
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
}

fn read(out: &mut String, authority: &str, rest: &str, redact: &Redact) -> Option<()> {
    if authority.bytes().chain(rest.bytes()).any(|byte| byte.is_ascii_control()) || authority.contains(['/', '?', '#'])
    {
        return None;
    }
    let (before, fragment) = rest.split_once('#').map_or((rest, None), |(before, behind)| (before, Some(behind)));
    let (path, query) = before.split_once('?').map_or((before, None), |(before, behind)| (before, Some(behind)));
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    out.push_str("http://");
    if let Some(user) = user {
        write_user(out, user, redact)?;
    }
    write_host(out, host)?;
    out.push('/');
    let begin = out.len() - 1;
    write_escaped(out, path, |byte| byte == b'/' || in_path(byte), |byte| b"!'()*[]".contains(&byte))?;
    hide_passwords(out, begin, redact);
    if redact.drops_query() {
        return Some(());
    }
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    if let Some(fragment) = fragment.filter(|fragment| !fragment.is_empty()) {
        out.push('#');
        let plain = |byte| in_path(byte) || b"/?!()*".contains(&byte);
        write_escaped(out, fragment, plain, |byte| b"'[]".contains(&byte))?;
    }
    Some(())
}

/// Replaces the passwords of URLs in the path that begins there.
fn hide_passwords(out: &mut String, begin: usize, redact: &Redact) {
    if redact.hides_password() {
        passwords::hide(out, begin);
    }
}

/// Text in which `plain` bytes need no escape, and `also` may stand without one.
fn write_escaped(out: &mut String, text: &str, plain: fn(u8) -> bool, also: fn(u8) -> bool) -> Option<()> {
    decoded(text).try_for_each(|byte| byte.map(|_| ()))?;
    if text.bytes().all(|byte| byte == b'%' || plain(byte) || also(byte)) {
        out.push_str(text);
    } else {
        decoded(text).flatten().for_each(|byte| encode(&[byte], out, plain));
    }
    Some(())
}

fn write_user(out: &mut String, user: &str, redact: &Redact) -> Option<()> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !user.bytes().all(known) {
        return None;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~$&+,;=".contains(&byte);
    let (name, password) = user.split_once(':').map_or((user, None), |(name, password)| (name, Some(password)));
    write_part(out, name, plain)?;
    if let Some(password) = password {
        out.push(':');
        if redact.hides_password() {
            out.push_str(REDACTED);
        } else {
            write_part(out, password, plain)?;
        }
    }
    out.push('@');
    Some(())
}

/// Text decoded and encoded anew.
fn write_part(out: &mut String, text: &str, plain: fn(u8) -> bool) -> Option<()> {
    decoded(text).try_for_each(|byte| byte.map(|byte| encode(&[byte], out, plain)))
}

fn write_host(out: &mut String, host: &str) -> Option<()> {
    let port = match host.strip_prefix('[') {
        Some(_) => host.rsplit_once(']')?.1,
        None => host.rfind(':').and_then(|at| host.get(at..)).unwrap_or_default(),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if port.len() > digits.len() + 1 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut escaped = host.bytes();
    while let Some(byte) = escaped.next() {
        let byte = match byte {
            b'%' => hex(escaped.next()?)? << 4 | hex(escaped.next()?)?,
            byte if !byte.is_ascii() || in_host(byte) => {
                encode(&[byte], out, in_host);
                continue;
            }
            _ => return None,
        };
        // Only what is not ASCII may be escaped in a host.
        if byte.is_ascii() {
            return None;
        }
        encode(&[byte], out, in_host);
    }
    Some(())
}

fn in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(&byte)
}

fn encode(bytes: &[u8], out: &mut String, plain: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |number: u8| DIGITS.get(usize::from(number)).map_or('0', |digit| char::from(*digit));
    for &byte in bytes {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The bytes of a text without its escapes; one that is none is `None`.
fn decoded(text: &str) -> impl Iterator<Item = Option<u8>> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let mut digit = || bytes.next().and_then(hex);
        Some(digit().zip(digit()).map(|(high, low)| high << 4 | low))
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, target: &str, redact: &Redact) -> String {
        let mut out = String::new();
        write(&mut out, host, target, redact);
        out
    }

    /// Section 5.8, and Go's `net/url`.
    #[test]
    fn urls_are_gos() {
        for (host, target, wanted) in [
            ("web", "/a/b?x=1&y=%zz", "http://web/a/b?x=1&y=%zz"),
            ("web:8080", "/", "http://web:8080/"),
            ("web", "//two", "http://web//two"),
            ("web", "*", "http://web/*"),
            ("", "/a", "http:///a"),
            ("[::1]:80", "/a", "http://[::1]:80/a"),
            ("web", "http://other:1/p?q", "http://other:1/p?q"),
            ("web", "http://other?q", "http://other/?q"),
            ("web", "/a%2fb(1)!", "http://web/a%2fb(1)!"),
            ("web", "/a\"b(1)%2F", "http://web/a%22b%281%29/"),
            ("web", "/\u{e9}", "http://web/%C3%A9"),
            ("web", "/a#b", "http://web/a#b"),
            ("web", "/a%", "http://web/a%25"),
            ("web", "/a%zz?b", "http://web/a%25zz%3Fb"),
            ("we b", "/a", "http://we%20b/a"),
            ("web:port", "/a?b", "http://web:port/a%3Fb"),
            ("h\u{e9}", "/", "http://h%C3%A9/"),
            ("u:p@web", "/", "http://u:HUBBLE_REDACTED@web/"),
            ("u@web", "/", "http://u@web/"),
            ("u s:p@web", "/", "http://web/"),
            ("web", "HTTP://U:PASSW@h/z", "http://U:HUBBLE_REDACTED@h/z"),
            ("web", "wss://u:PASSW@h/s", "http://u:HUBBLE_REDACTED@h/s"),
            ("web", "//u:PASSW@h/x", "http://u:HUBBLE_REDACTED@h/x"),
            ("web", "Https://u:PA/SSW@h/x", "http://h/x"),
            ("web", "https://u:PASS", "http://u/"),
            ("web", "/get//u:PASSW@h/x?y", "http://web/get//u:HUBBLE_REDACTED@h/x?y"),
            ("web", "/get/http://u:PASS%@h/x", "http://web/get/http://u:HUBBLE_REDACTED@h/x"),
            ("web", "http://u:p@web/http://v:PASSW@h", "http://u:HUBBLE_REDACTED@web/http://v:HUBBLE_REDACTED@h"),
        ] {
            assert_eq!(url(host, target, &Redact::default()), wanted, "{host} {target}");
        }
    }

    /// Case 81, the part of the URL.
    #[test]
    fn redacted() {
        let on = Redact { enabled: true, url_query: true, user_info: false, ..Redact::default() };
        assert_eq!(url("u:p@web", "/a?q#f", &on), "http://u:p@web/a");
        assert_eq!(url("u:p@web", "/a%?q#f", &on), "http://web/a%25");
        assert_eq!(url("u:p@web", "/a?q", &Redact { user_info: true, ..on }), "http://u:HUBBLE_REDACTED@web/a");
        let long = url("web", &"x\u{e9}".repeat(MAX_URL_BYTES), &Redact::default());
        assert!((MAX_URL_BYTES - 3..=MAX_URL_BYTES).contains(&long.len()));
    }
}
