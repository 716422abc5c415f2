//! Errors of netlink as those of the system.

use std::io;

/// The kernel's own error, if it is one.
pub(super) fn failed(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}
