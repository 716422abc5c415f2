//! The other clusters of a mesh, each with a cache of its own: what is kept of them, what overlaps.
//!
//! A cluster without its API server keeps what is in its cache, as the own one does. The caches are
//! read together, by the index of this cluster's cache.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Cache;
use webb_flow::room::is_spacious;

use super::claims::OWN;
use super::store::lock;

/// Overlap of two clusters: addresses that objects of both claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Names of the two.
    pub clusters: [Arc<str>; 2],
    /// True if one of the two is this cluster, which has the addresses then. Otherwise they name
    /// nothing.
    pub with_own: bool,
    /// Number of addresses.
    pub addresses: usize,
    /// The lowest of them.
    pub first: IpAddr,
}

impl fmt::Display for Overlap {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clusters: [one, other], with_own, addresses, first } = self;
        let outcome = if *with_own { format!("they are named by {one}") } else { "they have no name".to_owned() };
        write!(to, "clusters {one} and {other} claim {addresses} same addresses, such as {first}: {outcome}")
    }
}

impl Cache {
    /// True for a cache of another cluster of the mesh.
    pub(super) fn is_of_mesh(&self) -> bool {
        self.store.settings.of_mesh
    }

    /// Overlaps of clusters, as of the last index.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let builder = self.builder();
        let named = builder.claims().overlaps().filter_map(|((one, other), addresses)| {
            Some(Overlap {
                clusters: [builder.cluster_name(one), builder.cluster_name(other)],
                with_own: one == OWN,
                addresses: addresses.len(),
                first: addresses.iter().map(|address| address.ip()).min()?,
            })
        });
        named.collect()
    }

    /// True if the next index would have changes of another cluster, or free the remains of deleted
    /// pods, though this cluster has not changed.
    pub fn is_outdated(&self) -> bool {
        self.has_garbage()
            || self.touched().places
            || self.mesh.iter().any(|cluster| {
                let touched = cluster.touched();
                touched.nodes
                    || !(touched.pods.is_empty() && touched.services.is_empty() && touched.namespaces.is_empty())
            })
    }

    /// Number of pods that have an address of their own.
    pub fn addressed_pods(&self) -> usize {
        self.store.pods.iter().filter(|pod| !pod.own_addresses().is_empty()).count()
    }

    /// Frees what deleted pods of the other clusters left.
    pub(super) fn trim_mesh(&self) {
        for cluster in &self.mesh {
            lock(&cluster.profiles).evict_unused();
            if is_spacious(cluster.store.pods.capacity(), cluster.store.pods.len()) {
                cluster.store.pods.shrink_to_fit();
            }
        }
    }
}
