//! Settings of policies that are not evaluated.

/// Treatment of policies that are not evaluated: those of vendors' kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// Effect of policies of vendors' kinds.
    pub other_kinds: OtherKinds,
    /// Kinds that are not known, or known otherwise.
    pub more_kinds: Vec<MoreKind>,
}

/// Effect of policies of vendors' kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKinds {
    /// The pods that they may concern have no verdicts.
    Undecided,
    /// Nothing.
    Ignore,
}

/// A kind of policy that the configuration adds: `group/plural=effect`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreKind {
    /// Its API group.
    pub group: String,
    /// Plural name in paths and roles.
    pub plural: String,
    /// Directions in which it leaves verdicts undecided.
    pub effect: KindEffect,
}

/// Directions in which a kind of policy leaves verdicts undecided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum KindEffect {
    None,
    Ingress,
    Egress,
    Both,
}
