//! Which address is behind which interface of this node, as its routes tell.
//!
//! Network plugins that give each pod a link of its own (Calico, Cilium, the ptp plugin, those of the clouds) route
//! each pod's address to its interface. Where pods hang on a bridge there is only one route for all of them, and
//! nothing is told. Read from procfs, whose view is that of the calling thread's namespace.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

/// Interfaces by index, each with an address that is routed to it alone. Empty where nothing can be read.
pub fn read() -> Vec<(u32, IpAddr)> {
    let text = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let (v4, v6) = (text("route"), text("ipv6_route"));
    let routes: Vec<(&str, IpAddr)> =
        v4.lines().skip(1).filter_map(host_v4).chain(v6.lines().filter_map(host_v6)).collect();
    let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return Vec::new() };
    let mut indexes: HashMap<&str, Option<u32>> = HashMap::new();
    let mut index = |name| *indexes.entry(name).or_insert_with(|| name_to_index(&socket, name).ok());
    routes.into_iter().filter_map(|(name, address)| Some((index(name)?, address))).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hexadecimal as they lie in memory.
fn host_v4(line: &str) -> Option<(&str, IpAddr)> {
    let mut fields = line.split_whitespace();
    let (name, destination, mask) = (fields.next()?, fields.next()?, fields.nth(5)?);
    let destination = u32::from_str_radix(destination, 16).ok()?;
    (mask == "FFFFFFFF" && name != "lo").then(|| (name, IpAddr::V4(Ipv4Addr::from(destination.to_ne_bytes()))))
}

/// `destination prefix-length source prefix-length gateway metric references use flags Iface`.
fn host_v6(line: &str) -> Option<(&str, IpAddr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, "80", .., name] = fields.as_slice() else { return None };
    let destination = u128::from_str_radix(destination, 16).ok()?;
    (*name != "lo").then(|| (*name, IpAddr::V6(Ipv6Addr::from(destination))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a route to one address tells who is behind an interface; the loopback's own routes do not.
    #[test]
    fn routes_to_one_address() {
        let line = "lxc1\t0B01F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0";
        assert_eq!(host_v4(line), Some(("lxc1", "10.244.1.11".parse().unwrap())));
        assert_eq!(host_v4("eth0\t000012AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"), None);
        assert_eq!(
            host_v4("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"),
            None
        );
        let zero = "0".repeat(32);
        let v6 = |length: &str, name: &str| {
            format!(
                "fd000010024400010000000000000011 {length} {zero} 00 {zero} 00000400 00000002 00000000 00000001 {name}"
            )
        };
        assert_eq!(host_v6(&v6("80", "lxc1")), Some(("lxc1", "fd00:10:244:1::11".parse().unwrap())));
        assert_eq!(host_v6(&v6("40", "lxc1")), None);
        assert_eq!(host_v6(&v6("80", "lo")), None);
        assert_eq!(host_v6("garbage"), None);
    }

    /// Whatever this machine's routes are, reading them ends with something.
    #[test]
    fn this_machine() {
        assert!(read().iter().all(|(index, _)| *index > 0));
    }
}
