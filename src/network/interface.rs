//! Attributes of an interface that decide whether and how it is watched.

use rtnetlink::packet_route::link::{
    InfoKind, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};

/// The driver of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// One end of a veth pair.
    Veth,
    /// One end of a netkit pair (Linux 6.7).
    Netkit,
    /// A device that wraps packets into others and sends those through another device.
    Tunnel,
    /// Anything else.
    Other,
}

/// Attributes of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "facts of the kernel's that have nothing to do with each other")]
pub struct Interface {
    /// Its index, which never changes.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Driver of the interface.
    pub kind: Driver,
    /// True if it carries a default route of this node.
    pub uplink: bool,
    /// Its peer sits in another network namespace.
    pub peer_in_other_namespace: bool,
    /// The number of that namespace in this one, if the kernel has given it one.
    pub namespace: Option<i32>,
    /// The index of the interface below it, or of its peer in the peer's namespace.
    pub link: Option<u32>,
    /// The index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
    /// True if it is a port of a bridge, or of an Open vSwitch, which floods as well.
    pub bridged: bool,
    /// Its packets begin with an Ethernet header.
    pub ethernet: bool,
    /// True if it is administratively up.
    pub up: bool,
}

impl Interface {
    pub(super) fn of(message: &LinkMessage) -> Option<Self> {
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            kind: Driver::Other,
            uplink: false,
            peer_in_other_namespace: false,
            namespace: None,
            link: None,
            controller: None,
            bridged: false,
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            up: message.header.flags.contains(LinkFlags::Up),
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                // Present only where the peer is elsewhere; -1 where its namespace has no number
                // here.
                LinkAttribute::LinkNetNsId(number) => {
                    interface.peer_in_other_namespace = true;
                    interface.namespace = Some(*number).filter(|number| *number >= 0);
                }
                LinkAttribute::Link(index) => interface.link = Some(*index).filter(|index| *index > 0),
                LinkAttribute::Controller(index) => interface.controller = Some(*index).filter(|index| *index > 0),
                LinkAttribute::LinkInfo(infos) => {
                    interface.kind = kind(infos);
                    interface.bridged = infos.iter().any(is_bridge_port);
                }
                _ => {}
            }
        }
        (!interface.name.is_empty()).then_some(interface)
    }

    /// The other end of a pair: the number here of its namespace, and its index there.
    pub fn peer(&self) -> Option<(i32, u32)> {
        self.namespace.zip(self.link)
    }

    /// The index of the bridge that it is a port of; 0 if the kernel does not say which.
    pub fn bridge(&self) -> Option<u32> {
        self.bridged.then(|| self.controller.unwrap_or(0))
    }

    /// True for one end of a pair that has its other end in another network namespace.
    pub fn leads_elsewhere(&self) -> bool {
        matches!(self.kind, Driver::Veth | Driver::Netkit) && self.peer_in_other_namespace
    }
}

/// True for a port of a bridge or of an Open vSwitch.
fn is_bridge_port(info: &LinkInfo) -> bool {
    match info {
        LinkInfo::PortKind(InfoPortKind::Bridge) => true,
        LinkInfo::PortKind(InfoPortKind::Other(name)) => name == "openvswitch",
        _ => false,
    }
}

fn kind(infos: &[LinkInfo]) -> Driver {
    let found = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match found {
        Some(InfoKind::Veth) => Driver::Veth,
        Some(InfoKind::Netkit) => Driver::Netkit,
        Some(
            InfoKind::Vxlan
            | InfoKind::Geneve
            | InfoKind::GreTap
            | InfoKind::GreTap6
            | InfoKind::GreTun
            | InfoKind::GreTun6
            | InfoKind::IpIp
            | InfoKind::Ip6Tnl
            | InfoKind::SitTun
            | InfoKind::Vti
            | InfoKind::Vti6
            | InfoKind::Wireguard
            | InfoKind::Xfrm
            | InfoKind::BareUdp
            | InfoKind::ErSpan
            | InfoKind::Ip6ErSpan,
        ) => Driver::Tunnel,
        _ => Driver::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: InfoKind, more: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.header.flags = LinkFlags::Up;
        message.attributes =
            vec![LinkAttribute::IfName("dev7".to_owned()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])];
        message.attributes.extend(more);
        message
    }

    /// The kernel's messages for one end of a pair, with and without a number for the other end's
    /// namespace.
    #[test]
    fn pairs_into_other_namespaces() {
        let pair = |kind, number| {
            let more = vec![LinkAttribute::Link(2), LinkAttribute::LinkNetNsId(number)];
            Interface::of(&link(kind, more)).unwrap()
        };
        for (kind, expected) in [(InfoKind::Veth, Driver::Veth), (InfoKind::Netkit, Driver::Netkit)] {
            let interface = pair(kind.clone(), 4);
            assert_eq!((interface.kind, interface.namespace, interface.link), (expected, Some(4), Some(2)));
            assert!(interface.leads_elsewhere());
            assert_eq!(pair(kind.clone(), -1).namespace, None);
            assert!(pair(kind.clone(), -1).leads_elsewhere());
            let here = Interface::of(&link(kind, vec![LinkAttribute::Link(2)])).unwrap();
            assert!(!here.leads_elsewhere(), "both ends are here");
        }
        // A macvlan in this namespace whose parent is in another one is no pair.
        assert!(!pair(InfoKind::MacVlan, 4).leads_elsewhere());
    }

    /// Tunnels are known by their driver.
    #[test]
    fn tunnels() {
        for kind in [InfoKind::Vxlan, InfoKind::Geneve, InfoKind::Wireguard, InfoKind::IpIp] {
            assert_eq!(Interface::of(&link(kind.clone(), vec![])).unwrap().kind, Driver::Tunnel, "{kind:?}");
        }
        for kind in [InfoKind::Bridge, InfoKind::Vlan, InfoKind::Dummy, InfoKind::Other("odd".to_owned())] {
            assert_eq!(Interface::of(&link(kind.clone(), vec![])).unwrap().kind, Driver::Other, "{kind:?}");
        }
    }

    /// A message without a name describes nothing; index 0 is no device.
    #[test]
    fn incomplete_messages() {
        assert_eq!(Interface::of(&LinkMessage::default()), None);
        let more = vec![LinkAttribute::Link(0), LinkAttribute::Controller(0)];
        let interface = Interface::of(&link(InfoKind::Bridge, more)).unwrap();
        assert_eq!((interface.link, interface.controller), (None, None));
    }
}
