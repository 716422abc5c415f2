//! Nodes that pods name and that are not cached, for a source that does not watch Nodes.

use std::collections::BTreeSet;

use super::store::lock;
use super::{Cache, ObjectKey};

/// Names that are collected, at most: the list of all Nodes brings the rest.
const MAX_NAMES: usize = 10_000;

impl Cache {
    /// Begins to collect the names of missing nodes, or ends it.
    pub(super) fn collect_missing_nodes(&self, collect: bool) {
        *lock(&self.store.missing_nodes) = collect.then(BTreeSet::new);
    }

    /// True where the source of Nodes brings not all of itself.
    pub(super) fn collects_missing_nodes(&self) -> bool {
        lock(&self.store.missing_nodes).is_some()
    }

    /// Collects the name of a node, unless it is cached with its metadata.
    pub fn note_node(&self, name: &str) {
        let mut missing = lock(&self.store.missing_nodes);
        if let Some(missing) = &mut *missing
            && missing.len() < MAX_NAMES
            && !name.is_empty()
            && !missing.contains(name)
            && !self.is_node_complete(name)
        {
            missing.insert(name.to_owned());
        }
    }

    /// Takes the collected names of nodes that are still not cached with their metadata.
    pub(super) fn take_missing_nodes(&self) -> Vec<String> {
        let names = lock(&self.store.missing_nodes).as_mut().map(std::mem::take).unwrap_or_default();
        names.into_iter().filter(|name| !self.is_node_complete(name)).collect()
    }
}

/// The key of a node.
pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey { namespace: String::new(), name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CacheSettings, Node, Object, Pod};

    /// Names are collected only when asked for, once each, and not of nodes that are cached.
    #[test]
    fn pods_name_missing_nodes() {
        let cache = Cache::new(CacheSettings::default());
        let pod = |name: &str, node: &str| {
            let key = ObjectKey { namespace: "a".into(), name: name.into() };
            cache.upsert(Object::Pod(key, Box::new(Pod { node: node.into(), ..Pod::default() })));
        };
        let node = |name: &str| cache.upsert(Object::Node(key(name), Box::<Node>::default()));
        pod("early", "early");
        assert!(cache.take_missing_nodes().is_empty(), "nothing is collected");
        cache.collect_missing_nodes(true);
        node("known");
        for (name, on) in [("a", "new"), ("b", "new"), ("c", "known"), ("d", ""), ("e", "listed-since")] {
            pod(name, on);
        }
        node("listed-since");
        assert_eq!(cache.take_missing_nodes(), ["new"]);
        assert!(cache.take_missing_nodes().is_empty());
        cache.collect_missing_nodes(false);
        pod("f", "late");
        assert!(cache.take_missing_nodes().is_empty());
    }
}
