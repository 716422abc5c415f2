//! Errors that prevent the agent's start, and their exit codes.

use std::net::SocketAddr;

use crate::bpf_loader::LoadError;
use crate::cli::Exit;

/// Error that prevents the agent's start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or the address is none of this machine's.
    #[error("cannot listen on {address} ({key}): {error}; is another agent running? Choose another address in the configuration, with WEBB_{} or with --{}", key.to_uppercase(), key.replace('_', "-"))]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Configured address.
        address: SocketAddr,
        /// Error from the kernel.
        error: std::io::Error,
    },
    /// The eBPF programs cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An eventfd, a signal handler or a thread cannot be created.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// Two of the agent's own metrics have one name.
    #[error("cannot start: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl StartError {
    /// Exit code for the error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Listen { .. } => Exit::Configuration,
            Self::Load(LoadError::Privileges { .. }) => Exit::Privileges,
            Self::Load(_) | Self::System(_) | Self::Metrics(_) => Exit::Kernel,
        }
    }
}
