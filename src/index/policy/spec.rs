//! A NetworkPolicy as it is compiled: plain data, checked, without Kubernetes' types.
//!
//! Two sources fill it (a manifest file and the API's watches), both in `cluster`, which also checks what the API
//! server would have refused. So nothing here can be wrong, only unusual.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::flow::L4;

/// Labels of a pod or of a namespace.
pub type Labels = BTreeMap<String, String>;

/// One NetworkPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySpec {
    /// Its namespace: it selects pods of this one only.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pods it selects.
    pub pods: Selector,
    /// What may reach these pods; none if the policy doesn't concern ingress. An empty list lets nothing in.
    pub ingress: Option<Vec<RuleSpec>>,
    /// What these pods may reach; none if the policy doesn't concern egress. An empty list lets nothing out.
    pub egress: Option<Vec<RuleSpec>>,
}

/// One rule: any of the peers on any of the ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSpec {
    /// Empty means everyone.
    pub peers: Vec<PeerSpec>,
    /// Empty means every port of every protocol.
    pub ports: Vec<PortSpec>,
}

/// One item of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSpec {
    /// Pods, by their labels and their namespace's labels; both must match.
    Pods {
        /// None means the policy's own namespace.
        namespaces: Option<Selector>,
        /// None means every pod there.
        pods: Option<Selector>,
    },
    /// Addresses, whoever has them.
    Block {
        /// These,
        net: IpNet,
        /// but none of these.
        except: Vec<IpNet>,
    },
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// TCP, UDP or SCTP.
    pub protocol: L4,
    /// Which ports of it.
    pub port: PortMatch,
}

/// Which ports of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMatch {
    /// All.
    Any,
    /// From the first to the second, both included.
    Range(u16, u16),
    /// What the destination pod's containers call by this name.
    Named(String),
}

/// A label selector: every requirement must hold, so the empty one matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selector(pub Vec<Requirement>);

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What it must be.
    pub test: Test,
}

/// What a label must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// There, with one of these values (`In`, and `matchLabels` with a single value).
    In(Vec<String>),
    /// Not there, or with none of these values.
    NotIn(Vec<String>),
    /// There.
    Exists,
    /// Not there.
    DoesNotExist,
}

impl Selector {
    /// True if `labels` fulfil every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::DoesNotExist => value.is_none(),
            }
        })
    }
}

/// What policies ask of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's labels.
    pub labels: Labels,
    /// Named ports of its containers.
    pub ports: Vec<NamedPort>,
}

/// A named port of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPort {
    /// For example `http`.
    pub name: String,
    /// IP protocol number; TCP, UDP or SCTP.
    pub protocol: u8,
    /// `containerPort`.
    pub port: u16,
}
