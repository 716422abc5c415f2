//! Where a server is.

use std::fmt;
use std::path::PathBuf;

use super::tls::ClientTls;

/// A response may have this many bytes. Flows have a thousand.
pub const MAX_RESPONSE_BYTES: usize = 4 << 20;

/// Address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A socket: `/var/run/cilium/hubble.sock`.
    Unix(PathBuf),
    /// A host, by name or address, and a port; with TLS or without.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Files of TLS; none without TLS.
        tls: Option<ClientTls>,
    },
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, tls } => {
                let scheme = if tls.is_some() { "tls://" } else { "" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}{open}{host}{close}:{port}")
            }
        }
    }
}
