//! Errors of one probe.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::{MAX_HEAD_BYTES, MAX_HEADERS};

/// Failure of one probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nothing came in time from the peer's host: no connection, or no echo reply.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The peer's kernel accepted the connection, and the head of the answer did not come in time.
    #[error("connected, but the agent did not answer within {} ms", .0.as_millis())]
    Unanswered(Duration),
    /// Nothing listens on the port.
    #[error("connection refused: no agent listens there")]
    Refused,
    /// The connection ended before the head of the answer.
    #[error("the connection ended before the answer was complete")]
    Reset,
    /// The kernel does not send to that address.
    #[error("this machine does not send there: {0}")]
    NoRoute(String),
    /// Another status than 200.
    #[error("answered with status {0}, expected 200")]
    Status(u16),
    /// A redirect.
    #[error("answered with status {0}: a redirect, which is not followed")]
    Redirect(u16),
    /// Bytes that are no answer of HTTP.
    #[error("the answer is not HTTP/1: {0}")]
    Invalid(String),
    /// A head beyond its bounds.
    #[error("the head of the answer has more than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers")]
    LargeHead,
    /// This machine lacks something; it says nothing about the peer.
    #[error("not probed, for want of something on this machine: {0}")]
    Local(String),
}

impl ProbeError {
    /// Values of the `outcome` label; the first is that of an answer.
    pub const OUTCOMES: [&'static str; 11] = [
        "ok",
        "timeout",
        "unanswered",
        "refused",
        "reset",
        "no_route",
        "status",
        "redirect",
        "invalid",
        "large_head",
        "local",
    ];

    /// Place of the error in [`ProbeError::OUTCOMES`].
    pub(super) fn outcome(&self) -> usize {
        match self {
            Self::Timeout(_) => 1,
            Self::Unanswered(_) => 2,
            Self::Refused => 3,
            Self::Reset => 4,
            Self::NoRoute(_) => 5,
            Self::Status(_) => 6,
            Self::Redirect(_) => 7,
            Self::Invalid(_) => 8,
            Self::LargeHead => 9,
            Self::Local(_) => 10,
        }
    }

    /// Value of the `outcome` label.
    pub(super) fn label(&self) -> &'static str {
        Self::OUTCOMES.get(self.outcome()).copied().unwrap_or_default()
    }

    /// True if the peer's kernel answered and its agent did not: that is what a restart of the
    /// agent looks like, and an agent that is stopped or starved.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused | Self::Reset)
    }

    /// True if the failure says nothing about the peer.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

/// Errors for which this machine alone is the reason.
const LOCAL: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL];

impl From<io::Error> for ProbeError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
        match error.kind() {
            ConnectionRefused => Self::Refused,
            ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => Self::Reset,
            _ if LOCAL.iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error()) => {
                Self::Local(error.to_string())
            }
            _ => Self::NoRoute(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a lack on this machine is local; a peer that is gone or shut off is not.
    #[test]
    fn errors_of_the_kernel_are_told_apart() {
        let of = |errno: Errno| ProbeError::from(io::Error::from(errno));
        assert_eq!(of(Errno::CONNREFUSED), ProbeError::Refused);
        assert_eq!(of(Errno::CONNRESET), ProbeError::Reset);
        for errno in [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::PERM] {
            assert!(matches!(of(errno), ProbeError::NoRoute(_)), "{errno}");
        }
        for errno in LOCAL {
            assert!(of(errno).is_local(), "{errno}");
        }
    }

    /// Every error has a label of its own.
    #[test]
    fn outcomes_are_in_order() {
        let text = String::new;
        let all = [
            ProbeError::Timeout(Duration::ZERO),
            ProbeError::Unanswered(Duration::ZERO),
            ProbeError::Refused,
            ProbeError::Reset,
            ProbeError::NoRoute(text()),
            ProbeError::Status(500),
            ProbeError::Redirect(301),
            ProbeError::Invalid(text()),
            ProbeError::LargeHead,
            ProbeError::Local(text()),
        ];
        for (at, error) in all.iter().enumerate() {
            assert_eq!(error.outcome(), at + 1, "{error}");
        }
        assert_eq!(ProbeError::OUTCOMES.len(), all.len() + 1);
    }
}
