//! The routes of the main table that say something about an interface.
//!
//! A default route makes its interface an uplink: a node that is a container itself (kind, k3d, a
//! lab) has a veth into another namespace for its uplink, and but for the default route it looks
//! like a pod's. A route to one address without a gateway says that this address is behind the
//! interface: network plugins that give each pod a link of its own (Calico, Cilium, the ptp plugin,
//! those of the clouds) make one for each pod.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};

/// A parsed route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// These interfaces lead to everywhere.
    Default(Vec<u32>),
    /// This address is behind this interface.
    Host(u32, IpAddr),
}

impl Route {
    pub(super) fn of(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
            return None;
        }
        let full = match header.address_family {
            AddressFamily::Inet => 32,
            AddressFamily::Inet6 => 128,
            _ => return None,
        };
        let (mut interfaces, mut destination, mut gateway) = (Vec::new(), None, false);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interfaces.push(*index),
                RouteAttribute::MultiPath(hops) => interfaces.extend(hops.iter().map(|hop| hop.interface_index)),
                RouteAttribute::Destination(RouteAddress::Inet(ip)) => destination = Some(IpAddr::V4(*ip)),
                RouteAttribute::Destination(RouteAddress::Inet6(ip)) => destination = Some(IpAddr::V6(*ip)),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => gateway = true,
                _ => {}
            }
        }
        match (header.destination_prefix_length, destination, interfaces.as_slice()) {
            (0, _, [_, ..]) => Some(Self::Default(interfaces)),
            (length, Some(ip), [index]) if length == full && !gateway => Some(Self::Host(*index, ip)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteNextHop;

    use super::*;

    fn route(destination: Option<&str>, length: u8, more: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        let ip: Option<IpAddr> = destination.map(|ip| ip.parse().unwrap());
        message.header.address_family =
            if ip.is_some_and(|ip| ip.is_ipv6()) { AddressFamily::Inet6 } else { AddressFamily::Inet };
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.kind = RouteType::Unicast;
        message.header.destination_prefix_length = length;
        message.attributes = more;
        message.attributes.extend(ip.map(|ip| RouteAttribute::Destination(ip.into())));
        message
    }

    fn gateway() -> RouteAttribute {
        RouteAttribute::Gateway(RouteAddress::Inet([172, 18, 0, 1].into()))
    }

    /// A default route names its interfaces, by one hop or by many; one to nowhere, of another
    /// table or with no interface does not.
    #[test]
    fn default_routes() {
        let eth0 = RouteAttribute::Oif(2);
        assert_eq!(Route::of(&route(None, 0, vec![gateway(), eth0.clone()])), Some(Route::Default(vec![2])));
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let hops = RouteAttribute::MultiPath(vec![hop(2), hop(3)]);
        assert_eq!(Route::of(&route(None, 0, vec![hops])), Some(Route::Default(vec![2, 3])));
        assert_eq!(Route::of(&route(None, 0, vec![])), None);
        let mut reject = route(None, 0, vec![eth0.clone()]);
        reject.header.kind = RouteType::Unreachable;
        assert_eq!(Route::of(&reject), None);
        let mut elsewhere = route(None, 0, vec![eth0]);
        elsewhere.header.table = 100;
        assert_eq!(Route::of(&elsewhere), None, "a table for some packets only");
    }

    /// A route to one address shows what is behind an interface; one to a network or by way of a
    /// gateway does not.
    #[test]
    fn routes_to_one_address() {
        let oif = RouteAttribute::Oif(7);
        let host = Route::Host(7, "10.244.1.11".parse().unwrap());
        assert_eq!(Route::of(&route(Some("10.244.1.11"), 32, vec![oif.clone()])), Some(host));
        let host = Route::Host(7, "fd00:10:244:1::11".parse().unwrap());
        assert_eq!(Route::of(&route(Some("fd00:10:244:1::11"), 128, vec![oif.clone()])), Some(host));
        assert_eq!(Route::of(&route(Some("fd00::"), 32, vec![oif.clone()])), None);
        assert_eq!(Route::of(&route(Some("10.244.1.0"), 24, vec![oif.clone()])), None);
        assert_eq!(Route::of(&route(Some("10.244.2.0"), 32, vec![oif, gateway()])), None);
    }
}
