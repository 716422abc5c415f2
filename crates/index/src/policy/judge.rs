//! What policies say of a new connection, in words that a flow record can carry: each end's answer, by which kind of
//! rule, and which policies it comes from.
//!
//! [`Policies::forbids`] asks whether a drop is a denial, for every dropped packet; [`Policies::judge`] answers in
//! full, once for each connection. Both ask the same rules, so they cannot disagree.

use webb_flow::{Direction, Flow, L4};

use super::matching::Question;
use super::{Compiled, Policies, PolicyName, Row, Truth};
use crate::Index;

/// By which kind of rule a connection is decided: Hubble's `policy_match_type`, from the least specific to the most.
///
/// Where several rules of NetworkPolicies allow it, the most specific tells: what names a port before what names a
/// protocol, and that before what names neither; among equals what names peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// No rule: it is denied.
    None,
    /// A rule without peers and ports, or no policy at all.
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

/// What one end's policies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// They let the connection pass.
    Allow,
    /// They refuse it.
    Deny,
    /// What is known does not tell.
    Undecided,
}

/// What an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decider {
    /// No policy: what none forbids is allowed.
    Default,
    /// The pod's own node, which may come in.
    OwnNode,
    /// The policy in that row of [`Policies`].
    Policy(u32),
}

/// A set of what a step of the evaluation may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcomes(u8);

impl Outcomes {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALLOW: Self = Self(1);
    pub(super) const DENY: Self = Self(2);
    /// A denial that some enforcers do not know.
    pub(super) const DISPUTED: Self = Self(4);
    /// On to the next step, whatever the rest of this one says.
    pub(super) const PASS: Self = Self(8);
    /// On to what comes next.
    pub(super) const ON: Self = Self(16);
    /// What an unknown action may do.
    pub(super) const ALL: Self = Self(1 | 2 | 8 | 16);

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// Of two that have no order: each may come first, and only where both go on does it go on.
    pub(super) fn beside(self, other: Self) -> Self {
        let both = Self(self.0 & other.0 & Self::ON.0);
        self.with(other).without(Self::ON).with(both)
    }
}

/// Notes what decides, on the way through the steps.
pub(super) trait Record {
    /// Whether each of several NetworkPolicies is asked for, not only the first.
    const ALL: bool;

    /// Something decides for an outcome, as far as is known.
    fn decides(&mut self, outcome: Outcomes, by: Decider, matched: Match);
}

/// The first that decides for each outcome.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    allow: Option<(Decider, Match)>,
    deny: Option<(Decider, Match)>,
}

impl Record for Tally {
    const ALL: bool = false;

    #[inline]
    fn decides(&mut self, outcome: Outcomes, by: Decider, matched: Match) {
        let first = if outcome == Outcomes::ALLOW { &mut self.allow } else { &mut self.deny };
        *first = first.or(Some((by, matched)));
    }
}

/// All that decide, each with its outcome.
#[derive(Debug, Default)]
struct List(Vec<(Outcomes, Decider)>);

impl Record for List {
    const ALL: bool = true;

    fn decides(&mut self, outcome: Outcomes, by: Decider, _: Match) {
        self.0.push((outcome, by));
    }
}

/// What the policies of one end say.
#[derive(Debug, Clone, Copy)]
pub struct Opinion<'a> {
    /// `Egress` for the source's policies, `Ingress` for the destination's.
    pub direction: Direction,
    /// What they come to.
    pub answer: Answer,
    /// Something that is not evaluated may decide: a vendor's policy, or one that is not known yet.
    pub is_veiled: bool,
    tally: Tally,
    question: Question<'a>,
}

impl<'a> Opinion<'a> {
    /// Whether the policies allow the connection, as far as is known for certain.
    pub fn allows(&self) -> bool {
        self.answer == Answer::Allow
    }

    /// Whether they would allow it whoever the peer is: nothing but NetworkPolicies has a say, and one of their rules
    /// names neither peers nor ports, or there is none at all.
    pub fn allows_any_peer(&self) -> bool {
        let more = self.question.row(self.direction).and_then(|row| row.more.as_ref());
        self.allows() && more.is_none() && self.matched() == Match::All
    }

    /// By which kind of rule: `Match::None` where no rule decides.
    pub fn matched(&self) -> Match {
        match self.answer {
            Answer::Allow => self.tally.allow.map_or(Match::All, |(_, matched)| matched),
            Answer::Deny => self.denying().0,
            Answer::Undecided => Match::None,
        }
    }

    /// The row of the first policy that decided, for [`Policies::name`].
    pub fn decider(&self) -> Option<u32> {
        match self.answer {
            Answer::Allow => self.tally.allow.and_then(|(by, _)| by.policy()),
            Answer::Deny => self.denying().1,
            Answer::Undecided => None,
        }
    }

    /// By which kind of rule, and by the policy in which row, the connection is denied, if it is.
    pub fn denying(&self) -> (Match, Option<u32>) {
        self.tally.deny.map_or((Match::None, None), |(by, matched)| (matched, by.policy()))
    }

    /// All that decided: policies with a rule that allows, or denies, the connection; where no rule does, all
    /// NetworkPolicies that isolate this end. None where it is undecided. Allocates.
    pub fn decided_by(&self) -> Vec<Decider> {
        let outcome = match self.answer {
            Answer::Allow => Outcomes::ALLOW,
            Answer::Deny => Outcomes::DENY,
            Answer::Undecided => return Vec::new(),
        };
        let mut list = List::default();
        self.question.walk(self.direction, self.question.row(self.direction), &mut list);
        let mut deciders: Vec<Decider> =
            list.0.into_iter().filter(|(found, _)| *found == outcome).map(|(_, by)| by).collect();
        deciders.sort_unstable();
        deciders.dedup();
        deciders
    }

    /// The names of the policies among [`Opinion::decided_by`].
    pub fn policies(&self) -> impl Iterator<Item = PolicyName> + use<'a> {
        let policies = self.question.policies;
        self.decided_by().into_iter().filter_map(move |by| policies.name(by.policy()?))
    }
}

impl Decider {
    fn policy(self) -> Option<u32> {
        match self {
            Self::Policy(row) => Some(row),
            Self::Default | Self::OwnNode => None,
        }
    }
}

/// What the policies of both ends say of a new connection. An end that is no pod has no opinion, nor has a pod that
/// reaches its own address.
#[derive(Debug, Clone, Copy)]
pub struct Judgement<'a> {
    /// The source's.
    pub egress: Option<Opinion<'a>>,
    /// The destination's.
    pub ingress: Option<Opinion<'a>>,
}

impl<'a> Judgement<'a> {
    /// The opinion of that end.
    pub fn of(self, direction: Direction) -> Option<Opinion<'a>> {
        match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
            Direction::Unknown => None,
        }
    }

    /// The opinion that forbids the connection for certain; where both do, the source's: the packet meets that first.
    pub fn denial(self) -> Option<Opinion<'a>> {
        [self.egress, self.ingress].into_iter().flatten().find(|opinion| opinion.answer == Answer::Deny)
    }
}

impl Policies {
    /// What policies say of the connection that `flow` opens; see [`Policies::forbids`] for what `flow` must be.
    pub fn judge<'a>(&'a self, index: &'a Index, flow: &'a Flow) -> Judgement<'a> {
        let question = Question::new(self, index, flow);
        Judgement { egress: question.opinion(Direction::Egress), ingress: question.opinion(Direction::Ingress) }
    }

    /// As [`Policies::judge`], of one end only.
    pub fn judge_one<'a>(&'a self, index: &'a Index, flow: &'a Flow, direction: Direction) -> Option<Opinion<'a>> {
        Question::new(self, index, flow).opinion(direction)
    }
}

impl<'a> Question<'a> {
    fn opinion(self, direction: Direction) -> Option<Opinion<'a>> {
        self.subject(direction)?;
        let mut tally = Tally::default();
        let row = self.row(direction);
        let outcomes = self.walk(direction, row, &mut tally);
        let more = row.and_then(|row| row.more.as_ref());
        let is_veiled =
            self.policies.undecided.is_on(direction) || more.is_some_and(|more| more.undecided.is_on(direction));
        let answer = match outcomes {
            _ if is_veiled => Answer::Undecided,
            Outcomes::ALLOW => Answer::Allow,
            Outcomes::DENY => Answer::Deny,
            _ => Answer::Undecided,
        };
        Some(Opinion { direction, answer, is_veiled, tally, question: self })
    }

    /// Whether that end's policies forbid a connection that was dropped, and whether by a rule.
    pub(super) fn denies(self, direction: Direction) -> Option<bool> {
        let row = self.row(direction)?;
        if row.more.is_none() && !self.is_itself() {
            let isolating = row.isolating(direction).unwrap_or_default();
            let exempt = isolating.is_empty() || (direction == Direction::Ingress && self.is_own_node(direction));
            let (peer, address) = self.peer(direction);
            let admits = |policy: &Compiled| {
                Self::rules(direction, policy).iter().any(|rule| self.admits(rule, peer, address).0 > Truth::No)
            };
            let denied = !exempt && !self.policies.of(isolating).any(|(_, policy)| admits(policy));
            return denied.then_some(false);
        }
        let mut tally = Tally::default();
        let outcomes = self.walk(direction, Some(row), &mut tally);
        (!outcomes.has(Outcomes::ALLOW)).then(|| tally.deny.is_some_and(|(_, matched)| matched != Match::None))
    }

    /// Goes through the steps. Returns what they may come to: `ALLOW`, `DENY` or `DISPUTED`, one at least.
    fn walk(self, direction: Direction, row: Option<&Row>, record: &mut impl Record) -> Outcomes {
        let Some(row) = row else {
            record.decides(Outcomes::ALLOW, Decider::Default, Match::All);
            return Outcomes::ALLOW;
        };
        let on = Outcomes::ON.with(Outcomes::PASS);
        let tiers = row.tiers(direction);
        let mut all = Outcomes::NONE;
        if let Some(tiers) = tiers {
            if tiers.unreadable {
                return Outcomes::ALLOW.with(Outcomes::DENY);
            }
            let admin = self.tier(direction, &tiers.admin, record);
            all = admin.without(on);
            if !admin.has(on) {
                return all;
            }
        }
        let standard = self.isolation(direction, row, record);
        all = all.with(standard.without(on));
        if !standard.has(on) {
            return all;
        }
        if let Some(tiers) = tiers {
            let baseline = self.tier(direction, &tiers.baseline, record);
            all = all.with(baseline.without(on));
            if !baseline.has(on) {
                return all;
            }
        }
        record.decides(Outcomes::ALLOW, Decider::Default, Match::All);
        all.with(Outcomes::ALLOW)
    }

    /// What NetworkPolicies come to: any rule of any policy may allow, and what none allows is denied. `ON` where
    /// none may isolate the pod.
    fn isolation<R: Record>(self, direction: Direction, row: &Row, record: &mut R) -> Outcomes {
        let certain = row.isolating(direction).unwrap_or_default();
        let maybe: &[u32] = row.tiers(direction).map_or(&[], |tiers| &tiers.maybe);
        if certain.is_empty() && maybe.is_empty() {
            return Outcomes::ON;
        }
        let on = if certain.is_empty() { Outcomes::ON } else { Outcomes::NONE };
        let is_own_node = self.is_own_node(direction);
        if is_own_node && direction == Direction::Ingress {
            record.decides(Outcomes::ALLOW, Decider::OwnNode, Match::All);
            return on.with(Outcomes::ALLOW);
        }
        let mut best = (Truth::No, Match::None);
        let mut first = None;
        for (id, policy) in self.policies.of(certain) {
            let found = self.ask(direction, policy);
            best = best.max(found);
            if found.0 == Truth::Yes {
                first = first.or(Some(id));
                if R::ALL {
                    record.decides(Outcomes::ALLOW, Decider::Policy(id), found.1);
                }
            }
        }
        if let Some(first) = first {
            record.decides(Outcomes::ALLOW, Decider::Policy(first), best.1);
            return Outcomes::ALLOW;
        }
        on.with(self.perhaps(direction, certain, maybe, is_own_node, record))
    }

    /// What NetworkPolicies come to of which none allows the connection for certain.
    #[cold]
    fn perhaps(
        self,
        direction: Direction,
        certain: &[u32],
        maybe: &[u32],
        is_own_node: bool,
        record: &mut impl Record,
    ) -> Outcomes {
        // Engines differ in what isolation means for the pod's node, for protocols without ports, and for itself.
        let is_disputed = is_own_node || self.is_itself() || !(self.flow.l4.has_ports() || self.flow.l4 == L4::None);
        let denies = if is_disputed { Outcomes::DISPUTED } else { Outcomes::DENY };
        let mut all = if certain.is_empty() { Outcomes::NONE } else { denies };
        for (id, policy) in self.policies.of(certain).chain(self.policies.of(maybe)) {
            let (is, matched) = self.ask(direction, policy);
            if is > Truth::No {
                all = all.with(Outcomes::ALLOW);
                record.decides(Outcomes::ALLOW, Decider::Policy(id), matched);
            }
            if is < Truth::Yes {
                all = all.with(denies);
            }
            record.decides(Outcomes::DENY, Decider::Policy(id), Match::None);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two without an order either may come first; the next step is reached only past both.
    #[test]
    fn outcomes_combine() {
        let (on, allow, deny, pass) = (Outcomes::ON, Outcomes::ALLOW, Outcomes::DENY, Outcomes::PASS);
        assert_eq!(on.beside(on), on);
        assert_eq!(on.beside(allow), allow);
        assert_eq!(allow.with(on).beside(on), allow.with(on));
        assert_eq!(allow.beside(deny.with(on)), allow.with(deny));
        assert_eq!(pass.beside(deny), pass.with(deny));
        assert!(!Outcomes::NONE.beside(on).has(on));
    }
}
