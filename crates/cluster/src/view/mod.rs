//! The cluster as an operator sees it: what is the same for all nodes, so that one replica is
//! enough to expose it.
//!
//! It is another view than the names that agents need ([`crate::Cache`]): of a pod it keeps a node
//! and a few truths, but it knows services without an address, and kinds of other APIs. Reading
//! (`read`) and keeping are apart from the watches, which `kubernetes::view` runs.

mod kinds;
mod read;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
pub use kinds::ViewedKind;
pub(super) use read::read;
pub use read::{Condition, Import, ViewedObject, ViewedPod};

use crate::{Change, Kind, ObjectKey, Reference};

/// The kinds that every API server has, as far as they are viewed.
pub const KINDS: [Kind; 3] = [Kind::Pod, Kind::Node, Kind::Service];

/// Addresses of a node's pods.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeAddresses {
    /// The node.
    pub node: String,
    /// Addresses that pods have.
    pub used: u64,
    /// Addresses of the node's networks that are left.
    pub available: f64,
}

#[derive(Debug, Default)]
struct Objects {
    pods: HashMap<ObjectKey, ViewedPod>,
    /// Networks that the pods of a node have their addresses from.
    nodes: BTreeMap<String, Vec<IpNet>>,
    /// Services of the type LoadBalancer; true if they have an address.
    load_balancers: HashMap<ObjectKey, bool>,
    exports: BTreeMap<ObjectKey, Vec<Condition>>,
    imports: BTreeMap<ObjectKey, Import>,
    gateway_classes: HashSet<ObjectKey>,
    ingress_classes: HashSet<ObjectKey>,
}

/// The view. Watches write it, scrapes read it.
#[derive(Debug)]
pub struct ClusterView {
    /// Labels that the agents' pods have, and others have not; empty if that is not known.
    agent_labels: Vec<(String, String)>,
    objects: Mutex<Objects>,
}

impl ClusterView {
    /// A view without objects.
    pub fn new(agent_labels: Vec<(String, String)>) -> Self {
        Self { agent_labels, objects: Mutex::default() }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an object, or replaces it.
    pub(crate) fn upsert(&self, object: ViewedObject) -> Change {
        let mut objects = self.objects();
        let is_new = match object {
            ViewedObject::Pod(key, mut pod, labels) => {
                pod.is_agent = !self.agent_labels.is_empty()
                    && self.agent_labels.iter().all(|(name, value)| labels.get(name) == Some(value));
                objects.pods.insert(key, pod).is_none()
            }
            ViewedObject::Node(key, networks) => objects.nodes.insert(key.name, networks).is_none(),
            ViewedObject::LoadBalancer(key, has_address) => objects.load_balancers.insert(key, has_address).is_none(),
            // The type of a service may change.
            ViewedObject::OtherService(key) => match objects.load_balancers.remove(&key) {
                Some(_) => false,
                None => return Change::Equal,
            },
            ViewedObject::Export(key, conditions) => objects.exports.insert(key, conditions).is_none(),
            ViewedObject::Import(key, import) => objects.imports.insert(key, import).is_none(),
            ViewedObject::GatewayClass(key) => objects.gateway_classes.insert(key),
            ViewedObject::IngressClass(key) => objects.ingress_classes.insert(key),
        };
        if is_new { Change::Created } else { Change::Updated }
    }

    /// Removes an object. False if it was not there.
    pub fn remove(&self, Reference { kind, key }: &Reference) -> bool {
        let mut found = false;
        self.objects().retain(*kind, |other| {
            found |= other == key;
            other != key
        });
        found
    }

    /// Removes the objects of a kind that are not in `listed`.
    pub fn keep_only(&self, kind: Kind, listed: &HashSet<ObjectKey>) {
        self.objects().retain(kind, |key| listed.contains(key));
    }

    /// Number of running pods of the pod network on nodes without a ready agent; none if the
    /// agents' labels are not known.
    pub fn unseen_pods(&self) -> Option<u64> {
        if self.agent_labels.is_empty() {
            return None;
        }
        let objects = self.objects();
        let ready = |pod: &&ViewedPod| pod.is_agent && pod.ready;
        let seen: HashSet<&str> = objects.pods.values().filter(ready).map(|pod| pod.node.as_str()).collect();
        let unseen = |pod: &&ViewedPod| {
            pod.running && !pod.host_network && !pod.node.is_empty() && !seen.contains(pod.node.as_str())
        };
        Some(objects.pods.values().filter(unseen).count() as u64)
    }

    /// Number of services of the type LoadBalancer, and of those without an address.
    pub fn load_balancers(&self) -> (u64, u64) {
        let objects = self.objects();
        let without = objects.load_balancers.values().filter(|has_address| !**has_address).count();
        (objects.load_balancers.len() as u64, without as u64)
    }

    /// Addresses of each node that gives its pods addresses of its `podCIDRs`. A node with a pod of
    /// another address has none: its network plugin has other pools.
    pub fn addresses(&self) -> Vec<NodeAddresses> {
        let objects = self.objects();
        let mut of_nodes: HashMap<&str, HashSet<IpAddr>> = HashMap::new();
        for pod in objects.pods.values().filter(|pod| !pod.host_network && !pod.finished) {
            of_nodes.entry(pod.node.as_str()).or_default().extend(&pod.addresses);
        }
        let none = HashSet::new();
        let nodes = objects
            .nodes
            .iter()
            .filter_map(|(node, networks)| addresses(node, networks, of_nodes.get(node.as_str()).unwrap_or(&none)));
        nodes.collect()
    }

    /// Calls `each` with every ServiceExport and its conditions.
    pub fn each_export(&self, mut each: impl FnMut(&ObjectKey, &[Condition])) {
        self.objects().exports.iter().for_each(|(key, conditions)| each(key, conditions));
    }

    /// Calls `each` with every ServiceImport.
    pub fn each_import(&self, mut each: impl FnMut(&ObjectKey, &Import)) {
        self.objects().imports.iter().for_each(|(key, import)| each(key, import));
    }

    /// True if there is a GatewayClass.
    pub fn has_gateway_class(&self) -> bool {
        !self.objects().gateway_classes.is_empty()
    }

    /// True if there is an IngressClass.
    pub fn has_ingress_class(&self) -> bool {
        !self.objects().ingress_classes.is_empty()
    }
}

impl Objects {
    fn retain(&mut self, kind: Kind, mut keep: impl FnMut(&ObjectKey) -> bool) {
        match (kind, ViewedKind::of(kind)) {
            (Kind::Pod, _) => self.pods.retain(|key, _| keep(key)),
            (Kind::Node, _) => {
                self.nodes.retain(|name, _| keep(&ObjectKey { namespace: String::new(), name: name.clone() }));
            }
            (Kind::Service, _) => self.load_balancers.retain(|key, _| keep(key)),
            (_, Some(ViewedKind::ServiceExport)) => self.exports.retain(|key, _| keep(key)),
            (_, Some(ViewedKind::ServiceImport)) => self.imports.retain(|key, _| keep(key)),
            (_, Some(ViewedKind::GatewayClass)) => self.gateway_classes.retain(keep),
            (_, Some(ViewedKind::IngressClass)) => self.ingress_classes.retain(keep),
            // No other kind is ever added.
            (_, None) => {}
        }
    }
}

/// Addresses of one node. IPv4 counts where the node has such networks: those of IPv6 never run
/// out.
fn addresses(node: &str, networks: &[IpNet], used: &HashSet<IpAddr>) -> Option<NodeAddresses> {
    let is_v4 = networks.iter().any(|network| matches!(network, IpNet::V4(_)));
    let counts = |address: IpAddr| address.is_ipv4() == is_v4;
    let networks: Vec<&IpNet> = networks.iter().filter(|network| counts(network.addr())).collect();
    let used: Vec<IpAddr> = used.iter().copied().filter(|address| counts(*address)).collect();
    let is_own = |address: &IpAddr| networks.iter().any(|network| network.contains(address));
    if networks.is_empty() || !used.iter().all(is_own) {
        return None;
    }
    let size: f64 = networks.iter().map(|network| size(network)).sum();
    let used = used.len() as u64;
    #[allow(clippy::cast_precision_loss, reason = "pods of a node are a few thousand at most")]
    let available = (size - used as f64).max(0.0);
    Some(NodeAddresses { node: node.to_owned(), used, available })
}

/// Addresses of a network that a pod can have: all but the network's own and, of IPv4, the
/// broadcast address.
fn size(network: &IpNet) -> f64 {
    let all = 2_f64.powi(i32::from(network.max_prefix_len() - network.prefix_len()));
    match network {
        IpNet::V4(_) => (all - 2.0).max(0.0),
        IpNet::V6(_) => all - 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "default".to_owned(), name: name.to_owned() }
    }

    fn view() -> ClusterView {
        ClusterView::new(vec![("app".to_owned(), "webb".to_owned())])
    }

    fn put(view: &ClusterView, name: &str, app: &str, pod: ViewedPod) {
        let labels = HashMap::from([("app".to_owned(), app.to_owned())]);
        view.upsert(ViewedObject::Pod(key(name), pod, labels));
    }

    fn pod(node: &str, address: &str) -> ViewedPod {
        ViewedPod {
            node: node.to_owned(),
            addresses: vec![address.parse().unwrap()],
            running: true,
            ready: true,
            ..ViewedPod::default()
        }
    }

    /// Pods are seen where an agent is ready; an agent that is not ready sees nothing, and pods of
    /// the host's network are not counted.
    #[test]
    fn pods_without_an_agent() {
        let view = view();
        put(&view, "agent-1", "webb", ViewedPod { host_network: true, ..pod("n1", "10.0.0.1") });
        put(&view, "agent-2", "webb", ViewedPod { host_network: true, ready: false, ..pod("n2", "10.0.0.2") });
        put(&view, "seen", "web", pod("n1", "10.1.1.1"));
        put(&view, "unseen", "web", pod("n2", "10.1.2.1"));
        put(&view, "pending", "web", ViewedPod { running: false, ..pod("n2", "10.1.2.2") });
        put(&view, "unscheduled", "web", pod("", "10.1.2.3"));
        assert_eq!(view.unseen_pods(), Some(1));
        put(&view, "agent-2", "webb", ViewedPod { host_network: true, ..pod("n2", "10.0.0.2") });
        assert_eq!(view.unseen_pods(), Some(0));
        view.remove(&Reference { kind: Kind::Pod, key: key("agent-1") });
        assert_eq!(view.unseen_pods(), Some(1), "the node of a deleted agent");
        view.keep_only(Kind::Pod, &HashSet::from([key("unseen")]));
        assert_eq!(view.unseen_pods(), Some(1), "an agent that a list does not name is gone");
        assert_eq!(ClusterView::new(Vec::new()).unseen_pods(), None);
    }

    /// A node's addresses count where its pods have theirs from its networks, and only then.
    #[test]
    fn addresses_of_nodes() {
        let view = view();
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let node = |name: &str| ObjectKey { namespace: String::new(), name: name.to_owned() };
        view.upsert(ViewedObject::Node(node("n1"), networks(&["10.1.1.0/24", "fd00::/64"])));
        view.upsert(ViewedObject::Node(node("n2"), networks(&["10.1.2.0/24"])));
        view.upsert(ViewedObject::Node(node("n3"), networks(&[])));
        view.upsert(ViewedObject::Node(node("n4"), networks(&["fd00:4::/120"])));
        put(&view, "a", "web", pod("n1", "10.1.1.1"));
        put(&view, "b", "web", ViewedPod { finished: true, ..pod("n1", "10.1.1.2") });
        put(&view, "c", "web", ViewedPod { host_network: true, ..pod("n1", "192.168.0.1") });
        put(&view, "elsewhere", "web", pod("n2", "100.64.0.7"));
        let found: Vec<_> = view.addresses().into_iter().map(|node| (node.node, node.used, node.available)).collect();
        assert_eq!(found, [("n1".to_owned(), 1, 253.0), ("n4".to_owned(), 0, 255.0)]);
    }

    /// Services that are no load balancers any more are forgotten.
    #[test]
    fn load_balancers_come_and_go() {
        let view = view();
        view.upsert(ViewedObject::LoadBalancer(key("a"), true));
        view.upsert(ViewedObject::LoadBalancer(key("b"), false));
        view.upsert(ViewedObject::OtherService(key("c")));
        assert_eq!(view.load_balancers(), (2, 1));
        view.upsert(ViewedObject::OtherService(key("b")));
        assert_eq!(view.load_balancers(), (1, 0));
    }

    /// Each kind that a watch names is one of the view's, and is removed from its own place.
    #[test]
    fn every_kind_is_removed() {
        let view = view();
        for kind in ViewedKind::ALL {
            assert_eq!(ViewedKind::of(kind.kind()), Some(kind));
        }
        view.upsert(ViewedObject::GatewayClass(key("g")));
        view.upsert(ViewedObject::IngressClass(key("g")));
        view.keep_only(ViewedKind::GatewayClass.kind(), &HashSet::new());
        assert!(!view.has_gateway_class() && view.has_ingress_class());
        view.keep_only(ViewedKind::IngressClass.kind(), &HashSet::new());
        assert!(!view.has_ingress_class());
    }
}
