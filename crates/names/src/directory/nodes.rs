//! The nodes of the cluster, with what agents do not read of them by themselves.
//!
//! Each change has a number, and a client knows the last one that it was sent. So a change costs
//! the same however many clients there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use webb_cluster::NodeNetwork;

use crate::node_message::{MAX_NODES, left_out};
use crate::nodes_digest::NodesDigest;
use crate::wire;

/// Removed nodes that are remembered at most, beside as many as there are nodes. A client that
/// lacks one that is forgotten is sent all nodes.
const MAX_REMOVED: usize = 1024;

/// All nodes, and what has changed.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    nodes: HashMap<Arc<str>, Entry>,
    /// The last change of each node.
    changes: BTreeMap<u64, Arc<str>>,
    last: u64,
    /// A client that knows no more than this change lacks removed nodes that are forgotten.
    forgotten: u64,
    /// Of all nodes.
    digest: NodesDigest,
}

#[derive(Debug, Default)]
struct Entry {
    /// None of a removed node.
    network: Option<Arc<NodeNetwork>>,
    /// Number of its last change.
    change: u64,
    /// Of its message; zero of a removed node.
    digest: NodesDigest,
}

/// A part of the changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeChange<'a> {
    Is(&'a Arc<str>, &'a NodeNetwork),
    IsGone(&'a Arc<str>),
}

impl NodeTable {
    /// Replaces the nodes; false if they are what they were. Returns how much of them is left out
    /// because it is beyond the bounds of a message too.
    pub(super) fn replace(&mut self, mut nodes: Vec<(String, Arc<NodeNetwork>)>) -> (bool, usize) {
        let (before, mut surplus) = (self.last, nodes.len().saturating_sub(MAX_NODES));
        nodes.truncate(MAX_NODES);
        let names: HashSet<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
        let is_gone = |(name, entry): &(&Arc<str>, &Entry)| entry.network.is_some() && !names.contains(&***name);
        let gone: Vec<Arc<str>> = self.nodes.iter().filter(is_gone).map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            self.set(name, None);
        }
        for (name, network) in nodes {
            let known = self.nodes.get_key_value(name.as_str());
            if known.is_none_or(|(_, entry)| entry.network.as_ref() != Some(&network)) {
                surplus += left_out(&network);
                let name = known.map_or_else(|| name.as_str().into(), |(name, _)| Arc::clone(name));
                self.set(name, Some(network));
            }
        }
        self.forget();
        if self.last > before {
            self.digest = self.nodes.values().map(|entry| entry.digest).sum();
        }
        (self.last > before, surplus)
    }

    fn set(&mut self, name: Arc<str>, network: Option<Arc<NodeNetwork>>) {
        self.last += 1;
        let digest = network.as_deref().map(|network| NodesDigest::of(&wire::Node::of(&name, network)));
        let entry = Entry { network, change: self.last, digest: digest.unwrap_or_default() };
        let before = self.nodes.insert(Arc::clone(&name), entry);
        if let Some(entry) = before {
            self.changes.remove(&entry.change);
        }
        self.changes.insert(self.last, name);
    }

    /// Forgets the nodes that were removed first where there are too many.
    fn forget(&mut self) {
        let (count, removed) = (self.len(), self.nodes.len() - self.len());
        let is_removed = |(_, name): &(&u64, &Arc<str>)| self.nodes.get(*name).is_some_and(|of| of.network.is_none());
        let surplus = removed.saturating_sub(MAX_REMOVED.max(count));
        let oldest: Vec<u64> =
            self.changes.iter().filter(is_removed).take(surplus).map(|(number, _)| *number).collect();
        for number in oldest {
            if let Some(name) = self.changes.remove(&number) {
                self.nodes.remove(&name);
            }
            self.forgotten = number;
        }
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The digest of all nodes.
    pub(super) fn digest(&self) -> NodesDigest {
        self.digest
    }

    /// The changes behind one that a client knows, if it knows one and all that it lacks is
    /// remembered; else all nodes. With the number of each change.
    pub(super) fn since(&self, known: Option<u64>) -> (bool, impl Iterator<Item = (u64, NodeChange<'_>)>) {
        let known = known.filter(|known| *known >= self.forgotten);
        let changes = self.changes.range(known.map_or(0, |known| known + 1)..);
        let changes = changes.filter_map(move |(number, name)| match &self.nodes.get(name)?.network {
            Some(network) => Some((*number, NodeChange::Is(name, network))),
            None => known.map(|_| (*number, NodeChange::IsGone(name))),
        });
        (known.is_none(), changes)
    }

    /// Number of nodes, without removed ones.
    pub(super) fn len(&self) -> usize {
        self.nodes.values().filter(|entry| entry.network.is_some()).count()
    }
}

impl NodeChange<'_> {
    /// Adds it to a message.
    pub(super) fn add_to(&self, message: &mut wire::Nodes) -> usize {
        match self {
            Self::Is(name, network) => {
                let node = wire::Node::of(name, network);
                let bytes = prost::Message::encoded_len(&node);
                message.changed.push(node);
                bytes
            }
            Self::IsGone(name) => {
                message.removed.push(name.to_string());
                name.len()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Nodes<'a> = &'a [(&'a str, u8)];

    fn all(nodes: Nodes<'_>) -> Vec<(String, Arc<NodeNetwork>)> {
        let network =
            |last: u8| Arc::new(NodeNetwork { internal: vec![[10, 0, 0, last].into()], ..NodeNetwork::default() });
        nodes.iter().map(|(name, last)| ((*name).to_owned(), network(*last))).collect()
    }

    /// What a client that knows a change is sent: whether it begins anew, names, and those of
    /// removed nodes.
    fn sent(table: &NodeTable, known: Option<u64>) -> (bool, Vec<String>, Vec<String>) {
        let (begins, changes) = table.since(known);
        let mut message = wire::Nodes::default();
        for (_, change) in changes {
            change.add_to(&mut message);
        }
        (begins, message.changed.into_iter().map(|node| node.name).collect(), message.removed)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A client is sent what has changed since, each node once and as it is now; a new one all that
    /// there is.
    #[test]
    fn changes_are_sent_once() {
        let mut table = NodeTable::default();
        assert_eq!(table.replace(all(&[("a", 1), ("b", 2)])), (true, 0));
        let first = Some(table.last());
        assert_eq!(table.replace(all(&[("b", 2), ("a", 1)])), (false, 0));
        assert_eq!(sent(&table, first), (false, vec![], vec![]));
        table.replace(all(&[("b", 3), ("c", 4)]));
        table.replace(all(&[("b", 5), ("c", 4)]));
        assert_eq!(sent(&table, first), (false, names(&["c", "b"]), names(&["a"])));
        assert_eq!(sent(&table, None), (true, names(&["c", "b"]), vec![]));
        let second = Some(table.last());
        table.replace(all(&[("a", 1), ("b", 5), ("c", 4)]));
        assert_eq!(sent(&table, second), (false, names(&["a"]), vec![]));
        assert_eq!(sent(&table, first), (false, names(&["c", "b", "a"]), vec![]), "it has come back");
        assert_eq!(table.len(), 3);
    }

    /// Removed nodes are remembered up to a bound, and a client that lacks one that is forgotten
    /// begins anew.
    #[test]
    fn removed_nodes_are_forgotten() {
        let mut table = NodeTable::default();
        let mut known = Vec::new();
        for round in 0..2 * MAX_REMOVED {
            let name = round.to_string();
            table.replace(all(&[(&name, 1)]));
            known.push(Some(table.last()));
        }
        assert_eq!((table.len(), table.nodes.len(), table.changes.len()), (1, MAX_REMOVED + 1, MAX_REMOVED + 1));
        let last = names(&[&(2 * MAX_REMOVED - 1).to_string()]);
        assert_eq!(sent(&table, known[0]), (true, last.clone(), vec![]));
        let (begins, changed, removed) = sent(&table, known[2 * MAX_REMOVED - 3]);
        assert_eq!((begins, changed, removed.len()), (false, last, 2));
    }
}
