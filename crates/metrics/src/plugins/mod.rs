//! The metrics that can be configured: a file each, and a line each in the list below.

mod number;
mod protocol;

use super::registration::Registration;

/// Declares the file of each plugin, and registers the plugin in it.
macro_rules! plugins {
    ($($file:ident::$plugin:ident,)*) => {
        $(mod $file;)*

        static ALL: &[Registration] = &[$(Registration::of::<$file::$plugin>()),*];
    };
}

// In the order of their configuration names.
plugins! {
    connections::Connections,
    dns::Dns,
    dns_latency::DnsLatency,
    drop::Drops,
    flow::Flows,
    flows_to_world::World,
    grpc::Grpc,
    http::Http,
    http_v2::HttpV2,
    icmp::Icmp,
    opencost::OpenCost,
    policy::Policy,
    port_distribution::Ports,
    sctp::Sctp,
    tcp::Tcp,
    traffic::Traffic,
    zones::Zones,
}

pub use connections::NAME as CONNECTIONS;
pub(super) use grpc::METHOD;
pub(super) use http_v2::PATH;

/// All plugins: the inventory of what can be exposed.
pub fn all() -> &'static [Registration] {
    ALL
}

/// The plugin of that name. Names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Registration> {
    ALL.iter().find(|known| known.name == name)
}

/// All names, for messages.
pub(super) fn names() -> String {
    ALL.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages and the README list plugins in this order, and a name means one plugin.
    #[test]
    fn names_ascend() {
        let names: Vec<String> = ALL.iter().map(|plugin| plugin.name.to_ascii_lowercase()).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    }
}
