//! How a run ends, as exit codes that a supervisor can act on (sysexits' numbers).

use std::net::SocketAddr;

use crate::bpf_loader::LoadError;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to: 0.
    Asked,
    /// Something is wrong with the configuration, or a configured address cannot be had: 64.
    Configuration,
    /// The kernel lacks a must-have: 69.
    Kernel,
    /// A component failed too often: 70.
    GaveUp,
    /// A privilege is missing: 77.
    Privileges,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Asked => 0,
            Self::Configuration => 64,
            Self::Kernel => 69,
            Self::GaveUp => 70,
            Self::Privileges => 77,
        }
    }
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or the address is none of this machine's.
    #[error("cannot listen on {address} ({key}): {error}; is another agent running? Choose another address in the configuration, with WEBB_{} or with --{}", key.to_uppercase(), key.replace('_', "-"))]
    Listen {
        /// The configuration key.
        key: &'static str,
        /// What it says.
        address: SocketAddr,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// The eBPF programs cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An eventfd, a signal handler or a thread cannot be had.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// Two of the agent's own metrics have one name.
    #[error("cannot start: {0}")]
    Metrics(#[from] prometheus::Error),
}
