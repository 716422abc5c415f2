//! Counts this node's pods, for its endpoints, their addresses and the policies that select them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ipnet::IpNet;
use webb_index::ObjectKey;
use webb_index::policy::Truth;
use webb_index::policy::spec::PolicySpec;

use super::local_pods::AddressEvents;
use super::stored_pod::{Profile, StoredPod};
use super::{Cache, identity, store};

/// This node's pods with a network of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodePods {
    /// Running pods with an address.
    pub addressed: usize,
    /// Pods that have no address yet.
    pub unaddressed: usize,
    /// Distinct IPv4 addresses.
    pub v4: usize,
    /// Distinct IPv6 addresses.
    pub v6: usize,
}

/// This node's pods by the directions in which a NetworkPolicy selects them for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names are those of the policy types")]
pub struct Isolation {
    pub none: usize,
    pub ingress: usize,
    pub egress: usize,
    pub both: usize,
}

impl Cache {
    /// Changes whenever a node is added, removed or changed.
    pub fn nodes_version(&self) -> u64 {
        self.store.nodes_version.load(Relaxed)
    }

    /// All nodes with their internal addresses, in no order.
    pub fn nodes(&self) -> Vec<(String, Vec<IpAddr>)> {
        self.store.nodes.iter().map(|node| (node.key().name.clone(), node.network.internal.clone())).collect()
    }

    /// The labels of a node as `key=value`, sorted; none of a node that is not known.
    pub fn node_labels(&self, name: &str) -> Vec<String> {
        let key = ObjectKey { namespace: String::new(), name: name.to_owned() };
        let node = self.store.nodes.get(&key);
        node.map(|node| node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()).unwrap_or_default()
    }

    /// This node's pods.
    pub fn node_pods(&self) -> NodePods {
        let mut found = NodePods::default();
        self.each_local_pod(|pod| {
            let addressed = !pod.own_addresses().is_empty();
            found.addressed += usize::from(addressed);
            found.unaddressed += usize::from(!addressed);
        });
        let addresses = self.local_addresses();
        found.v4 = addresses.iter().filter(|address| IpAddr::is_ipv4(address)).count();
        found.v6 = addresses.len() - found.v4;
        found
    }

    /// Number of pods that run on this node, those with its network included, and of their
    /// namespaces.
    pub fn pods_and_namespaces(&self) -> (usize, usize) {
        let is_running = |key: &Arc<ObjectKey>| self.store.pods.get(key).is_some_and(|pod| !pod.finished);
        let keys: Vec<Arc<ObjectKey>> = self.store.local_pods.keys().into_iter().filter(is_running).collect();
        let namespaces: HashSet<&str> = keys.iter().map(|key| key.namespace.as_str()).collect();
        (keys.len(), namespaces.len())
    }

    /// Events of the addresses of this node's pods, IPv4 and IPv6; the first list is in them.
    pub fn address_events(&self) -> [AddressEvents; 2] {
        self.store.local_pods.events()
    }

    /// The networks of this node's object (`spec.podCIDRs`) of each family, if pods of this node
    /// have addresses of the family, and all of them lie in these.
    pub fn used_pod_networks(&self) -> Vec<IpNet> {
        let key = ObjectKey { namespace: String::new(), name: self.store.settings.node.clone() };
        let Some(networks) = self.store.nodes.get(&key).map(|node| node.network.pod_networks.clone()) else {
            return Vec::new();
        };
        let addresses = self.local_addresses();
        let is_used = |network: &IpNet| {
            let is_v4 = network.addr().is_ipv4();
            let mut family = addresses.iter().filter(|address| address.is_ipv4() == is_v4).peekable();
            family.peek().is_some() && family.all(|address| networks.iter().any(|network| network.contains(address)))
        };
        networks.iter().copied().filter(is_used).collect()
    }

    /// This node's pods by the NetworkPolicies that select them.
    pub fn isolation(&self) -> Isolation {
        let mut pods: Vec<Arc<Profile>> = Vec::new();
        self.each_local_pod(|pod| pods.push(Arc::clone(&pod.profile)));
        let namespaces: HashSet<&str> = pods.iter().map(|pod| pod.subject.namespace.as_str()).collect();
        let mut policies: HashMap<String, Vec<Arc<PolicySpec>>> = HashMap::new();
        for policy in &self.store.policies {
            if namespaces.contains(policy.namespace.as_str()) {
                policies.entry(policy.namespace.clone()).or_default().push(Arc::clone(policy.value()));
            }
        }
        let mut isolation = Isolation::default();
        // Replicas share a profile.
        let mut known: HashMap<*const Profile, (bool, bool)> = HashMap::new();
        for pod in &pods {
            let of_namespace = policies.get(&pod.subject.namespace).map(Vec::as_slice).unwrap_or_default();
            let directions = known.entry(Arc::as_ptr(pod)).or_insert_with(|| directions(pod, of_namespace));
            *match directions {
                (false, false) => &mut isolation.none,
                (true, false) => &mut isolation.ingress,
                (false, true) => &mut isolation.egress,
                (true, true) => &mut isolation.both,
            } += 1;
        }
        isolation
    }

    /// Number of identities of this node's pods: of distinct sets of labels.
    pub fn node_identities(&self) -> usize {
        let (mut known, mut identities) = (HashSet::new(), HashSet::new());
        self.each_local_pod(|pod| {
            // Replicas share a profile.
            if known.insert(Arc::as_ptr(&pod.profile)) {
                let Profile { subject, service_account, .. } = &*pod.profile;
                let namespace = ObjectKey { namespace: String::new(), name: subject.namespace.clone() };
                let inherited = self.store.namespaces.get(&namespace).map(|labels| Arc::clone(&labels));
                let (inherited, cluster) = (inherited.unwrap_or_default(), &self.store.settings.cluster);
                identities.insert(identity::labels(
                    &namespace.name,
                    &inherited,
                    cluster,
                    &subject.labels,
                    service_account,
                ));
            }
        });
        identities.len()
    }

    /// The largest index of an interface that is watched as a pod's.
    pub fn max_pod_interface(&self) -> Option<u32> {
        store::lock(&self.store.interfaces).iter().filter(|interface| interface.watched).map(|pod| pod.index).max()
    }

    fn local_addresses(&self) -> HashSet<IpAddr> {
        let mut addresses = HashSet::new();
        self.each_local_pod(|pod| addresses.extend(pod.own_addresses().iter().copied()));
        addresses
    }

    fn each_local_pod(&self, mut each: impl FnMut(&StoredPod)) {
        for key in self.store.local_pods.keys() {
            if let Some(pod) = self.store.pods.get(&key)
                && !pod.finished
                && !pod.host_network
            {
                each(&pod);
            }
        }
    }
}

/// Directions, ingress and egress, in which one of the policies of its namespace selects a pod.
fn directions(pod: &Profile, policies: &[Arc<PolicySpec>]) -> (bool, bool) {
    let selecting = || policies.iter().filter(|policy| policy.pods.matches(&pod.subject.labels) == Truth::Yes);
    (selecting().any(|policy| policy.ingress.is_some()), selecting().any(|policy| policy.egress.is_some()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use webb_index::policy::spec::Selector;

    use super::*;
    use crate::{CacheSettings, Kind, Object, Pod, Reference};

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "a".into(), name: name.into() }
    }

    fn pod(node: &str, last: u8) -> Pod {
        Pod { node: node.into(), addresses: vec![[10, 0, 0, last].into()], ..Pod::default() }
    }

    fn put(cache: &Cache, name: &str, pod: Pod) {
        cache.upsert(Object::Pod(key(name), Box::new(pod)));
    }

    /// An address counts when a pod of this node gets it and when it is given up, whichever way:
    /// another address, an end, a deletion, another node.
    #[test]
    fn addresses_come_and_go() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let events = |allocated, released| [AddressEvents { allocated, released }, AddressEvents::default()];
        put(&cache, "one", pod("n1", 1));
        put(&cache, "elsewhere", pod("n2", 2));
        assert_eq!(cache.address_events(), events(1, 0));
        put(&cache, "one", pod("n1", 1));
        assert_eq!(cache.address_events(), events(1, 0), "nothing has changed");
        put(&cache, "one", pod("n1", 3));
        assert_eq!(cache.address_events(), events(2, 1));
        put(&cache, "one", Pod { finished: true, ..pod("n1", 3) });
        assert_eq!((cache.address_events(), cache.node_pods()), (events(2, 2), NodePods::default()));
        cache.remove(&Reference { kind: Kind::Pod, key: key("one") });
        assert_eq!(cache.address_events(), events(2, 2), "it was given up before");
        put(&cache, "two", pod("n1", 4));
        cache.remove(&Reference { kind: Kind::Pod, key: key("two") });
        cache.remove(&Reference { kind: Kind::Pod, key: key("elsewhere") });
        assert_eq!((cache.address_events(), cache.node_pods()), (events(3, 3), NodePods::default()));
    }

    /// Pods that run here count, those with the node's network too; those that have ended do not.
    #[test]
    fn pods_that_run_here() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        assert_eq!(cache.pods_and_namespaces(), (0, 0));
        put(&cache, "one", pod("n1", 1));
        put(&cache, "two", Pod { host_network: true, ..pod("n1", 2) });
        put(&cache, "elsewhere", pod("n2", 3));
        put(&cache, "done", Pod { finished: true, ..pod("n1", 4) });
        assert_eq!(cache.pods_and_namespaces(), (2, 1));
        let other = ObjectKey { namespace: "b".into(), name: "three".into() };
        cache.upsert(Object::Pod(other, Box::new(pod("n1", 5))));
        assert_eq!(cache.pods_and_namespaces(), (3, 2));
    }

    /// Networks count where the pods have their addresses from them, and not where another
    /// allocator gives these.
    #[test]
    fn networks_that_pods_use() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let networks: Vec<IpNet> = vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let network = crate::NodeNetwork { pod_networks: networks.clone(), ..crate::NodeNetwork::default() };
        let node = crate::Node { network: Arc::new(network), ..crate::Node::default() };
        let name = ObjectKey { namespace: String::new(), name: "n1".into() };
        cache.upsert(Object::Node(name, Box::new(node)));
        assert_eq!(cache.used_pod_networks(), []);
        put(&cache, "one", pod("n1", 1));
        assert_eq!(cache.used_pod_networks(), networks[..1]);
        put(&cache, "other", Pod { addresses: vec![[192, 168, 0, 1].into()], ..pod("n1", 1) });
        assert_eq!(cache.used_pod_networks(), []);
    }

    /// Pods with the same labels share an identity, whatever label tells one copy from the others;
    /// labels of the namespace and the service account are part of it.
    #[test]
    fn label_sets_are_identities() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        let labelled = |last: u8, labels: &[(&str, &str)]| Pod {
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..pod("n1", last)
        };
        put(&cache, "one", labelled(1, &[("app", "a"), ("pod-template-hash", "1")]));
        put(&cache, "two", labelled(2, &[("app", "a"), ("pod-template-hash", "2")]));
        assert_eq!(cache.node_identities(), 1);
        put(&cache, "three", Pod { service_account: "robot".into(), ..labelled(3, &[("app", "a")]) });
        put(&cache, "four", labelled(4, &[("app", "b")]));
        assert_eq!(cache.node_identities(), 3);
        put(&cache, "elsewhere", Pod { node: "n2".into(), ..labelled(5, &[("app", "c")]) });
        put(&cache, "of the host", Pod { host_network: true, ..labelled(6, &[("app", "d")]) });
        put(&cache, "four", Pod { finished: true, ..labelled(4, &[("app", "b")]) });
        assert_eq!(cache.node_identities(), 2);
    }

    /// A pod is isolated in the directions of the policies that select it, taken together.
    #[test]
    fn directions_of_all_policies_together() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        for (name, last) in [("one", 1), ("two", 2), ("three", 3)] {
            put(&cache, name, pod("n1", last));
        }
        put(&cache, "elsewhere", pod("n2", 4));
        let policy = |namespace: &str, name: &str, ingress, egress| {
            let key = ObjectKey { namespace: namespace.into(), name: name.into() };
            let spec = PolicySpec {
                namespace: namespace.into(),
                name: name.into(),
                pods: Selector::default(),
                ingress,
                egress,
            };
            cache.upsert(Object::NetworkPolicy(key, Arc::new(spec)));
        };
        assert_eq!(cache.isolation(), Isolation { none: 3, ..Isolation::default() });
        policy("b", "of another namespace", Some(Vec::new()), Some(Vec::new()));
        assert_eq!(cache.isolation(), Isolation { none: 3, ..Isolation::default() });
        policy("a", "in", Some(Vec::new()), None);
        assert_eq!(cache.isolation(), Isolation { ingress: 3, ..Isolation::default() });
        policy("a", "out", None, Some(Vec::new()));
        assert_eq!(cache.isolation(), Isolation { both: 3, ..Isolation::default() });
        cache.remove(&Reference { kind: Kind::NetworkPolicy, key: key("in") });
        assert_eq!(cache.isolation(), Isolation { egress: 3, ..Isolation::default() });
    }

    /// A scrape does not go through the pods of other nodes.
    #[test]
    fn only_local_pods_are_visited() {
        let cache = Cache::new(CacheSettings { node: "n1".into(), ..CacheSettings::default() });
        for number in 0..20_000_u32 {
            let node = if number % 200 == 0 { "n1" } else { "n2" };
            let addresses = vec![std::net::Ipv4Addr::from(0x0a00_0000 + number).into()];
            put(&cache, &format!("p{number}"), Pod { addresses, ..pod(node, 0) });
        }
        let began = Instant::now();
        assert_eq!((cache.node_pods().addressed, cache.isolation().none), (100, 100));
        println!("gathered in {:?}", began.elapsed());
        assert_eq!(cache.store.local_pods.keys().len(), 100);
    }
}
