//! Reverses NAT: Service address to backend, masqueraded node address to pod.
//!
//! A packet to a service's address is named by the service *and* by the backend that answers, its
//! reply likewise on the other side; a masqueraded packet is given back to its pod. Addresses stay
//! those of the packet where a service is named, and become the pod's where it was masqueraded:
//! Hubble shows the address before the node's took its place too (hubble-contract §5.4).

use webb_flow::{EndpointId, Flow, L4, Reply, ServiceEnd, ServiceId, Sort};
use webb_index::{EndpointKind, Index};

use super::name;
use super::nat::{Connection, Peer, Table};

/// The outcome of a NAT lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatLookup {
    /// No address of the flow is translated, or connection tracking has no entry: the flow is
    /// unchanged.
    NotTranslated,
    /// A translated address was replaced by the pod's.
    Resolved,
    /// The address is a service's, and the answering pod is not known.
    Unresolved,
}

/// The result of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup {
    /// The outcome.
    pub outcome: NatLookup,
    /// The destination's own address and port, where the packet has a service's.
    pub backend: Option<Peer>,
    /// True if conntrack on this node may resolve it later: a retry is worthwhile.
    pub may_resolve_later: bool,
}

const PLAIN: Lookup = Lookup { outcome: NatLookup::NotTranslated, backend: None, may_resolve_later: false };

/// Resolves both ends of a flow by `index` and `table`.
pub fn lookup(flow: &mut Flow, index: &Index, table: &Table) -> Lookup {
    name(flow, index);
    let (source, destination) = (index.endpoint(flow.source).kind, index.endpoint(flow.destination).kind);
    if !matches!(flow.l4, L4::Tcp | L4::Udp | L4::Sctp) {
        return PLAIN;
    }
    let seen = Connection::of(flow);
    // A port that a node took for its own end may be a service's too; which way the connection goes
    // distinguishes them, or, where that was only guessed, that connection tracking knows it.
    let to = service(index, flow.destination, seen.destination, flow.l4);
    if to != ServiceId::NONE {
        let backend = table.backend(&seen);
        if backend.is_some() || flow.reply != Reply::Yes {
            flow.service = ServiceEnd::destination(to);
            if let Some((address, _)) = backend {
                flow.destination = index.find_at(address, flow.time_ns);
            }
            return of_service(backend, destination);
        }
    }
    let from = service(index, flow.source, seen.source, flow.l4);
    if from != ServiceId::NONE {
        let backend = table.backend(&seen.reversed());
        if backend.is_some() || flow.reply != Reply::No {
            flow.service = ServiceEnd::source(from);
            if let Some((address, _)) = backend {
                flow.source = index.find_at(address, flow.time_ns);
            }
            return of_service(backend, source);
        }
    }
    if let Some((address, _)) = table.origin(&seen) {
        flow.source_ip = address;
        flow.source = index.find_at(address, flow.time_ns);
        return Lookup { outcome: NatLookup::Resolved, ..PLAIN };
    }
    if let Some((address, _)) = table.origin(&seen.reversed()) {
        flow.destination_ip = address;
        flow.destination = index.find_at(address, flow.time_ns);
        return Lookup { outcome: NatLookup::Resolved, ..PLAIN };
    }
    // This node's own address: most often its own traffic, perhaps a masqueraded pod's.
    let opens = source == EndpointKind::Host && flow.reply != Reply::Yes;
    let answers = destination == EndpointKind::Host && flow.reply != Reply::No;
    Lookup { may_resolve_later: opens || answers, ..PLAIN }
}

/// The result for a service. Another node translates what is sent to its own address; that is not
/// known here. A service of another cluster is translated there.
fn of_service(backend: Option<Peer>, front: EndpointKind) -> Lookup {
    if backend.is_none() && front == EndpointKind::Mesh {
        return PLAIN;
    }
    let outcome = if backend.is_some() { NatLookup::Resolved } else { NatLookup::Unresolved };
    Lookup { outcome, backend, may_resolve_later: backend.is_none() && front != EndpointKind::RemoteNode }
}

fn service(index: &Index, id: EndpointId, (address, port): Peer, protocol: L4) -> ServiceId {
    match id.sort() {
        sort @ (Sort::Service | Sort::Node) => index.services().find(address, port, protocol, sort == Sort::Node),
        _ => ServiceId::NONE,
    }
}
