//! Evaluates network policies for a flow.
//!
//! One side of a connection is judged by the policies of its pod, in four steps: the Admin tier of
//! `policy.networking.k8s.io`, in order of priority, where the first rule that matches decides;
//! then `NetworkPolicy`, by which a pod is isolated in a direction as soon as one policy of that
//! direction selects it, and may then talk to what any of these policies allows and to nothing
//! else; then the Baseline tier, if none isolates it; then: allowed. A connection needs both ends'
//! consent.
//!
//! A decision has three values. Some inputs are not known: an unreadable field, a domain name,
//! which of two policies of equal priority comes first. Such an input is carried through all steps
//! (`outcome::Outcomes`); if it makes no difference, there is a decision, and else the connection
//! is *undecided*. Some things the API leaves open, and are treated so:
//!
//! - *The pod's own node may always come in* past NetworkPolicies (kubelet's probes). Kubernetes'
//!   documentation says the same of traffic *to* the node, but Cilium and Calico enforce egress
//!   policies there: a NetworkPolicy's denial is then undecided, unless a drop is seen, which is
//!   called a denial ([`Policies::forbids`]).
//! - *A pod may always reach its own address*: such traffic crosses no enforcer. Through a Service
//!   it is evaluated, but whether NetworkPolicies apply there is undecided.
//! - *Replies belong to their connection.* A flow is evaluated as if its packet opened one; callers
//!   must not evaluate replies.
//! - *An `ipBlock` and `networks` count addresses*, also those of pods and nodes, as the packet
//!   carries them here.
//! - *Ports are of TCP, UDP and SCTP.* A rule with ports does not match ICMP; what isolation means
//!   for it is left to plugins. Where layer 4 could not be read (a fragment) any port may have been
//!   meant.
//! - *Pods in the host's network are the node*, neither selected nor matched as peers.
//! - *Equal priorities* with different actions, and AdminNetworkPolicies beside
//!   ClusterNetworkPolicies: which comes first is nowhere said.
//!
//! Both ends are evaluated wherever they run. What is measured on this node may also have been
//! dropped here for a policy of a pod elsewhere; which node enforces it is the network plugin's
//! choice.
//!
//! Evaluation allocates nothing and compares no text; [`Compiler`] builds the tables. Without
//! tiers, they cost one comparison.

mod blocks;
mod compile;
mod compiled;
mod effect;
mod evaluate;
mod interner;
mod matching;
mod network_rules;
mod nodes;
mod outcome;
mod peers;
mod revision;
mod rows;
mod rule_bits;
pub mod spec;
mod table;
mod tiered;
mod tiers;
mod truth;

pub use compile::Compiler;
pub use effect::{Effect, VerdictExclusions};
pub use evaluate::{Denial, EndEvaluation, Evaluation};
pub use nodes::{NodeSpec, Nodes};
pub use outcome::{Decider, Decision, Match};
pub use revision::PolicyRevision;
pub use table::{Policies, PolicyName};
pub use truth::Truth;
