//! Endpoints of other nodes, and the zones of all: where things are.

use std::collections::HashMap;
use std::sync::Arc;

use webb_flow::sym::Names;
use webb_flow::{EndpointId, Sort};
use webb_index::{Describe, Draft, Endpoint, EndpointKind, EndpointSpec, ZoneSpec, Zones};

use super::ObjectKey;
use super::store::{Store, lock};

const REMOTE_NODE: &str = "reserved:remote-node";
const API_SERVER: &str = "reserved:kube-apiserver";

/// The endpoints of other nodes by name: without the API server, and with it.
#[derive(Debug, Default)]
pub(super) struct RemoteNodes(HashMap<String, [Option<EndpointId>; 2]>);

/// Another node with all that its names are made of. They come and go with it.
#[derive(Debug)]
struct RemoteNode {
    name: String,
    cluster: Arc<str>,
    /// The API is served there.
    serving: bool,
}

impl RemoteNode {
    fn labels(&self) -> Vec<String> {
        let labels = [API_SERVER, REMOTE_NODE];
        labels.into_iter().filter(|label| self.serving || *label != API_SERVER).map(str::to_owned).collect()
    }
}

impl Describe for RemoteNode {
    fn endpoint(&self, names: &mut Names) -> Endpoint {
        let identity = if self.serving { 7 } else { 6 };
        let spec = EndpointSpec {
            identity,
            cluster: self.cluster.to_string(),
            labels: self.labels(),
            ..EndpointSpec::default()
        };
        let node = names.intern(&self.name);
        Endpoint { node, ..Endpoint::named(EndpointKind::RemoteNode, false, &spec, |text| names.intern(text)) }
    }

    fn identity(&self) -> String {
        self.labels().join(",")
    }
}

impl RemoteNodes {
    /// The endpoint of another node, at an address at which the API is served or at any other.
    pub(super) fn id(&mut self, draft: &mut Draft, cluster: &Arc<str>, name: &str, serving: bool) -> EndpointId {
        let [plain, with_api] = self.0.entry(name.to_owned()).or_default();
        let id = if serving { with_api } else { plain };
        *id.get_or_insert_with(|| {
            let node = RemoteNode { name: name.to_owned(), cluster: Arc::clone(cluster), serving };
            draft.add_lazy(Sort::Node, Arc::new(node))
        })
    }

    /// Retires the endpoints of nodes that are gone.
    pub(super) fn retire(&mut self, draft: &mut Draft, store: &Store, now_ns: u64) {
        self.0.retain(|name, ids| {
            let is_there = store.nodes.contains_key(&ObjectKey { namespace: String::new(), name: name.clone() });
            if !is_there {
                ids.iter().flatten().for_each(|&id| draft.retire(id, now_ns));
            }
            is_there
        });
    }
}

/// The zones of all nodes and of the networks outside; `own` is this node.
pub(super) fn zones(store: &Store, own: &str) -> Zones {
    let specs = store.nodes.iter().map(|node| {
        let (zone, region) = node.place();
        ZoneSpec { node: node.key().name.clone(), zone: zone.to_owned(), region: region.to_owned() }
    });
    let (cidrs, overhead) = lock(&store.places).clone();
    Zones::new(own, specs.collect(), cidrs).with_overhead(overhead)
}
