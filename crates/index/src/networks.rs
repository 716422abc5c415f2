//! Networks that pods have their addresses from: an address in one of them is a pod's, known or
//! not.

use std::sync::Arc;

use ipnet::IpNet;
use webb_flow::Address;

/// Sorted, disjoint ranges of addresses, both ends included. Most clusters have one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Networks(Arc<[(u128, u128)]>);

impl Networks {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        let ends = |net: &IpNet| (Address::from(net.network()).bits(), Address::from(net.broadcast()).bits());
        Self::of_ranges(networks.iter().map(ends).collect())
    }

    /// The union of ranges.
    pub(super) fn of_ranges(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let joins = next.0 <= last.1.saturating_add(1);
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        Self(ranges.into())
    }

    #[inline]
    pub(super) fn contains(&self, address: Address) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let bits = address.bits();
        let after = self.0.partition_point(|(first, _)| *first <= bits);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| bits <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    /// Ends are included, neighbours and overlaps are joined, and the families do not mix.
    #[test]
    fn networks_hold_their_addresses() {
        let nets: Vec<IpNet> = ["10.244.1.0/24", "10.244.2.0/24", "10.244.2.128/25", "10.9.0.0/30", "fd00:1::/64"]
            .map(|net| net.parse().unwrap())
            .into();
        let networks = Networks::new(&nets);
        assert_eq!(networks.0.len(), 3);
        for (address, inside) in [
            ("10.244.0.255", false),
            ("10.244.1.0", true),
            ("10.244.2.255", true),
            ("10.244.3.0", false),
            ("10.9.0.3", true),
            ("10.9.0.4", false),
            ("fd00:1::ffff", true),
            ("fd00:1:0:1::", false),
            ("::a:f4:101", false),
        ] {
            assert_eq!(networks.contains(Address::from(address.parse::<IpAddr>().unwrap())), inside, "{address}");
        }
        assert!(!Networks::default().contains(Address::default()));
    }
}
