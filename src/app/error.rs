//! Errors that prevent the agent's start, and their exit codes.

use std::net::{SocketAddr, TcpListener};

use webb_settings::KEYS;

use crate::bpf_loader::LoadError;
use crate::cli::Exit;
use crate::server::bind;

/// Error that prevents the agent's start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is in use, or the address is none of this machine's.
    #[error(
        "cannot listen on {address} ({key}): {error}; is another agent running? Choose another address in the configuration, with {}",
        elsewhere(key)
    )]
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
    /// A listener on `address`, which is the value of the configuration key `key`.
    pub(super) fn listening(key: &'static str, address: SocketAddr) -> Result<TcpListener, Self> {
        bind(address).map_err(|error| Self::Listen { key, address, error })
    }
}

/// The variable and the flag, if there is one, that set a key.
fn elsewhere(key: &str) -> String {
    let Some(key) = KEYS.iter().find(|known| known.name == key) else { return String::new() };
    let variable = key.variable();
    key.flag.map_or_else(|| variable.clone(), |flag| format!("{variable} or with {flag}"))
}

impl StartError {
    /// Exit code for the error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Listen { .. } | Self::Load(LoadError::Handover { .. }) => Exit::Configuration,
            Self::Load(LoadError::Privileges { .. }) => Exit::Privileges,
            Self::Load(_) | Self::System(_) | Self::Metrics(_) => Exit::Kernel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::elsewhere;

    /// What is named exists: a variable always, a flag where there is one.
    #[test]
    fn other_ways_exist() {
        assert_eq!(elsewhere("metrics_listen"), "WEBB_METRICS_LISTEN or with --metrics-listen");
        assert_eq!(elsewhere("health.listen"), "WEBB_HEALTH__LISTEN");
    }
}
