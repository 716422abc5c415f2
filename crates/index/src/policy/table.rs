//! The compiled policies: which rules apply to which pods.

use std::sync::Arc;

use webb_flow::sym::Sym;
use webb_flow::{Address, Direction, L4};

use super::blocks::Blocks;
use super::effect::Effect;
use super::network_rules::NetworkRules;
use super::nodes::Nodes;
use super::rule_bits::{Found, RuleBits};
use super::spec::{Action, PolicyKind};
use super::truth::Truth;
use crate::{Endpoint, EndpointKind};

/// The compiled policies of the cluster. Empty allows everything. A clone shares all parts.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Rows by [`Endpoint::policy_subject`]; row 0 is of endpoints that are no pods.
    pub(super) rows: Vec<Arc<Row>>,
    /// A policy keeps its place as long as it is there; places of deleted ones are reused.
    pub(super) compiled: Arc<[Option<CompiledPolicy>]>,
    /// Rows that a peer of a `NetworkPolicy` matches.
    pub(super) sets: Vec<Arc<RowSet>>,
    /// Rules of policies with a tier that have networks as peers.
    pub(super) networks: Arc<NetworkRules>,
    /// Those that have yet other peers, as [`Row::matched`].
    pub(super) others: Arc<[u8]>,
    pub(super) nodes: Arc<Nodes>,
    /// Directions in which no pod has verdicts.
    pub(super) undecided: Effect,
}

/// Bitset of the rows that a peer matches; rows beyond its end are not matched.
#[derive(Debug, Clone, Default)]
pub(super) struct RowSet {
    pub(super) certain: Vec<u64>,
    /// Rows that it may match. Nearly always empty.
    pub(super) maybe: Vec<u64>,
}

/// The pods of one namespace with the same labels and named ports: no policy distinguishes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row {
    /// NetworkPolicies that isolate it; empty if nothing does.
    pub(super) ingress: Vec<u32>,
    pub(super) egress: Vec<u32>,
    pub(super) ports: Box<[(Sym, L4, u16)]>,
    /// Rare parts: policies with tiers, and policies that are not certain to select it.
    pub(super) extras: Option<Arc<RowExtras>>,
    /// Rules of policies with a tier that have it as a peer.
    pub(super) matched: Option<Arc<RuleBits>>,
}

/// See [`Row::extras`].
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct RowExtras {
    pub(super) ingress: Tiers,
    pub(super) egress: Tiers,
    pub(super) undecided: Effect,
}

/// A clone shares the rules.
#[derive(Debug, Clone)]
pub(super) struct CompiledPolicy {
    pub(super) name: PolicyName,
    pub(super) priority: u16,
    /// NetworkPolicies first, in the order of their names, then those that have a tier.
    pub(super) rank: u32,
    pub(super) ingress: Rules,
    pub(super) egress: Rules,
}

/// The rules of a policy in one direction.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) rules: Arc<[Rule]>,
    /// The byte of [`RuleBits`] where they begin, if the policy has a tier.
    pub(super) at: u32,
}

/// Empty lists mean all.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) peers: Box<[Peer]>,
    pub(super) ports: Box<[Port]>,
    /// Action of the rule; none if it could not be read. A NetworkPolicy's rules accept.
    pub(super) action: Option<Action>,
    /// True if it has a part, beside peers and ports, that could not be read: where these match it
    /// may match or not.
    pub(super) unknown: bool,
    /// Some part of it could not be read.
    pub(super) unreadable: bool,
}

#[derive(Debug)]
pub(super) enum Peer {
    /// Pods, by the bits [`Row::matched`] of the peer for the whole rule.
    Matched,
    /// Networks, by the bits [`Policies::networks`] for the whole rule.
    Networks,
    /// A row of `Policies::sets`.
    Pods(u32),
    /// All blocks of the rule.
    Blocks(Blocks),
    /// A row of `Nodes::sets`.
    Nodes(u32),
    /// May be anything.
    Unknown,
}

#[derive(Debug)]
pub(super) enum Port {
    Range {
        protocol: L4,
        first: u16,
        last: u16,
    },
    /// `L4::None` is whichever protocol the pod's port has.
    Named {
        protocol: L4,
        name: Sym,
    },
    /// `L4::None` is an unknown protocol.
    Unknown {
        protocol: L4,
    },
}

/// Name of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyName {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for kinds of the cluster.
    pub namespace: Sym,
    /// Its name.
    pub name: Sym,
}

impl Policies {
    /// The policies that select `endpoint` in `direction`: NetworkPolicies, then those with tiers.
    pub fn selecting(&self, endpoint: &Endpoint, direction: Direction) -> impl Iterator<Item = PolicyName> + use<'_> {
        let row = self.row(endpoint);
        let by = row.and_then(|row| row.isolating(direction)).unwrap_or_default();
        let tiers = row.and_then(|row| row.tiers(direction));
        self.names(by).chain(tiers.into_iter().flat_map(Tiers::policies).filter_map(|id| self.name(id)))
    }

    /// The name of the policy in a row that [`super::EndEvaluation::decider`] gave.
    pub fn name(&self, row: u32) -> Option<PolicyName> {
        self.policy(row).map(|policy| policy.name)
    }

    /// The number of policies.
    pub fn len(&self) -> usize {
        self.compiled.iter().flatten().count()
    }

    /// True without any policy.
    pub fn is_empty(&self) -> bool {
        self.compiled.iter().all(Option::is_none)
    }

    pub(super) fn names<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = PolicyName> + use<'a> {
        self.of(ids).map(|(_, policy)| policy.name)
    }

    pub(super) fn of<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = (u32, &'a CompiledPolicy)> + use<'a> {
        ids.iter().filter_map(|&id| Some((id, self.policy(id)?)))
    }

    #[inline]
    pub(super) fn policy(&self, id: u32) -> Option<&CompiledPolicy> {
        self.compiled.get(id as usize)?.as_ref()
    }

    /// The row of a pod; none for anything else.
    pub(super) fn row(&self, endpoint: &Endpoint) -> Option<&Row> {
        if endpoint.kind == EndpointKind::Pod {
            self.rows.get(endpoint.policy_subject as usize).map(|row| &**row)
        } else {
            None
        }
    }

    /// Matches a peer with a rule's; `found`: the rule's precomputed matches.
    pub(super) fn matches_peer(&self, admitted: &Peer, peer: &Endpoint, address: Address, found: Found) -> Truth {
        match admitted {
            Peer::Matched => found.pods,
            Peer::Networks => found.networks,
            Peer::Blocks(blocks) => blocks.contains(address).into(),
            Peer::Pods(set) => match (peer.kind, self.sets.get(*set as usize)) {
                (EndpointKind::Pod, Some(set)) => set.contains(peer.policy_subject),
                // The address has no known owner, and a pod may own it.
                (EndpointKind::Unnamed | EndpointKind::Unknown, _) => Truth::Maybe,
                _ => Truth::No,
            },
            Peer::Nodes(set) => self.nodes.matches(*set, peer, address),
            Peer::Unknown => Truth::Maybe,
        }
    }
}

impl RowSet {
    /// Whether it has words for rows from `rows` on.
    pub(super) fn reaches(&self, rows: usize) -> bool {
        self.certain.len().max(self.maybe.len()) > rows.div_ceil(64)
    }

    /// Drops the words of rows from `rows` on, which have no pods.
    pub(super) fn truncate(&mut self, rows: usize) {
        for words in [&mut self.certain, &mut self.maybe] {
            words.truncate(rows.div_ceil(64));
            words.shrink_to_fit();
        }
    }

    #[inline]
    pub(super) fn contains(&self, row: u32) -> Truth {
        let (word, bit) = (row as usize / 64, row % 64);
        if self.certain.get(word).is_some_and(|word| word >> bit & 1 == 1) {
            Truth::Yes
        } else {
            match self.maybe.get(word) {
                Some(word) if word >> bit & 1 == 1 => Truth::Maybe,
                _ => Truth::No,
            }
        }
    }

    pub(super) fn insert(&mut self, row: u32, is: Truth) {
        let (word, bit) = (row as usize / 64, 1_u64 << (row % 64));
        for (words, on) in [(&mut self.certain, is == Truth::Yes), (&mut self.maybe, is == Truth::Maybe)] {
            if on && words.len() <= word {
                words.resize(word + 1, 0);
            }
            if let Some(word) = words.get_mut(word) {
                *word = if on { *word | bit } else { *word & !bit };
            }
        }
    }
}

impl Row {
    /// NetworkPolicies that isolate it; none for a direction that is none.
    pub(super) fn isolating(&self, direction: Direction) -> Option<&[u32]> {
        match direction {
            Direction::Ingress => Some(&self.ingress),
            Direction::Egress => Some(&self.egress),
            Direction::Unknown => None,
        }
    }

    pub(super) fn tiers(&self, direction: Direction) -> Option<&Tiers> {
        let more = self.extras.as_ref()?;
        match direction {
            Direction::Ingress => Some(&more.ingress),
            Direction::Egress => Some(&more.egress),
            Direction::Unknown => None,
        }
    }
}

/// The policies that select a pod in one direction, without the NetworkPolicies that isolate it for
/// certain.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Tiers {
    /// Policies of the first tier, by kind and priority.
    pub(super) admin: Arc<[Selected]>,
    pub(super) baseline: Arc<[Selected]>,
    /// NetworkPolicies that may isolate it or not.
    pub(super) maybe: Box<[u32]>,
    /// A policy that may do anything.
    pub(super) unreadable: bool,
}

/// A policy that selects a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Selected {
    pub(super) policy: u32,
    /// Whether that is certain.
    pub(super) certain: bool,
}

impl Tiers {
    pub(super) fn policies(&self) -> impl Iterator<Item = u32> + use<'_> {
        let tiers = self.admin.iter().chain(self.baseline.iter()).map(|selected| selected.policy);
        self.maybe.iter().copied().chain(tiers)
    }

    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.admin.is_empty() && self.baseline.is_empty() && self.maybe.is_empty() && !self.unreadable
    }
}
