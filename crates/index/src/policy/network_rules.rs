//! Finds the rules with networks that contain an address.
//!
//! Rules of policies with a tier may have a hundred thousand networks, and a connection that none
//! of them decides would be compared with each. Networks are prefixes: of two, one is inside the
//! other, or they have nothing in common. So they make a forest, and the networks of an address are
//! the innermost one and those around it. The ends of all networks cut the addresses into
//! intervals, two for each network at most, and each interval has one innermost network: it is
//! found by bisection.
//!
//! A network has only the rules that list it, not those around it: memory grows with what was
//! written, however deep networks lie in one another.

use std::cmp::Reverse;

use ipnet::IpNet;
use webb_flow::Address;

use super::blocks::{Span, family, span};

/// Marks an interval without a network, and a network that is in no other.
const NONE: u32 = u32::MAX;

/// The networks of all rules, for each family.
#[derive(Debug, Default)]
pub(super) struct NetworkRules([Family; 2]);

#[derive(Debug, Default)]
struct Family {
    /// The first address of each interval, in order.
    starts: Box<[u128]>,
    /// The innermost network of each interval.
    innermost: Box<[u32]>,
    networks: Box<[Network]>,
    /// Rules by network, in the order of their bytes: the byte as in
    /// [`RuleBits`](super::rule_bits::RuleBits), and its bits.
    rules: Box<[(u32, u8)]>,
}

/// A network that rules list.
#[derive(Debug)]
struct Network {
    /// The smallest network around it.
    parent: u32,
    /// Begin and end of its rules.
    rules: (u32, u32),
}

/// A network of a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    first: u128,
    last: Reverse<u128>,
    byte: u32,
    bit: u8,
}

impl Listed {
    fn span(&self) -> Span {
        (self.first, self.last.0)
    }
}

/// Networks in the making.
#[derive(Debug, Default)]
pub(super) struct NetworkRulesDraft([Vec<Listed>; 2]);

impl NetworkRulesDraft {
    /// Adds a network of the rule `number` of those that begin at a byte.
    pub(super) fn add(&mut self, at: usize, number: usize, net: IpNet) {
        let (family, (first, last)) = span(net);
        let byte = u32::try_from(at + number / 8).unwrap_or(u32::MAX);
        if let Some(listed) = self.0.get_mut(family) {
            listed.push(Listed { first, last: Reverse(last), byte, bit: 1 << (number % 8) });
        }
    }

    pub(super) fn build(self) -> NetworkRules {
        NetworkRules(self.0.map(Family::new))
    }
}

impl NetworkRules {
    /// The networks of an address.
    #[inline]
    pub(super) fn of(&self, address: Address) -> AroundAddress<'_> {
        let family = self.0.get(family(address)).filter(|family| !family.starts.is_empty());
        AroundAddress { innermost: family.map_or(NONE, |family| family.innermost(address.bits())), family }
    }
}

/// Intervals in the making, by ascending ends.
#[derive(Default)]
struct Intervals {
    starts: Vec<u128>,
    innermost: Vec<u32>,
}

impl Intervals {
    fn begin(&mut self, start: u128, network: u32) {
        if let (Some(innermost), true) = (self.innermost.last_mut(), self.starts.last() == Some(&start)) {
            *innermost = network;
        } else {
            self.starts.push(start);
            self.innermost.push(network);
        }
    }

    /// Leaves the networks that end before `start`, each for the one around it.
    fn leave(&mut self, open: &mut Vec<(u128, u32)>, start: u128) {
        while let Some((last, _)) = open.pop_if(|(last, _)| *last < start) {
            self.begin(last + 1, around(open));
        }
    }
}

/// The innermost network that has not ended.
fn around(open: &[(u128, u32)]) -> u32 {
    open.last().map_or(NONE, |(_, network)| *network)
}

impl Family {
    fn new(mut listed: Vec<Listed>) -> Self {
        // A network comes before those in it.
        listed.sort_unstable();
        listed.dedup();
        let (mut intervals, mut networks, mut rules) = (Intervals::default(), Vec::new(), Vec::new());
        let mut open: Vec<(u128, u32)> = Vec::new();
        let place = |rules: &[(u32, u8)]| u32::try_from(rules.len()).unwrap_or(u32::MAX);
        for same in listed.chunk_by(|a, b| a.span() == b.span()) {
            let Some((first, last)) = same.first().map(Listed::span) else { continue };
            intervals.leave(&mut open, first);
            let begin = place(&rules);
            for bytes in same.chunk_by(|a, b| a.byte == b.byte) {
                let bits = bytes.iter().fold(0, |bits, listed| bits | listed.bit);
                rules.extend(bytes.first().map(|listed| (listed.byte, bits)));
            }
            let number = u32::try_from(networks.len()).unwrap_or(NONE);
            networks.push(Network { parent: around(&open), rules: (begin, place(&rules)) });
            intervals.begin(first, number);
            open.push((last, number));
        }
        intervals.leave(&mut open, u128::MAX);
        let Intervals { starts, innermost } = intervals;
        Self { starts: starts.into(), innermost: innermost.into(), networks: networks.into(), rules: rules.into() }
    }

    #[inline]
    fn innermost(&self, bits: u128) -> u32 {
        let after = self.starts.partition_point(|start| *start <= bits);
        after.checked_sub(1).and_then(|at| self.innermost.get(at)).copied().unwrap_or(NONE)
    }

    fn rules(&self, network: &Network) -> &[(u32, u8)] {
        let (begin, end) = network.rules;
        self.rules.get(begin as usize..end as usize).unwrap_or_default()
    }
}

/// The networks that contain one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct AroundAddress<'a> {
    family: Option<&'a Family>,
    innermost: u32,
}

impl AroundAddress<'_> {
    /// The bits, from a byte on, of the rules with networks that contain the address.
    #[inline]
    pub(super) fn word(self, at: usize) -> u64 {
        if self.innermost == NONE { 0 } else { self.gather(at) }
    }

    fn gather(self, at: usize) -> u64 {
        let Some(family) = self.family else { return 0 };
        let mut word = 0;
        let mut next = self.innermost;
        while let Some(network) = family.networks.get(next as usize) {
            let rules = family.rules(network);
            let from = rules.partition_point(|(byte, _)| (*byte as usize) < at);
            for &(byte, bits) in rules.get(from..).unwrap_or_default() {
                let offset = byte as usize - at;
                if offset >= 8 {
                    break;
                }
                word |= u64::from(bits) << (8 * offset);
            }
            next = network.parent;
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Networks of both families, many of which lie in one another: few addresses, all lengths.
    fn a_network() -> impl Strategy<Value = IpNet> {
        (an_address(), 0_u8..=128).prop_map(|(ip, length)| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            IpNet::new(ip, length.min(longest)).unwrap()
        })
    }

    fn an_address() -> impl Strategy<Value = IpAddr> {
        let v4 = prop_oneof![Just(0_u32), 0x0a00_0000..0x0a00_0010_u32, Just(u32::MAX)];
        let v6 = prop_oneof![Just(0_u128), (0xfd_u128 << 120)..(0xfd_u128 << 120) + 16, Just(u128::MAX)];
        prop_oneof![v4.prop_map(|bits| IpAddr::V4(bits.into())), v6.prop_map(|bits| IpAddr::V6(bits.into()))]
    }

    proptest! {
        /// The rules of an address are those of which a network contains it, compared one by one;
        /// and there are at most two intervals for a network.
        #[test]
        fn as_one_by_one(
            networks in vec((0_usize..4, 0_usize..20, a_network()), 0..40),
            addresses in vec(an_address(), 1..20),
        ) {
            let mut draft = NetworkRulesDraft::default();
            for (at, number, net) in &networks {
                draft.add(at * 3, *number, *net);
            }
            let rules = draft.build();
            for family in &rules.0 {
                prop_assert!(family.starts.len() <= 2 * networks.len() + 1);
                prop_assert!(family.starts.is_sorted_by(|a, b| a < b));
            }
            for ip in addresses {
                let around = rules.of(ip.into());
                for at in 0..12 {
                    let expected = networks.iter().filter(|(.., net)| net.contains(&ip)).fold(0_u64, |word, (policy, number, _)| {
                        let bit = (policy * 3 * 8 + number).checked_sub(at * 8).filter(|bit| *bit < 64);
                        word | bit.map_or(0, |bit| 1 << bit)
                    });
                    prop_assert_eq!(around.word(at), expected, "{} from byte {}", ip, at);
                }
            }
        }
    }

    /// Memory does not depend on how deep networks lie in one another: each rule of each network is
    /// kept once.
    #[test]
    fn nested_networks_are_kept_once() {
        let mut draft = NetworkRulesDraft::default();
        for number in 0..5_000_u32 {
            draft.add(number as usize * 4, 0, "10.0.0.0/8".parse().unwrap());
            let length = u8::try_from(8 + number % 25).unwrap();
            draft.add(number as usize * 4, 1, IpNet::new(IpAddr::V4((0x0a00_0000 + number).into()), length).unwrap());
        }
        let NetworkRules([_, family]) = draft.build();
        assert!(
            family.rules.len() <= 10_000 && family.starts.len() <= 10_001,
            "{} {}",
            family.rules.len(),
            family.starts.len()
        );
        let depth = |mut network: u32| {
            std::iter::from_fn(|| {
                let found = family.networks.get(network as usize)?;
                network = found.parent;
                Some(())
            })
            .count()
        };
        let deepest = (0..).zip(&family.networks).map(|(number, _)| depth(number)).max();
        assert!(deepest.is_some_and(|deepest| (10..=25).contains(&deepest)), "{deepest:?}");
    }
}
