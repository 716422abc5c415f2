//! Reasons for which a connection is dropped.

/// Reason for which a connection was dropped, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The client has too many.
    ClientLimit,
    /// The listener has too many.
    Limit,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// A request's head took too long.
    SlowHead,
    /// A request's head is too large.
    LargeHead,
    /// A request's body took too long.
    SlowBody,
    /// The answer was not read.
    SlowReader,
    /// The received bytes are no request.
    Invalid,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ClientLimit,
        Self::Limit,
        Self::Handshake,
        Self::SlowHead,
        Self::LargeHead,
        Self::SlowBody,
        Self::SlowReader,
        Self::Invalid,
    ];

    /// The label's value.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientLimit => "client_limit",
            Self::Limit => "limit",
            Self::Handshake => "handshake",
            Self::SlowHead => "slow_head",
            Self::LargeHead => "large_head",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::Invalid => "invalid",
        }
    }
}
