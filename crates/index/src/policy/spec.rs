//! The input of the compiler: policies as plain, validated data without Kubernetes' types.
//!
//! Two sources fill it (a manifest file and the API's watches), both in `cluster`, which also
//! checks what the API server would have refused. A part that could not be read is here as
//! *unknown*, never as absent: an absent selector or port list matches everything.

use std::collections::BTreeMap;

use ipnet::IpNet;
use webb_flow::L4;

use super::truth::Truth;

/// Labels of a pod or of a namespace.
pub type Labels = BTreeMap<String, String>;

/// One NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySpec {
    /// Its namespace: it selects pods of this one only.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Selector of its pods.
    pub pods: Selector,
    /// Traffic that may reach these pods; none if the policy doesn't concern ingress. An empty list
    /// lets nothing in.
    pub ingress: Option<Vec<RuleSpec>>,
    /// Traffic that these pods may send; none if the policy doesn't concern egress. An empty list
    /// lets nothing out.
    pub egress: Option<Vec<RuleSpec>>,
}

/// One rule: any of the peers on any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSpec {
    /// Empty means every peer.
    pub peers: Vec<PeerSpec>,
    /// Empty means every port of every protocol.
    pub ports: Vec<PortSpec>,
    /// True if it has a part, beside peers and ports, that could not be read: where these match it
    /// may match or not.
    pub unknown: bool,
}

/// A policy of the kinds that have tiers: `policy.networking.k8s.io`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierSpec {
    /// Kind of the policy.
    pub kind: PolicyKind,
    /// Its name.
    pub name: String,
    /// Tier of the policy; none if that could not be read.
    pub tier: Option<Tier>,
    /// Lower comes first; 0 where the kind has none. None if it could not be read.
    pub priority: Option<u16>,
    /// The namespaces of the pods that it selects.
    pub namespaces: Selector,
    /// Selector of the pods in these; none means all.
    pub pods: Option<Selector>,
    /// Rules for ingress, in order: the first that matches decides.
    pub ingress: Vec<TierRule>,
    /// Rules for egress, in the same way.
    pub egress: Vec<TierRule>,
}

/// The kinds of policy that are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum PolicyKind {
    NetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
}

impl PolicyKind {
    /// Name in the field `kind:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }
}

/// The position of a policy: before all NetworkPolicies, or after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Tier {
    Admin,
    Baseline,
}

/// One rule of a policy that has a tier. Its peers are never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierRule {
    /// Action of the rule; none if that could not be read.
    pub action: Option<Action>,
    /// Rule that it applies.
    pub rule: RuleSpec,
}

/// Action of a rule on a connection that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `Accept`; `Allow` in the older versions.
    Accept,
    /// Refuses the connection.
    Deny,
    /// Skips the rest of the tier.
    Pass,
}

/// One item of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSpec {
    /// Pods, by their labels and their namespace's labels; both must match.
    Pods {
        /// Selector of the namespaces; none means the policy's own.
        namespaces: Option<Selector>,
        /// Selector of the pods there; none means every pod.
        pods: Option<Selector>,
    },
    /// Addresses, whatever their owner.
    Block {
        /// These,
        net: IpNet,
        /// but none of these.
        except: Vec<IpNet>,
    },
    /// Nodes, by their labels.
    Nodes(Selector),
    /// Addresses that a domain name resolves to: it may be any, since names are not resolved here.
    Domain,
    /// A peer that could not be read: it may be anything.
    Unknown,
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// TCP, UDP or SCTP. `L4::None` is whichever: a port's name alone, or a port of a protocol that
    /// could not be read.
    pub protocol: L4,
    /// Ports of the protocol.
    pub port: PortMatch,
}

/// Selection of ports of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMatch {
    /// All.
    Any,
    /// Ports from the first to the second, both included.
    Range(u16, u16),
    /// The port that the destination pod's containers declare under this name.
    Named(String),
    /// Could not be read.
    Unknown,
}

/// A label selector: every requirement must hold, so the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector(pub Vec<Requirement>);

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// Test of its value.
    pub test: Test,
}

/// Test of a label's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// The label has one of these values (`In`, and `matchLabels` with a single value).
    In(Vec<String>),
    /// The label is absent, or has none of these values.
    NotIn(Vec<String>),
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// Could not be read.
    Unknown,
}

impl Selector {
    /// The selector of which nothing could be read.
    pub fn unknown() -> Self {
        Self(vec![Requirement { key: String::new(), test: Test::Unknown }])
    }

    /// The selector with a further requirement that could not be read.
    #[must_use]
    pub fn unsure(mut self) -> Self {
        self.0.extend(Self::unknown().0);
        self
    }

    /// Whether a part of it could not be read.
    pub fn is_unsure(&self) -> bool {
        self.0.iter().any(|requirement| requirement.test == Test::Unknown)
    }

    /// Matches `labels` with every requirement.
    pub fn matches(&self, labels: &Labels) -> Truth {
        self.matches_some(labels, |_| true)
    }

    /// Matches like [`Selector::matches`], where only keys that are `known` can be relied on.
    pub fn matches_some(&self, labels: &Labels, known: impl Fn(&str) -> bool) -> Truth {
        let mut all = Truth::Yes;
        for Requirement { key, test } in &self.0 {
            let value = labels.get(key);
            let is = match test {
                Test::Unknown => Truth::Maybe,
                _ if !known(key) => Truth::Maybe,
                Test::In(values) => value.is_some_and(|value| values.contains(value)).into(),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)).into(),
                Test::Exists => value.is_some().into(),
                Test::DoesNotExist => value.is_none().into(),
            };
            all = all.min(is);
            if all == Truth::No {
                break;
            }
        }
        all
    }
}

/// The properties of a pod that policies select by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's labels.
    pub labels: Labels,
    /// Named ports of its containers.
    pub ports: Vec<NamedPort>,
    /// An annotation puts it under the rules of a vendor that are not read: it has no verdicts.
    pub vendor: bool,
}

/// A named port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// Name of the port, for example `http`.
    pub name: String,
    /// IP protocol number; TCP, UDP or SCTP.
    pub protocol: u8,
    /// `containerPort`.
    pub port: u16,
}
