//! Hubble's metrics, one per file (contract, section 1).

mod drop;
mod flow;
mod icmp;
mod port_distribution;
mod protocol;
mod tcp;

pub use drop::Drops;
pub use flow::Flows;
pub use icmp::Icmp;
pub use port_distribution::Ports;
pub use tcp::Tcp;
