//! The path of a request's URL, as Go's `url.ParseRequestURI` finds it: `http_path` matches that,
//! not the URL.
//!
//! An absolute URL, an absolute path or `*`. Go's reading is copied faithfully, refusals included,
//! since a URL that it refuses never matches. There is no fragment in a request, so `#` is part of
//! the path.

use std::borrow::Cow;

/// The percent-decoded path; none if this is not the URL of a request.
pub(super) fn path(url: &str) -> Option<Cow<'_, [u8]>> {
    if url.is_empty() || url.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    if url == "*" {
        return Some(Cow::Borrowed(b"*"));
    }
    let (scheme, rest) = scheme(url)?;
    let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
    if !rest.starts_with('/') {
        // An opaque URL (`mailto:a@b`) has no path.
        return scheme.then_some(Cow::Borrowed(b"".as_slice()));
    }
    match rest.strip_prefix("//") {
        Some(authority) if scheme => {
            let end = authority.find('/').unwrap_or(authority.len());
            let (authority, path) = authority.split_at_checked(end)?;
            is_authority(authority).then_some(())?;
            decoded(path)
        }
        _ => decoded(rest),
    }
}

/// Whether there is a scheme, and what follows it. None for a colon without one before it.
fn scheme(url: &str) -> Option<(bool, &str)> {
    for (at, byte) in url.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at > 0 => return Some((true, url.get(at + 1..)?)),
            b':' => return None,
            _ => break,
        }
    }
    Some((false, url))
}

fn decoded(path: &str) -> Option<Cow<'_, [u8]>> {
    if !path.contains('%') {
        return Some(Cow::Borrowed(path.as_bytes()));
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { hex(&mut bytes)? } else { byte });
    }
    Some(Cow::Owned(out))
}

fn hex(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut digit = || u8::try_from(char::from(bytes.next()?).to_digit(16)?).ok();
    Some(digit()? << 4 | digit()?)
}

/// `user:password@host:port`, each part of letters that may stand there.
fn is_authority(authority: &str) -> bool {
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    user.is_none_or(is_user) && is_host(host)
}

fn is_user(user: &str) -> bool {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(letter);
    user.chars().all(known) && decoded(user).is_some()
}

fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[') {
        let Some((address, port)) = inside.rsplit_once(']') else { return false };
        // A zone follows `%25`, and may hold any escape.
        let (address, zone) = address.split_once("%25").map_or((address, None), |(a, zone)| (a, Some(zone)));
        return is_port(port) && host_letters(address) && zone.is_none_or(|zone| decoded(zone).is_some());
    }
    if let Some(at) = host.rfind(':')
        && !host.get(at..).is_some_and(is_port)
    {
        return false;
    }
    host_letters(host)
}

/// True for an empty text, or a colon and digits.
fn is_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Letters that a host may hold; escapes only of what is not ASCII.
fn host_letters(host: &str) -> bool {
    let mut bytes = host.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => hex(&mut bytes).is_some_and(|decoded| !decoded.is_ascii()),
            byte if byte.is_ascii() => byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte),
            _ => true,
        };
        if !fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &str) -> Option<String> {
        path(url).map(|path| String::from_utf8_lossy(&path).into_owned())
    }

    /// Contract, 2.6, http_path; the rest is Go's `net/url`.
    #[test]
    fn paths() {
        for (url, wanted) in [
            ("http://x/p", Some("/p")),
            ("http://x", Some("")),
            ("http://x?q=/zzz", Some("")),
            ("http://x/a%2Fb?q=/zzz", Some("/a/b")),
            ("http://x/zzz#frag", Some("/zzz#frag")),
            ("HTTP://X/A b", Some("/A b")),
            ("/only/path", Some("/only/path")),
            ("//host/path", Some("//host/path")),
            ("*", Some("*")),
            ("mailto:a", Some("")),
            ("http://u:p@[::1]:80/x", Some("/x")),
            ("http://[fe80::1%25eth0]/x", Some("/x")),
            ("http://h%C3%A9/x", Some("/x")),
            ("", None),
            ("x", None),
            ("1a://x/y", None),
            (":x", None),
            ("http://[bad", None),
            ("http://x/%zz", None),
            ("http://x/%4", None),
            ("http://x:port/", None),
            ("http://a b/", None),
            ("http://%41/", None),
            ("http://u ser@x/", None),
            ("http://x/\u{7f}", None),
        ] {
            assert_eq!(text(url).as_deref(), wanted, "{url}");
        }
    }
}
