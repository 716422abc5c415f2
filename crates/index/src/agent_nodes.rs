//! The nodes that agents watch.

use hashbrown::HashSet;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Names, Sym};

/// Nodes with an agent that is ready.
#[derive(Debug, Default)]
pub struct AgentNodes {
    /// None where it is not known: then every node counts as one of them.
    nodes: Option<HashSet<Sym, RandomState>>,
    /// Own what the set has.
    _owned: Names,
}

impl AgentNodes {
    /// The nodes of these names.
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut owned = Names::default();
        let nodes = nodes.into_iter().map(|node| owned.intern(node)).collect();
        Self { nodes: Some(nodes), _owned: owned }
    }

    /// True for one of them.
    #[inline]
    pub(super) fn has(&self, node: Sym) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node))
    }

    /// True if both have the same nodes.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }
}
