//! The cluster's objects: read from a source, kept in a cache, turned into an
//! [`webb_index::Index`].
//!
//! ```text
//! manifest file ── ManifestSource::poll ──┐
//!                                         ├─ Object ── Cache::upsert / remove ── Cache::index ── index::Index
//! Kubernetes API (watches) ───────────────┘
//! ```
//!
//! A source only reads. Everything after it (checking an object, stripping it to what is used,
//! keeping it, naming endpoints, compiling policies) is the same for all, and the manifest is the
//! source of the lab, of the tests and of machines without a cluster, so that code is always
//! exercised. This is the only module that knows Kubernetes' types.
//!
//! Policies come in three sorts. *Evaluated* are `NetworkPolicy` and the kinds of
//! `policy.networking.k8s.io`, which a server has or not ([`Kind::TIERED`], [`Kind::versions`]);
//! they are objects like any other. Of a *vendor's* kinds ([`OtherKinds`]) only names are read
//! ([`Raw::OtherPolicy`]); where their objects are, verdicts are undecided. And a source marks what
//! it does not know: [`Cache::set_incomplete`] (a kind that is not listed yet, or that may not be
//! read: no verdicts at all), [`Cache::set_unlisted`] (a vendor's kind that cannot be listed),
//! [`Cache::set_strange`] (kinds that look like policies), [`Cache::undecided_because`] for
//! `/readyz`.

mod agents;
mod build;
mod cache;
mod change;
mod check;
mod claims;
mod coverage;
mod cutter;
mod explain;
mod identity;
pub mod kubernetes;
pub mod lease;
mod local_pods;
mod manifest;
mod mesh;
mod mesh_cluster;
mod missing_nodes;
mod names_only;
mod networks;
mod node_pods;
mod object;
mod other;
mod other_networks;
mod outside;
mod partly;
mod passed_over;
mod places;
mod pods_of;
mod policy;
mod recent;
mod relayed;
mod relayed_nodes;
mod specs;
mod store;
mod stored_pod;
mod strip;
mod trim;
pub mod types;
pub mod view;
mod workload;
mod workload_pods;

pub use cache::Cache;
pub use change::Change;
pub use check::Checked;
pub use coverage::Coverage;
pub use explain::{
    AddressExplanation, Candidate, EndpointNames, ExplainedPort, PodAddress, PodExplanation, PolicySummary,
    PreviousOwner, SelectingPolicies, ServiceEndpoint, ServiceExplanation,
};
pub use kubernetes::PodSink;
pub use local_pods::AddressEvents;
pub use manifest::{Manifest, ManifestError, ManifestSource, Problem, Progress, Report, parse, parse_with};
pub use mesh::Overlap;
pub use networks::address_block;
pub use node_pods::{Isolation, NodePods};
pub use object::{Kind, Node, NodeNetwork, Object, Pod, Raw, Reference, Service, Slice};
pub use other::{OtherKind, OtherKinds};
pub use passed_over::{Invalid, PassedOver};
pub use recent::{ObjectChange, ObjectEvent};
pub use relayed_nodes::NodeChanges;
pub use store::{CacheSettings, Counts, PodInterface};
pub use webb_index::ObjectKey;
