//! Maps addresses to endpoints: the immutable [`Index`] that resolves the flows of a batch.
//!
//! `cluster` keeps a [`Draft`], updates it as the cluster changes, and publishes an index of it.
//! The reader picks that up between two batches and the batch carries it along, so an
//! [`webb_flow::EndpointId`] means the same to every metric that reads the batch. An index shares
//! all unchanged parts with its predecessor: publishing costs what changed, not what there is.
//!
//! A lookup is one probe of a hash table, without lock or allocation. An address whose owner
//! changed lately is marked; only for such an address the time of the flow matters
//! ([`Index::find_at`]).

mod agent_nodes;
mod changes;
mod cidrs;
mod dns_names;
mod draft;
mod endpoint;
mod ends;
pub mod filters;
mod flows;
mod key;
mod networks;
pub mod policy;
mod reporters;
mod rows;
mod scope;
mod services;
mod snapshot;
mod table;
mod zones;

pub use agent_nodes::AgentNodes;
pub use changes::PodChanges;
pub use dns_names::{DnsNameCache, DnsNames, NameLimits, NameRefusal};
pub use draft::{Draft, HISTORY_NS};
pub use endpoint::{Endpoint, EndpointKind, EndpointSpec, Workload};
pub use ends::End;
pub use flows::Flows;
pub use key::ObjectKey;
pub use policy::Policies;
pub use rows::Describe;
pub use scope::Scope;
pub use services::{ServiceName, ServicePort, ServiceSpec, Services};
pub use snapshot::Index;
pub use zones::{CidrSpec, MAX_CIDRS, Place, ZoneSpec, Zones};
