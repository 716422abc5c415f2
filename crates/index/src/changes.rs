//! Differences between two published indexes.

use std::sync::Arc;

use super::ObjectKey;

/// Pods added and removed between an index and the one published before it.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PodChanges {
    pub added: Vec<Arc<ObjectKey>>,
    pub removed: Vec<Arc<ObjectKey>>,
}
