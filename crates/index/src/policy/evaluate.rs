//! Evaluates the policies of both ends of a new connection: the decision, the kind of rule, and the
//! policies that it comes from.
//!
//! [`Policies::forbids`] checks whether a drop is a denial, for every dropped packet;
//! [`Policies::evaluate`] returns all details, once for each connection. Both use the same rules,
//! so they cannot disagree.

use webb_flow::{Direction, Flow, L4};

use super::matching::Query;
use super::outcome::{Decider, DeciderSink, Decision, Match, Outcomes};
use super::rule_bits::Found;
use super::table::{CompiledPolicy, Policies, PolicyName, Row};
use super::truth::Truth;
use crate::Index;

/// The first decider of each outcome.
#[derive(Debug, Clone, Copy, Default)]
struct FirstDeciders {
    allow: Option<(Decider, Match)>,
    deny: Option<(Decider, Match)>,
}

impl DeciderSink for FirstDeciders {
    const ALL: bool = false;

    #[inline]
    fn add(&mut self, outcome: Outcomes, by: Decider, matched: Match) {
        let first = if outcome == Outcomes::ALLOW { &mut self.allow } else { &mut self.deny };
        *first = first.or(Some((by, matched)));
    }
}

/// All deciders, each with its outcome.
#[derive(Debug, Default)]
struct AllDeciders(Vec<(Outcomes, Decider)>);

impl DeciderSink for AllDeciders {
    const ALL: bool = true;

    fn add(&mut self, outcome: Outcomes, by: Decider, _: Match) {
        self.0.push((outcome, by));
    }
}

/// The evaluation of one end's policies.
#[derive(Debug, Clone, Copy)]
pub struct EndEvaluation<'a> {
    /// `Egress` for the source's policies, `Ingress` for the destination's.
    pub direction: Direction,
    /// The decision.
    pub decision: Decision,
    /// The pod has no verdicts: a policy that is not evaluated may decide, a vendor's or one that
    /// is not known yet.
    pub is_excluded: bool,
    deciders: FirstDeciders,
    query: Query<'a>,
}

impl<'a> EndEvaluation<'a> {
    /// Whether the policies allow the connection, as far as is known for certain.
    pub fn allows(&self) -> bool {
        self.decision == Decision::Allow
    }

    /// Whether they would allow any peer: only NetworkPolicies apply, and one of their rules names
    /// neither peers nor ports, or there are no policies at all.
    pub fn allows_any_peer(&self) -> bool {
        let more = self.query.row(self.direction).and_then(|row| row.extras.as_ref());
        self.allows() && more.is_none() && self.matched() == Match::All
    }

    /// The kind of the deciding rule: `Match::None` where no rule decides.
    pub fn matched(&self) -> Match {
        match self.decision {
            Decision::Allow => self.deciders.allow.map_or(Match::All, |(_, matched)| matched),
            Decision::Deny => self.denying().0,
            Decision::Undecided => Match::None,
        }
    }

    /// The row of the first policy that decided, for [`Policies::name`].
    pub fn decider(&self) -> Option<u32> {
        match self.decision {
            Decision::Allow => self.deciders.allow.and_then(|(by, _)| by.policy()),
            Decision::Deny => self.denying().1,
            Decision::Undecided => None,
        }
    }

    /// The kind of the denying rule and the row of its policy, if the connection is denied.
    pub fn denying(&self) -> (Match, Option<u32>) {
        self.deciders.deny.map_or((Match::None, None), |(by, matched)| (matched, by.policy()))
    }

    /// All deciders: policies with a rule that allows, or denies, the connection; where no rule
    /// does, all NetworkPolicies that isolate this end. None where it is undecided. Allocates.
    pub fn decided_by(&self) -> Vec<Decider> {
        let outcome = match self.decision {
            Decision::Allow => Outcomes::ALLOW,
            Decision::Deny => Outcomes::DENY,
            Decision::Undecided => return Vec::new(),
        };
        let mut list = AllDeciders::default();
        self.query.evaluate_steps(self.direction, self.query.row(self.direction), &mut list);
        let mut deciders: Vec<Decider> =
            list.0.into_iter().filter(|(found, _)| *found == outcome).map(|(_, by)| by).collect();
        let policies = self.query.policies;
        deciders
            .sort_unstable_by_key(|by| (by.policy().and_then(|id| policies.policy(id)).map(|policy| policy.rank), *by));
        deciders.dedup();
        deciders
    }

    /// The names of the policies among [`EndEvaluation::decided_by`].
    pub fn policies(&self) -> impl Iterator<Item = PolicyName> + use<'a> {
        let policies = self.query.policies;
        self.decided_by().into_iter().filter_map(move |by| policies.name(by.policy()?))
    }
}

/// The evaluation of a new connection. An end that is no pod has none, nor has a pod that reaches
/// its own address.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// The source's.
    pub egress: Option<EndEvaluation<'a>>,
    /// The destination's.
    pub ingress: Option<EndEvaluation<'a>>,
}

impl<'a> Evaluation<'a> {
    /// The evaluation of one end.
    pub fn of(self, direction: Direction) -> Option<EndEvaluation<'a>> {
        match direction {
            Direction::Egress => self.egress,
            Direction::Ingress => self.ingress,
            Direction::Unknown => None,
        }
    }

    /// The evaluation that forbids the connection for certain; where both do, the source's, which
    /// is enforced first.
    pub fn denial(self) -> Option<EndEvaluation<'a>> {
        [self.egress, self.ingress].into_iter().flatten().find(|evaluation| evaluation.decision == Decision::Deny)
    }
}

/// A denial of a flow by policies.
#[derive(Debug, Clone, Copy)]
pub struct Denial {
    /// `Egress` if the source's policies forbid it, `Ingress` if the destination's.
    pub direction: Direction,
    /// True if a rule decided; otherwise no rule allows it.
    pub explicit: bool,
}

impl Policies {
    /// The denial by the evaluated policies of `flow`, which was dropped for a reason that an
    /// enforcer gives; none if they do not forbid it. Its source, destination and ports must be
    /// those of the packet that opens the connection. Where both ends forbid it, it is the source's
    /// denial, which is enforced first. A denial that only some enforcers have counts.
    pub fn forbids(&self, index: &Index, flow: &Flow) -> Option<Denial> {
        let query = Query::new(self, index, flow);
        [Direction::Egress, Direction::Ingress]
            .into_iter()
            .find_map(|direction| Some(Denial { direction, explicit: query.denies(direction)? }))
    }

    /// Evaluates the connection that `flow` opens; see [`Policies::forbids`] for what `flow` must
    /// be.
    pub fn evaluate<'a>(&'a self, index: &'a Index, flow: &'a Flow) -> Evaluation<'a> {
        let query = Query::new(self, index, flow);
        Evaluation { egress: query.evaluate_end(Direction::Egress), ingress: query.evaluate_end(Direction::Ingress) }
    }

    /// Evaluates one end only, as [`Policies::evaluate`] does.
    pub fn evaluate_end<'a>(
        &'a self,
        index: &'a Index,
        flow: &'a Flow,
        direction: Direction,
    ) -> Option<EndEvaluation<'a>> {
        Query::new(self, index, flow).evaluate_end(direction)
    }
}

impl<'a> Query<'a> {
    fn evaluate_end(self, direction: Direction) -> Option<EndEvaluation<'a>> {
        self.subject(direction)?;
        let mut deciders = FirstDeciders::default();
        let row = self.row(direction);
        let outcomes = self.evaluate_steps(direction, row, &mut deciders);
        let more = row.and_then(|row| row.extras.as_ref());
        let is_excluded =
            self.policies.undecided.is_on(direction) || more.is_some_and(|more| more.undecided.is_on(direction));
        let decision = match outcomes {
            _ if is_excluded => Decision::Undecided,
            Outcomes::ALLOW => Decision::Allow,
            Outcomes::DENY => Decision::Deny,
            _ => Decision::Undecided,
        };
        Some(EndEvaluation { direction, decision, is_excluded, deciders, query: self })
    }

    /// Whether that end's policies forbid a connection that was dropped, and whether by a rule.
    pub(super) fn denies(self, direction: Direction) -> Option<bool> {
        let row = self.row(direction)?;
        if row.extras.is_none() && !self.is_itself() {
            let isolating = row.isolating(direction).unwrap_or_default();
            let exempt = isolating.is_empty() || (direction == Direction::Ingress && self.is_own_node(direction));
            let (peer, address) = self.peer(direction);
            let admits = |policy: &CompiledPolicy| {
                Self::rules(direction, policy)
                    .iter()
                    .any(|rule| self.match_rule(rule, peer, address, Found::default()).0 > Truth::No)
            };
            let denied = !exempt && !self.policies.of(isolating).any(|(_, policy)| admits(policy));
            return denied.then_some(false);
        }
        let mut deciders = FirstDeciders::default();
        let outcomes = self.evaluate_steps(direction, Some(row), &mut deciders);
        (!outcomes.has(Outcomes::ALLOW)).then(|| deciders.deny.is_some_and(|(_, matched)| matched != Match::None))
    }

    /// Evaluates all steps. Returns the possible outcomes: `ALLOW`, `DENY` or `DISPUTED`, one at
    /// least.
    fn evaluate_steps(self, direction: Direction, row: Option<&Row>, sink: &mut impl DeciderSink) -> Outcomes {
        let Some(row) = row else {
            sink.add(Outcomes::ALLOW, Decider::Default, Match::All);
            return Outcomes::ALLOW;
        };
        let on = Outcomes::ON.with(Outcomes::PASS);
        let tiers = row.tiers(direction);
        let mut all = Outcomes::NONE;
        if let Some(tiers) = tiers {
            if tiers.unreadable {
                return Outcomes::ALLOW.with(Outcomes::DENY);
            }
            let admin = self.tier(direction, &tiers.admin, sink);
            all = admin.without(on);
            if !admin.has(on) {
                return all;
            }
        }
        let standard = self.isolation(direction, row, sink);
        all = all.with(standard.without(on));
        if !standard.has(on) {
            return all;
        }
        if let Some(tiers) = tiers {
            let baseline = self.tier(direction, &tiers.baseline, sink);
            all = all.with(baseline.without(on));
            if !baseline.has(on) {
                return all;
            }
        }
        sink.add(Outcomes::ALLOW, Decider::Default, Match::All);
        all.with(Outcomes::ALLOW)
    }

    /// Evaluates the NetworkPolicies: any rule of any policy may allow, and what none allows is
    /// denied. `ON` where none may isolate the pod.
    fn isolation<R: DeciderSink>(self, direction: Direction, row: &Row, sink: &mut R) -> Outcomes {
        let certain = row.isolating(direction).unwrap_or_default();
        let maybe: &[u32] = row.tiers(direction).map_or(&[], |tiers| &tiers.maybe);
        if certain.is_empty() && maybe.is_empty() {
            return Outcomes::ON;
        }
        let on = if certain.is_empty() { Outcomes::ON } else { Outcomes::NONE };
        let is_own_node = self.is_own_node(direction);
        if is_own_node && direction == Direction::Ingress {
            sink.add(Outcomes::ALLOW, Decider::OwnNode, Match::All);
            return on.with(Outcomes::ALLOW);
        }
        let mut best = (Truth::No, Match::None);
        let mut first = None;
        for (id, policy) in self.policies.of(certain) {
            let found = self.match_policy(direction, policy);
            best = best.max(found);
            if found.0 == Truth::Yes {
                first = first.or(Some(id));
                if R::ALL {
                    sink.add(Outcomes::ALLOW, Decider::Policy(id), found.1);
                }
            }
        }
        if let Some(first) = first {
            sink.add(Outcomes::ALLOW, Decider::Policy(first), best.1);
            return Outcomes::ALLOW;
        }
        on.with(self.isolation_uncertain(direction, certain, maybe, is_own_node, sink))
    }

    /// Evaluates NetworkPolicies of which none allows the connection for certain.
    #[cold]
    fn isolation_uncertain(
        self,
        direction: Direction,
        certain: &[u32],
        maybe: &[u32],
        is_own_node: bool,
        sink: &mut impl DeciderSink,
    ) -> Outcomes {
        // Engines differ in what isolation means for the pod's node, for protocols without ports,
        // and for itself.
        let is_disputed = is_own_node || self.is_itself() || !(self.flow.l4.has_ports() || self.flow.l4 == L4::None);
        let denies = if is_disputed { Outcomes::DISPUTED } else { Outcomes::DENY };
        let mut all = if certain.is_empty() { Outcomes::NONE } else { denies };
        for (id, policy) in self.policies.of(certain).chain(self.policies.of(maybe)) {
            let (is, matched) = self.match_policy(direction, policy);
            if is > Truth::No {
                all = all.with(Outcomes::ALLOW);
                sink.add(Outcomes::ALLOW, Decider::Policy(id), matched);
            }
            if is < Truth::Yes {
                all = all.with(denies);
            }
            sink.add(Outcomes::DENY, Decider::Policy(id), Match::None);
        }
        all
    }
}
