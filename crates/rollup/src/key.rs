//! The identity of a row: who called whom, over what, and what became of it.

use webb_flow::sym::{Names, Sym};
use webb_flow::{L4, Verdict};
use webb_index::policy::PolicyName;

/// One end of a row. A part that is not known, or not configured, is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EndKey {
    /// Namespace of the pod.
    pub namespace: Sym,
    /// Name of its workload.
    pub workload: Sym,
    /// Kind of its workload, such as `Deployment`.
    pub kind: Sym,
    /// Name of the pod; only with [`super::Keys::pod`].
    pub pod: Sym,
    /// The reserved name of what is no pod, such as `reserved:world`.
    pub reserved: Sym,
    /// DNS names of an address of the world by which the other end has looked it up.
    pub names: Sym,
    /// The entry of `zones.cidrs` that holds an address of the world.
    pub cidr: Sym,
    /// Zone of its node, or of that entry.
    pub zone: Sym,
    /// Region of the same.
    pub region: Sym,
    /// `namespace/name` of the Service that it was called through.
    pub service: Sym,
}

impl EndKey {
    fn symbols(&self) -> [Sym; 10] {
        let Self { namespace, workload, kind, pod, reserved, names, cidr, zone, region, service } = *self;
        [namespace, workload, kind, pod, reserved, names, cidr, zone, region, service]
    }
}

/// The interface at which the packets of a row were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reporter {
    /// That of the pod that opened.
    Source,
    /// That of the pod that was called.
    Destination,
    /// A device of the node.
    #[default]
    Node,
}

impl Reporter {
    /// Value of the attribute.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Node => "node",
        }
    }
}

/// How much of its flows' keys a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fold {
    /// All that is configured.
    #[default]
    None,
    /// The namespaces alone: the table was full.
    Namespaces,
    /// Neither end: too many namespaces as well.
    All,
}

/// The identity of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RowKey {
    /// The side that opened.
    pub source: EndKey,
    /// The side that was called.
    pub destination: EndKey,
    /// Port of the side that was called; 0 without ports.
    pub port: u16,
    /// Layer 4.
    pub l4: L4,
    /// What became of the packets.
    pub verdict: Verdict,
    /// Reason of a drop.
    pub reason: Sym,
    /// The policy that decided a denial.
    pub policy: Option<PolicyName>,
    /// The interface at which the packets were seen.
    pub reporter: Reporter,
    /// Of all rows of the cluster about the same packets, attempts or messages, this is the one to
    /// sum.
    pub primary: bool,
    /// False where the ports alone say which side opened.
    pub opener_known: bool,
    /// What was left out of the key for want of room.
    pub fold: Fold,
}

impl RowKey {
    /// The same without what a full table has no room for.
    pub(crate) fn folded(&self, fold: Fold) -> Self {
        let end = |end: &EndKey| match fold {
            Fold::None => *end,
            Fold::Namespaces => EndKey { namespace: end.namespace, reserved: end.reserved, ..EndKey::default() },
            Fold::All => EndKey::default(),
        };
        Self {
            source: end(&self.source),
            destination: end(&self.destination),
            port: 0,
            l4: L4::None,
            reason: Sym::EMPTY,
            policy: None,
            opener_known: false,
            fold,
            ..*self
        }
    }

    /// Owners of all its symbols.
    pub(crate) fn hold(&self) -> Names {
        let mut names = Names::default();
        let policy = self.policy.map_or([Sym::EMPTY; 2], |policy| [policy.namespace, policy.name]);
        let ends = self.source.symbols().into_iter().chain(self.destination.symbols());
        ends.chain(policy).chain([self.reason]).filter(|sym| !sym.is_empty()).for_each(|sym| names.hold(sym));
        names
    }
}
