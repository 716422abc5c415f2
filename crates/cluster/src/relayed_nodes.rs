//! Nodes of which a relay sends addresses and networks, and the API server only metadata.
//!
//! A node is cached once either has named it, and removed when neither does. A watch of whole Nodes
//! needs none of this, so what the relay sends is only kept meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::MutexGuard;

use super::missing_nodes::key;
use super::store::{RelayedNodes, lock};
use super::{Cache, Change, Kind, Node, NodeNetwork, Object, ObjectKey, Reference};

/// Changes of nodes on a relay's stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeChanges {
    /// New and changed nodes by name.
    pub changed: Vec<(String, Arc<NodeNetwork>)>,
    /// Nodes that are gone.
    pub removed: Vec<String>,
}

impl Cache {
    /// Addresses and networks of all nodes, for a relay to send.
    pub fn node_networks(&self) -> Vec<(String, Arc<NodeNetwork>)> {
        self.store.nodes.iter().map(|node| (node.key().name.clone(), Arc::clone(&node.network))).collect()
    }

    /// Sets whether the relay sends nodes, which its greeting says: one of an earlier version does
    /// not.
    pub fn set_relay_sends_nodes(&self, sends_nodes: bool) {
        self.relayed_nodes().sends_nodes = Some(sends_nodes);
        self.store.relay_greeted.notify_waiters();
    }

    /// Waits for a relay's greeting; not at all without a relay.
    pub(super) async fn relay_has_greeted(&self) {
        loop {
            let greeted = self.store.relay_greeted.notified();
            if !self.is_relayed() || self.relayed_nodes().sends_nodes.is_some() {
                return;
            }
            greeted.await;
        }
    }

    /// True if a relay sends addresses and networks of other nodes.
    pub(super) fn has_relayed_nodes(&self) -> bool {
        self.is_relayed() && self.relayed_nodes().sends_nodes == Some(true)
    }

    /// Stores what has changed, and brings it into the cached nodes unless Nodes are watched.
    pub fn take_relayed_nodes(&self, changes: NodeChanges) {
        let is_used = self.has_relayed_nodes() && self.collects_missing_nodes();
        // Held until the nodes are cached: a list of metadata must not bring back what was before.
        let mut relayed = self.relayed_nodes();
        for name in changes.removed {
            relayed.networks.remove(&name);
            if is_used && !self.is_own_node(&name) {
                self.remove(&Reference { kind: Kind::Node, key: key(&name) });
            }
        }
        for (name, network) in changes.changed {
            if relayed.networks.get(&name) == Some(&network) {
                continue;
            }
            if is_used {
                self.upsert_relayed_node(&name, &network);
            }
            relayed.networks.insert(name, network);
        }
    }

    /// Brings all that the relay has sent into the cached nodes.
    pub(super) fn upsert_relayed_nodes(&self) {
        let relayed = self.relayed_nodes();
        for (name, network) in &relayed.networks {
            self.upsert_relayed_node(name, network);
        }
    }

    /// The own node is read whole.
    fn upsert_relayed_node(&self, name: &str, network: &Arc<NodeNetwork>) {
        if !self.is_own_node(name) {
            let key = key(name);
            let known = self.store.nodes.get(&key).map(|node| node.value().clone());
            let node = Node { network: Arc::clone(network), ..known.unwrap_or_else(Node::without_metadata) };
            self.upsert(Object::Node(key, Box::new(node.with_distinct_tunnels())));
        }
    }

    /// Upserts a node of which the API server has sent the metadata alone. None if the rest of it
    /// is not known, so that it is to be read.
    pub(super) fn upsert_node_metadata(&self, key: ObjectKey, metadata: Node) -> Option<Change> {
        let is_relayed = self.has_relayed_nodes() && !self.is_own_node(&key.name);
        let relayed = self.relayed_nodes();
        let known = self.store.nodes.get(&key).map(|known| known.value().clone());
        let network = match known.as_ref().filter(|known| known.created == metadata.created) {
            Some(known) if !is_relayed => Arc::clone(&known.network),
            None if !is_relayed => return None,
            _ => relayed.networks.get(&key.name).cloned().unwrap_or_default(),
        };
        // Equal ones stay those that policies share.
        let labels = known.map(|known| known.labels).filter(|labels| *labels == metadata.labels);
        let node = Node { labels: labels.unwrap_or(metadata.labels), network, ..metadata };
        Some(self.apply(Object::Node(key, Box::new(node.with_distinct_tunnels())), self.store.clock.now_ns()))
    }

    /// The nodes that a list of metadata leaves cached: those that it has, and those of the relay.
    pub(super) fn keep_nodes(&self, listed: &HashSet<ObjectKey>) {
        let relayed = self.relayed_nodes();
        let of_relay = relayed.networks.keys().filter(|_| relayed.sends_nodes == Some(true)).map(|name| key(name));
        self.keep_only(Kind::Node, &listed.iter().cloned().chain(of_relay).collect());
    }

    /// True unless the node has to be read: it is cached, with its metadata.
    pub(super) fn is_node_complete(&self, name: &str) -> bool {
        self.store.nodes.get(&key(name)).is_some_and(|node| node.created != Node::without_metadata().created)
    }

    fn is_own_node(&self, name: &str) -> bool {
        name == self.store.settings.node
    }

    fn relayed_nodes(&self) -> MutexGuard<'_, RelayedNodes> {
        lock(&self.store.relayed_nodes)
    }
}
