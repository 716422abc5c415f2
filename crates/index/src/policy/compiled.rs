//! Compiled policies, each at a place of its own.

use std::sync::Arc;

use webb_flow::sym::Sym;

use super::peers::Peers;
use super::spec::{Action, PolicyKind, PolicySpec, RuleSpec, TierRule};
use super::table::{CompiledPolicy, PolicyName, Rule, Rules};
use super::tiered::Tiered;

/// The compiled policies by id. A policy keeps its id until it is removed.
#[derive(Debug, Default)]
pub(super) struct CompiledPolicies {
    places: Vec<Option<CompiledPolicy>>,
    free: Vec<u32>,
}

impl CompiledPolicies {
    /// Adds a policy. Returns its id.
    pub(super) fn add(&mut self, policy: CompiledPolicy) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.places.get_mut(id as usize) {
            *place = Some(policy);
        }
        id
    }

    /// Removes a policy, and its references to peers.
    pub(super) fn remove(&mut self, id: u32, peers: &mut Peers) {
        if let Some(policy) = self.places.get_mut(id as usize).and_then(Option::take) {
            peers.release(&policy);
            self.free.push(id);
        }
    }

    /// Sets a policy's place among all.
    pub(super) fn set_rank(&mut self, id: u32, rank: u32) {
        if let Some(policy) = self.policy(id) {
            policy.rank = rank;
        }
    }

    /// A policy's place among all.
    pub(super) fn rank(&self, id: u32) -> Option<u32> {
        self.places.get(id as usize)?.as_ref().map(|policy| policy.rank)
    }

    /// Sets the bytes where the bits of a policy's rules begin.
    pub(super) fn set_bytes(&mut self, tiered: &Tiered) {
        let [ingress, egress] = tiered.at.map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        if let Some(policy) = self.policy(tiered.id) {
            (policy.ingress.at, policy.egress.at) = (ingress, egress);
        }
    }

    fn policy(&mut self, id: u32) -> Option<&mut CompiledPolicy> {
        self.places.get_mut(id as usize)?.as_mut()
    }

    /// All, by id. The rules are shared.
    pub(super) fn publish(&self) -> Arc<[Option<CompiledPolicy>]> {
        self.places.as_slice().into()
    }
}

impl CompiledPolicy {
    /// Compiles a `NetworkPolicy`.
    pub(super) fn standard(spec: &PolicySpec, peers: &mut Peers) -> Self {
        let mut rules = |rules: &Option<Vec<RuleSpec>>| {
            let rules = rules.iter().flatten();
            Rules::new(rules.map(|rule| peers.rule(Some(&spec.namespace), Some(Action::Accept), rule)).collect())
        };
        let (namespace, name) = (Sym::new(&spec.namespace), Sym::new(&spec.name));
        Self {
            ingress: rules(&spec.ingress),
            egress: rules(&spec.egress),
            priority: 0,
            rank: 0,
            name: PolicyName { kind: PolicyKind::NetworkPolicy, namespace, name },
        }
    }

    /// Compiles a policy with a tier.
    pub(super) fn tiered(tiered: &Tiered, peers: &mut Peers) -> Self {
        let mut rules = |rules: &[TierRule]| {
            Rules::new(rules.iter().map(|rule| peers.rule(None, rule.action, &rule.rule)).collect())
        };
        let ([ingress, egress], spec) = (tiered.rules(), &tiered.spec);
        Self {
            ingress: rules(ingress),
            egress: rules(egress),
            priority: spec.priority.unwrap_or_default(),
            rank: 0,
            name: PolicyName { kind: spec.kind, namespace: Sym::EMPTY, name: Sym::new(&spec.name) },
        }
    }
}

impl Rules {
    fn new(rules: Vec<Rule>) -> Self {
        Self { rules: rules.into(), at: 0 }
    }
}
