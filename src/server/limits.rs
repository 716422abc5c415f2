//! Limits of one listener for its clients.

use std::time::Duration;

/// The bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub per_client: usize,
    /// Bytes of a request before it is handled; its body has a bound of its own.
    pub head_bytes: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a request's head, from its first byte, or from the beginning of the connection.
    pub head: Duration,
    /// Time for a request's body.
    pub body: Duration,
    /// Time in which a client that is written to reads at least [`Limits::progress_bytes`].
    pub stalled: Duration,
    /// Bytes that a client reads in [`Limits::stalled`].
    pub progress_bytes: u64,
}

impl Limits {
    /// Those of the page: 50 tabs come from one address, that of the forwarded port, and the
    /// kubelet's probes beside them.
    pub fn of_page() -> Self {
        Self { per_client: 64, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            per_client: 32,
            head_bytes: 16 << 10,
            handshake: Duration::from_secs(3),
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            stalled: Duration::from_secs(10),
            progress_bytes: 64 << 10,
        }
    }
}

/// Bytes of a request's body: a log filter is the largest.
pub(super) const MAX_BODY_BYTES: usize = 4 << 10;

/// Bytes that the kernel keeps of an answer to one client; and as many again for its own use.
pub(super) const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Bytes that the kernel keeps of a client's requests.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// Interval of the timeout check.
pub(super) const REAP_INTERVAL: Duration = Duration::from_millis(250);

/// A client that takes nothing for so long may be dropped for one that waits.
pub(super) const MIN_BLOCKED_TIME: Duration = Duration::from_secs(1);
