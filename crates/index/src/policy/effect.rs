//! Directions in which the verdicts of a pod are undecided.

use std::collections::HashMap;

use webb_flow::Direction;

/// A set of directions without verdicts, because a policy that is not evaluated may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Effect(u8);

impl Effect {
    /// Neither direction.
    pub const NONE: Self = Self(0);
    /// Traffic to the pod.
    pub const INGRESS: Self = Self(1);
    /// Traffic from the pod.
    pub const EGRESS: Self = Self(2);
    /// Both directions.
    pub const BOTH: Self = Self(3);

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a direction is in it.
    #[inline]
    pub fn is_on(self, direction: Direction) -> bool {
        let bit = match direction {
            Direction::Ingress => Self::INGRESS,
            Direction::Egress => Self::EGRESS,
            Direction::Unknown => Self::NONE,
        };
        self.0 & bit.0 != 0
    }

    /// Value in the configuration and of the label `effect`.
    pub fn label(self) -> &'static str {
        match self {
            Self::INGRESS => "ingress",
            Self::EGRESS => "egress",
            Self::BOTH => "both",
            _ => "none",
        }
    }
}

/// Pods without verdicts, by direction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerdictExclusions {
    /// All pods.
    pub all: Effect,
    /// Pods of a namespace.
    pub namespaces: HashMap<String, Effect>,
    /// Pods that an annotation puts under a vendor's rules.
    pub annotated: Effect,
}
