//! NetworkPolicies, compiled: may this flow pass?
//!
//! The rules are those of `networking.k8s.io/v1`. A pod is isolated in a direction as soon as one policy of that
//! direction selects it; then it may talk to what any of these policies allows and to nobody else. A connection needs
//! both ends' consent. Some things the API leaves open or outside, and this is what we hold:
//!
//! - *The pod's own node may always come in* (kubelet's probes). Kubernetes' documentation says the same of traffic
//!   *to* the node, but Cilium and Calico enforce egress policies there, and a packet that they dropped for policy
//!   should be called so: traffic to the node is judged like any other.
//! - *A pod may always reach itself*: such traffic crosses no enforcer.
//! - *Replies belong to their connection.* A flow is judged as if its packet opened one; whoever knows that it is a
//!   reply must not ask.
//! - *An `ipBlock` counts addresses*, also those of pods and nodes, as the packet carries them here.
//! - *Ports are of TCP, UDP and SCTP.* A rule with ports does not allow ICMP. Where layer 4 could not be read (a
//!   fragment) any port may have been meant, so a rule's ports count as met: we say denied only where we know.
//! - *Pods in the host's network are the node*, neither selected nor matched as peers.
//!
//! Both ends are judged wherever they run. What is measured on this node may also have been dropped here for a policy
//! of a pod elsewhere; which node enforces it is the network plugin's choice.
//!
//! Judging allocates nothing and compares no text; how the tables are made is in [`Compiler`].

mod block;
mod compile;
mod judge;
pub mod spec;

pub use compile::Compiler;
pub use judge::{Judgement, Match, Opinion};

use std::sync::Arc;

use super::{Endpoint, Index, Kind};
use crate::flow::{Address, Direction, Flow, L4};
use crate::sym::Sym;
use block::Block;
use judge::Question;

/// The compiled policies of the cluster. Empty allows everything. A clone shares all there is.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// By [`Endpoint::policy_subject`]; row 0 is everyone who is no pod.
    rows: Vec<Arc<Row>>,
    compiled: Arc<[Compiled]>,
    /// Rows that a peer matches, one bit each; what is beyond the end matches nothing.
    sets: Vec<Arc<Vec<u64>>>,
}

/// What policies see alike: the pods of one namespace with the same labels and named ports.
#[derive(Debug, Default)]
struct Row {
    /// Policies that isolate it; empty if nothing does.
    ingress: Vec<u32>,
    egress: Vec<u32>,
    ports: Box<[(Sym, L4, u16)]>,
}

#[derive(Debug)]
struct Compiled {
    name: PolicyName,
    ingress: Box<[Rule]>,
    egress: Box<[Rule]>,
}

/// Empty lists mean all.
#[derive(Debug)]
struct Rule {
    peers: Box<[Peer]>,
    ports: Box<[Port]>,
}

#[derive(Debug)]
enum Peer {
    /// A row of `Policies::sets`.
    Pods(u32),
    Block(Block),
}

#[derive(Debug)]
enum Port {
    Range { protocol: L4, first: u16, last: u16 },
    Named { protocol: L4, name: Sym },
}

/// Which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PolicyName {
    /// Its namespace.
    pub namespace: Sym,
    /// Its name.
    pub name: Sym,
}

/// A flow that policies forbid.
#[derive(Debug, Clone, Copy)]
pub struct Denial<'a> {
    /// `Egress` if the source's policies forbid it, `Ingress` if the destination's.
    pub direction: Direction,
    policies: &'a Policies,
    by: &'a [u32],
}

impl<'a> Denial<'a> {
    /// The policies that isolate that end; none of them allows the flow.
    pub fn by(&self) -> impl Iterator<Item = PolicyName> + use<'a> {
        self.policies.names(self.by)
    }
}

impl Policies {
    /// Whether policies forbid `flow`, whose source, destination and ports must be those of the packet that opens the
    /// connection. Where both ends forbid it, it is the source's denial: the packet meets that one first.
    pub fn forbids(&self, index: &Index, flow: &Flow) -> Option<Denial<'_>> {
        let question = Question::new(self, index, flow);
        [Direction::Egress, Direction::Ingress].into_iter().find_map(|direction| {
            let by = self.isolating(question, direction);
            (!by.is_empty() && !question.allowed(direction, by)).then_some(Denial { direction, policies: self, by })
        })
    }

    /// The policies that isolate `endpoint` in `direction`, in the order in which they were compiled.
    pub fn selecting(&self, endpoint: &Endpoint, direction: Direction) -> impl Iterator<Item = PolicyName> + use<'_> {
        let by = self.row(endpoint).map_or(&[][..], |row| match direction {
            Direction::Ingress => &row.ingress,
            Direction::Egress => &row.egress,
            Direction::Unknown => &[],
        });
        self.names(by)
    }

    /// The name of the policy in a row that [`Opinion::decider`] gave.
    pub fn name(&self, row: u32) -> Option<PolicyName> {
        self.compiled.get(row as usize).map(|policy| policy.name)
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.compiled.len()
    }

    /// True without any policy.
    pub fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }

    fn names<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = PolicyName> + use<'a> {
        self.of(ids).map(|policy| policy.name)
    }

    fn of<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = &'a Compiled> + use<'a> {
        ids.iter().filter_map(|&id| self.compiled.get(id as usize))
    }

    /// The row of a pod; none for anything else.
    fn row(&self, endpoint: &Endpoint) -> Option<&Row> {
        if endpoint.kind == Kind::Pod {
            self.rows.get(endpoint.policy_subject as usize).map(|row| &**row)
        } else {
            None
        }
    }

    fn holds(&self, admitted: &Peer, peer: &Endpoint, address: Address) -> bool {
        match admitted {
            Peer::Block(block) => block.holds(address),
            Peer::Pods(set) => {
                let row = peer.policy_subject;
                let word = self.sets.get(*set as usize).and_then(|set| set.get(row as usize / 64));
                peer.kind == Kind::Pod && word.is_some_and(|word| word >> (row % 64) & 1 == 1)
            }
        }
    }
}
