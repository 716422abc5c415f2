//! Selects the side of a connection that reports its messages, so that each is counted once.

use webb_decode::l7::{Connection, Content, Judgement, Side as Seen};
use webb_flow::abi::l7_switch;
use webb_flow::{EndpointId, L4, Sort};
use webb_index::{EndpointKind, Index};
use webb_metrics::Layer7Wishes;

/// The side that reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The server's for HTTP and the client's for DNS; the other one where no agent watches that.
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

/// Ends that an agent of this cluster watches: pods, those without a name yet included, but for
/// those on a node without a ready agent. A service counts as one: pods answer for it, and where
/// none does it is not counted. No agent of this cluster sees the end of another's.
fn is_reported(end: EndpointId, index: &Index) -> bool {
    match end.sort() {
        Sort::Service => index.endpoint(end).kind != EndpointKind::Mesh,
        Sort::Unnamed => true,
        _ => index.is_watched(end),
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
            (Side::Once, Seen::Client) => !Self::is_answered_where_reported(connection, index),
            (Side::Once, Seen::Server) => !is_reported(index.find(connection.client().address), index),
        };
        if emits { Judgement::Emit } else { Judgement::OtherSide }
    }

    /// True if one agent alone reports a message, and not the agents of both sides.
    pub(super) fn report_once(self, content: &Content<'_>) -> bool {
        let side = match content {
            Content::Dns(_) | Content::Unanswered(_) => self.dns,
            Content::Http(_) | Content::Grpc(_) => self.http,
        };
        side != Side::Both
    }

    fn is_answered_where_reported(connection: &Connection, index: &Index) -> bool {
        let server = connection.server();
        let id = index.find(server.address);
        match id.sort() {
            // A port of a node that belongs to a service leads to pods.
            Sort::Node => {
                index.services().find(server.address, server.port, L4::Tcp, true) != webb_flow::ServiceId::NONE
            }
            _ => is_reported(id, index),
        }
    }
}

#[cfg(test)]
mod tests {
    use webb_decode::l7::{Path, Port};
    use webb_flow::sym::Sym;
    use webb_flow::{Address, Family};
    use webb_index::{AgentNodes, Draft, Endpoint, EndpointSpec, PodChanges};

    use super::*;

    fn address(last: u8) -> Address {
        Address::from(std::net::IpAddr::from([10, 0, 0, last]))
    }

    /// Pods of this node (10.0.0.1), of one with an agent (.2) and of one without (.3).
    fn index() -> Index {
        let mut draft = Draft::default();
        for (last, node) in [(1, "n1"), (2, "n2"), (3, "n3")] {
            let sort = if last == 1 { Sort::Local } else { Sort::Remote };
            let endpoint = Endpoint::new(EndpointKind::Pod, last == 1, &EndpointSpec::default());
            let id = draft.add(sort, Endpoint { node: Sym::new(node), ..endpoint });
            draft.set(address(last), Some(id), None);
        }
        draft.set_agents(AgentNodes::new(["n1", "n2"]));
        draft.publish(0, PodChanges::default())
    }

    /// Each message is reported once: `once` at the other side where no agent watches the pod whose
    /// side it would be, as where that is no pod.
    #[test]
    fn once_is_the_other_side_where_no_agent_is() {
        let index = index();
        let emits = |sides: Sides, side, is_dns, peer| {
            let port = |last, port| Port { address: address(last), port };
            let path = Path { ifindex: 7, pod: port(1, 4000), peer: port(peer, 80) };
            let connection = Connection { path, side, l4: L4::Tcp, family: Family::V4 };
            sides.judge(&connection, is_dns, &index) == Judgement::Emit
        };
        let by_peer = |sides, side, is_dns| [2, 3, 9].map(|peer| emits(sides, side, is_dns, peer));
        let once = Sides { http: Side::Once, dns: Side::Once };
        assert_eq!(by_peer(once, Seen::Client, false), [false, true, true], "HTTP of a client here");
        assert_eq!(by_peer(once, Seen::Server, false), [true; 3], "HTTP of a server here");
        assert_eq!(by_peer(once, Seen::Client, true), [true; 3], "DNS of a client here");
        assert_eq!(by_peer(once, Seen::Server, true), [false, true, true], "DNS of a server here");
        let fixed = Sides { http: Side::Server, dns: Side::Client };
        assert_eq!(by_peer(fixed, Seen::Client, false), [false; 3]);
        assert_eq!(by_peer(fixed, Seen::Client, true), [true; 3]);
    }

    /// A message has one report unless its protocol's setting reads both sides.
    #[test]
    fn both_sides_report_twice() {
        let contents = [Content::Dns(webb_decode::l7::Dns::default()), Content::Http(webb_decode::l7::Http::default())];
        let once = |http, dns| contents.each_ref().map(|content| Sides { http, dns }.report_once(content));
        assert_eq!(once(Side::Once, Side::Client), [true, true]);
        assert_eq!(once(Side::Both, Side::Server), [true, false]);
        assert_eq!(once(Side::Client, Side::Both), [false, true]);
    }
}
