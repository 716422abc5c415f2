//! Why there is no connection, or no longer: in a word for a metric, in a sentence for a person.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use tonic::{Code, Status};

use super::address::MAX_RESPONSE_BYTES;

/// The cause of the end of a connection, or of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No server is there.
    Unreachable,
    /// This process may not use the socket.
    Permission,
    /// TLS cannot be set up.
    Tls,
    /// The other side does not speak gRPC, or not correctly.
    Protocol,
    /// The server does not know the call: it is none of Hubble's.
    Unsupported,
    /// The server refuses, or reports an error of its own.
    Refused,
    /// A response is larger than [`MAX_RESPONSE_BYTES`].
    TooLarge,
    /// The server ended the stream, or the connection: it was stopped.
    Ended,
    /// No answer in time.
    Timeout,
    /// The server sees flows and does not send them.
    Silent,
}

impl Cause {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Unreachable,
        Self::Permission,
        Self::Tls,
        Self::Protocol,
        Self::Unsupported,
        Self::Refused,
        Self::TooLarge,
        Self::Ended,
        Self::Timeout,
        Self::Silent,
    ];

    /// Value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Permission => "permission",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Ended => "ended",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
        }
    }
}

/// The error that ended a connection, or kept it from being made. Its text does not name the
/// server: its caller does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ClientError {
    cause: Cause,
    text: String,
}

impl ClientError {
    fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, text: text.into() }
    }

    /// The cause.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// The server sees flows and does not send them.
    pub fn silent() -> Self {
        Self::new(Cause::Silent, "the server sees flows and does not send them")
    }

    pub(super) fn ended() -> Self {
        Self::new(Cause::Ended, "the server ended the stream")
    }

    pub(super) fn timeout(what: &str, after: Duration) -> Self {
        Self::new(Cause::Timeout, format!("the server did not {what} within {} s", after.as_secs()))
    }

    pub(super) fn tls(text: impl Into<String>) -> Self {
        Self::new(Cause::Tls, format!("TLS: {}", text.into()))
    }

    /// A socket that cannot be used.
    pub(super) fn socket(path: &Path, error: &io::Error) -> Self {
        let shown = path.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Self::new(
                Cause::Permission,
                format!(
                    "{error}: this process needs write permission on the socket and search permission on its \
                     directories. Cilium's socket has the mode 0660: run in its group (in a pod: supplementalGroups \
                     with the number that `stat -c %g {shown}` prints) or as its owner"
                ),
            );
        }
        let why = if error.kind() == io::ErrorKind::NotFound {
            "; is Hubble enabled on this node, and is the directory mounted?"
        } else {
            ""
        };
        Self::new(Cause::Unreachable, format!("{error}{why}"))
    }

    pub(super) fn unreachable(error: &io::Error) -> Self {
        Self::new(Cause::Unreachable, error.to_string())
    }

    /// A connection on which HTTP/2 cannot be begun.
    pub(super) fn protocol(error: &dyn Error) -> Self {
        Self::new(Cause::Protocol, format!("the other side does not speak gRPC: {}", chain(error)))
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let (code, message) = (status.code(), status.message());
        if code == Code::Unimplemented {
            return Self::new(Cause::Unsupported, "the server is none of Hubble's: it does not know GetFlows");
        }
        // What the transport says has a source; what the server says has none.
        if let Some(source) = status.source() {
            let text = chain(source);
            let is_protocol = is_protocol(source);
            let cause = if is_protocol { Cause::Protocol } else { Cause::Ended };
            let what = if is_protocol { "the other side does not speak gRPC" } else { "the connection ended" };
            return Self::new(cause, format!("{what}: {text}"));
        }
        match code {
            Code::OutOfRange if message.contains("message length too large") => Self::new(
                Cause::TooLarge,
                format!("a response is larger than {} MiB, which no flow is", MAX_RESPONSE_BYTES >> 20),
            ),
            Code::Unavailable | Code::Cancelled | Code::Aborted | Code::Ok => {
                Self::new(Cause::Ended, format!("the server ended the stream: {message}"))
            }
            Code::Internal | Code::Unknown if !is_of_server(&status) => {
                Self::new(Cause::Protocol, format!("the other side does not speak gRPC: {message}"))
            }
            _ => Self::new(Cause::Refused, format!("the server reports {code:?}: {message}")),
        }
    }
}

/// True if a status came in a response: it has headers or trailers.
fn is_of_server(status: &Status) -> bool {
    !status.metadata().is_empty()
}

/// True if the transport found bytes that are no HTTP/2.
fn is_protocol(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::InvalidData;
        }
        let text = error.to_string();
        if text.contains("frame with invalid size") || text.contains("unspecific protocol error") {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error with its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}
