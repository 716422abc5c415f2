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
const TABLE_EVENTS: usize = 65_536;
const TABLE_NAMES: usize = 65_536;
const TABLE_ENDPOINTS: usize = 16_384;

/// What names the flows of a few segments.
#[derive(Debug, Default)]
pub(crate) struct Table {
    draft: Draft,
    /// Its rows by the ids of the source.
    ends: HashMap<EndpointId, EndpointId, RandomState>,
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

impl Table {
    /// True once the next segment needs another table.
    pub(crate) fn is_large(&self) -> bool {
        self.events >= TABLE_EVENTS || self.held.len() >= TABLE_NAMES || self.draft.rows() >= TABLE_ENDPOINTS
    }

    /// Forgets the ids of endpoints: they mean others now.
    pub(crate) fn forget_ends(&mut self) {
        self.ends.clear();
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

    /// The own id of an endpoint.
    pub(crate) fn end(&mut self, id: EndpointId, index: &Index) -> EndpointId {
        // The ids of no endpoint and of the world are the same in every index.
        if id == EndpointId::NONE || id == EndpointId::WORLD {
            return id;
        }
        if let Some(known) = self.ends.get(&id) {
            return *known;
        }
        let endpoint = self.owned(Endpoint { identity: index.identity(id), ..*index.endpoint(id) });
        let own = self.draft.add(id.sort(), endpoint);
        self.index = None;
        self.ends.insert(id, own);
        own
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
