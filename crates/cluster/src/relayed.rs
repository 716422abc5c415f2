//! Pods of other nodes that a relay names, beside those of this node that are watched.
//!
//! Two sources write pods, and a name may pass from one to the other: a pod of a StatefulSet that
//! is replaced on another node. Each source changes only the pods that are its own.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use ipnet::IpNet;

use super::networks::address_block;
use super::store::lock;
use super::{Cache, Kind, Object, ObjectKey, Pod, Reference};

impl Cache {
    /// Sets whether a relay names the pods of other nodes; not so at first.
    pub fn set_relayed(&self, relayed: bool) {
        if self.store.relayed.swap(relayed, Relaxed) != relayed {
            self.touched().agents = true;
        }
    }

    /// True if a relay names the pods of other nodes.
    pub fn is_relayed(&self) -> bool {
        self.store.relayed.load(Relaxed)
    }

    /// Upserts a pod of another node. False if a watched pod of this node has the name: the caller
    /// retries until that one is deleted.
    pub fn upsert_relayed(&self, key: ObjectKey, pod: Pod) -> bool {
        let is_free = !self.is_own(&key);
        if is_free {
            self.apply(Object::Pod(key, Box::new(pod)), self.store.clock.now_ns());
        }
        is_free
    }

    /// Removes a pod of another node.
    pub fn remove_relayed(&self, key: &ObjectKey) {
        if !self.is_own(key) {
            self.remove(&Reference { kind: Kind::Pod, key: key.clone() });
        }
    }

    /// Removes the pods of other nodes that the relay does not name.
    pub fn keep_relayed(&self, is_named: impl Fn(&ObjectKey) -> bool) {
        let own = &self.store.settings.node;
        let others = self.store.pods.iter().filter(|pod| *pod.node != **own);
        let gone: Vec<ObjectKey> = others.map(|pod| ObjectKey::clone(pod.key())).filter(|key| !is_named(key)).collect();
        for key in &gone {
            self.remove_relayed(key);
        }
    }

    /// Sets the blocks that the relay knows pods in, by an address of each: an address within them
    /// is a pod's, named yet or not.
    pub fn set_relayed_blocks(&self, blocks: impl IntoIterator<Item = IpAddr>) {
        let blocks: Vec<IpNet> = blocks.into_iter().map(address_block).collect();
        let mut known = lock(&self.store.relayed_blocks);
        if *known != blocks {
            *known = blocks;
            self.touched().networks = true;
        }
    }

    /// True if a pod of this node has the name.
    pub(super) fn is_own(&self, key: &ObjectKey) -> bool {
        self.store.pods.get(key).is_some_and(|pod| *pod.node == *self.store.settings.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheSettings;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "default".into(), name: name.into() }
    }

    fn pod(node: &str, address: &str) -> Pod {
        Pod { addresses: vec![address.parse().unwrap()], node: node.into(), ..Pod::default() }
    }

    /// What the relay says late of a pod that is here now does it no harm, and a pod that has gone
    /// elsewhere is taken once it is gone here.
    #[test]
    fn a_name_passes_between_nodes() {
        let cache = Cache::new(CacheSettings { node: "here".into(), ..CacheSettings::default() });
        let named = |address: &str| {
            let address = address.parse::<IpAddr>().unwrap().into();
            let index = cache.index();
            index.endpoint(index.find(address)).pod_name.text().to_string()
        };
        assert!(cache.upsert_relayed(key("db-0"), pod("there", "10.0.1.1")));
        cache.upsert(Object::Pod(key("db-0"), Box::new(pod("here", "10.0.0.1"))));
        assert!(!cache.upsert_relayed(key("db-0"), pod("there", "10.0.1.1")));
        cache.remove_relayed(&key("db-0"));
        cache.keep_relayed(|_| false);
        assert_eq!(named("10.0.0.1"), "db-0");
        assert!(!cache.upsert_relayed(key("db-0"), pod("there", "10.0.1.2")), "it is here still");
        cache.remove(&Reference { kind: Kind::Pod, key: key("db-0") });
        assert!(cache.upsert_relayed(key("db-0"), pod("there", "10.0.1.2")));
        assert_eq!(named("10.0.1.2"), "db-0");
        cache.keep_relayed(|_| false);
        assert_eq!(cache.counts().pods, 0);
    }

    /// An address in a block of the relay waits for its name, in one of a node as well.
    #[test]
    fn blocks_are_networks_of_pods() {
        let cache = Cache::new(CacheSettings { node: "here".into(), ..CacheSettings::default() });
        let sort = |text: &str| cache.index().find(text.parse::<IpAddr>().unwrap().into()).sort();
        assert_eq!(sort("10.0.1.7"), webb_flow::Sort::World);
        cache.set_relayed_blocks(["10.0.1.0".parse().unwrap()]);
        assert_eq!(sort("10.0.1.7"), webb_flow::Sort::Unnamed);
        assert_eq!(sort("10.0.1.64"), webb_flow::Sort::World);
        // Blocks change with pods, all the time; thousands of nodes are not read again for that.
        let touched = |blocks: &[&str]| {
            cache.set_relayed_blocks(blocks.iter().map(|block| block.parse().unwrap()));
            let touched = cache.touched();
            (touched.nodes, touched.networks)
        };
        assert_eq!(touched(&["10.0.1.0"]), (false, false), "they are what they were");
        assert_eq!(touched(&["10.0.1.0", "10.0.2.0"]), (false, true));
        assert_eq!((sort("10.0.1.7"), sort("10.0.2.7")), (webb_flow::Sort::Unnamed, webb_flow::Sort::Unnamed));
        cache.set_relayed_blocks([]);
        assert_eq!(sort("10.0.1.7"), webb_flow::Sort::World);
    }
}
