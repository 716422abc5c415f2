//! The immutable [`Index`].

use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::sym::Sym;
use webb_flow::{Address, EndpointId};

use super::agent_nodes::AgentNodes;
use super::cidrs::Cidrs;
use super::networks::Networks;
use super::policy::PolicyRevision;
use super::rows::Rows;
use super::table::{CHANGED, Table};
use super::{DnsNames, Endpoint, Place, PodChanges, Policies, Services, Zones};

/// The pod of each interface of this node that leads to a known pod.
pub(super) type Interfaces = HashMap<u32, EndpointId, webb_flow::hash::RandomState>;

/// Resolves the addresses, services and policies of a batch's flows. Immutable once published.
#[derive(Debug, Clone)]
pub struct Index {
    pub(super) v4: Table<u32>,
    pub(super) v6: Table<u128>,
    pub(super) rows: Rows,
    /// The endpoint of addresses without an owner, by family: they differ in dual-stack clusters.
    pub(super) world: [EndpointId; 2],
    /// The endpoint of addresses in [`Networks`] without a known pod, and of all addresses without
    /// an owner before the first sync; the world if neither was ever the case.
    pub(super) unnamed: EndpointId,
    pub(super) networks: Networks,
    /// The endpoints of addresses without an owner within `zones.cidrs`.
    pub(super) cidrs: Arc<Cidrs>,
    pub(super) addresses: usize,
    pub(super) contested: usize,
    /// Time of the last change of an owner: later flows need no lookup in the history.
    pub(super) last_change_ns: u64,
    pub(super) generation: u64,
    pub(super) policies: Arc<Policies>,
    /// The count that the cache has, and its value when this index was built.
    pub(super) revision: (PolicyRevision, u64),
    pub(super) services: Arc<Services>,
    pub(super) zones: Arc<Zones>,
    pub(super) agents: Arc<AgentNodes>,
    pub(super) interfaces: Arc<Interfaces>,
    pub(super) changes: Arc<PodChanges>,
    pub(super) dns_names: Arc<DnsNames>,
    pub(super) ready: bool,
    /// A source of names is configured.
    pub(super) sourced: bool,
}

impl Index {
    /// Looks up the owner of `address`; the world, or a pod that is not known, for an address
    /// without one.
    #[inline]
    pub fn find(&self, address: Address) -> EndpointId {
        let (found, family) = self.lookup(address);
        if found & !CHANGED == 0 { self.unowned(address, family) } else { EndpointId(found & !CHANGED) }
    }

    /// Looks up the owner of `address` at `time_ns` (`CLOCK_MONOTONIC`). Changes are kept for
    /// [`crate::HISTORY_NS`]; before that the current owner is returned.
    #[inline]
    pub fn find_at(&self, address: Address, time_ns: u64) -> EndpointId {
        let (found, family) = self.lookup(address);
        if found == 0 {
            self.unowned(address, family)
        } else if found & CHANGED == 0 || (time_ns >= self.last_change_ns && found != CHANGED) {
            EndpointId(found & !CHANGED)
        } else {
            self.find_in_history(address, time_ns)
        }
    }

    #[cold]
    fn find_in_history(&self, address: Address, time_ns: u64) -> EndpointId {
        let before = match address.v4() {
            Some(v4) => self.v4.owner_at(v4, time_ns),
            None => self.v6.owner_at(address.bits(), time_ns),
        };
        before.map_or_else(|| self.find(address), EndpointId)
    }

    #[inline]
    pub(super) fn lookup(&self, address: Address) -> (u32, usize) {
        match address.v4() {
            Some(v4) => (self.v4.get(v4), 0),
            None => (self.v6.get(address.bits()), 1),
        }
    }

    /// The endpoint of an address without an owner. Not inlined, which keeps the hit path small.
    #[inline(never)]
    fn unowned(&self, address: Address, family: usize) -> EndpointId {
        if self.networks.contains(address) || (!self.ready && address.may_be_a_pods()) {
            self.unnamed
        } else {
            self.cidrs.find(address, family).unwrap_or_else(|| self.world(family))
        }
    }

    #[inline]
    pub(super) fn world(&self, family: usize) -> EndpointId {
        self.world.get(family).copied().unwrap_or(EndpointId::WORLD)
    }

    /// The previous owners of `address` within [`crate::HISTORY_NS`], oldest first, each with the
    /// end of its ownership (`CLOCK_MONOTONIC`, nanoseconds).
    pub fn previous_owners(&self, address: Address) -> Vec<(u64, EndpointId)> {
        let owners = match address.v4() {
            Some(v4) => self.v4.previous_owners(v4),
            None => self.v6.previous_owners(address.bits()),
        };
        owners.into_iter().map(|(until, to)| (until, EndpointId(to))).collect()
    }

    /// The pod that an interface of this node leads to; none if that isn't known.
    pub fn pod_at_interface(&self, ifindex: u32) -> Option<EndpointId> {
        self.interfaces.get(&ifindex).copied()
    }

    /// The endpoint of an address without an owner that is seen at a pod's interface: a pod that is
    /// not known yet, or none before any pod is known.
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

    /// The identifier `identity` of an endpoint: all its labels joined with `,`. Computed at the
    /// first lookup.
    pub fn identity(&self, id: EndpointId) -> Sym {
        self.rows.identity(id.row())
    }

    /// Every live endpoint with its id, the empty one and the world included. Computes the names of
    /// all, which are otherwise lazy: for small indexes.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.rows.live().map(|row| {
            let endpoint = self.rows.get(row);
            (EndpointId::new(endpoint.sort(), row), endpoint)
        })
    }

    /// The number of live endpoints, the empty one and the world included.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The number of addresses with an owner, without those of services and of unknown pods.
    pub fn addresses(&self) -> usize {
        self.addresses
    }

    /// The number of addresses that more than one running pod claims.
    pub fn contested(&self) -> usize {
        self.contested
    }

    /// The NetworkPolicies, compiled.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// The policies, shared, to keep them beyond the index.
    pub fn shared_policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies)
    }

    /// The changes of policies, and of what they select by, that this index has.
    #[inline]
    pub fn policy_revision(&self) -> u64 {
        self.revision.1
    }

    /// Whether policies have changed since, so that a newer index is to come.
    #[inline]
    pub fn has_newer_policies(&self) -> bool {
        self.revision.0.current() != self.revision.1
    }

    /// The services by frontend.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The nodes with an agent.
    pub fn agents(&self) -> &AgentNodes {
        &self.agents
    }

    /// The places of nodes, pods and networks.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The same, shared, to keep them beyond the index.
    pub fn shared_zones(&self) -> Arc<Zones> {
        Arc::clone(&self.zones)
    }

    /// Where an endpoint is: node, zone, region, and the entry of `zones.cidrs` that holds it.
    pub fn place(&self, id: EndpointId) -> Place {
        self.zones.find(self.endpoint(id))
    }

    /// The generation of endpoint ids. Within one generation no id is reused, so a cache keyed by
    /// ids stays valid until this number changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Pods added and removed since the previously published index.
    pub fn changes(&self) -> &PodChanges {
        &self.changes
    }

    /// The same index with these names from DNS.
    #[must_use]
    pub fn with_dns_names(&self, names: Arc<DnsNames>) -> Self {
        Self { dns_names: names, ..self.clone() }
    }

    /// The names that pods have looked up in DNS.
    #[inline]
    pub fn dns_names(&self) -> &Arc<DnsNames> {
        &self.dns_names
    }

    /// True if a name that is not known may come: a source of names is configured, and its initial
    /// sync is complete.
    pub fn awaits_names(&self) -> bool {
        self.ready && self.sourced
    }

    /// True if a source of names is configured.
    pub fn is_sourced(&self) -> bool {
        self.sourced
    }

    /// True once the initial sync of its source is complete.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}
