//! Splits the target of a request, which is a path or a whole URL of any scheme.
//!
//! A target comes from a pod as it likes, and may hold a password. In doubt the text before an `@`
//! is taken for user and password, not for a path: paths are shown as they are.

const ENDS: [char; 3] = ['/', '?', '#'];

/// The authority of a target, if it has one, and the rest: path, query and fragment.
pub(super) fn split(target: &str) -> (Option<&str>, &str) {
    let behind_scheme = target.split_once(":/").filter(|(scheme, _)| !scheme.contains(ENDS)).map(|(_, rest)| rest);
    let bare = behind_scheme.unwrap_or(target).trim_start_matches('/');
    let one_slash = behind_scheme.is_none() && target.len() == bare.len() + 1;
    let after = match behind_scheme.and_then(|rest| rest.strip_prefix('/')) {
        _ if has_password(bare) && !one_slash => bare,
        Some(after) => after,
        None => return (None, target),
    };
    let end = after.find(ENDS).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    let Some(colon) = colon_before_no_port(authority) else { return (Some(authority), rest) };
    // What looks like a port is none: a password with one of the ends in it, or cut before its `@`.
    match rest.rsplit_once('@') {
        Some((_, host)) => {
            let (host, rest) = host.split_at(host.find(ENDS).unwrap_or(host.len()));
            (Some(host), rest)
        }
        None => (authority.get(..colon), rest),
    }
}

/// The path of a target: neither scheme nor authority, query or fragment.
pub(super) fn path(target: &str) -> &str {
    let (authority, rest) = split(target);
    match rest.split(['?', '#']).next().unwrap_or_default() {
        "" if authority.is_some() => "/",
        path => path,
    }
}

/// True if a text begins with `user:password@`.
fn has_password(text: &str) -> bool {
    let authority = text.split(ENDS).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// The place of the colon of an authority without user, if no port follows it.
fn colon_before_no_port(authority: &str) -> Option<usize> {
    const DIGITS: usize = 5;
    if authority.contains('@') {
        return None;
    }
    let address = authority.rfind(']').unwrap_or_default();
    let colon = address + authority.get(address..)?.find(':')?;
    let port = authority.get(colon + 1..)?;
    (port.len() > DIGITS || !port.bytes().all(|byte| byte.is_ascii_digit())).then_some(colon)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scheme is of any letters, and what may be a password is in no path.
    #[test]
    fn targets() {
        for (target, authority, wanted) in [
            ("/a/b?x#y", None, "/a/b"),
            ("/", None, "/"),
            ("*", None, "*"),
            ("", None, ""),
            ("web:443", None, "web:443"),
            ("//two", None, "//two"),
            ("/npm:x@1/y", None, "/npm:x@1/y"),
            ("/a://b", None, "/a://b"),
            ("/?u=http://u:p@h/x", None, "/"),
            ("http://web", Some("web"), "/"),
            ("http://web?q", Some("web"), "/"),
            ("http://[::1]:80/a", Some("[::1]:80"), "/a"),
            ("http:///a", Some(""), "/a"),
            ("HTTP://u:PASSW@h/z", Some("u:PASSW@h"), "/z"),
            ("wss://u:PASSW@h/s", Some("u:PASSW@h"), "/s"),
            ("grpc+x.y-1://u:PASSW@h/s?q", Some("u:PASSW@h"), "/s"),
            ("//u:PASSW@h/x", Some("u:PASSW@h"), "/x"),
            ("///u:PASSW@h/x", Some("u:PASSW@h"), "/x"),
            ("http:/u:PASSW@h/x", Some("u:PASSW@h"), "/x"),
            ("http:///u:PASSW@h/x", Some("u:PASSW@h"), "/x"),
            ("u:PASSW@h:80", Some("u:PASSW@h:80"), "/"),
            ("http://u:PA/SS?W@h/x", Some("h"), "/x"),
            ("http://u:PASS", Some("u"), "/"),
            ("http://u:1234567", Some("u"), "/"),
            ("http://web:port/a", Some("web"), "/a"),
        ] {
            assert_eq!((split(target).0, path(target)), (authority, wanted), "{target}");
        }
    }
}
