//! Matches addresses with the `ipBlock`s of a rule.

use std::cmp::Reverse;

use ipnet::IpNet;
use webb_flow::Address;

use crate::networks::Networks;

/// The addresses of a network, its first and its last included.
pub(super) type Span = (u128, u128);

/// The family of an address: 0 is IPv6, 1 is IPv4. Blocks of one never hold addresses of the other:
/// `::/0` has every IPv6 address and no IPv4 one, though these are mapped into it.
pub(super) fn family(address: Address) -> usize {
    usize::from(address.v4().is_some())
}

/// The family and the addresses of a network.
pub(super) fn span(net: IpNet) -> (usize, Span) {
    let bits = |ip| Address::from(ip).bits();
    (usize::from(matches!(net, IpNet::V4(_))), (bits(net.network()), bits(net.broadcast())))
}

/// Some networks without the parts of them that are left out, as disjoint ranges for each family:
/// a rule may have thousands.
#[derive(Debug)]
pub(super) struct Blocks([Networks; 2]);

impl Blocks {
    /// The union of networks, each with its exceptions.
    pub(super) fn new<'a>(blocks: impl Iterator<Item = (IpNet, &'a [IpNet])>) -> Self {
        let mut families = [Vec::new(), Vec::new()];
        for (net, except) in blocks {
            let (of, whole) = span(net);
            let holes = except.iter().copied().map(span).filter(|(family, _)| *family == of);
            if let Some(ranges) = families.get_mut(of) {
                add_without(ranges, whole, holes.map(|(_, hole)| hole).collect());
            }
        }
        Self(families.map(Networks::of_ranges))
    }

    pub(super) fn contains(&self, address: Address) -> bool {
        self.0.get(family(address)).is_some_and(|networks| networks.contains(address))
    }
}

/// Adds the parts of a network that are in no hole.
fn add_without(ranges: &mut Vec<Span>, (mut first, last): Span, mut holes: Vec<Span>) {
    holes.sort_unstable_by_key(|(begin, end)| (*begin, Reverse(*end)));
    for (begin, end) in holes {
        if begin > last {
            break;
        }
        if begin > first {
            ranges.push((first, begin - 1));
        }
        if end >= last {
            return;
        }
        first = first.max(end + 1);
    }
    ranges.push((first, last));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn holds(blocks: &[(&str, &[&str])], address: &str) -> bool {
        let read = |net: &str| net.parse::<IpNet>().unwrap();
        let blocks: Vec<(IpNet, Vec<IpNet>)> =
            blocks.iter().map(|(net, except)| (read(net), except.iter().copied().map(read).collect())).collect();
        let address: IpAddr = address.parse().unwrap();
        Blocks::new(blocks.iter().map(|(net, except)| (*net, except.as_slice()))).contains(address.into())
    }

    /// The families share one key type; a block of one must never hold an address of the other, nor
    /// may an exception of one cut the other.
    #[test]
    fn families_stay_apart() {
        assert!(holds(&[("0.0.0.0/0", &[])], "10.1.2.3"));
        assert!(!holds(&[("0.0.0.0/0", &[])], "fd00::1"));
        assert!(holds(&[("::/0", &[])], "fd00::1"));
        assert!(!holds(&[("::/0", &[])], "10.1.2.3"));
        assert!(!holds(&[("::ffff:0:0/96", &[])], "10.1.2.3"));
        assert!(holds(&[("10.0.0.0/8", &["::/0"])], "10.1.2.3"));
        assert!(holds(&[("10.0.0.0/8", &[]), ("fd00::/8", &[])], "10.1.2.3"));
        assert!(holds(&[("10.0.0.0/8", &[]), ("fd00::/8", &[])], "fd00::1"));
    }

    /// Prefix lengths at their edges, host bits in the network, and exceptions.
    #[test]
    fn prefixes_and_exceptions() {
        assert!(holds(&[("10.1.2.3/32", &[])], "10.1.2.3"));
        assert!(!holds(&[("10.1.2.3/32", &[])], "10.1.2.4"));
        assert!(holds(&[("10.1.2.3/8", &[])], "10.200.0.1"), "host bits are ignored");
        assert!(!holds(&[("10.0.0.0/8", &["10.1.0.0/16"])], "10.1.2.3"));
        assert!(holds(&[("10.0.0.0/8", &["10.1.0.0/16"])], "10.2.2.3"));
        assert!(holds(&[("fd00::/8", &["fd00:1::/32"])], "fd00:2::1"));
        assert!(!holds(&[("fd00::/8", &["fd00:1::/32"])], "fd00:1::1"));
        assert!(holds(&[("fd00::1/128", &[])], "fd00::1"));
        assert!(!holds(&[("fd00::/8", &["::/0"])], "fd00::1"));
    }

    /// Exceptions at both ends, one inside another, in no order, and those that another block
    /// fills again.
    #[test]
    fn blocks_are_united() {
        let one: &[(&str, &[&str])] =
            &[("10.0.0.0/24", &["10.0.0.128/25", "10.0.0.16/28", "10.0.0.16/30", "10.0.0.0/30"])];
        let both = [one, &[("10.0.0.18/31", &[]), ("255.255.255.255/32", &[])]].concat();
        for (address, is, with_more) in [
            ("10.0.0.3", false, false),
            ("10.0.0.4", true, true),
            ("10.0.0.15", true, true),
            ("10.0.0.16", false, false),
            ("10.0.0.18", false, true),
            ("10.0.0.20", false, false),
            ("10.0.0.31", false, false),
            ("10.0.0.32", true, true),
            ("10.0.0.127", true, true),
            ("10.0.0.128", false, false),
            ("10.0.0.255", false, false),
            ("10.0.1.0", false, false),
            ("255.255.255.255", false, true),
        ] {
            assert_eq!((holds(one, address), holds(&both, address)), (is, with_more), "{address}");
        }
    }
}
