//! The mutable side of the index: changes are applied one by one and published as snapshots.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::HashSet;
use ipnet::IpNet;
use webb_flow::hash::RandomState;
use webb_flow::room::is_spacious;
use webb_flow::{Address, EndpointId, Sort};

use super::agent_nodes::AgentNodes;
use super::cidrs::Cidrs;
use super::networks::Networks;
use super::policy::PolicyRevision;
use super::rows::{Describe, Rows};
use super::snapshot::Interfaces;
use super::table::{AddressKey, CHANGED, Table};
use super::{Endpoint, EndpointKind, EndpointSpec, Index, PodChanges, Policies, Services, Zones};

/// Time that an index keeps previous owners of addresses, in nanoseconds. Flows are resolved a
/// fraction of a second after they happened; after a restart of the reader, some seconds.
pub const HISTORY_NS: u64 = 60_000_000_000;

/// Retired rows that are reused at once, at least: each time all caches keyed by ids are
/// invalidated.
const MIN_REUSED_ROWS: usize = 1024;

/// The next generation of ids, see [`Index::generation`].
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// Builds the next index.
///
/// A row belongs to one endpoint and never changes; when the endpoint is deleted or modified, the
/// row is retired. Retired rows keep their endpoint, for flows of the past, and are reused in bulk:
/// then, and only then, the ids of the next index have a new generation ([`Index::generation`]).
#[derive(Debug)]
pub struct Draft {
    next: Index,
    rows: u32,
    free: Vec<u32>,
    /// Oldest first, with the time.
    retired: VecDeque<(u64, u32)>,
    /// Addresses with a changed owner, oldest first, with the time.
    changed: VecDeque<(u64, Address)>,
    world: [EndpointId; 2],
    /// Rows of the networks of `zones.cidrs`.
    cidrs: Vec<EndpointId>,
    /// Rows that no published index has yet.
    unpublished: HashSet<u32, RandomState>,
}

impl Default for Draft {
    fn default() -> Self {
        let next = Index {
            v4: Table::default(),
            v6: Table::default(),
            rows: Rows::default(),
            world: [EndpointId::WORLD; 2],
            unnamed: EndpointId::WORLD,
            networks: Networks::default(),
            cidrs: Arc::default(),
            addresses: 0,
            contested: 0,
            last_change_ns: 0,
            generation: GENERATIONS.fetch_add(1, Relaxed),
            policies: Arc::default(),
            revision: Default::default(),
            services: Arc::default(),
            zones: Arc::default(),
            agents: Arc::default(),
            interfaces: Arc::default(),
            changes: Arc::default(),
            dns_names: Arc::default(),
            ready: true,
            sourced: true,
        };
        let mut draft = Self {
            next,
            rows: 0,
            free: Vec::new(),
            retired: VecDeque::new(),
            changed: VecDeque::new(),
            world: [EndpointId::WORLD; 2],
            cidrs: Vec::new(),
            unpublished: HashSet::default(),
        };
        draft.add(Sort::Unknown, Endpoint::EMPTY);
        draft.add(Sort::World, Endpoint::world());
        draft
    }
}

impl Default for Index {
    /// The empty index: every address is the world's.
    fn default() -> Self {
        Self::new([], Policies::default())
    }
}

impl Index {
    /// An empty index before the first sync: flows resolved by it are resolved too early, and every
    /// address that may be a pod's is one of an unknown pod.
    pub fn not_ready() -> Self {
        let mut draft = Draft::default();
        draft.set_ready(false);
        draft.publish(0, PodChanges::default())
    }
}

impl Index {
    /// Builds an index of these endpoints, each with its addresses: rows from 2 on, in this order.
    /// The last endpoint that claims an address gets it.
    pub fn new(endpoints: impl IntoIterator<Item = (Endpoint, Vec<Address>)>, policies: Policies) -> Self {
        let mut draft = Draft::default();
        for (endpoint, addresses) in endpoints {
            let id = draft.add(endpoint.sort(), endpoint);
            for address in addresses {
                draft.set(address, Some(id), None);
            }
        }
        draft.set_policies(policies);
        draft.publish(0, PodChanges::default())
    }
}

impl Draft {
    /// Adds an endpoint with computed names.
    pub fn add(&mut self, sort: Sort, endpoint: Endpoint) -> EndpointId {
        let row = self.row();
        self.next.rows.put(row, endpoint);
        EndpointId::new(sort, row)
    }

    /// Adds an endpoint that computes its names at the first lookup.
    pub fn add_lazy(&mut self, sort: Sort, source: Arc<dyn Describe>) -> EndpointId {
        let row = self.row();
        self.next.rows.put_lazy(row, source);
        EndpointId::new(sort, row)
    }

    fn row(&mut self) -> u32 {
        let row = self.free.pop().unwrap_or_else(|| self.next_row());
        self.unpublished.insert(row);
        row
    }

    fn next_row(&mut self) -> u32 {
        // 2^27 rows would be many gigabytes: memory ends first. Beyond, all share the last row.
        let row = self.rows.min(EndpointId::ROWS - 1);
        self.rows = row + 1;
        row
    }

    /// Retires the row of an endpoint that was deleted or replaced.
    pub fn retire(&mut self, id: EndpointId, now_ns: u64) {
        self.next.rows.mark_deleted(id.row());
        self.retired.push_back((now_ns, id.row()));
    }

    /// Sets or clears the owner of an address. `until_ns` is the end of the previous ownership,
    /// kept for flows from before; without it the previous owner is dropped. So is one that was
    /// never published (an initial list has no order), and one that was not known, since the pod is
    /// known now.
    pub fn set(&mut self, address: Address, to: Option<EndpointId>, until_ns: Option<u64>) {
        let is_kept = |id: EndpointId| id.sort() != Sort::Unnamed && !self.unpublished.contains(&id.row());
        let until_ns = until_ns.filter(|_| self.find(address).is_some_and(is_kept));
        let replaced = match address.v4() {
            Some(v4) => set(&mut self.next.v4, v4, to, until_ns),
            None => set(&mut self.next.v6, address.bits(), to, until_ns),
        };
        if let Some(until_ns) = until_ns.filter(|_| replaced.is_recorded) {
            self.changed.push_back((until_ns, address));
            self.next.last_change_ns = self.next.last_change_ns.max(until_ns);
        }
        let is_named = |id: EndpointId| !matches!(id.sort(), Sort::Service | Sort::Unnamed);
        self.next.addresses += usize::from(to.is_some_and(is_named));
        self.next.addresses -= usize::from(replaced.owner != 0 && is_named(EndpointId(replaced.owner)));
    }

    /// Looks up the owner of an address in the next index.
    pub fn find(&self, address: Address) -> Option<EndpointId> {
        let (found, _) = self.next.lookup(address);
        (found & !CHANGED != 0).then_some(EndpointId(found & !CHANGED))
    }

    /// The world endpoint of an address.
    pub fn world(&self, address: Address) -> EndpointId {
        self.next.world(usize::from(address.v4().is_none()))
    }

    /// Records a previous owner that no index has had as the current one: flows from before
    /// `until_ns` resolve to it.
    pub fn add_previous_owner(&mut self, address: Address, id: EndpointId, until_ns: u64) {
        match address.v4() {
            Some(v4) => add_previous(&mut self.next.v4, v4, id, until_ns),
            None => add_previous(&mut self.next.v6, address.bits(), id, until_ns),
        }
        self.changed.push_back((until_ns, address));
        self.next.last_change_ns = self.next.last_change_ns.max(until_ns);
    }

    /// Sets the networks that only pods have addresses from.
    pub fn set_networks(&mut self, networks: &[IpNet]) {
        self.unnamed();
        self.next.networks = Networks::new(networks);
    }

    /// The endpoint of pod addresses without a known pod.
    pub fn unnamed(&mut self) -> EndpointId {
        if self.next.unnamed == EndpointId::WORLD {
            self.next.unnamed = self.add(Sort::Unnamed, Endpoint::unnamed());
        }
        self.next.unnamed
    }

    /// Sets whether the cluster is dual-stack: the world then has an endpoint for each family.
    pub fn set_dual_stack(&mut self, dual: bool, now_ns: u64) {
        self.next.world = if dual { self.worlds() } else { [EndpointId::WORLD; 2] };
        self.place_cidrs(now_ns);
    }

    fn worlds(&mut self) -> [EndpointId; 2] {
        if self.world == [EndpointId::WORLD; 2] {
            self.world = [(9, "reserved:world-ipv4"), (10, "reserved:world-ipv6")].map(|(identity, label)| {
                let spec = EndpointSpec { identity, labels: vec![label.to_owned()], ..EndpointSpec::default() };
                self.add(Sort::World, Endpoint::new(EndpointKind::World, false, &spec))
            });
        }
        self.world
    }

    /// Replaces the compiled policies.
    pub fn set_policies(&mut self, policies: Policies) {
        self.next.policies = Arc::new(policies);
    }

    /// Sets the changes of policies that the next index has, of all that are counted.
    pub fn set_policy_revision(&mut self, counted: PolicyRevision, included: u64) {
        self.next.revision = (counted, included);
    }

    /// Replaces the services. Their addresses are set as of [`Sort::Service`].
    pub fn set_services(&mut self, services: Services) {
        self.next.services = Arc::new(services);
    }

    /// Replaces the places of nodes and networks. What is cached of ids is invalid where they
    /// differ.
    pub fn set_zones(&mut self, zones: Zones, now_ns: u64) {
        if self.next.zones.equals(&zones) {
            return;
        }
        let same_cidrs = self.next.zones.has_cidrs_of(&zones);
        self.next.zones = Arc::new(zones);
        self.next.generation = GENERATIONS.fetch_add(1, Relaxed);
        if !same_cidrs {
            self.place_cidrs(now_ns);
        }
    }

    /// Replaces the nodes with an agent. Without a call every node has one.
    pub fn set_agents(&mut self, agents: AgentNodes) {
        if !self.next.agents.equals(&agents) {
            self.next.agents = Arc::new(agents);
        }
    }

    /// Gives each network of `zones.cidrs` a row: the world, with the number of the network.
    fn place_cidrs(&mut self, now_ns: u64) {
        for id in std::mem::take(&mut self.cidrs) {
            self.retire(id, now_ns);
        }
        let networks: Vec<(u16, IpNet)> = self.next.zones.networks().collect();
        let place = |(number, network): (u16, IpNet)| {
            let world = self.next.world(usize::from(matches!(network, IpNet::V6(_))));
            let endpoint = Endpoint { cidr: number, ..*self.next.endpoint(world) };
            (network, self.add(Sort::World, endpoint))
        };
        let placed: Vec<(IpNet, EndpointId)> = networks.into_iter().map(place).collect();
        self.cidrs = placed.iter().map(|(_, id)| *id).collect();
        self.next.cidrs = Arc::new(Cidrs::new(&placed));
    }

    /// Replaces the pods of interfaces.
    pub fn set_interfaces(&mut self, pods: impl IntoIterator<Item = (u32, EndpointId)>) {
        let pods: Interfaces = pods.into_iter().collect();
        if *self.next.interfaces != pods {
            self.next.interfaces = Arc::new(pods);
        }
    }

    /// Sets the number of addresses that more than one running pod claims.
    pub fn set_contested(&mut self, contested: usize) {
        self.next.contested = contested;
    }

    /// Sets whether the initial sync of the source is complete. Until then an address without an
    /// owner may be that of a pod which is not known yet.
    pub fn set_ready(&mut self, ready: bool) {
        if !ready {
            self.unnamed();
        }
        self.next.ready = ready;
    }

    /// Sets whether a source of names is configured; one is by default.
    pub fn set_sourced(&mut self, sourced: bool) {
        self.next.sourced = sourced;
    }

    /// Publishes a snapshot. Parts that have not changed since the last are shared.
    pub fn publish(&mut self, now_ns: u64, changes: PodChanges) -> Index {
        let horizon_ns = now_ns.saturating_sub(HISTORY_NS);
        while let Some((_, address)) = self.changed.pop_front_if(|(until_ns, _)| *until_ns < horizon_ns) {
            match address.v4() {
                Some(v4) => expire(&mut self.next.v4, v4, horizon_ns),
                None => expire(&mut self.next.v6, address.bits(), horizon_ns),
            }
        }
        self.unpublished.clear();
        self.next.changes = Arc::new(changes);
        self.next.clone()
    }

    /// Number of retired rows that [`Draft::reuse_rows`] would free at `now_ns`.
    pub fn reusable_rows(&self, now_ns: u64) -> usize {
        // A little longer than previous owners are kept, so that no address leads to such a row.
        let horizon_ns = now_ns.saturating_sub(HISTORY_NS + HISTORY_NS / 60);
        let due = self.retired.partition_point(|(since_ns, _)| *since_ns < horizon_ns);
        let in_use = self.rows as usize - self.free.len() - self.retired.len();
        if due < MIN_REUSED_ROWS.max(in_use / 2) { 0 } else { due }
    }

    /// Frees retired rows that no address resolves to any more, with their names, and returns them
    /// so that the caller can drop what it keeps by row. Call it before publishing an index, or
    /// never.
    pub fn reuse_rows(&mut self, now_ns: u64) -> Vec<u32> {
        let due = self.reusable_rows(now_ns);
        if due == 0 {
            return Vec::new();
        }
        self.next.generation = GENERATIONS.fetch_add(1, Relaxed);
        let freed: Vec<u32> = self.retired.drain(..due).map(|(_, row)| row).collect();
        for &row in &freed {
            self.next.rows.clear(row);
        }
        self.free.extend(&freed);
        // Neighbours are reused one after the other: they share blocks.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        self.compact();
        freed
    }

    /// Number above the greatest row in use: what is kept by row needs no more room.
    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Drops free rows behind the last one in use, if far more are free than in use.
    fn compact(&mut self) {
        let in_use = self.rows as usize - self.free.len();
        if is_spacious(self.rows as usize, in_use) {
            // The free rows are sorted, the last one first.
            let last = self.free.iter().zip((0..self.rows).rev()).take_while(|(free, row)| *free == row).count();
            self.free.drain(..last);
            self.rows -= u32::try_from(last).unwrap_or(0);
        }
        self.next.rows.compact(self.rows);
    }

    /// Gives back the room of tables that were larger.
    pub fn shrink(&mut self) {
        if is_spacious(self.free.capacity(), self.free.len()) {
            self.free.shrink_to_fit();
        }
        if is_spacious(self.retired.capacity(), self.retired.len()) {
            self.retired.shrink_to_fit();
        }
        if is_spacious(self.changed.capacity(), self.changed.len()) {
            self.changed.shrink_to_fit();
        }
        if is_spacious(self.unpublished.capacity(), self.unpublished.len()) {
            self.unpublished.shrink_to_fit();
        }
    }
}

/// The previous owner of an address: 0 for none, and whether the history has it.
struct Replaced {
    owner: u32,
    is_recorded: bool,
}

fn set<K: AddressKey>(table: &mut Table<K>, key: K, to: Option<EndpointId>, until_ns: Option<u64>) -> Replaced {
    let found = table.get(key);
    let owner = found & !CHANGED;
    let ended = until_ns.filter(|_| owner != 0).map(|until_ns| (until_ns, owner));
    let changed = if ended.is_some() { table.record(key, ended, 0) } else { found & CHANGED != 0 };
    table.set(key, to.map_or(0, |id| id.0) | if changed { CHANGED } else { 0 });
    Replaced { owner, is_recorded: ended.is_some() }
}

fn add_previous<K: AddressKey>(table: &mut Table<K>, key: K, id: EndpointId, until_ns: u64) {
    table.record(key, Some((until_ns, id.0)), 0);
    let now = table.get(key);
    table.set(key, now | CHANGED);
}

fn expire<K: AddressKey>(table: &mut Table<K>, key: K, horizon_ns: u64) {
    if !table.record(key, None, horizon_ns) {
        let now = table.get(key) & !CHANGED;
        table.set(key, now);
    }
}
