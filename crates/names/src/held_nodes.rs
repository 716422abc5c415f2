//! The nodes that relays have sent: names, and digests of what was sent with them. Addresses and
//! networks are the cache's.

use std::collections::{BTreeMap, BTreeSet};

use webb_cluster::NodeChanges;

use crate::node_message::MAX_NODES;
use crate::nodes_digest::NodesDigest;
use crate::protocol_error::ProtocolError;
use crate::wire;

/// Nodes that were sent.
#[derive(Debug, Default)]
pub(crate) struct HeldNodes {
    /// Zero of one that must be sent again.
    digests: BTreeMap<Box<str>, NodesDigest>,
    /// Those of an earlier stream that this one has not sent yet.
    unconfirmed: BTreeSet<Box<str>>,
    /// The digest was sent to the relay, which has sent no nodes since.
    is_offered: bool,
}

impl HeldNodes {
    /// The digest for a greeting; none where there is none.
    pub(crate) fn offer(&mut self) -> Option<NodesDigest> {
        let is_known = self.digests.values().all(|digest| *digest != NodesDigest::default());
        let digest: NodesDigest = self.digests.values().copied().sum();
        self.is_offered = is_known && digest != NodesDigest::default();
        self.is_offered.then_some(digest)
    }

    /// Offers no digest before all nodes were sent again.
    pub(crate) fn invalidate(&mut self) {
        self.digests.values_mut().for_each(|digest| *digest = NodesDigest::default());
    }

    /// Takes a message. A table may begin anew before the one before it was complete, and its names
    /// are then beside those of before: twice [`MAX_NODES`] are held at most. A relay that begins
    /// yet another has all of them forgotten, which the changes have beside the error.
    pub(crate) fn take(&mut self, nodes: wire::Nodes, changes: &mut NodeChanges) -> Result<(), ProtocolError> {
        let was_offered = std::mem::take(&mut self.is_offered);
        if nodes.same {
            if !was_offered {
                return Err(ProtocolError::UnknownNodes);
            }
            self.unconfirmed.clear();
        }
        if nodes.begins {
            if self.digests.len() > MAX_NODES {
                self.unconfirmed.clear();
                changes.removed = std::mem::take(&mut self.digests).into_keys().map(String::from).collect();
                return Err(ProtocolError::TooMany("nodes"));
            }
            self.unconfirmed = self.digests.keys().cloned().collect();
        }
        for node in nodes.changed {
            let digest = NodesDigest::of(&node);
            let (name, network) = node.read()?;
            self.unconfirmed.remove(name.as_str());
            self.digests.insert(name.as_str().into(), digest);
            if self.digests.len() - self.unconfirmed.len() > MAX_NODES {
                return Err(ProtocolError::TooMany("nodes"));
            }
            changes.changed.push((name, network));
        }
        changes.removed = nodes.removed;
        if !nodes.more {
            changes.removed.extend(std::mem::take(&mut self.unconfirmed).into_iter().map(String::from));
        }
        for name in &changes.removed {
            self.digests.remove(name.as_str());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> wire::Node {
        wire::Node { name: name.to_owned(), ..wire::Node::default() }
    }

    fn part(begins: bool, more: bool, names: &[&str]) -> wire::Nodes {
        let changed = names.iter().map(|name| node(name)).collect();
        wire::Nodes { begins, more, changed, ..wire::Nodes::default() }
    }

    fn digest(names: &[&str]) -> NodesDigest {
        names.iter().map(|name| NodesDigest::of(&node(name))).sum()
    }

    /// Takes a message; the nodes that it removes.
    fn removed(held: &mut HeldNodes, message: wire::Nodes) -> Vec<String> {
        let mut changes = NodeChanges::default();
        held.take(message, &mut changes).unwrap();
        changes.removed
    }

    /// The digest is of all that is cached: also of nodes of before, while a new table is coming.
    #[test]
    fn what_is_here_is_offered() {
        let mut held = HeldNodes::default();
        assert_eq!(held.offer(), None);
        removed(&mut held, part(true, false, &["a", "b"]));
        assert_eq!(held.offer(), Some(digest(&["a", "b"])));
        let gone = wire::Nodes { removed: vec!["a".to_owned()], ..part(false, false, &["c"]) };
        assert_eq!(removed(&mut held, gone), ["a"]);
        assert_eq!(held.offer(), Some(digest(&["b", "c"])));
        removed(&mut held, part(true, true, &["d"]));
        assert_eq!(held.offer(), Some(digest(&["b", "c", "d"])));
        // That stream has ended; at the next relay nothing is gone.
        let same = wire::Nodes { same: true, ..wire::Nodes::default() };
        assert_eq!(removed(&mut held, same), [""; 0]);
        assert_eq!(removed(&mut held, part(false, false, &["e"])), [""; 0]);
        assert_eq!(held.offer(), Some(digest(&["b", "c", "d", "e"])));
    }

    /// Nodes that may not be cached are offered once all were sent again, and no sooner.
    #[test]
    fn invalidated_nodes_are_sent_again() {
        let mut held = HeldNodes::default();
        removed(&mut held, part(true, false, &["a", "b"]));
        held.invalidate();
        assert_eq!(held.offer(), None);
        removed(&mut held, part(true, true, &["a"]));
        assert_eq!(held.offer(), None, "the rest has not come");
        removed(&mut held, part(true, true, &["a"]));
        assert_eq!(removed(&mut held, part(false, false, &[])), ["b"]);
        assert_eq!(held.offer(), Some(digest(&["a"])));
    }

    /// Tables that begin anew and anew with other names are no way to fill the memory, and names of
    /// a relay that has done so are gone at the next one.
    #[test]
    fn tables_without_an_end_are_bounded() {
        let mut held = HeldNodes::default();
        let table = |of: char| {
            let names: Vec<String> = (0..MAX_NODES).map(|at| format!("{of}{at}")).collect();
            part(true, true, &names.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(removed(&mut held, table('a')), [""; 0]);
        assert_eq!(removed(&mut held, table('b')), [""; 0]);
        let mut changes = NodeChanges::default();
        assert_eq!(held.take(table('c'), &mut changes), Err(ProtocolError::TooMany("nodes")));
        assert_eq!((changes.changed.len(), changes.removed.len()), (0, 2 * MAX_NODES));
        assert_eq!((held.digests.len(), held.unconfirmed.len(), held.offer()), (0, 0, None));
        assert_eq!(removed(&mut held, part(true, false, &["a"])), [""; 0]);
        assert_eq!(held.offer(), Some(digest(&["a"])));
    }

    /// A relay that refers to nodes that were not offered is wrong, and so is one that does it
    /// after others.
    #[test]
    fn only_offered_nodes_are_referred_to() {
        let mut held = HeldNodes::default();
        let same = |held: &mut HeldNodes| {
            held.take(wire::Nodes { same: true, ..wire::Nodes::default() }, &mut NodeChanges::default())
        };
        assert_eq!(same(&mut held), Err(ProtocolError::UnknownNodes));
        removed(&mut held, part(true, false, &["a"]));
        assert_eq!(same(&mut held), Err(ProtocolError::UnknownNodes));
        held.offer();
        assert_eq!(same(&mut held), Ok(()));
        held.offer();
        removed(&mut held, part(true, false, &["a"]));
        assert_eq!(same(&mut held), Err(ProtocolError::UnknownNodes));
    }
}
