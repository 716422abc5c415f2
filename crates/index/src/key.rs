//! The key of a Kubernetes object.

use std::fmt;

/// Namespace and name of an object; the namespace is empty for objects of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[allow(missing_docs, reason = "the type says it")]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            to.write_str(&self.name)
        } else {
            write!(to, "{}/{}", self.namespace, self.name)
        }
    }
}
