//! Finds pods of this node without an interface on it, and other contradictions about this node.
//!
//! A pod on macvlan, ipvlan or an SR-IOV device has no interface on the node's side, so nothing of
//! it is counted, which is reported here. Whether an interface leads to a pod is known by the
//! addresses behind it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use webb_index::Index;

use super::claims::{Owner, Rank};
use super::{Cache, Kind, ObjectKey, PodInterface};

/// Coverage of this node's pods by the watched interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Running pods that use the node's own network, and so have no interface.
    pub host_network: usize,
    /// Running pods with addresses of their own to which no watched interface leads.
    pub unwatched: BTreeSet<Arc<ObjectKey>>,
    /// Interfaces are watched as pods'.
    pub any_watched: bool,
    /// The pod that shares its network with this process, if any.
    pub inside: Option<Arc<ObjectKey>>,
}

impl Cache {
    /// Coverage of this node's pods by the `watched` interfaces, as far as `index` resolves the
    /// pods behind them.
    ///
    /// A watched interface may lead to a pod that cannot be told, because its namespace could not
    /// be asked. As long as there are as many of those as pods without an interface, no pod is
    /// called unwatched.
    pub fn coverage(&self, index: &Index, watched: &[PodInterface]) -> Coverage {
        let builder = self.builder();
        let own = self.store.own_addresses();
        let inside = own.iter().find_map(|&address| {
            let claims = builder.claims().of(address.into());
            claims.iter().find(|claim| claim.rank == Rank::Pod).map(|claim| Arc::clone(&claim.owner.key))
        });
        let mut coverage = Coverage { any_watched: !watched.is_empty(), inside, ..Coverage::default() };
        let behind: HashSet<_> =
            watched.iter().filter_map(|interface| index.pod_at_interface(interface.index)).collect();
        let namespaces = |known: bool| -> HashSet<(Option<i32>, u32)> {
            let interfaces =
                watched.iter().filter(|interface| index.pod_at_interface(interface.index).is_some() == known);
            interfaces.map(|one| (one.namespace, if one.namespace.is_some() { 0 } else { one.index })).collect()
        };
        let unknown = namespaces(false).len();
        for pod in self.store.pods.iter().filter(|pod| *pod.node == *self.store.settings.node && !pod.finished) {
            if pod.host_network {
                coverage.host_network += 1;
                continue;
            }
            let ids = builder.ids_of(&Owner::new(Kind::Pod, Arc::clone(pod.key())));
            if !ids.is_empty() && !ids.iter().any(|id| behind.contains(id)) {
                coverage.unwatched.insert(Arc::clone(pod.key()));
            }
        }
        if coverage.unwatched.len() <= unknown {
            coverage.unwatched.clear();
        }
        coverage
    }

    /// Whether there are Node objects and none of them is called as this node is thought to be.
    pub fn is_on_unknown_node(&self) -> bool {
        let key = ObjectKey { namespace: String::new(), name: self.store.settings.node.clone() };
        !self.store.nodes.is_empty() && !self.store.nodes.contains_key(&key)
    }

    /// Name of this node, as far as it is known.
    pub fn node_name(&self) -> &str {
        &self.store.settings.node
    }
}

/// Pods that are named one by one; the rest as a number.
const MAX_NAMES_SHOWN: usize = 10;

impl Coverage {
    /// Faults that are in both: an interface that is only late is no complaint.
    #[must_use]
    pub fn and(&self, before: &Self) -> Self {
        Self { unwatched: self.unwatched.intersection(&before.unwatched).cloned().collect(), ..self.clone() }
    }

    /// Readable complaint; none if nothing is wrong.
    pub fn complaint(&self) -> Option<String> {
        if let Some(pod) = &self.inside {
            return Some(format!(
                "this process runs in the network of pod {pod} and sees nothing but that pod's own interface: its pod \
                 needs hostNetwork: true"
            ));
        }
        let count = self.unwatched.len();
        if count == 0 {
            return None;
        }
        let mut names: Vec<String> = self.unwatched.iter().take(MAX_NAMES_SHOWN).map(ToString::to_string).collect();
        if count > MAX_NAMES_SHOWN {
            names.push(format!("and {} more", count - MAX_NAMES_SHOWN));
        }
        let names = names.join(", ");
        Some(if self.any_watched {
            format!(
                "no interface of this node leads to {count} of its running pods, so they are not watched: {names} \
                 (macvlan, ipvlan and SR-IOV interfaces have no side on the node)"
            )
        } else {
            format!(
                "no interface of a pod is in sight, but {count} pods run on this node: {names}; if this process is in a \
                 pod, that needs hostNetwork: true, and interfaces.pods must match their interfaces"
            )
        })
    }
}
