//! Bitsets of the rules that match a pod as their peer.
//!
//! A cluster has a hundred policies with tiers at most, but each of their rules lists peers, and a
//! list is walked until a rule matches: thousands of peers for one connection. What the peers of
//! pods match is therefore computed beforehand and kept at the *peer*: one bit for each rule, those
//! of a policy side by side, so that 64 rules are passed over in one step.
//!
//! Each policy's rules of a direction begin at a byte of their own: all bits of a policy can then
//! be moved by copying bytes. The order of the policies is that of their evaluation.

use std::sync::Arc;

use super::network_rules::AroundAddress;
use super::truth::Truth;

/// Bytes behind the last rule, so that a word can be read at any.
const PADDING: usize = 7;

/// The rules with peers of pods that match a row. Rows that no rule matches have none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuleBits {
    certain: Box<[u8]>,
    /// Rules that may match. Nearly always empty.
    maybe: Box<[u8]>,
}

/// Bits in the making.
#[derive(Debug, Default)]
pub(super) struct RuleBitsDraft {
    certain: Vec<u8>,
    maybe: Vec<u8>,
}

impl RuleBitsDraft {
    /// Clears all, for rules that take so many bytes.
    pub(super) fn reset(&mut self, bytes: usize) {
        for bits in [&mut self.certain, &mut self.maybe] {
            bits.clear();
            bits.resize(bytes + PADDING, 0);
        }
    }

    /// Copies `length` bytes of rules that have moved.
    pub(super) fn copy(&mut self, old: &RuleBits, from: usize, to: usize, length: usize) {
        for (bits, old) in [(&mut self.certain, &old.certain), (&mut self.maybe, &old.maybe)] {
            if let (Some(old), Some(bits)) = (old.get(from..from + length), bits.get_mut(to..to + length)) {
                bits.copy_from_slice(old);
            }
        }
    }

    /// Sets the rule `number` of those that begin at a byte, unless it matches better already.
    pub(super) fn insert(&mut self, at: usize, number: usize, is: Truth) {
        let bits = match is {
            Truth::No => return,
            Truth::Maybe => &mut self.maybe,
            Truth::Yes => &mut self.certain,
        };
        if let Some(byte) = bits.get_mut(at + number / 8) {
            *byte |= 1 << (number % 8);
        }
    }

    /// Whether a rule matches for certain.
    pub(super) fn is_certain(&self, at: usize, number: usize) -> bool {
        self.certain.get(at + number / 8).is_some_and(|byte| byte >> (number % 8) & 1 == 1)
    }

    /// Stores the finished bits in place of others, which stay if they are the same.
    pub(super) fn store(&self, place: &mut Option<Arc<RuleBits>>) {
        let is_empty = |bits: &[u8]| bits.iter().all(|byte| *byte == 0);
        let same = |bits: &[u8], old: &[u8]| bits == old || (old.is_empty() && is_empty(bits));
        let (certain, maybe) = place.as_ref().map_or((&[][..], &[][..]), |old| (&*old.certain, &*old.maybe));
        if same(&self.certain, certain) && same(&self.maybe, maybe) {
            return;
        }
        let used = |bits: &[u8]| -> Box<[u8]> { if is_empty(bits) { Box::default() } else { bits.into() } };
        let bits = RuleBits { certain: used(&self.certain), maybe: used(&self.maybe) };
        *place = (!bits.certain.is_empty() || !bits.maybe.is_empty()).then(|| Arc::new(bits));
    }

    /// The bits that are set for certain.
    pub(super) fn certain(&self) -> &[u8] {
        &self.certain
    }
}

/// Matching peers of a rule, as far as they are known without the rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pods: Truth,
    pub(super) networks: Truth,
}

/// The rules that one peer may match.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerRules<'a> {
    pods: Option<&'a RuleBits>,
    networks: AroundAddress<'a>,
    /// Rules with peers that are neither pods nor networks: each is evaluated.
    others: &'a [u8],
    /// The peer is not known: every rule may match it.
    is_unknown: bool,
}

impl<'a> PeerRules<'a> {
    pub(super) fn new(
        pods: Option<&'a RuleBits>,
        networks: AroundAddress<'a>,
        others: &'a [u8],
        is_unknown: bool,
    ) -> Self {
        Self { pods, networks, others, is_unknown }
    }

    /// The rules among `count` from a byte on that may match, in order, each with its matching
    /// peers.
    #[inline]
    pub(super) fn of(self, at: u32, count: usize) -> impl Iterator<Item = (usize, Found)> {
        let at = at as usize;
        (0..count).step_by(64).flat_map(move |first| {
            let mut words = self.words(at + first / 8);
            words.candidates &= u64::MAX >> 64_usize.saturating_sub(count - first);
            std::iter::from_fn(move || {
                let bit = words.candidates.trailing_zeros();
                words.candidates &= words.candidates.checked_sub(1)?;
                let pods = match (words.certain >> bit & 1, words.maybe >> bit & 1) {
                    (1, _) => Truth::Yes,
                    (_, 1) => Truth::Maybe,
                    _ => Truth::No,
                };
                let networks = (words.networks >> bit & 1 == 1).into();
                Some((first + bit as usize, Found { pods, networks }))
            })
        })
    }

    #[inline]
    fn words(self, at: usize) -> Words {
        let networks = self.networks.word(at);
        if self.is_unknown {
            return Words { candidates: u64::MAX, certain: 0, maybe: u64::MAX, networks };
        }
        let (certain, maybe) = self.pods.map_or((0, 0), |pods| (word(&pods.certain, at), word(&pods.maybe, at)));
        Words { candidates: certain | maybe | networks | word(self.others, at), certain, maybe, networks }
    }
}

struct Words {
    candidates: u64,
    certain: u64,
    maybe: u64,
    networks: u64,
}

#[inline]
fn word(bits: &[u8], at: usize) -> u64 {
    bits.get(at..).and_then(|bits| bits.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use webb_flow::Address;

    use super::super::network_rules::{NetworkRules, NetworkRulesDraft};
    use super::*;

    fn found(rules: PeerRules<'_>, at: u32, count: usize) -> Vec<(usize, Truth)> {
        rules.of(at, count).map(|(number, found)| (number, found.pods)).collect()
    }

    /// Rules of several words are found in order, those of the neighbour are not, and bits that
    /// move keep what they say.
    #[test]
    fn rules_are_found_and_moved() {
        let mut draft = RuleBitsDraft::default();
        // One policy of 70 rules and one of three.
        draft.reset(10);
        for (at, number, is) in
            [(0, 0, Truth::Yes), (0, 63, Truth::Maybe), (0, 64, Truth::Yes), (0, 69, Truth::Yes), (9, 2, Truth::Maybe)]
        {
            draft.insert(at, number, is);
        }
        assert!(draft.is_certain(0, 64) && !draft.is_certain(0, 63));
        let mut stored = None;
        draft.store(&mut stored);
        let bits = stored.clone().unwrap();
        let (none, nowhere) = (NetworkRules::default(), Address::default());
        let rules = PeerRules::new(Some(&bits), none.of(nowhere), &[], false);
        let first = [(0, Truth::Yes), (63, Truth::Maybe), (64, Truth::Yes), (69, Truth::Yes)];
        assert_eq!(found(rules, 0, 70), first);
        assert_eq!(found(rules, 0, 64), first[..2], "no more than asked for");
        assert_eq!(found(rules, 9, 3), [(2, Truth::Maybe)]);
        assert_eq!(found(rules, 9, 2), []);
        assert_eq!(found(rules, 0, 0), []);
        draft.store(&mut stored);
        assert!(Arc::ptr_eq(&bits, stored.as_ref().unwrap()), "what is the same is shared");

        draft.reset(10);
        draft.copy(&bits, 0, 1, 9);
        draft.copy(&bits, 9, 0, 1);
        draft.store(&mut stored);
        let moved = stored.clone().unwrap();
        let rules = PeerRules::new(Some(&moved), none.of(nowhere), &[], false);
        assert_eq!((found(rules, 1, 70), found(rules, 0, 3)), (first.into(), vec![(2, Truth::Maybe)]));
        draft.reset(10);
        draft.store(&mut stored);
        assert_eq!(stored, None, "no rule matches any more");
    }

    /// A rule with other peers is looked at, and its peers of pods do not match; of an unknown peer
    /// all rules are.
    #[test]
    fn other_peers_are_looked_at() {
        let mut draft = RuleBitsDraft::default();
        draft.reset(2);
        draft.insert(1, 4, Truth::Yes);
        let (none, nowhere) = (NetworkRules::default(), Address::default());
        let others = PeerRules::new(None, none.of(nowhere), draft.certain(), false);
        assert_eq!(found(others, 1, 8), [(4, Truth::No)]);
        assert_eq!(found(others, 0, 8), []);
        let unknown = PeerRules::new(None, none.of(nowhere), &[], true);
        assert_eq!(found(unknown, 1, 2), [(0, Truth::Maybe), (1, Truth::Maybe)]);
    }

    /// Networks count by the address, whether the pod that has it is known or not.
    #[test]
    fn networks_are_exact() {
        let mut draft = NetworkRulesDraft::default();
        draft.add(1, 4, "10.0.0.0/8".parse().unwrap());
        let networks = draft.build();
        let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
        let found = |ip, is_unknown| -> Vec<(usize, Found)> {
            PeerRules::new(None, networks.of(address(ip)), &[], is_unknown).of(1, 5).collect()
        };
        let is = |pods, networks| Found { pods, networks };
        assert_eq!(found("10.1.2.3", false), [(4, is(Truth::No, Truth::Yes))]);
        assert_eq!(found("11.1.2.3", false), []);
        assert_eq!(found("10.1.2.3", true)[3..], [(3, is(Truth::Maybe, Truth::No)), (4, is(Truth::Maybe, Truth::Yes))]);
    }
}
