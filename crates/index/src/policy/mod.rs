//! Policies, compiled: may this flow pass?
//!
//! One side of a connection is judged by the policies of its pod, in four steps: the Admin tier of
//! `policy.networking.k8s.io`, in order of priority, where the first rule that matches decides; then `NetworkPolicy`,
//! by which a pod is isolated in a direction as soon as one policy of that direction selects it, and may then talk to
//! what any of these policies allows and to nobody else; then the Baseline tier, if none isolates it; then: allowed. A
//! connection needs both ends' consent.
//!
//! An answer has three values. Some of what would decide is not known: an unreadable field, a domain name, who comes
//! first of two policies of equal priority. Such a part is carried through all steps (`judge::Outcomes`); if it makes
//! no difference in the end, there is an answer, and else the connection is *undecided*. Some things the API leaves
//! open or outside, and this is what we hold:
//!
//! - *The pod's own node may always come in* past NetworkPolicies (kubelet's probes). Kubernetes' documentation says
//!   the same of traffic *to* the node, but Cilium and Calico enforce egress policies there: a NetworkPolicy's denial is
//!   then undecided, unless a drop is seen, which is called a denial ([`Policies::forbids`]).
//! - *A pod may always reach its own address*: such traffic crosses no enforcer. Through a Service it is judged, but
//!   whether NetworkPolicies apply there is undecided.
//! - *Replies belong to their connection.* A flow is judged as if its packet opened one; whoever knows that it is a
//!   reply must not ask.
//! - *An `ipBlock` and `networks` count addresses*, also those of pods and nodes, as the packet carries them here.
//! - *Ports are of TCP, UDP and SCTP.* A rule with ports does not match ICMP; what isolation means for it is left to
//!   plugins. Where layer 4 could not be read (a fragment) any port may have been meant.
//! - *Pods in the host's network are the node*, neither selected nor matched as peers.
//! - *Equal priorities* with different actions, and AdminNetworkPolicies beside ClusterNetworkPolicies: which comes
//!   first is nowhere said.
//!
//! Both ends are judged wherever they run. What is measured on this node may also have been dropped here for a policy
//! of a pod elsewhere; which node enforces it is the network plugin's choice.
//!
//! Judging allocates nothing and compares no text; how the tables are made is in [`Compiler`]. A cluster without tiers
//! pays one comparison for them.

mod block;
mod compile;
mod effect;
mod judge;
mod matching;
mod nodes;
mod peers;
pub mod spec;
mod tiers;
mod truth;

use std::sync::Arc;

use block::Block;
pub use compile::{Compiler, Veil};
pub use effect::Effect;
pub use judge::{Answer, Decider, Judgement, Match, Opinion};
use matching::Question;
pub use nodes::{NodeSpec, Nodes};
use spec::{Action, PolicyKind};
use tiers::Tiers;
pub use truth::Truth;
use webb_flow::sym::Sym;
use webb_flow::{Address, Direction, Flow, L4};

use super::{Endpoint, Index, Kind};

/// The compiled policies of the cluster. Empty allows everything. A clone shares all there is.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// By [`Endpoint::policy_subject`]; row 0 is everyone who is no pod.
    rows: Vec<Arc<Row>>,
    /// NetworkPolicies first, in the order of their names, then those that have a tier.
    compiled: Arc<[Compiled]>,
    /// Rows that a peer matches.
    sets: Vec<Arc<Set>>,
    nodes: Arc<Nodes>,
    /// In which directions no pod has verdicts.
    undecided: Effect,
}

/// Rows that a peer matches, one bit each; what is beyond the end it does not match.
#[derive(Debug, Clone, Default)]
struct Set {
    certain: Vec<u64>,
    /// Rows that it matches or not. Nearly always empty.
    maybe: Vec<u64>,
}

/// What policies see alike: the pods of one namespace with the same labels and named ports.
#[derive(Debug, Default)]
struct Row {
    /// NetworkPolicies that isolate it; empty if nothing does.
    ingress: Vec<u32>,
    egress: Vec<u32>,
    ports: Box<[(Sym, L4, u16)]>,
    /// What few pods have: policies with tiers, and policies that are not certain to select it.
    more: Option<Arc<More>>,
}

/// See [`Row::more`].
#[derive(Debug, Default)]
struct More {
    ingress: Tiers,
    egress: Tiers,
    undecided: Effect,
}

#[derive(Debug)]
struct Compiled {
    name: PolicyName,
    priority: u16,
    ingress: Box<[Rule]>,
    egress: Box<[Rule]>,
}

/// Empty lists mean all.
#[derive(Debug)]
struct Rule {
    peers: Box<[Peer]>,
    ports: Box<[Port]>,
    /// None if it could not be read. A NetworkPolicy's rules accept.
    action: Option<Action>,
    /// It has a part, beside peers and ports, that could not be read: where these match it may match or not.
    unknown: bool,
    /// Some part of it could not be read.
    unreadable: bool,
}

#[derive(Debug)]
enum Peer {
    /// A row of `Policies::sets`.
    Pods(u32),
    Block(Block),
    /// A row of `Nodes::sets`.
    Nodes(u32),
    /// May be anything.
    Unknown,
}

#[derive(Debug)]
enum Port {
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

/// Which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyName {
    /// Its kind.
    pub kind: PolicyKind,
    /// Its namespace; empty for kinds of the cluster.
    pub namespace: Sym,
    /// Its name.
    pub name: Sym,
}

/// A flow that policies forbid.
#[derive(Debug, Clone, Copy)]
pub struct Denial {
    /// `Egress` if the source's policies forbid it, `Ingress` if the destination's.
    pub direction: Direction,
    /// A rule says so; otherwise no rule allows it.
    pub explicit: bool,
}

impl Policies {
    /// Whether the policies that are evaluated forbid `flow`, which was dropped for a reason that an enforcer gives.
    /// Its source, destination and ports must be those of the packet that opens the connection. Where both ends forbid
    /// it, it is the source's denial: the packet meets that one first. A denial that only some enforcers know is one.
    pub fn forbids(&self, index: &Index, flow: &Flow) -> Option<Denial> {
        let question = Question::new(self, index, flow);
        [Direction::Egress, Direction::Ingress]
            .into_iter()
            .find_map(|direction| Some(Denial { direction, explicit: question.denies(direction)? }))
    }

    /// The policies that have a say for `endpoint` in `direction`: NetworkPolicies, then those with tiers.
    pub fn selecting(&self, endpoint: &Endpoint, direction: Direction) -> impl Iterator<Item = PolicyName> + use<'_> {
        let row = self.row(endpoint);
        let by = row.and_then(|row| row.isolating(direction)).unwrap_or_default();
        let tiers = row.and_then(|row| row.tiers(direction));
        self.names(by).chain(tiers.into_iter().flat_map(Tiers::policies).filter_map(|id| self.name(id)))
    }

    /// The name of the policy in a row that [`Opinion::decider`] gave.
    pub fn name(&self, row: u32) -> Option<PolicyName> {
        self.compiled.get(row as usize).map(|policy| policy.name)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.compiled.len()
    }

    /// True without any policy.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }

    fn names<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = PolicyName> + use<'a> {
        self.of(ids).map(|(_, policy)| policy.name)
    }

    fn of<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = (u32, &'a Compiled)> + use<'a> {
        ids.iter().filter_map(|&id| Some((id, self.compiled.get(id as usize)?)))
    }

    /// The row of a pod; none for anything else.
    fn row(&self, endpoint: &Endpoint) -> Option<&Row> {
        if endpoint.kind == Kind::Pod {
            self.rows.get(endpoint.policy_subject as usize).map(|row| &**row)
        } else {
            None
        }
    }

    fn holds(&self, admitted: &Peer, peer: &Endpoint, address: Address) -> Truth {
        match admitted {
            Peer::Block(block) => block.holds(address).into(),
            Peer::Pods(set) => match (peer.kind, self.sets.get(*set as usize)) {
                (Kind::Pod, Some(set)) => set.holds(peer.policy_subject),
                // Nobody is known to have the address, and a pod may.
                (Kind::Unnamed | Kind::Unknown, _) => Truth::Maybe,
                _ => Truth::No,
            },
            Peer::Nodes(set) => self.nodes.holds(*set, peer, address),
            Peer::Unknown => Truth::Maybe,
        }
    }
}

impl Set {
    #[inline]
    fn holds(&self, row: u32) -> Truth {
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

    fn put(&mut self, row: u32, is: Truth) {
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
    fn isolating(&self, direction: Direction) -> Option<&[u32]> {
        match direction {
            Direction::Ingress => Some(&self.ingress),
            Direction::Egress => Some(&self.egress),
            Direction::Unknown => None,
        }
    }

    fn tiers(&self, direction: Direction) -> Option<&Tiers> {
        let more = self.more.as_ref()?;
        match direction {
            Direction::Ingress => Some(&more.ingress),
            Direction::Egress => Some(&more.egress),
            Direction::Unknown => None,
        }
    }
}
