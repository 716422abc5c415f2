//! Policies with a tier, as the compiler keeps them: which of them select a namespace's pods, which
//! of their peers may match these, and where the bits of their rules lie.

use std::collections::HashMap;
use std::sync::Arc;

use webb_flow::hash::RandomState;

use super::network_rules::{NetworkRules, NetworkRulesDraft};
use super::peers::{in_any_namespace, in_namespace, network};
use super::rule_bits::{RuleBits, RuleBitsDraft};
use super::spec::{Labels, PeerSpec, Subject, Tier, TierRule, TierSpec};
use super::truth::Truth;

/// Peers of one policy with a tier, and of all together, at most; policies beyond are not compiled.
const MAX_PEERS_PER_POLICY: usize = 2_000;
const MAX_PEERS_TOTAL: usize = 100_000;

/// A policy with a tier.
#[derive(Debug, Clone)]
pub(super) struct Tiered {
    pub(super) spec: Arc<TierSpec>,
    /// Its place in the compiled policies.
    pub(super) id: u32,
    /// Tier of the policy; none if it may do anything to the pods that it selects.
    pub(super) tier: Option<Tier>,
    /// Offsets of the bits of its rules: ingress and egress.
    pub(super) at: [usize; 2],
}

impl Tiered {
    /// Its rules, ingress and egress; none if they are not used.
    pub(super) fn rules(&self) -> [&[TierRule]; 2] {
        if self.tier.is_some() { [&self.spec.ingress, &self.spec.egress] } else { [&[], &[]] }
    }

    /// The bytes that the bits of its rules take.
    fn bytes(&self) -> usize {
        self.rules().iter().map(|rules| rules.len().div_ceil(8)).sum()
    }

    /// Whether it selects the same pods as `other`, with the same precedence.
    fn selects_like(&self, other: &Self) -> bool {
        let key = |tiered: &Self| (tiered.id, tiered.spec.kind, tiered.tier, tiered.spec.priority);
        let touched = |tiered: &Self| tiered.rules().map(<[TierRule]>::is_empty);
        let subject = |tiered: &Self| (tiered.spec.namespaces.clone(), tiered.spec.pods.clone());
        key(self) == key(other)
            && touched(self) == touched(other)
            && (self.is_same(other) || subject(self) == subject(other))
    }

    /// Whether it was compiled of the same object.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec) && self.tier == other.tier
    }
}

/// Whether rows that were matched with `before` are selected by the same policies in `now`.
pub(super) fn select_alike(before: &[Tiered], now: &[Tiered]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(before, now)| before.selects_like(now))
}

/// Counts the peers of all policies, against the bounds.
#[derive(Debug, Default)]
pub(super) struct PeerCount(usize);

impl PeerCount {
    /// Adds a policy. Returns whether it has too many peers.
    pub(super) fn is_over(&mut self, spec: &TierSpec) -> bool {
        let count: usize = spec.ingress.iter().chain(&spec.egress).map(|rule| rule.rule.peers.len()).sum();
        self.0 += count;
        count > MAX_PEERS_PER_POLICY || self.0 > MAX_PEERS_TOTAL
    }
}

/// A peer that may match pods of a namespace, by all but the pods' own labels.
#[derive(Debug, Clone, Copy)]
struct PodPeer {
    is: Truth,
    /// 0 for ingress, 1 for egress.
    side: u8,
    rule: u32,
    peer: u32,
}

/// A policy that may concern pods of a namespace.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Outcome of its selector for them.
    pub(super) subject: Truth,
    peers: Box<[PodPeer]>,
}

/// The candidates of a namespace by the ids of their policies.
pub(super) type Candidates = HashMap<u32, Candidate, RandomState>;

impl Candidate {
    pub(super) fn new(tiered: &Tiered, labels: &Labels, listed: bool) -> Self {
        let mut peers = Vec::new();
        for (side, rules) in (0..).zip(tiered.rules()) {
            for (rule, TierRule { rule: spec, .. }) in (0..).zip(rules) {
                for (peer, spec) in (0..).zip(&spec.peers) {
                    let PeerSpec::Pods { namespaces, .. } = spec else { continue };
                    match in_any_namespace(namespaces.as_ref(), labels, listed) {
                        Truth::No => {}
                        is => peers.push(PodPeer { is, side, rule, peer }),
                    }
                }
            }
        }
        Self { subject: in_namespace(&tiered.spec.namespaces, labels, listed), peers: peers.into() }
    }

    /// Sets the bits of the rules that match a pod.
    pub(super) fn insert(&self, tiered: &Tiered, subject: &Subject, draft: &mut RuleBitsDraft) {
        let rules = tiered.rules();
        for &PodPeer { is, side, rule, peer } in &self.peers {
            let side = usize::from(side);
            let (Some(&at), Some(rules)) = (tiered.at.get(side), rules.get(side)) else { continue };
            if draft.is_certain(at, rule as usize) {
                continue;
            }
            let peer = rules.get(rule as usize).and_then(|rule| rule.rule.peers.get(peer as usize));
            let Some(PeerSpec::Pods { pods, .. }) = peer else { continue };
            let pods = pods.as_ref().map_or(Truth::Yes, |pods| pods.matches(&subject.labels));
            draft.insert(at, rule as usize, is.min(pods));
        }
    }
}

/// Bytes that have moved, or not.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    from: usize,
    to: usize,
    length: usize,
}

/// Plan that derives the bits of all rows from the former ones.
#[derive(Debug, Default)]
pub(super) struct Layout {
    bytes: usize,
    moves: Vec<Move>,
    /// Policies to match, by their place in the order of evaluation.
    pub(super) fresh: Vec<usize>,
}

impl Layout {
    /// Lays out the rules of all policies, where rows have the bits of those in `before`.
    pub(super) fn new(before: &[Tiered], now: &mut [Tiered]) -> Self {
        let known: HashMap<u32, &Tiered, RandomState> = before.iter().map(|tiered| (tiered.id, tiered)).collect();
        let mut layout = Self::default();
        for (place, tiered) in now.iter_mut().enumerate() {
            let to = layout.bytes;
            let [ingress, _] = tiered.rules();
            tiered.at = [to, to + ingress.len().div_ceil(8)];
            layout.bytes += tiered.bytes();
            match known.get(&tiered.id).filter(|known| known.is_same(tiered)) {
                Some(Tiered { at: [from, _], .. }) => layout.moved(*from, to, tiered.bytes()),
                None => layout.fresh.push(place),
            }
        }
        layout
    }

    /// The layout of a row without bits: all policies are to be matched.
    pub(super) fn of_new_row(tiered: &[Tiered]) -> Self {
        let bytes = tiered.iter().map(Tiered::bytes).sum();
        Self { bytes, moves: Vec::new(), fresh: (0..tiered.len()).collect() }
    }

    /// Whether any row's bits may change.
    pub(super) fn is_change(&self, before: &[Tiered]) -> bool {
        let bytes: usize = before.iter().map(Tiered::bytes).sum();
        bytes != self.bytes || !self.fresh.is_empty() || self.moves.iter().any(|one| one.from != one.to)
    }

    /// Joined with the last one where the two are neighbours: most bytes move together.
    fn moved(&mut self, from: usize, to: usize, length: usize) {
        match self.moves.last_mut() {
            Some(last) if (last.from + last.length, last.to + last.length) == (from, to) => last.length += length,
            _ => self.moves.push(Move { from, to, length }),
        }
    }

    /// Begins the bits of a row with those that it has.
    pub(super) fn begin(&self, old: Option<&RuleBits>, draft: &mut RuleBitsDraft) {
        draft.reset(self.bytes);
        for &Move { from, to, length } in &self.moves {
            if let Some(old) = old {
                draft.copy(old, from, to, length);
            }
        }
    }

    /// Rules that have other peers than pods and networks, or none at all.
    pub(super) fn others(&self, tiered: &[Tiered]) -> Arc<[u8]> {
        let mut draft = RuleBitsDraft::default();
        draft.reset(self.bytes);
        for tiered in tiered {
            for (at, rules) in tiered.at.into_iter().zip(tiered.rules()) {
                for (number, TierRule { rule, .. }) in rules.iter().enumerate() {
                    let is_other = |peer: &PeerSpec| !matches!(peer, PeerSpec::Pods { .. }) && network(peer).is_none();
                    let is = rule.peers.is_empty() || rule.peers.iter().any(is_other);
                    draft.insert(at, number, is.into());
                }
            }
        }
        draft.certain().into()
    }
}

/// The networks of all rules.
pub(super) fn network_rules(tiered: &[Tiered]) -> NetworkRules {
    let mut draft = NetworkRulesDraft::default();
    for tiered in tiered {
        for (at, rules) in tiered.at.into_iter().zip(tiered.rules()) {
            for (number, TierRule { rule, .. }) in rules.iter().enumerate() {
                for net in rule.peers.iter().filter_map(network) {
                    draft.add(at, number, net);
                }
            }
        }
    }
    draft.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::spec::{Action, PolicyKind, RuleSpec, Selector};

    fn policy(peers: usize) -> TierSpec {
        let rule = RuleSpec { peers: vec![PeerSpec::Unknown; peers], ..RuleSpec::default() };
        TierSpec {
            kind: PolicyKind::AdminNetworkPolicy,
            name: String::new(),
            tier: Some(Tier::Admin),
            priority: Some(1),
            namespaces: Selector::default(),
            pods: None,
            ingress: Vec::new(),
            egress: vec![TierRule { action: Some(Action::Accept), rule }],
        }
    }

    /// One policy has its bound of peers, and all together have theirs.
    #[test]
    fn peers_are_bounded() {
        let mut count = PeerCount::default();
        assert!(count.is_over(&policy(2_001)));
        let mut count = PeerCount::default();
        let full = policy(2_000);
        assert!((0..50).all(|_| !count.is_over(&full)), "100,000 in all");
        assert!(count.is_over(&policy(1)));
    }
}
