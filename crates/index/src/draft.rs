//! The index as it is written: one change at a time, published whenever the owner likes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hashbrown::HashSet;
use ipnet::IpNet;
use webb_flow::hash::RandomState;
use webb_flow::{Address, EndpointId, Sort};

use super::networks::Networks;
use super::rows::{Describe, Rows};
use super::table::{CHANGED, Key, Table};
use super::{Changes, Endpoint, EndpointSpec, Index, Interfaces, Kind, Policies, Services};

/// How long an index remembers who had an address before, in nanoseconds. Flows are named a fraction of a second after
/// they happened; those that waited in the ring for a busy or restarting reader, some seconds.
pub const WINDOW_NS: u64 = 60_000_000_000;

/// Rows are given to others when so many are free to be: not for one at a time, since all memos end with it.
const WORTH_IT: usize = 1024;

/// Every index that means something new gets the next number.
static MEANINGS: AtomicU64 = AtomicU64::new(1);

/// What the next index will be.
///
/// A row is given to one endpoint and never changed; when that one goes, or anything about it changes, the row is
/// retired. Retired rows keep their endpoint, for flows of the past, and are given to others all at once: then, and
/// only then, the ids of the next index mean something new ([`Index::meaning`]).
#[derive(Debug)]
pub struct Draft {
    next: Index,
    rows: u32,
    free: Vec<u32>,
    /// Oldest first, with the time.
    retired: VecDeque<(u64, u32)>,
    /// Addresses that changed hands, oldest first, with the time.
    changed: VecDeque<(u64, Address)>,
    world: [EndpointId; 2],
    /// Rows of those who are in no index yet.
    fresh: HashSet<u32, RandomState>,
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
            addresses: 0,
            contested: 0,
            settled_ns: 0,
            meaning: MEANINGS.fetch_add(1, Relaxed),
            policies: Arc::default(),
            services: Arc::default(),
            interfaces: Arc::default(),
            changes: Arc::default(),
            ready: true,
        };
        let mut draft = Self {
            next,
            rows: 0,
            free: Vec::new(),
            retired: VecDeque::new(),
            changed: VecDeque::new(),
            world: [EndpointId::WORLD; 2],
            fresh: HashSet::default(),
        };
        draft.add(Sort::Unknown, Endpoint::EMPTY);
        draft.add(Sort::World, Endpoint::world());
        draft
    }
}

impl Draft {
    /// A new endpoint, all names worked out.
    pub fn add(&mut self, sort: Sort, endpoint: Endpoint) -> EndpointId {
        let row = self.row();
        self.next.rows.put(row, endpoint);
        EndpointId::new(sort, row)
    }

    /// A new endpoint that will be named when a flow asks for it.
    pub fn add_later(&mut self, sort: Sort, who: Arc<dyn Describe>) -> EndpointId {
        let row = self.row();
        self.next.rows.put_later(row, who);
        EndpointId::new(sort, row)
    }

    fn row(&mut self) -> u32 {
        let row = self.free.pop().unwrap_or_else(|| self.next_row());
        self.fresh.insert(row);
        row
    }

    fn next_row(&mut self) -> u32 {
        // 2^27 rows would be many gigabytes: memory ends first. The last row is then everybody's.
        let row = self.rows.min(EndpointId::ROWS - 1);
        self.rows = row + 1;
        row
    }

    /// The endpoint is there no more, or was replaced by another.
    pub fn retire(&mut self, id: EndpointId, now_ns: u64) {
        self.next.rows.leave(id.row());
        self.retired.push_back((now_ns, id.row()));
    }

    /// Gives an address to somebody, or to nobody. `until_ns` says when the one before lost it, for flows from before
    /// that; without, no flow is named by them any more. Nor by one who never was in an index: a source that tells of
    /// everybody at once doesn't tell who was there first. Nor by a pod that was not known: now it is.
    pub fn set(&mut self, address: Address, to: Option<EndpointId>, until_ns: Option<u64>) {
        let names = |id: EndpointId| id.sort() != Sort::Unnamed && !self.fresh.contains(&id.row());
        let until_ns = until_ns.filter(|_| self.find(address).is_some_and(names));
        let known = match address.v4() {
            Some(v4) => set(&mut self.next.v4, v4, to, until_ns),
            None => set(&mut self.next.v6, address.bits(), to, until_ns),
        };
        if let Some(until_ns) = until_ns.filter(|_| known.remembered) {
            self.changed.push_back((until_ns, address));
            self.next.settled_ns = self.next.settled_ns.max(until_ns);
        }
        let names = |id: EndpointId| !matches!(id.sort(), Sort::Service | Sort::Unnamed);
        self.next.addresses += usize::from(to.is_some_and(names));
        self.next.addresses -= usize::from(known.before != 0 && names(EndpointId(known.before)));
    }

    /// Who has the address in the next index; none if nobody has.
    pub fn find(&self, address: Address) -> Option<EndpointId> {
        let (found, _) = self.next.look(address);
        (found & !CHANGED != 0).then_some(EndpointId(found & !CHANGED))
    }

    /// Who has an address that nobody has.
    pub fn world(&self, address: Address) -> EndpointId {
        self.next.world(usize::from(address.v4().is_none()))
    }

    /// Notes that somebody had an address until a moment, and was in no index while they had it: flows from before that
    /// moment are named by them.
    pub fn had(&mut self, address: Address, id: EndpointId, until_ns: u64) {
        match address.v4() {
            Some(v4) => had(&mut self.next.v4, v4, id, until_ns),
            None => had(&mut self.next.v6, address.bits(), id, until_ns),
        }
        self.changed.push_back((until_ns, address));
        self.next.settled_ns = self.next.settled_ns.max(until_ns);
    }

    /// The networks that pods have their addresses from, and no one else.
    pub fn set_networks(&mut self, networks: &[IpNet]) {
        self.unnamed();
        self.next.networks = Networks::new(networks);
    }

    /// Whoever has an address of pods that no pod is known to have.
    pub fn unnamed(&mut self) -> EndpointId {
        if self.next.unnamed == EndpointId::WORLD {
            self.next.unnamed = self.add(Sort::Unnamed, Endpoint::unnamed());
        }
        self.next.unnamed
    }

    /// Whether the cluster has addresses of both families: the world has two names then.
    pub fn set_dual_stack(&mut self, dual: bool) {
        if !dual {
            self.next.world = [EndpointId::WORLD; 2];
            return;
        }
        if self.world == [EndpointId::WORLD; 2] {
            self.world = [(9, "reserved:world-ipv4"), (10, "reserved:world-ipv6")].map(|(identity, label)| {
                let spec = EndpointSpec { identity, labels: vec![label.to_owned()], ..EndpointSpec::default() };
                self.add(Sort::World, Endpoint::new(Kind::World, false, &spec))
            });
        }
        self.next.world = self.world;
    }

    /// The compiled policies from now on.
    pub fn set_policies(&mut self, policies: Policies) {
        self.next.policies = Arc::new(policies);
    }

    /// The services from now on. Their addresses are set as of [`Sort::Service`].
    pub fn set_services(&mut self, services: Services) {
        self.next.services = Arc::new(services);
    }

    /// The pods behind interfaces from now on.
    pub fn set_interfaces(&mut self, pods: impl IntoIterator<Item = (u32, EndpointId)>) {
        let pods: Interfaces = pods.into_iter().collect();
        if *self.next.interfaces != pods {
            self.next.interfaces = Arc::new(pods);
        }
    }

    /// How many addresses more than one running pod claims.
    pub fn set_contested(&mut self, contested: usize) {
        self.next.contested = contested;
    }

    /// Whether the source has told all it had at first.
    pub fn set_ready(&mut self, ready: bool) {
        self.next.ready = ready;
    }

    /// An index of all this. Costs pointers for what has not changed since the last.
    pub fn publish(&mut self, now_ns: u64, changes: Changes) -> Index {
        let horizon_ns = now_ns.saturating_sub(WINDOW_NS);
        while let Some((_, address)) = self.changed.pop_front_if(|(until_ns, _)| *until_ns < horizon_ns) {
            match address.v4() {
                Some(v4) => forget(&mut self.next.v4, v4, horizon_ns),
                None => forget(&mut self.next.v6, address.bits(), horizon_ns),
            }
        }
        self.fresh.clear();
        self.next.changes = Arc::new(changes);
        self.next.clone()
    }

    /// Rows that are free to be given to others, now that nobody will ask for those who had them. The caller may let
    /// go what belongs to them. To be called before an index is published, or never.
    pub fn recycle(&mut self, now_ns: u64) -> Vec<u32> {
        // A little longer than addresses are remembered, so that no address leads to such a row.
        let horizon_ns = now_ns.saturating_sub(WINDOW_NS + WINDOW_NS / 60);
        let due = self.retired.partition_point(|(since_ns, _)| *since_ns < horizon_ns);
        let in_use = self.rows as usize - self.free.len() - self.retired.len();
        if due < WORTH_IT.max(in_use / 2) {
            return Vec::new();
        }
        self.next.meaning = MEANINGS.fetch_add(1, Relaxed);
        let freed: Vec<u32> = self.retired.drain(..due).map(|(_, row)| row).collect();
        self.free.extend(&freed);
        // Neighbours are given out one after the other: they share blocks.
        self.free.sort_unstable_by(|a, b| b.cmp(a));
        freed
    }
}

struct Known {
    before: u32,
    remembered: bool,
}

fn set<K: Key>(table: &mut Table<K>, key: K, to: Option<EndpointId>, until_ns: Option<u64>) -> Known {
    let found = table.get(key);
    let before = found & !CHANGED;
    let ended = until_ns.filter(|_| before != 0).map(|until_ns| (until_ns, before));
    let changed = if ended.is_some() { table.remember(key, ended, 0) } else { found & CHANGED != 0 };
    table.set(key, to.map_or(0, |id| id.0) | if changed { CHANGED } else { 0 });
    Known { before, remembered: ended.is_some() }
}

fn had<K: Key>(table: &mut Table<K>, key: K, id: EndpointId, until_ns: u64) {
    table.remember(key, Some((until_ns, id.0)), 0);
    let now = table.get(key);
    table.set(key, now | CHANGED);
}

fn forget<K: Key>(table: &mut Table<K>, key: K, horizon_ns: u64) {
    if !table.remember(key, None, horizon_ns) {
        let now = table.get(key) & !CHANGED;
        table.set(key, now);
    }
}
