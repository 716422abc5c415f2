//! The nodes of the cluster, with what agents do not read of them by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use webb_cluster::NodeNetwork;

use crate::node_message::MAX_NODES;
use crate::wire;

/// All nodes by name.
#[derive(Debug, Default)]
pub(super) struct NodeTable(BTreeMap<Arc<str>, Arc<NodeNetwork>>);

impl NodeTable {
    /// Replaces the nodes. Returns the names of those that are new, changed or gone. An agent takes
    /// no more than [`MAX_NODES`].
    pub(super) fn replace(&mut self, nodes: Vec<(String, Arc<NodeNetwork>)>) -> BTreeSet<Arc<str>> {
        let now: BTreeMap<Arc<str>, Arc<NodeNetwork>> =
            nodes.into_iter().map(|(name, network)| (name.into(), network)).take(MAX_NODES).collect();
        let before = std::mem::replace(&mut self.0, now);
        let gone = before.keys().filter(|name| !self.0.contains_key(*name));
        let changed = self.0.iter().filter(|(name, network)| before.get(*name) != Some(network));
        gone.chain(changed.map(|(name, _)| name)).cloned().collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Arc<str>> {
        self.0.keys().cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The message of a node; none if it is gone.
    pub(super) fn message(&self, name: &str) -> Option<wire::Node> {
        self.0.get(name).map(|network| wire::Node::of(name, network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is new, changed or gone is said once, and nothing else.
    #[test]
    fn changes_are_found() {
        let network =
            |last| Arc::new(NodeNetwork { internal: vec![[10, 0, 0, last].into()], ..NodeNetwork::default() });
        let all =
            |nodes: &[(&str, u8)]| nodes.iter().map(|(name, last)| ((*name).to_owned(), network(*last))).collect();
        let mut table = NodeTable::default();
        let mut changed = |nodes: &[(&str, u8)]| {
            let changed = table.replace(all(nodes));
            changed.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(changed(&[("a", 1), ("b", 2)]), ["a", "b"]);
        assert_eq!(changed(&[("b", 2), ("a", 1)]), [""; 0]);
        assert_eq!(changed(&[("b", 3), ("c", 4)]), ["a", "b", "c"]);
        assert_eq!((table.message("a"), table.len()), (None, 2));
    }
}
