//! Selects the side of a connection that reports its messages, so that each is counted once.

use webb_decode::l7::{Connection, Judgement, Side as Seen};
use webb_flow::abi::l7_switch;
use webb_flow::{EndpointId, L4, Sort};
use webb_index::{EndpointKind, Index};
use webb_metrics::Layer7Wishes;

/// The side that reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The server's for HTTP and the client's for DNS; the other one where that is no pod.
    #[default]
    Once,
    /// The server's.
    Server,
    /// The client's.
    Client,
    /// Both: a message between two pods is counted twice.
    Both,
}

/// The side that reports, by protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Side of HTTP.
    pub http: Side,
    /// Side of DNS.
    pub dns: Side,
}

impl Default for Sides {
    fn default() -> Self {
        Self { http: Side::Once, dns: Side::Client }
    }
}

/// Ends that are pods of this cluster, known or not. A service counts as one: pods answer for it,
/// and where none does it is not counted. No agent of this cluster sees the end of another's.
fn is_pod(end: EndpointId, index: &Index) -> bool {
    match end.sort() {
        Sort::Service => index.endpoint(end).kind != EndpointKind::Mesh,
        sort => matches!(sort, Sort::Local | Sort::Remote | Sort::Unnamed),
    }
}

impl Sides {
    /// Sides and protocols that the programs parse: bits of [`l7_switch`].
    pub(super) fn switch(self, wishes: Layer7Wishes) -> u32 {
        let of = |wanted: bool, side, client, server| match side {
            _ if !wanted => 0,
            Side::Client => client,
            Side::Server => server,
            Side::Once | Side::Both => client | server,
        };
        of(wishes.dns, self.dns, l7_switch::DNS_CLIENT, l7_switch::DNS_SERVER)
            | of(wishes.http, self.http, l7_switch::HTTP_CLIENT, l7_switch::HTTP_SERVER)
    }

    /// Decides about the messages of a connection.
    pub(super) fn judge(self, connection: &Connection, is_dns: bool, index: &Index) -> Judgement {
        let pod = index.find(connection.path.pod.address);
        // A gateway or a router: the packet passes it.
        let passes = index
            .pod_at_interface(connection.path.ifindex)
            .is_some_and(|behind| behind != pod && !matches!(pod.sort(), Sort::World | Sort::Unnamed | Sort::Unknown));
        if passes {
            return Judgement::Transit;
        }
        let side = if is_dns { self.dns } else { self.http };
        let emits = match (side, connection.side) {
            (Side::Both, _) | (Side::Client, Seen::Client) | (Side::Server, Seen::Server) => true,
            (Side::Client, Seen::Server) | (Side::Server, Seen::Client) => false,
            (Side::Once, Seen::Server) if !is_dns => true,
            (Side::Once, Seen::Client) if is_dns => true,
            (Side::Once, Seen::Client) => !Self::answered_by_pod(connection, index),
            (Side::Once, Seen::Server) => !is_pod(index.find(connection.client().address), index),
        };
        if emits { Judgement::Emit } else { Judgement::OtherSide }
    }

    fn answered_by_pod(connection: &Connection, index: &Index) -> bool {
        let server = connection.server();
        let id = index.find(server.address);
        match id.sort() {
            // A port of a node that belongs to a service leads to pods.
            Sort::Node => {
                index.services().find(server.address, server.port, L4::Tcp, true) != webb_flow::ServiceId::NONE
            }
            _ => is_pod(id, index),
        }
    }
}
