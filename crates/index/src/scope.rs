//! How far a packet goes: within a node or zone, to another one, to the internet.

use webb_flow::{Address, EndpointId, Flow, Sort};

use super::Index;

/// How far a packet goes, as far as its price depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Between two ends on one node.
    SameNode = 0,
    /// Between two nodes of a zone.
    SameZone = 1,
    /// Between two zones of a region.
    CrossZone = 2,
    /// Between two regions.
    CrossRegion = 3,
    /// One end has an address of the internet, and no place in `zones.cidrs`.
    Internet = 4,
    /// The place of an end is not known, or not well enough.
    Unknown = 5,
}

impl Scope {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::SameNode, Self::SameZone, Self::CrossZone, Self::CrossRegion, Self::Internet, Self::Unknown];

    /// Value of the label `scope`.
    pub fn label(self) -> &'static str {
        match self {
            Self::SameNode => "same_node",
            Self::SameZone => "same_zone",
            Self::CrossZone => "cross_zone",
            Self::CrossRegion => "cross_region",
            Self::Internet => "internet",
            Self::Unknown => "unknown",
        }
    }
}

impl Index {
    /// How far the packet of a flow goes. Two lookups by hash; allocates nothing.
    ///
    /// Regions decide first: two of them may have zones of one name. Zones that differ are a
    /// crossing also where a region is not known.
    #[inline]
    pub fn scope(&self, flow: &Flow) -> Scope {
        let internet = |id, address| self.is_of_internet(id, address);
        if internet(flow.source, flow.source_ip) || internet(flow.destination, flow.destination_ip) {
            return Scope::Internet;
        }
        let (from, to) = (self.place(flow.source), self.place(flow.destination));
        let known = |one: webb_flow::sym::Sym, other: webb_flow::sym::Sym| !one.is_empty() && !other.is_empty();
        if known(from.node, to.node) && from.node == to.node {
            Scope::SameNode
        } else if known(from.region, to.region) && from.region != to.region {
            Scope::CrossRegion
        } else if !known(from.zone, to.zone) {
            Scope::Unknown
        } else if from.zone == to.zone {
            Scope::SameZone
        } else {
            Scope::CrossZone
        }
    }

    /// True if both ends are known to be in one region, or not to be; none if that is not known.
    pub fn is_in_region(&self, flow: &Flow) -> Option<bool> {
        let (from, to) = (self.place(flow.source), self.place(flow.destination));
        (!from.region.is_empty() && !to.region.is_empty()).then(|| from.region == to.region)
    }

    /// A Service's own address is nowhere, whatever address that is.
    fn is_of_internet(&self, id: EndpointId, address: Address) -> bool {
        id.sort() == Sort::World && self.endpoint(id).cidr == 0 && address.is_public()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use webb_flow::sym::Sym;

    use super::*;
    use crate::{CidrSpec, Draft, Endpoint, EndpointKind, EndpointSpec, PodChanges, ZoneSpec, Zones};

    fn address(text: &str) -> Address {
        Address::from(text.parse::<IpAddr>().unwrap())
    }

    fn zones() -> Zones {
        let node = |node: &str, zone: &str, region: &str| ZoneSpec {
            node: node.into(),
            zone: zone.into(),
            region: region.into(),
        };
        let nodes = vec![
            node("n1", "a", "west"),
            node("n2", "a", "west"),
            node("n3", "b", "west"),
            node("n4", "a", "east"),
            node("n5", "b", ""),
            node("n6", "", "west"),
        ];
        let cidr = |network: &str, zone: &str, region: &str| CidrSpec {
            network: network.parse().unwrap(),
            zone: zone.into(),
            region: region.into(),
            name: String::new(),
        };
        let cidrs = [cidr("8.8.0.0/16", "b", "west"), cidr("192.168.7.0/24", "", "east"), cidr("9.0.0.0/8", "", "")];
        Zones::new("n1", nodes, Arc::new(cidrs))
    }

    /// Both directions have the same scope, and what is not known is not said.
    #[test]
    fn scopes() {
        let mut draft = Draft::default();
        for last in 1..=7_u8 {
            let node = if last == 7 { String::new() } else { format!("n{last}") };
            let endpoint = Endpoint::new(EndpointKind::Pod, false, &EndpointSpec::default());
            let id = draft.add(Sort::Remote, Endpoint { node: Sym::new(&node), ..endpoint });
            draft.set(address(&format!("10.0.0.{last}")), Some(id), None);
        }
        let host = draft.add(Sort::Node, Endpoint::reserved(EndpointKind::Host, 1, "reserved:host"));
        draft.set(address("172.16.0.1"), Some(host), None);
        draft.set(address("4.4.4.4"), Some(EndpointId::new(Sort::Service, 1)), None);
        draft.set_zones(zones(), 0);
        let index = draft.publish(0, PodChanges::default());
        for (other, scope, in_region) in [
            ("10.0.0.1", Scope::SameNode, Some(true)),
            ("172.16.0.1", Scope::SameNode, Some(true)),
            ("10.0.0.2", Scope::SameZone, Some(true)),
            ("10.0.0.3", Scope::CrossZone, Some(true)),
            ("10.0.0.4", Scope::CrossRegion, Some(false)),
            ("10.0.0.5", Scope::CrossZone, None),
            ("10.0.0.6", Scope::Unknown, Some(true)),
            ("10.0.0.7", Scope::Unknown, None),
            ("8.8.8.8", Scope::CrossZone, Some(true)),
            ("8.9.8.8", Scope::Internet, None),
            ("9.9.9.9", Scope::Unknown, None),
            ("192.168.7.1", Scope::CrossRegion, Some(false)),
            ("192.168.8.1", Scope::Unknown, None),
            ("4.4.4.4", Scope::Unknown, None),
            ("224.0.0.251", Scope::Unknown, None),
        ] {
            let (source_ip, destination_ip) = (address("10.0.0.1"), address(other));
            let (source, destination) = (index.find(source_ip), index.find(destination_ip));
            let flow = Flow { source_ip, destination_ip, source, destination, ..Flow::default() };
            for flow in [flow, flow.reversed()] {
                assert_eq!((index.scope(&flow), index.is_in_region(&flow)), (scope, in_region), "{other}");
            }
        }
        assert_eq!(Scope::ALL.map(|scope| scope as usize), [0, 1, 2, 3, 4, 5]);
    }
}
