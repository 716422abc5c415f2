//! The nodes of the cluster, with what agents do not read of them by themselves.
//!
//! Each change has a number, and a client knows the last one that it was sent. So a change costs
//! the same however many clients there are.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use webb_cluster::NodeNetwork;

use crate::node_message::{MAX_NODES, left_out};
use crate::wire;

/// Removed nodes that are remembered at most, beside as many as there are nodes. A client that
/// lacks one that is forgotten is sent all nodes.
const MAX_REMOVED: usize = 1024;

/// All nodes, and what has changed.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    by_name: HashMap<Arc<str>, (Arc<NodeNetwork>, u64)>,
    /// The last change of each node, removed ones too.
    changes: BTreeMap<u64, Arc<str>>,
    /// Numbers of the changes by which nodes were removed.
    removed: BTreeMap<Arc<str>, u64>,
    last: u64,
    /// A client that knows no more than this change lacks removed nodes that are forgotten.
    forgotten: u64,
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
        let gone: Vec<Arc<str>> = self.by_name.keys().filter(|name| !names.contains(&***name)).cloned().collect();
        for name in gone {
            if let Some((_, number)) = self.by_name.remove(&name) {
                self.changes.remove(&number);
            }
            let number = self.add(Arc::clone(&name));
            self.removed.insert(name, number);
        }
        for (name, network) in nodes {
            match self.by_name.get_key_value(name.as_str()) {
                Some((_, (known, _))) if Arc::ptr_eq(known, &network) || *known == network => {}
                Some((name, (_, number))) => {
                    let (name, number) = (Arc::clone(name), *number);
                    self.changes.remove(&number);
                    self.insert(name, network, &mut surplus);
                }
                None => {
                    let name: Arc<str> = name.into();
                    if let Some(number) = self.removed.remove(&name) {
                        self.changes.remove(&number);
                    }
                    self.insert(name, network, &mut surplus);
                }
            }
        }
        self.forget();
        (self.last > before, surplus)
    }

    fn insert(&mut self, name: Arc<str>, network: Arc<NodeNetwork>, surplus: &mut usize) {
        *surplus += left_out(&network);
        let number = self.add(Arc::clone(&name));
        self.by_name.insert(name, (network, number));
    }

    fn add(&mut self, name: Arc<str>) -> u64 {
        self.last += 1;
        self.changes.insert(self.last, name);
        self.last
    }

    /// Forgets the nodes that were removed first where there are too many.
    fn forget(&mut self) {
        let surplus = self.removed.len().saturating_sub(MAX_REMOVED.max(self.by_name.len()));
        if surplus > 0 {
            let mut numbers: Vec<u64> = self.removed.values().copied().collect();
            numbers.sort_unstable();
            for number in numbers.into_iter().take(surplus) {
                if let Some(name) = self.changes.remove(&number) {
                    self.removed.remove(&name);
                }
                self.forgotten = number;
            }
        }
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The changes behind one that a client knows, if it knows one and all that it lacks is
    /// remembered; else all nodes. With the number of each change.
    pub(super) fn since(&self, known: Option<u64>) -> (bool, impl Iterator<Item = (u64, NodeChange<'_>)>) {
        let known = known.filter(|known| *known >= self.forgotten);
        let changes = self.changes.range(known.map_or(0, |known| known + 1)..);
        let changes = changes.filter_map(move |(number, name)| match self.by_name.get(name) {
            Some((network, _)) => Some((*number, NodeChange::Is(name, network))),
            None => known.map(|_| (*number, NodeChange::IsGone(name))),
        });
        (known.is_none(), changes)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
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
        assert_eq!(table.removed.len(), MAX_REMOVED);
        assert_eq!(table.changes.len(), MAX_REMOVED + 1);
        let last = names(&[&(2 * MAX_REMOVED - 1).to_string()]);
        assert_eq!(sent(&table, known[0]), (true, last.clone(), vec![]));
        let (begins, changed, removed) = sent(&table, known[2 * MAX_REMOVED - 3]);
        assert_eq!((begins, changed, removed.len()), (false, last, 2));
    }
}
