//! Looks up the builder's state, for explanations and checks.

use webb_flow::EndpointId;
use webb_index::Index;

use super::super::claims::{Claims, Owner};
use super::Builder;

impl Builder {
    /// Policies that are not compiled because of their size, the first ten by name.
    pub(in super::super) fn oversize(&self) -> String {
        self.compiler.oversize().iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    pub(in super::super) fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Endpoint of a pod; none if it has no address of its own.
    pub(in super::super) fn id_of(&self, owner: &Owner) -> Option<EndpointId> {
        self.applied.get(owner)?.pod.as_ref().map(|pod| pod.id)
    }

    /// Endpoints of a pod, one for each of its networks; empty if it has no address of its own.
    pub(in super::super) fn ids_of(&self, owner: &Owner) -> Vec<EndpointId> {
        let pod = self.applied.get(owner).and_then(|applied| applied.pod.as_ref());
        pod.into_iter().flat_map(|pod| std::iter::once(pod.id).chain(pod.elsewhere)).collect()
    }

    /// The interfaces of this node that lead to a pod, in any of its networks.
    pub(in super::super) fn interfaces_of(&self, owner: &Owner, index: &Index) -> Vec<u32> {
        let Some(pod) = self.applied.get(owner).and_then(|applied| applied.pod.as_ref()) else { return Vec::new() };
        let mut interfaces = index.interfaces_of(Some(pod.id));
        interfaces.extend(pod.elsewhere.iter().flat_map(|id| index.interfaces_of(Some(*id))));
        interfaces
    }
}
