//! Evaluates the tiers of `policy.networking.k8s.io`: the first rule that matches, in order of
//! priority, decides.
//!
//! The possible results of each policy, each group of equal priority and each tier are a set of
//! [`Outcomes`]; a rule that may match adds its own and evaluation continues. Only rules with peers
//! that may match are evaluated, see [`rule_bits`](super::rule_bits).

use webb_flow::Direction;

use super::matching::Query;
use super::outcome::{Decider, DeciderSink, Outcomes};
use super::rule_bits::PeerRules;
use super::spec::Action;
use super::table::{Policies, Rules, Selected};
use super::truth::Truth;
use crate::EndpointKind;

impl Query<'_> {
    /// Possible outcomes of a tier: `PASS` and `ON` both lead out of it.
    pub(super) fn tier(self, direction: Direction, tier: &[Selected], sink: &mut impl DeciderSink) -> Outcomes {
        let policies = self.policies;
        let name = |selected: &Selected| policies.name(selected.policy).map(|name| name.kind);
        if tier.is_empty() {
            return Outcomes::ON;
        }
        let (peer, address) = self.peer(direction);
        let matched = policies.row(peer).and_then(|row| row.matched.as_deref());
        let is_unknown = matches!(peer.kind, EndpointKind::Unnamed | EndpointKind::Unknown);
        let peer_rules = PeerRules::new(matched, policies.networks.of(address), &policies.others, is_unknown);
        let mut all = Outcomes::ON;
        // No order is known between the two generations: each comes to its own end.
        for generation in tier.chunk_by(|a, b| name(a) == name(b)) {
            all = all.beside(self.generation(direction, generation, peer_rules, sink));
        }
        all
    }

    fn generation(
        self,
        direction: Direction,
        tier: &[Selected],
        peer_rules: PeerRules<'_>,
        sink: &mut impl DeciderSink,
    ) -> Outcomes {
        let priority = |selected: &Selected| self.policies.priority(selected.policy);
        let mut all = Outcomes::NONE;
        for equals in tier.chunk_by(|a, b| priority(a) == priority(b)) {
            let each = equals.iter().map(|selected| self.policy(direction, *selected, peer_rules, sink));
            let group = each.fold(Outcomes::ON, Outcomes::beside);
            all = all.with(group.without(Outcomes::ON));
            if !group.has(Outcomes::ON) {
                return all;
            }
        }
        all.with(Outcomes::ON)
    }

    fn policy(
        self,
        direction: Direction,
        Selected { policy, certain }: Selected,
        peer_rules: PeerRules<'_>,
        sink: &mut impl DeciderSink,
    ) -> Outcomes {
        let mut all = if certain { Outcomes::NONE } else { Outcomes::ON };
        let Some(compiled) = self.policies.policy(policy) else { return Outcomes::ON };
        let (peer, address) = self.peer(direction);
        let Rules { rules, at } = Self::side(direction, compiled);
        for (number, found) in peer_rules.of(*at, rules.len()) {
            let Some(rule) = rules.get(number) else { continue };
            let (is, matched) = self.match_rule(rule, peer, address, found);
            if is == Truth::No {
                continue;
            }
            let mut does = match rule.action {
                Some(Action::Accept) => Outcomes::ALLOW,
                Some(Action::Deny) => Outcomes::DENY,
                Some(Action::Pass) => Outcomes::PASS,
                None => Outcomes::ALL,
            };
            // Where an enforcer cannot read all of a Pass, it refuses.
            if rule.action == Some(Action::Pass) && is == Truth::Maybe && rule.unreadable {
                does = does.with(Outcomes::DENY);
            }
            for outcome in [Outcomes::ALLOW, Outcomes::DENY] {
                if does.has(outcome) {
                    sink.add(outcome, Decider::Policy(policy), matched);
                }
            }
            all = all.with(does.without(Outcomes::ON));
            if is == Truth::Yes && !does.has(Outcomes::ON) {
                return all;
            }
        }
        all.with(Outcomes::ON)
    }
}

impl Policies {
    fn priority(&self, policy: u32) -> Option<u16> {
        self.policy(policy).map(|policy| policy.priority)
    }
}
