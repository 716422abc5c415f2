//! Which interfaces carry this node's default route.
//!
//! A node that is a container itself (kind, k3d, a lab) has a veth into another namespace for its uplink, and but for
//! the default route it looks like a pod's. Read from procfs, whose view is that of the calling thread's namespace.

use std::collections::HashSet;
use std::fs;

/// Names of the interfaces with a default route of either family. Empty where procfs cannot be read: then every such
/// veth is taken for a pod's, as it would be without this.
pub(super) fn uplinks() -> HashSet<String> {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
    let (v4, v6) = (read("route"), read("ipv6_route"));
    v4.lines().skip(1).filter_map(default_v4).chain(v6.lines().filter_map(default_v6)).map(str::to_owned).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hexadecimal.
fn default_v4(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let (name, destination, mask) = (fields.next()?, fields.next()?, fields.nth(5)?);
    (is_zero(destination) && is_zero(mask)).then_some(name)
}

/// `destination prefix-length source prefix-length gateway metric references use flags Iface`.
fn default_v6(line: &str) -> Option<&str> {
    /// The kernel's entry for "no route at all" is a default route too, on `lo`.
    const REJECT: u32 = 0x200;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [destination, length, .., flags, name] = fields.as_slice() else { return None };
    let rejects = u32::from_str_radix(flags, 16).ok()? & REJECT != 0;
    (is_zero(destination) && is_zero(length) && !rejects).then_some(*name)
}

fn is_zero(hexadecimal: &str) -> bool {
    hexadecimal.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A default route names its interface; a route to a network, a host or nowhere does not.
    #[test]
    fn only_default_routes_count() {
        assert_eq!(default_v4("eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0"), Some("eth0"));
        assert_eq!(default_v4("lxc1\t0B01F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0"), None);
        assert_eq!(default_v4("eth0\t000012AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0"), None);
        assert_eq!(default_v4(""), None);
        let zero = "0".repeat(32);
        let v6 = |destination: &str, length: &str, flags: &str, name: &str| {
            format!("{destination} {length} {zero} 00 {zero} 00000400 00000002 00000000 {flags} {name}")
        };
        assert_eq!(default_v6(&v6(&zero, "00", "00000003", "eth0")), Some("eth0"));
        assert_eq!(default_v6(&v6(&zero, "00", "00200200", "lo")), None);
        assert_eq!(default_v6(&v6("fd000010024400010000000000000011", "80", "00000001", "lxc1")), None);
        assert_eq!(default_v6("garbage"), None);
    }
}
