//! The pod cache: what is known of the cluster at this moment, keyed by object.
//!
//! This is the write side. Sources upsert and remove objects from whatever thread they run on; once a burst has
//! settled its owner asks for an [`Index`], which is built whole and never changes again. Readers of flows only ever
//! see indexes, so nothing here is on the event path.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;

use super::{Key, Kind, Node, Object, Pod, Reference, Service, Slice, build};
use crate::index::Index;
use crate::index::policy::spec::{Labels, PolicySpec};

/// What the cache must be told about where it runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Name of this node, as `spec.nodeName` of its pods has it.
    pub node: String,
    /// Name of the cluster, for the label that Cilium gives to pods.
    pub cluster: String,
    /// Addresses of this machine that its Node object doesn't list, such as those of its bridges: `reserved:host` too.
    pub addresses: Vec<IpAddr>,
}

/// Objects of the cluster by kind and key.
#[derive(Debug, Default)]
pub struct Cache {
    pub(super) settings: Settings,
    pub(super) pods: DashMap<Key, Pod>,
    pub(super) namespaces: DashMap<Key, Labels>,
    pub(super) nodes: DashMap<Key, Node>,
    pub(super) services: DashMap<Key, Service>,
    pub(super) slices: DashMap<Key, Slice>,
    pub(super) policies: DashMap<Key, Arc<PolicySpec>>,
}

/// How many objects of each kind are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are the kinds'")]
pub struct Counts {
    pub pods: usize,
    pub namespaces: usize,
    pub nodes: usize,
    pub services: usize,
    pub endpoint_slices: usize,
    pub network_policies: usize,
}

impl Cache {
    /// An empty cache.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Puts an object in, in the place of its last version if there is one.
    pub fn upsert(&self, object: Object) {
        match object {
            Object::Pod(key, pod) => drop(self.pods.insert(key, *pod)),
            Object::Namespace(key, labels) => drop(self.namespaces.insert(key, labels)),
            Object::Node(key, node) => drop(self.nodes.insert(key, node)),
            Object::Service(key, service) => drop(self.services.insert(key, service)),
            Object::EndpointSlice(key, slice) => drop(self.slices.insert(key, slice)),
            Object::NetworkPolicy(key, policy) => drop(self.policies.insert(key, policy)),
        }
    }

    /// Takes an object out. Returns false if it wasn't there.
    pub fn remove(&self, Reference { kind, key }: &Reference) -> bool {
        match kind {
            Kind::Pod => self.pods.remove(key).is_some(),
            Kind::Namespace => self.namespaces.remove(key).is_some(),
            Kind::Node => self.nodes.remove(key).is_some(),
            Kind::Service => self.services.remove(key).is_some(),
            Kind::EndpointSlice => self.slices.remove(key).is_some(),
            Kind::NetworkPolicy => self.policies.remove(key).is_some(),
        }
    }

    /// Makes these objects the whole content: for a source that tells everything at once.
    pub fn replace(&self, objects: Vec<Object>) {
        let told: HashSet<Reference> = objects.iter().map(Object::reference).collect();
        for object in objects {
            self.upsert(object);
        }
        let keep = |kind, key: &Key| told.contains(&Reference { kind, key: key.clone() });
        self.pods.retain(|key, _| keep(Kind::Pod, key));
        self.namespaces.retain(|key, _| keep(Kind::Namespace, key));
        self.nodes.retain(|key, _| keep(Kind::Node, key));
        self.services.retain(|key, _| keep(Kind::Service, key));
        self.slices.retain(|key, _| keep(Kind::EndpointSlice, key));
        self.policies.retain(|key, _| keep(Kind::NetworkPolicy, key));
    }

    /// Takes out every object of a kind but these: for a source that has told all of that kind.
    pub fn keep_only(&self, kind: Kind, told: &HashSet<Key>) {
        match kind {
            Kind::Pod => self.pods.retain(|key, _| told.contains(key)),
            Kind::Namespace => self.namespaces.retain(|key, _| told.contains(key)),
            Kind::Node => self.nodes.retain(|key, _| told.contains(key)),
            Kind::Service => self.services.retain(|key, _| told.contains(key)),
            Kind::EndpointSlice => self.slices.retain(|key, _| told.contains(key)),
            Kind::NetworkPolicy => self.policies.retain(|key, _| told.contains(key)),
        }
    }

    /// The index of what is cached now.
    pub fn index(&self) -> Index {
        build::index(self)
    }

    /// How many objects there are.
    pub fn counts(&self) -> Counts {
        Counts {
            pods: self.pods.len(),
            namespaces: self.namespaces.len(),
            nodes: self.nodes.len(),
            services: self.services.len(),
            endpoint_slices: self.slices.len(),
            network_policies: self.policies.len(),
        }
    }
}
