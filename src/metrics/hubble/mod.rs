//! Hubble's metrics, one per file (hubble-contract §1).

mod dns;
mod drop;
mod flow;
mod flows_to_world;
mod http;
mod http_v2;
mod icmp;
mod number;
mod policy;
mod port_distribution;
mod protocol;
mod sctp;
mod tcp;

pub use dns::Dns;
pub use drop::Drops;
pub use flow::Flows;
pub use flows_to_world::World;
pub use http::Http;
pub use http_v2::HttpV2;
pub use icmp::Icmp;
pub use policy::Policy;
pub use port_distribution::Ports;
pub use sctp::Sctp;
pub use tcp::Tcp;
