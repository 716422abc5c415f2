//! A cluster of the mesh, as the builder of indexes keeps it.

use std::collections::HashMap;
use std::sync::Arc;

use webb_flow::{EndpointId, Sort};
use webb_index::policy::spec::Labels;
use webb_index::{Draft, Endpoint, EndpointKind, EndpointSpec};

use super::ObjectKey;
use super::claims::Owner;
use super::store::{NAMESPACE_NAME, Store};

/// A cluster of the mesh, as the draft has it.
#[derive(Debug)]
pub(super) struct MeshCluster {
    pub(super) name: Arc<str>,
    pub(super) namespaces: HashMap<String, Arc<Labels>>,
    pub(super) nodes: Vec<Owner>,
    /// Endpoint of all its nodes.
    pub(super) node: EndpointId,
    /// Endpoint of all its services' external addresses.
    pub(super) service: EndpointId,
}

impl MeshCluster {
    pub(super) fn new(name: &str, draft: &mut Draft) -> Self {
        let mut make = |identity, label: &str| {
            let spec = EndpointSpec {
                identity,
                cluster: name.into(),
                labels: vec![label.to_owned()],
                ..EndpointSpec::default()
            };
            draft.add(Sort::Mesh, Endpoint::new(EndpointKind::Mesh, false, &spec))
        };
        let (node, service) = (make(6, "reserved:remote-node"), make(2, "reserved:world"));
        let service = EndpointId::new(Sort::Service, service.row());
        Self { name: name.into(), namespaces: HashMap::new(), nodes: Vec::new(), node, service }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Labels of a namespace, whether there is an object for it or only pods.
    pub(super) fn labels_of(&mut self, store: &Store, name: &str) -> Arc<Labels> {
        if let Some(labels) = self.namespaces.get(name) {
            return Arc::clone(labels);
        }
        let labels = labels_of(store, name);
        self.namespaces.insert(name.to_owned(), Arc::clone(&labels));
        labels
    }

    /// Key of a pod among the pods of all clusters: its namespace has the cluster's name before it.
    pub(super) fn key(&self, key: &ObjectKey) -> Arc<ObjectKey> {
        Arc::new(ObjectKey { namespace: format!("{}/{}", self.name, key.namespace), name: key.name.clone() })
    }
}

/// Labels of a namespace, with the one that the API server gives to each.
pub(super) fn labels_of(store: &Store, name: &str) -> Arc<Labels> {
    let key = ObjectKey { namespace: String::new(), name: name.to_owned() };
    let mut labels = store.namespaces.get(&key).map(|labels| Arc::clone(labels.value())).unwrap_or_default();
    if !labels.contains_key(NAMESPACE_NAME) {
        Arc::make_mut(&mut labels).insert(NAMESPACE_NAME.to_owned(), name.to_owned());
    }
    labels
}
