//! Interns names of nodes: thirty pods and more have the same.

use std::sync::Arc;

use hashbrown::HashSet;
use webb_flow::hash::RandomState;

/// Names of nodes, each once.
#[derive(Debug, Default)]
pub(crate) struct Nodes(HashSet<Arc<str>, RandomState>);

impl Nodes {
    /// The shared name. Unused ones are evicted before the table grows.
    pub(crate) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() == self.0.capacity() {
            self.0.retain(|node| Arc::strong_count(node) > 1);
        }
        let node: Arc<str> = name.into();
        self.0.insert(Arc::clone(&node));
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal names are one, and those that no pod has go.
    #[test]
    fn names_are_shared() {
        let mut nodes = Nodes::default();
        let kept = nodes.intern("kept");
        for at in 0..5000 {
            nodes.intern(&at.to_string());
        }
        assert!(Arc::ptr_eq(&kept, &nodes.intern("kept")));
        assert!(nodes.0.len() < 100, "{}", nodes.0.len());
    }
}
