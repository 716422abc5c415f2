//! Nodes as the cache has them.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::{Cache, ObjectKey};

impl Cache {
    /// Changes whenever a node is added, removed or changed.
    pub fn nodes_version(&self) -> u64 {
        self.store.nodes_version.load(Relaxed)
    }

    /// All nodes with their internal addresses, in no order.
    pub fn nodes(&self) -> Vec<(String, Vec<IpAddr>)> {
        self.store.nodes.iter().map(|node| (node.key().name.clone(), node.internal.clone())).collect()
    }

    /// The labels of a node as `key=value`, sorted; none of a node that is not known.
    pub fn node_labels(&self, name: &str) -> Vec<String> {
        let key = ObjectKey { namespace: String::new(), name: name.to_owned() };
        let node = self.store.nodes.get(&key);
        node.map(|node| node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect()).unwrap_or_default()
    }
}
