//! Outcome of the evaluation of policies: the decision, its source, and the outcomes in between.

/// Type of the deciding rule: Hubble's `policy_match_type`, from the least specific to the most.
///
/// The most specific of several allowing rules of NetworkPolicies counts: one with a port before
/// one with a protocol, and that before one with neither; among equals one with peers.
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

/// The decision of one end's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// They let the connection pass.
    Allow,
    /// They refuse it.
    Deny,
    /// The known policies do not decide it.
    Undecided,
}

/// The source of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decider {
    /// No policy: what none forbids is allowed.
    Default,
    /// The pod's own node, which may come in.
    OwnNode,
    /// The policy in that row of [`Policies`](super::Policies).
    Policy(u32),
}

/// The set of possible outcomes of an evaluation step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcomes(u8);

impl Outcomes {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALLOW: Self = Self(1);
    pub(super) const DENY: Self = Self(2);
    /// A denial that some enforcers do not know.
    pub(super) const DISPUTED: Self = Self(4);
    /// Continues with the next step, whatever the rest of this one holds.
    pub(super) const PASS: Self = Self(8);
    /// Continues with the next policy, or tier.
    pub(super) const ON: Self = Self(16);
    /// Possible outcomes of an unknown action.
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

    /// Outcome of two that have no order: each may come first, and the evaluation continues only
    /// where both continue.
    pub(super) fn beside(self, other: Self) -> Self {
        let both = Self(self.0 & other.0 & Self::ON.0);
        self.with(other).without(Self::ON).with(both)
    }
}

/// Collects the deciders during an evaluation.
pub(super) trait DeciderSink {
    /// True to collect every NetworkPolicy that decides, not only the first.
    const ALL: bool;

    /// Adds a decider of an outcome.
    fn add(&mut self, outcome: Outcomes, by: Decider, matched: Match);
}

impl Decider {
    pub(super) fn policy(self) -> Option<u32> {
        match self {
            Self::Policy(row) => Some(row),
            Self::Default | Self::OwnNode => None,
        }
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
