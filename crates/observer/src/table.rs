//! What names the flows of a few segments: the endpoints and services that occur in them.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;
use webb_flow::{EndpointId, ServiceEnd, ServiceId};
use webb_index::{Draft, Endpoint, Index, PodChanges, ServiceSpec, Services};

use crate::segment::NameTable;

/// Events, names and endpoints of a table, at most, before the next segment begins another: a few
/// megabytes.
const TABLE_EVENTS: usize = 1 << 20;
const TABLE_NAMES: usize = 65_536;
const TABLE_ENDPOINTS: usize = 16_384;

/// Endpoints that are found without hashing, by the last digits of their rows. Rows are dense.
const RECENT: usize = 1024;

/// Time for which the namespace of an endpoint that was met is not noted again, in nanoseconds.
const NOTED_NS: u64 = 60_000_000_000;

/// An endpoint that was met.
#[derive(Debug, Clone, Copy)]
struct Met {
    id: EndpointId,
    own: EndpointId,
    /// When its namespace was noted, in [`NOTED_NS`].
    noted: u64,
}

const NOT_MET: Met = Met { id: EndpointId::NONE, own: EndpointId::NONE, noted: 0 };

/// What names the flows of a few segments.
#[derive(Debug)]
pub(crate) struct Table {
    draft: Draft,
    /// Its rows by the ids of the source.
    ends: HashMap<EndpointId, EndpointId, RandomState>,
    /// The last ones of `ends`.
    recent: Box<[Met; RECENT]>,
    /// Namespaces of the endpoints that were met, until they are taken.
    namespaces: Vec<Sym>,
    services: HashMap<ServiceId, ServiceId, RandomState>,
    service_names: Vec<(Sym, Sym)>,
    /// Number of them that the draft has.
    services_named: usize,
    pub(crate) owned: Arc<NameTable>,
    /// The symbols that `owned` owns.
    held: HashSet<Sym, RandomState>,
    /// The draft with all that was added, once that was published.
    index: Option<Arc<Index>>,
    /// Events of its full segments.
    pub(crate) events: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            draft: Draft::default(),
            ends: HashMap::default(),
            recent: Box::new([NOT_MET; RECENT]),
            namespaces: Vec::new(),
            services: HashMap::default(),
            service_names: Vec::new(),
            services_named: 0,
            owned: Arc::default(),
            held: HashSet::default(),
            index: None,
            events: 0,
        }
    }
}

impl Table {
    /// True once the next segment needs another table.
    pub(crate) fn is_large(&self) -> bool {
        self.events >= TABLE_EVENTS || self.held.len() >= TABLE_NAMES || self.draft.rows() >= TABLE_ENDPOINTS
    }

    /// Forgets the ids of endpoints: they mean others now.
    pub(crate) fn forget_ends(&mut self) {
        self.ends.clear();
        *self.recent = [NOT_MET; RECENT];
    }

    /// Forgets the ids of services.
    pub(crate) fn forget_services(&mut self) {
        self.services.clear();
    }

    /// The index with all that was added.
    pub(crate) fn publish(&mut self, now_ns: u64) -> Arc<Index> {
        if let Some(index) = &self.index {
            return Arc::clone(index);
        }
        if self.services_named < self.service_names.len() {
            let spec = |(namespace, name): &(Sym, Sym)| ServiceSpec {
                namespace: namespace.text().to_string(),
                name: name.text().to_string(),
                ..ServiceSpec::default()
            };
            let specs: Vec<ServiceSpec> = self.service_names.iter().map(spec).collect();
            self.draft.set_services(Services::new(&specs));
            self.services_named = specs.len();
        }
        let index = Arc::new(self.draft.publish(now_ns, PodChanges::default()));
        self.index = Some(Arc::clone(&index));
        index
    }

    /// The own id of an endpoint that is met at this time.
    #[inline]
    pub(crate) fn end(&mut self, id: EndpointId, index: &Index, now_ns: u64) -> EndpointId {
        // The ids of no endpoint and of the world are the same in every index.
        if id == EndpointId::NONE || id == EndpointId::WORLD {
            return id;
        }
        let noted = now_ns / NOTED_NS;
        match self.recent.get(id.row() as usize % RECENT) {
            Some(met) if met.id == id && met.noted == noted => met.own,
            _ => self.meet(id, index, noted),
        }
    }

    fn meet(&mut self, id: EndpointId, index: &Index, noted: u64) -> EndpointId {
        let namespace = self.own(index.endpoint(id).namespace);
        if !namespace.is_empty() && !self.namespaces.contains(&namespace) {
            self.namespaces.push(namespace);
        }
        let own = match self.ends.get(&id) {
            Some(known) => *known,
            None => self.add(id, index),
        };
        if let Some(met) = self.recent.get_mut(id.row() as usize % RECENT) {
            *met = Met { id, own, noted };
        }
        own
    }

    fn add(&mut self, id: EndpointId, index: &Index) -> EndpointId {
        let endpoint = self.owned(Endpoint { identity: index.identity(id), ..*index.endpoint(id) });
        let own = self.draft.add(id.sort(), endpoint);
        self.index = None;
        self.ends.insert(id, own);
        own
    }

    /// Takes the namespaces of the endpoints that were met since the last time.
    pub(crate) fn take_namespaces(&mut self) -> Vec<Sym> {
        std::mem::take(&mut self.namespaces)
    }

    /// An endpoint whose names live as long as the table.
    fn owned(&mut self, endpoint: Endpoint) -> Endpoint {
        let mut own = |name| self.own(name);
        Endpoint {
            node: own(endpoint.node),
            identity: own(endpoint.identity),
            cluster: own(endpoint.cluster),
            namespace: own(endpoint.namespace),
            pod: own(endpoint.pod),
            pod_name: own(endpoint.pod_name),
            reserved_identity: own(endpoint.reserved_identity),
            workload: own(endpoint.workload),
            workload_name: own(endpoint.workload_name),
            workload_kind: own(endpoint.workload_kind),
            workloads: own(endpoint.workloads),
            app: own(endpoint.app),
            ..endpoint
        }
    }

    /// A name that lives as long as the table.
    pub(crate) fn own(&mut self, name: Sym) -> Sym {
        if !name.is_empty() && self.held.insert(name) {
            self.owned.hold(name);
        }
        name
    }

    /// The own id of a service.
    pub(crate) fn service(&mut self, end: ServiceEnd, index: &Index) -> ServiceEnd {
        if end == ServiceEnd::NONE {
            return end;
        }
        let (at_source, at_destination) = (end.at_source(), end.at_destination());
        let id = if at_source == ServiceId::NONE { at_destination } else { at_source };
        let own = match self.services.get(&id) {
            Some(own) => *own,
            None => self.add_service(id, index),
        };
        if at_source == ServiceId::NONE { ServiceEnd::destination(own) } else { ServiceEnd::source(own) }
    }

    fn add_service(&mut self, id: ServiceId, index: &Index) -> ServiceId {
        let name = index.services().name(id);
        let name = (self.own(name.namespace), self.own(name.name));
        let known = self.service_names.iter().position(|known| *known == name);
        let row = known.unwrap_or_else(|| {
            self.service_names.push(name);
            self.index = None;
            self.service_names.len() - 1
        });
        // The first number is that of no service.
        let own = ServiceId(u32::try_from(row + 1).unwrap_or(0));
        self.services.insert(id, own);
        own
    }
}
