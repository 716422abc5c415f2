//! What policies say of a new connection, in words that a flow record can carry: each end's opinion, by which kind of
//! rule, and which policies it comes from.
//!
//! [`Policies::forbids`] answers yes or no as fast as may be, for every dropped packet; this answers in full, once for
//! each connection. Both ask the same rules, so they cannot disagree.

use super::{Compiled, Policies, PolicyName, Port, Row, Rule};
use crate::flow::{Address, Direction, Flow, L4};
use crate::index::{Endpoint, Index, Kind};

/// By which kind of rule a connection is allowed: Hubble's `policy_match_type`, from the least specific to the most.
///
/// Where several rules allow it, the most specific tells: what names a port before what names a protocol, and that
/// before what names neither; among equals what names peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// No rule: it is denied.
    None,
    /// A rule without peers and ports.
    All,
    /// Peers.
    L3Only,
    /// A protocol, all ports of it.
    ProtoOnly,
    /// Peers and a protocol.
    L3Proto,
    /// Ports.
    L4Only,
    /// Peers and ports.
    L3L4,
}

impl Match {
    /// Hubble's number (hubble-contract §1.9).
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::L3Only => 1,
            Self::L3L4 => 2,
            Self::L4Only => 3,
            Self::All => 4,
            Self::L3Proto => 5,
            Self::ProtoOnly => 6,
        }
    }
}

/// What the policies of one end say.
#[derive(Debug, Clone, Copy)]
pub struct Opinion<'a> {
    /// `Egress` for the source's policies, `Ingress` for the destination's.
    pub direction: Direction,
    /// By which kind of rule; `Match::None` if no rule allows the connection.
    pub matched: Match,
    question: Question<'a>,
    isolating: &'a [u32],
}

impl<'a> Opinion<'a> {
    /// Whether the policies allow the connection.
    pub fn allows(&self) -> bool {
        self.matched != Match::None
    }

    /// The row of the first policy that decided, for [`Policies::name`].
    pub fn decider(&self) -> Option<u32> {
        let Self { direction, question, isolating, .. } = *self;
        let decides = |policy: &Compiled| !self.allows() || question.ask(direction, policy) > Match::None;
        isolating.iter().copied().find(|&row| question.policies.compiled.get(row as usize).is_some_and(&decides))
    }

    /// The policies that decided, in the order in which they were compiled, which is that of their names: those with a
    /// rule that allows the connection, or, where none has one, all that isolate this end.
    pub fn decided_by(&self) -> impl Iterator<Item = PolicyName> + use<'a> {
        let Self { direction, question, isolating, .. } = *self;
        let denied = !self.allows();
        question
            .policies
            .of(isolating)
            .filter(move |policy| denied || question.ask(direction, policy) > Match::None)
            .map(|policy| policy.name)
    }
}

/// What the policies of both ends say of a new connection. An end without an opinion is isolated by no policy, or is
/// exempt (a pod to itself, a node to its own pods).
#[derive(Debug, Clone, Copy)]
pub struct Judgement<'a> {
    /// The source's.
    pub egress: Option<Opinion<'a>>,
    /// The destination's.
    pub ingress: Option<Opinion<'a>>,
}

impl<'a> Judgement<'a> {
    /// What the end says that `direction` is of.
    pub fn of(&self, direction: Direction) -> Option<Opinion<'a>> {
        match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
            Direction::Unknown => None,
        }
    }

    /// The opinion that stops the connection, the source's before the destination's; none if it may pass.
    pub fn denial(&self) -> Option<Opinion<'a>> {
        [self.egress, self.ingress].into_iter().flatten().find(|opinion| !opinion.allows())
    }
}

/// A flow with its two ends, as policies look at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    policies: &'a Policies,
    flow: &'a Flow,
    source: &'a Endpoint,
    destination: &'a Endpoint,
}

impl<'a> Question<'a> {
    pub(super) fn new(policies: &'a Policies, index: &'a Index, flow: &'a Flow) -> Self {
        Self { policies, flow, source: index.endpoint(flow.source), destination: index.endpoint(flow.destination) }
    }

    /// Whether one of the policies that isolate that end allows the flow.
    pub(super) fn allowed(self, direction: Direction, isolating: &[u32]) -> bool {
        self.policies.of(isolating).any(|policy| {
            let (rules, peer, address) = self.side(direction, policy);
            rules.iter().any(|rule| self.admits(rule, peer, address) > Match::None)
        })
    }

    fn opinion(self, direction: Direction) -> Option<Opinion<'a>> {
        let isolating = self.policies.isolating(self, direction);
        let matched = self.policies.of(isolating).map(|policy| self.ask(direction, policy)).max()?;
        Some(Opinion { direction, matched, question: self, isolating })
    }

    /// By which kind of rule a policy allows the flow.
    fn ask(self, direction: Direction, policy: &Compiled) -> Match {
        let (rules, peer, address) = self.side(direction, policy);
        rules.iter().map(|rule| self.admits(rule, peer, address)).max().unwrap_or(Match::None)
    }

    /// A policy's rules of a direction, and whom they are asked about.
    fn side(self, direction: Direction, policy: &Compiled) -> (&[Rule], &'a Endpoint, Address) {
        if direction == Direction::Egress {
            (&policy.egress, self.destination, self.flow.destination_ip)
        } else {
            (&policy.ingress, self.source, self.flow.source_ip)
        }
    }

    /// By which kind of rule `rule` admits `peer` on the flow's destination port.
    fn admits(self, rule: &Rule, peer: &Endpoint, address: Address) -> Match {
        if !rule.peers.is_empty() && !rule.peers.iter().any(|admitted| self.policies.holds(admitted, peer, address)) {
            return Match::None;
        }
        if rule.ports.is_empty() {
            return if rule.peers.is_empty() { Match::All } else { Match::L3Only };
        }
        // The destination knows the names of ports, whichever end the policy is of.
        let to = self.policies.row(self.destination);
        let port = rule.ports.iter().filter(|port| port.holds(to, self.flow)).map(Port::kind).max();
        match (port, rule.peers.is_empty()) {
            (Some(Match::ProtoOnly), false) => Match::L3Proto,
            (Some(Match::L4Only), false) => Match::L3L4,
            (Some(kind), _) => kind,
            (None, _) => Match::None,
        }
    }
}

impl Policies {
    /// What policies say of the connection that `flow` opens; see [`Policies::forbids`] for what `flow` must be.
    pub fn judge<'a>(&'a self, index: &'a Index, flow: &'a Flow) -> Judgement<'a> {
        let question = Question::new(self, index, flow);
        Judgement { egress: question.opinion(Direction::Egress), ingress: question.opinion(Direction::Ingress) }
    }

    /// The policies that have a say in `direction`; empty where nothing isolates that end or it is exempt.
    pub(super) fn isolating(&self, question: Question<'_>, direction: Direction) -> &[u32] {
        let Question { flow, source, destination, .. } = question;
        if self.compiled.is_empty() || flow.source == flow.destination {
            return &[];
        }
        match direction {
            Direction::Egress => self.row(source).map_or(&[], |row| &row.egress),
            Direction::Ingress if source.kind == Kind::Host && destination.local => &[],
            Direction::Ingress => self.row(destination).map_or(&[], |row| &row.ingress),
            Direction::Unknown => &[],
        }
    }
}

impl Port {
    fn kind(&self) -> Match {
        match self {
            Self::Range { first: 0, last: u16::MAX, .. } => Match::ProtoOnly,
            Self::Range { .. } | Self::Named { .. } => Match::L4Only,
        }
    }

    fn holds(&self, to: Option<&Row>, flow: &Flow) -> bool {
        if flow.l4 == L4::None {
            return true;
        }
        let port = flow.destination_port;
        match *self {
            Self::Range { protocol, first, last } => protocol == flow.l4 && (first..=last).contains(&port),
            Self::Named { protocol, name } => {
                protocol == flow.l4 && to.is_some_and(|row| row.ports.contains(&(name, protocol, port)))
            }
        }
    }
}
