//! Who is behind an address: the immutable [`Index`] that one batch of flows is named by.
//!
//! `cluster` keeps a [`Draft`], changes it as the cluster changes, and publishes an index of it; the reader picks that
//! up between two batches and the batch carries it along, so an [`EndpointId`] means the same to every metric that
//! reads the batch. An index shares with the one before all that has not changed: publishing costs what changed, not
//! what there is.
//!
//! Looking up an address is one probe of a table, without lock or allocation. An address that has changed hands lately
//! is marked; only for such an address the time of the flow is looked at ([`Index::find_at`]).

mod dns;
mod draft;
mod endpoint;
mod ends;
pub mod filters;
mod flows;
mod networks;
pub mod policy;
mod rows;
mod services;
mod table;

use std::fmt;
use std::sync::Arc;

pub use draft::{Draft, WINDOW_NS};
pub use endpoint::{Endpoint, EndpointSpec, Kind, Workload};
pub use ends::End;
pub use flows::Flows;
use hashbrown::HashMap;
use networks::Networks;
pub use policy::Policies;
pub use rows::Describe;
use rows::Rows;
pub use services::{ServiceName, ServicePort, ServiceSpec, Services};
use table::{CHANGED, Table};
use webb_flow::{Address, EndpointId, Sort};

/// Namespace and name of an object; the namespace is empty for objects of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            to.write_str(&self.name)
        } else {
            write!(to, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Pods that came and went between an index and the one that was published before it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Changes {
    pub came: Vec<Arc<Key>>,
    pub went: Vec<Arc<Key>>,
}

/// The pod behind each interface of this node that is known to be a pod's.
type Interfaces = HashMap<u32, EndpointId, webb_flow::hash::RandomState>;

/// Everything a batch needs to name its flows. Immutable once published.
#[derive(Debug, Clone)]
pub struct Index {
    v4: Table<u32>,
    v6: Table<u128>,
    rows: Rows,
    /// Who has an address that nobody has, by family: they differ in clusters with both.
    world: [EndpointId; 2],
    /// Whoever has an address of pods that no pod is known to have; the world in an index that was not told of pods'
    /// networks.
    unnamed: EndpointId,
    networks: Networks,
    addresses: usize,
    contested: usize,
    /// When the last address changed hands: what happened since needs no look into the past.
    settled_ns: u64,
    meaning: u64,
    policies: Arc<Policies>,
    services: Arc<Services>,
    interfaces: Arc<Interfaces>,
    changes: Arc<Changes>,
    ready: bool,
}

impl Default for Index {
    /// Nobody is known: every address is the world's.
    fn default() -> Self {
        Self::new([], Policies::default())
    }
}

impl Index {
    /// An index of these endpoints, each with its addresses: rows from 2 on, in this order. Where two claim an address,
    /// the later one has it.
    pub fn new(endpoints: impl IntoIterator<Item = (Endpoint, Vec<Address>)>, policies: Policies) -> Self {
        let mut draft = Draft::default();
        for (endpoint, addresses) in endpoints {
            let id = draft.add(endpoint.sort(), endpoint);
            for address in addresses {
                draft.set(address, Some(id), None);
            }
        }
        draft.set_policies(policies);
        draft.publish(0, Changes::default())
    }

    /// Nobody is known, but somebody will be: whoever is named by this is named too early.
    pub fn waiting() -> Self {
        Self { ready: false, ..Self::default() }
    }

    /// Who has `address`; someone in the world for an address nobody claims.
    #[inline]
    pub fn find(&self, address: Address) -> EndpointId {
        let (found, family) = self.look(address);
        if found & !CHANGED == 0 { self.nobody(address, family) } else { EndpointId(found & !CHANGED) }
    }

    /// Who had `address` at `time_ns` (`CLOCK_MONOTONIC`), as far as that can be told: what happened longer ago than
    /// [`WINDOW_NS`] is forgotten, and then the answer is who has it now.
    #[inline]
    pub fn find_at(&self, address: Address, time_ns: u64) -> EndpointId {
        let (found, family) = self.look(address);
        if found == 0 {
            self.nobody(address, family)
        } else if found & CHANGED == 0 || (time_ns >= self.settled_ns && found != CHANGED) {
            EndpointId(found & !CHANGED)
        } else {
            self.find_in_the_past(address, time_ns)
        }
    }

    #[cold]
    fn find_in_the_past(&self, address: Address, time_ns: u64) -> EndpointId {
        let before = match address.v4() {
            Some(v4) => self.v4.before(v4, time_ns),
            None => self.v6.before(address.bits(), time_ns),
        };
        before.map_or_else(|| self.find(address), EndpointId)
    }

    #[inline]
    fn look(&self, address: Address) -> (u32, usize) {
        match address.v4() {
            Some(v4) => (self.v4.get(v4), 0),
            None => (self.v6.get(address.bits()), 1),
        }
    }

    /// Out of line, so that looking up addresses that are known stays small.
    #[inline(never)]
    fn nobody(&self, address: Address, family: usize) -> EndpointId {
        if self.networks.hold(address) { self.unnamed } else { self.world(family) }
    }

    #[inline]
    fn world(&self, family: usize) -> EndpointId {
        self.world.get(family).copied().unwrap_or(EndpointId::WORLD)
    }

    /// Who has had `address` lately, oldest first, each with the moment (`CLOCK_MONOTONIC`, nanoseconds) it ended.
    pub fn past(&self, address: Address) -> Vec<(u64, EndpointId)> {
        let past = match address.v4() {
            Some(v4) => self.v4.past(v4),
            None => self.v6.past(address.bits()),
        };
        past.into_iter().map(|(until, to)| (until, EndpointId(to))).collect()
    }

    /// The pod behind an interface of this node; none if that isn't known.
    pub fn behind(&self, ifindex: u32) -> Option<EndpointId> {
        self.interfaces.get(&ifindex).copied()
    }

    /// Whoever has an address that nobody is known to have, at the interface of a pod: a pod, which is not known yet, if
    /// pods are known at all.
    pub fn unnamed_at_pod(&self, address: Address) -> Option<EndpointId> {
        (self.unnamed != EndpointId::WORLD && self.ready && self.addresses > 0 && address.may_be_a_pods())
            .then_some(self.unnamed)
    }

    /// The interfaces of this node that lead to a pod, in order.
    pub fn interfaces_of(&self, pod: Option<EndpointId>) -> Vec<u32> {
        let leads = self.interfaces.iter().filter(|(_, id)| Some(**id) == pod);
        let mut interfaces: Vec<u32> = leads.map(|(ifindex, _)| *ifindex).collect();
        interfaces.sort_unstable();
        interfaces
    }

    /// The endpoint of an id given by this index; the empty endpoint for any other.
    #[inline]
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        self.rows.get(id.row())
    }

    /// Every endpoint that is there, with its id, the empty one and the world included. Names them all, which an index
    /// otherwise leaves until someone asks: for small indexes.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.rows.live().map(|row| {
            let endpoint = self.rows.get(row);
            (EndpointId::new(endpoint.sort(), row), endpoint)
        })
    }

    /// How many addresses have a name: not those of services, nor of pods that are not known.
    pub fn addresses(&self) -> usize {
        self.addresses
    }

    /// How many addresses more than one running pod claims.
    pub fn contested(&self) -> usize {
        self.contested
    }

    /// The NetworkPolicies, compiled.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The services by frontend.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What ids mean. Between two indexes of the same meaning no id stands for two different endpoints, so what was
    /// worked out from ids holds as long as this number stays the same.
    pub fn meaning(&self) -> u64 {
        self.meaning
    }

    /// Pods that came and went since the index that was published before.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Whether it holds all that its source had to say at first. Flows that were named before that were named late.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl Endpoint {
    /// What an id tells of it.
    pub(crate) fn sort(&self) -> Sort {
        match self.kind {
            Kind::Unknown => Sort::Unknown,
            Kind::Pod if self.local => Sort::Local,
            Kind::Pod => Sort::Remote,
            Kind::Host | Kind::RemoteNode | Kind::Reserved => Sort::Node,
            Kind::World => Sort::World,
            Kind::Unnamed => Sort::Unnamed,
        }
    }
}
