//! Matches rules with a flow, in three-valued logic.

use webb_flow::{Address, Direction, Flow, L4, ServiceId};

use super::outcome::Match;
use super::rule_bits::Found;
use super::table::{CompiledPolicy, Policies, Port, Row, Rule, Rules};
use super::truth::Truth;
use crate::{Endpoint, EndpointKind, Index};

/// A flow with the endpoints of its two ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub(super) policies: &'a Policies,
    pub(super) flow: &'a Flow,
    pub(super) source: &'a Endpoint,
    pub(super) destination: &'a Endpoint,
}

impl<'a> Query<'a> {
    #[inline]
    pub(super) fn new(policies: &'a Policies, index: &'a Index, flow: &'a Flow) -> Self {
        Self { policies, flow, source: index.endpoint(flow.source), destination: index.endpoint(flow.destination) }
    }

    /// The pod that is subject to policies in a direction; none if that end is no pod, or the pod
    /// reaches its own address, which crosses no enforcer.
    pub(super) fn subject(self, direction: Direction) -> Option<&'a Endpoint> {
        let subject = match direction {
            Direction::Egress => self.source,
            Direction::Ingress => self.destination,
            Direction::Unknown => return None,
        };
        (subject.kind == EndpointKind::Pod && (!self.is_itself() || self.is_hairpin())).then_some(subject)
    }

    /// Whether both ends are one.
    pub(super) fn is_itself(self) -> bool {
        self.flow.source == self.flow.destination
    }

    /// Whether a pod reaches itself through a Service.
    fn is_hairpin(self) -> bool {
        self.flow.service.at_destination() != ServiceId::NONE
    }

    /// The row of the pod that is subject to policies.
    pub(super) fn row(self, direction: Direction) -> Option<&'a Row> {
        self.subject(direction).and_then(|subject| self.policies.row(subject))
    }

    /// The other end, and its address.
    pub(super) fn peer(self, direction: Direction) -> (&'a Endpoint, Address) {
        if direction == Direction::Egress {
            (self.destination, self.flow.destination_ip)
        } else {
            (self.source, self.flow.source_ip)
        }
    }

    /// Whether the other end is the node that the pod runs on.
    pub(super) fn is_own_node(self, direction: Direction) -> bool {
        let (peer, address) = self.peer(direction);
        self.subject(direction).is_some_and(|pod| self.policies.nodes.is_own(pod, peer, address))
    }

    /// A policy's rules of a direction.
    pub(super) fn rules(direction: Direction, policy: &CompiledPolicy) -> &[Rule] {
        &Self::side(direction, policy).rules
    }

    /// Rules as [`Query::rules`], with their place.
    pub(super) fn side(direction: Direction, policy: &CompiledPolicy) -> &Rules {
        if direction == Direction::Egress { &policy.egress } else { &policy.ingress }
    }

    /// Matches the flow with a policy's rules, of which any may do, and returns the type of rule.
    pub(super) fn match_policy(self, direction: Direction, policy: &CompiledPolicy) -> (Truth, Match) {
        let (peer, address) = self.peer(direction);
        let rules = Self::rules(direction, policy).iter();
        rules
            .map(|rule| self.match_rule(rule, peer, address, Found::default()))
            .max()
            .unwrap_or((Truth::No, Match::None))
    }

    /// Matches `peer` on the flow's destination port with `rule`, and returns the type of rule.
    /// `found`: which of its peers do, if it is of a policy with a tier.
    pub(super) fn match_rule(self, rule: &Rule, peer: &Endpoint, address: Address, found: Found) -> (Truth, Match) {
        let mut is = if rule.peers.is_empty() {
            Truth::Yes
        } else {
            Truth::any(rule.peers.iter().map(|admitted| self.policies.matches_peer(admitted, peer, address, found)))
        };
        if is == Truth::No {
            return (Truth::No, Match::None);
        }
        let mut matched = if rule.peers.is_empty() { Match::All } else { Match::L3Only };
        if !rule.ports.is_empty() {
            // Named ports are the destination's, whichever end the policy is of.
            let to = self.policies.row(self.destination);
            let ports = rule.ports.iter().map(|port| (self.port(rule, port, to), port.kind()));
            let (port, kind) = ports.max().unwrap_or((Truth::No, Match::None));
            is = is.min(port);
            matched = match (kind, rule.peers.is_empty()) {
                (Match::ProtoOnly, false) => Match::L3Proto,
                (Match::L4Only, false) => Match::L3L4,
                (kind, _) => kind,
            };
        }
        if rule.unknown {
            is = is.min(Truth::Maybe);
        }
        if is == Truth::No { (Truth::No, Match::None) } else { (is, matched) }
    }

    /// Matches a rule's port with the flow's.
    fn port(self, rule: &Rule, port: &Port, to: Option<&Row>) -> Truth {
        let Flow { l4, destination_port: number, .. } = *self.flow;
        if l4 == L4::None {
            return Truth::Maybe;
        }
        match *port {
            Port::Range { protocol, first, last } => (protocol == l4 && (first..=last).contains(&number)).into(),
            Port::Named { protocol, name } => {
                if protocol != l4 && (protocol != L4::None || !l4.has_ports()) {
                    return Truth::No;
                }
                match to {
                    Some(row) => row.ports.contains(&(name, l4, number)).into(),
                    // A pod in the host's network may have such a port; some engines then let it
                    // count.
                    None if rule.peers.is_empty()
                        && matches!(self.destination.kind, EndpointKind::Host | EndpointKind::RemoteNode) =>
                    {
                        Truth::Maybe
                    }
                    None if matches!(self.destination.kind, EndpointKind::Unnamed | EndpointKind::Unknown) => {
                        Truth::Maybe
                    }
                    None => Truth::No,
                }
            }
            Port::Unknown { protocol } if protocol == L4::None || protocol == l4 => Truth::Maybe,
            Port::Unknown { .. } => Truth::No,
        }
    }
}

impl Port {
    fn kind(&self) -> Match {
        match self {
            Self::Range { first: 0, last: u16::MAX, .. } => Match::ProtoOnly,
            Self::Range { .. } | Self::Named { .. } | Self::Unknown { .. } => Match::L4Only,
        }
    }
}
