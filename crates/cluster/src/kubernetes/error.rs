//! Errors of the API server and its connections, distinguished by the reaction to them.

use std::time::Duration;

use http::StatusCode;

use super::Reason;
use super::backoff::Class;

/// The error that ended a request or a watch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// Neither a service account nor a kubeconfig that can be used.
    #[error("{0}")]
    Unconfigured(String),
    /// No connection: network, name, TLS.
    #[error("cannot reach the API server: {0}")]
    Unreachable(String),
    /// No answer within the time-out.
    #[error("the API server did not answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The connection ended in the middle of an answer.
    #[error("the answer broke off: {0}")]
    Interrupted(String),
    /// The watch ended in order, but at once.
    #[error("the API server ended the watch at once")]
    Closed,
    /// A streamed list without an end: the server took the request for a watch.
    #[error("a streamed list does not come to its end")]
    Endless,
    /// Neither event nor bookmark: the connection is dead, or the version is newer than the
    /// server's.
    #[error("the watch was silent for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// A version below one that was there before: the server's store is an older one.
    #[error("the resource version went back from {from} to {to}")]
    Rewound { from: String, to: String },
    /// The version is no longer in the server's history: list again.
    #[error("the resource version is too old: {0}")]
    Gone(String),
    /// HTTP 429.
    #[error("the API server is overloaded (HTTP 429{}): {text}", retry_after(*.after))]
    Throttled { text: String, after: Option<Duration> },
    /// The credentials are not, or no longer, good.
    #[error("the API server does not accept the credentials: {0}")]
    Unauthorized(String),
    /// The role lacks a rule.
    #[error("not allowed (does the role grant get, list and watch?): {0}")]
    Forbidden(String),
    /// As [`ApiError::Forbidden`], for a kind that could be read before: a server that has just
    /// started does so.
    #[error("the API server forbids what it allowed before (it may have just started): {0}")]
    Withheld(String),
    /// Any other 4xx: the server does not serve the request.
    #[error("the API server refuses the request ({status}): {text}")]
    Rejected { status: u16, text: String },
    /// 5xx.
    #[error("the API server failed ({status}): {text}")]
    Failed { status: u16, text: String, after: Option<Duration> },
    /// An answer that is not of the API.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Converts an answer with this status. `after` is its `Retry-After`.
    pub(super) fn of_status(status: StatusCode, text: String, after: Option<Duration>) -> Self {
        match status.as_u16() {
            410 => Self::Gone(text),
            429 => Self::Throttled { text, after },
            401 => Self::Unauthorized(text),
            403 => Self::Forbidden(text),
            status @ 500.. => Self::Failed { status, text, after },
            status => Self::Rejected { status, text },
        }
    }

    /// The value of the `reason` label.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Unconfigured(_) => Reason::Unconfigured,
            Self::Unreachable(_) => Reason::Unreachable,
            Self::Timeout(_) => Reason::Timeout,
            Self::Interrupted(_) => Reason::Interrupted,
            Self::Closed => Reason::Closed,
            Self::Silent(_) => Reason::Silent,
            Self::Rewound { .. } => Reason::Rewound,
            Self::Gone(_) => Reason::Gone,
            Self::Throttled { .. } => Reason::Throttled,
            Self::Unauthorized(_) => Reason::Unauthorized,
            Self::Forbidden(_) | Self::Withheld(_) => Reason::Forbidden,
            Self::Rejected { .. } => Reason::Rejected,
            Self::Failed { .. } => Reason::Failed,
            Self::Endless | Self::Malformed(_) => Reason::Malformed,
        }
    }

    /// The backoff class of the error.
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Gone(_) | Self::Silent(_) | Self::Rewound { .. } => Class::Stale,
            Self::Endless | Self::Forbidden(_) | Self::Withheld(_) | Self::Rejected { .. } | Self::Unauthorized(_) => {
                Class::Refused
            }
            Self::Unconfigured(_)
            | Self::Unreachable(_)
            | Self::Timeout(_)
            | Self::Interrupted(_)
            | Self::Closed
            | Self::Throttled { .. }
            | Self::Failed { .. }
            | Self::Malformed(_) => Class::Away,
        }
    }

    /// True if the server does not serve the resource.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Rejected { status: 404, .. })
    }

    /// True if the wait is for a server that is out of reach, so that any answer of it ends the
    /// wait.
    pub(super) fn out_of_reach(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_) | Self::Failed { after: None, .. })
    }

    /// The server's `Retry-After`.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { after, .. } | Self::Failed { after, .. } => *after,
            _ => None,
        }
    }

    /// True if credentials or authorities may have changed on disk, so that the client must be made
    /// anew.
    pub(super) fn outdates_client(&self) -> bool {
        matches!(self, Self::Unauthorized(_) | Self::Unreachable(_))
    }

    /// True if another request might do better: a server that is away or busy is not better off
    /// with a greater one.
    pub(super) fn doubts_request(&self) -> bool {
        match self {
            Self::Unconfigured(_)
            | Self::Unreachable(_)
            | Self::Closed
            | Self::Endless
            | Self::Silent(_)
            | Self::Rewound { .. }
            | Self::Throttled { .. }
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::Withheld(_) => false,
            Self::Failed { status, .. } => !matches!(status, 502 | 503),
            Self::Timeout(_) | Self::Interrupted(_) | Self::Gone(_) | Self::Rejected { .. } | Self::Malformed(_) => {
                true
            }
        }
    }

    /// True if the server has no streaming lists, or not for us.
    pub(super) fn refuses_streaming(&self) -> bool {
        matches!(self, Self::Endless | Self::Rejected { status: 400 | 405 | 415 | 422, .. })
    }
}

/// An error with all of its causes on one line, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let further = error.to_string();
        if !text.contains(&further) {
            text.push_str(": ");
            text.push_str(&further);
        }
        cause = error.source();
    }
    // kube's word for any error of the layers below.
    text.trim_start_matches("ServiceError: ").to_owned()
}

fn retry_after(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| format!(", Retry-After {} s", after.as_secs_f32()))
}
