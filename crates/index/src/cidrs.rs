//! The endpoints of addresses of the world within `zones.cidrs`, by longest prefix.
//!
//! The networks are cut into disjoint ranges when they are set, so a lookup is one binary search.

use ipnet::IpNet;
use webb_flow::{Address, EndpointId};

/// Where a range begins, up to the next one, and whose it is; none for the world's own.
type Range = (u128, Option<EndpointId>);

/// Sorted ranges of IPv4, then of IPv6: in the form of 16 bytes `::/0` would hold the former.
#[derive(Debug, Default)]
pub(super) struct Cidrs([Box<[Range]>; 2]);

impl Cidrs {
    pub(super) fn new(networks: &[(IpNet, EndpointId)]) -> Self {
        let of_family = |v4: bool| {
            let networks = networks.iter().filter(|(network, _)| matches!(network, IpNet::V4(_)) == v4);
            let bits = |ip| Address::from(ip).bits();
            // Of networks with one beginning the larger one comes first.
            let mut ends: Vec<(u128, u128, EndpointId)> =
                networks.map(|(network, id)| (bits(network.network()), bits(network.broadcast()), *id)).collect();
            ends.sort_by_key(|&(first, last, _)| (first, u128::MAX - last));
            ranges(&ends)
        };
        Self([of_family(true), of_family(false)])
    }

    /// The endpoint of the smallest network that holds an address. `family`: 0 for IPv4, 1 for
    /// IPv6.
    #[inline]
    pub(super) fn find(&self, address: Address, family: usize) -> Option<EndpointId> {
        let ranges = self.0.get(family).filter(|ranges| !ranges.is_empty())?;
        let bits = address.bits();
        let at = ranges.partition_point(|(first, _)| *first <= bits).checked_sub(1)?;
        ranges.get(at).and_then(|(_, id)| *id)
    }
}

/// Cuts networks, each of which holds another or is apart from it, into ranges.
fn ranges(networks: &[(u128, u128, EndpointId)]) -> Box<[Range]> {
    let (mut ranges, mut open): (Vec<Range>, Vec<(u128, EndpointId)>) = Default::default();
    let mut begin = |first: u128, id: Option<EndpointId>| {
        if ranges.last().is_some_and(|(last, _)| *last == first) {
            ranges.pop();
        }
        ranges.push((first, id));
    };
    for &(first, last, id) in networks {
        while let Some((ended, _)) = open.pop_if(|(ended, _)| *ended < first) {
            begin(ended + 1, open.last().map(|(_, outer)| *outer));
        }
        begin(first, Some(id));
        open.push((last, id));
    }
    while let Some((ended, _)) = open.pop() {
        // Behind the last address of all there is none.
        if let Some(next) = ended.checked_add(1) {
            begin(next, open.last().map(|(_, outer)| *outer));
        }
    }
    ranges.into()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn find(cidrs: &Cidrs, address: IpAddr) -> Option<u32> {
        cidrs.find(Address::from(address), usize::from(address.is_ipv6())).map(|id| id.0)
    }

    fn cidrs(networks: &[IpNet]) -> Cidrs {
        let numbered: Vec<_> = networks.iter().copied().zip((10..).map(EndpointId)).collect();
        Cidrs::new(&numbered)
    }

    /// The longest prefix wins, families do not mix, and the last address of all has an end too.
    #[test]
    fn the_longest_prefix() {
        let networks: Vec<IpNet> =
            ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.0.0.0/30", "::/0", "ff00::/8", "255.255.255.255/32"]
                .map(|text| text.parse().unwrap())
                .into();
        let cidrs = cidrs(&networks);
        for (address, number) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some(13)),
            ("10.0.0.4", Some(10)),
            ("10.1.1.255", Some(11)),
            ("10.1.2.0", Some(12)),
            ("10.1.3.0", Some(11)),
            ("10.2.0.0", Some(10)),
            ("11.0.0.0", None),
            ("255.255.255.255", Some(16)),
            ("2001:db8::1", Some(14)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(15)),
        ] {
            assert_eq!(find(&cidrs, address.parse().unwrap()), number, "{address}");
        }
        assert_eq!(find(&Cidrs::default(), "10.0.0.1".parse().unwrap()), None);
    }

    proptest! {
        /// A lookup gives what a search through all networks gives.
        #[test]
        fn as_a_search(nets in prop::collection::vec((any::<u8>(), 0..=8_u8), 0..20), probe in any::<u8>()) {
            let net = |(start, length): (u8, u8)| -> IpNet {
                let network: IpNet = format!("0.0.0.{start}/{}", 24 + length).parse().unwrap();
                network.trunc()
            };
            let mut networks: Vec<IpNet> = nets.into_iter().map(net).collect();
            networks.sort_unstable();
            networks.dedup();
            let address: IpAddr = [0, 0, 0, probe].into();
            let numbered = (10..).zip(&networks);
            let holding = numbered.filter(|(_, network)| network.contains(&address));
            let expected = holding.max_by_key(|(_, network)| network.prefix_len()).map(|(number, _)| number);
            prop_assert_eq!(find(&cidrs(&networks), address), expected);
        }
    }
}
