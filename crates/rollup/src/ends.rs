//! The ends of a row, from those of a flow.

use std::sync::LazyLock;

use webb_flow::sym::Sym;
use webb_flow::{Extra, Flow};
use webb_index::{End, EndpointKind, Index};

use super::key::EndKey;
use super::settings::Keys;

/// The kind of a pod.
static POD: LazyLock<Sym> = LazyLock::new(|| Sym::new("Pod"));

/// DNS names of an end that is an address of the world.
#[inline]
pub(crate) fn names(end: End, flow: &Flow, extra: Option<&Extra>, index: &Index) -> Sym {
    if end.id(flow).sort() == webb_flow::Sort::World { end.dns_names(flow, extra, index) } else { Sym::EMPTY }
}

/// One end, in the parts that are configured.
pub(crate) fn end(end: End, flow: &Flow, extra: Option<&Extra>, index: &Index, keys: Keys) -> EndKey {
    let endpoint = index.endpoint(end.id(flow));
    let place = index.place(end.id(flow));
    let (zone, region) = if keys.zone { (place.zone, place.region) } else { (Sym::EMPTY, Sym::EMPTY) };
    let is_pod = matches!(endpoint.kind, EndpointKind::Pod | EndpointKind::Mesh);
    // A pod that nothing owns is its own workload.
    let is_bare = endpoint.kind == EndpointKind::Pod && endpoint.workload_name.is_empty();
    EndKey {
        namespace: endpoint.namespace,
        workload: if is_bare { endpoint.pod_name } else { endpoint.workload_name },
        kind: if is_bare { *POD } else { endpoint.workload_kind },
        pod: if keys.pod { endpoint.pod_name } else { Sym::EMPTY },
        reserved: if is_pod { Sym::EMPTY } else { endpoint.reserved_identity },
        names: names(end, flow, extra, index),
        cidr: place.cidr,
        zone,
        region,
        service: if keys.service { end.service(flow, extra, index) } else { Sym::EMPTY },
    }
}
