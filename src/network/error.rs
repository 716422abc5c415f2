//! Errors of netlink as those of the system.

use std::io;

/// Converts an error: the kernel's own number, if there is one.
///
/// The unexpected message is left out of the text. Formatting it would bring the `Debug` of every
/// message of rtnetlink into the program, a twentieth of it.
pub(super) fn failed(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        rtnetlink::Error::RequestFailed => io::Error::other("a netlink request failed: the connection ended"),
        rtnetlink::Error::UnexpectedMessage(_) => io::Error::other("netlink gave an unexpected answer"),
        rtnetlink::Error::NamespaceError(text) | rtnetlink::Error::InvalidNla(text) => io::Error::other(text),
        _ => io::Error::other("a netlink request has an invalid address"),
    }
}
