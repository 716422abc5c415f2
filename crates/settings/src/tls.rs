//! Settings of a listener's TLS.

use std::path::PathBuf;

/// TLS of a listener: on with certificate and key. The files are followed while the agent runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The server's certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The authorities for clients' certificates, PEM; with them, no client comes in without one.
    pub client_ca: Option<PathBuf>,
}
