//! Settings of the admin listener beside its address.

use std::path::PathBuf;
use std::time::Duration;

/// Who may ask the admin listener, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminAccess {
    /// Names that a browser may reach it by, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// File with the token that each request must have; none without one.
    pub token_file: Option<PathBuf>,
    /// Whether it may be reached from other machines without a token.
    pub insecure: bool,
    /// Whether it refuses all that changes something.
    pub read_only: bool,
}

/// What the page, its API and `webb top` show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageSettings {
    /// 95th percentile of its handshakes over which a pair is slow; zero for none.
    pub slow: Duration,
}

/// Checks the name of a host: letters, digits, dots and dashes, no port.
pub(super) fn is_host(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    (1..=253).contains(&name.len()) && name.chars().all(plain)
}
