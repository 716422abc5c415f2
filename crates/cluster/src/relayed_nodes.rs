//! Addresses and networks of nodes that a relay sends, which metadata of Nodes does not have.
//!
//! Which nodes there are, and their labels, the API server says: what a relay sends of a node that
//! is not cached waits here until it is.

use std::sync::Arc;

use super::missing_nodes::key;
use super::store::lock;
use super::{Cache, Node, NodeNetwork, Object};

/// What a relay says of nodes.
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

    /// Sets whether the relay sends nodes. At first it is expected to.
    pub fn expect_relayed_nodes(&self, are_sent: bool) {
        lock(&self.store.relayed_nodes).are_refused = !are_sent;
    }

    /// True if a relay sends addresses and networks of other nodes.
    pub(super) fn has_relayed_nodes(&self) -> bool {
        self.is_relayed() && !lock(&self.store.relayed_nodes).are_refused
    }

    /// Takes what a relay says of nodes. Cached nodes have it at once, unless they are watched.
    pub fn take_relayed_nodes(&self, changes: NodeChanges) {
        let names: Vec<String> = changes.changed.iter().map(|(name, _)| name.clone()).collect();
        {
            let mut relayed = lock(&self.store.relayed_nodes);
            for name in changes.removed {
                relayed.networks.remove(&name);
            }
            relayed.networks.extend(changes.changed);
        }
        if !self.collects_missing_nodes() {
            return;
        }
        for key in names.iter().map(|name| key(name)) {
            let known = self.store.nodes.get(&key).map(|node| node.value().clone());
            if let Some(known) = known {
                let node = self.with_relayed_network(&key.name, known);
                self.apply(Object::Node(key, Box::new(node)), self.store.clock.now_ns());
            }
        }
    }

    /// A node with what the relay says of it. The own node is read whole.
    pub(super) fn with_relayed_network(&self, name: &str, node: Node) -> Node {
        let relayed = lock(&self.store.relayed_nodes);
        let is_sent = !relayed.are_refused && name != self.store.settings.node;
        match relayed.networks.get(name).filter(|_| is_sent) {
            Some(network) => Node { network: Arc::clone(network), ..node }.with_distinct_tunnels(),
            None => node,
        }
    }

    /// Names of nodes that the relay has sent, and that are not cached.
    pub(super) fn uncached_relayed_nodes(&self) -> Vec<String> {
        let relayed = lock(&self.store.relayed_nodes);
        relayed.networks.keys().filter(|name| !self.store.nodes.contains_key(&key(name))).cloned().collect()
    }
}
