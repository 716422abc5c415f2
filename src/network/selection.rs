//! Selects the interfaces to watch, with their roles.

use globset::GlobSet;

use super::interface::{Driver, Interface};

/// Role of a watched interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The host side of a pod's interface.
    Pod,
    /// A device of the node itself.
    Node,
}

/// Rule that recognises pods' interfaces.
#[derive(Debug, Clone)]
pub enum Pods {
    /// Every veth and netkit with a peer in another network namespace, but for the node's uplink.
    Auto,
    /// Every interface with a matching name, of any driver.
    Globs(GlobSet),
}

/// Rules that select the interfaces to watch.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Pods' interfaces.
    pub pods: Pods,
    /// Names of the node's own devices; may be empty.
    pub node_devices: GlobSet,
}

impl Default for Selection {
    fn default() -> Self {
        Self { pods: Pods::Auto, node_devices: GlobSet::empty() }
    }
}

impl Selection {
    /// Role in which `interface` is to be watched; none if it is not. A pod's interface stays one,
    /// also if a glob for devices matches it.
    pub fn role(&self, interface: &Interface) -> Option<Role> {
        let pod = match &self.pods {
            Pods::Auto => interface.leads_elsewhere() && !interface.uplink,
            Pods::Globs(globs) => globs.is_match(&interface.name),
        };
        if pod {
            return Some(Role::Pod);
        }
        self.node_devices.is_match(&interface.name).then_some(Role::Node)
    }
}

/// The first of these devices with packets that leave by another of them too: a packet there counts
/// twice. The upper one comes first. The kernel does not name the lower device of a tunnel, so any
/// beside it will do.
pub fn doubles<'a>(devices: &[&'a Interface]) -> Option<(&'a str, &'a str)> {
    let at = |index: Option<u32>| devices.iter().find(|device| Some(device.index) == index);
    let stacked = devices.iter().find_map(|device| {
        let below = at(device.link.filter(|_| !device.peer_in_other_namespace && device.kind != Driver::Veth));
        let above = at(device.controller).map(|above| (above.name.as_str(), device.name.as_str()));
        below.map(|below| (device.name.as_str(), below.name.as_str())).or(above)
    });
    stacked.or_else(|| {
        let tunnel = devices.iter().find(|device| device.kind == Driver::Tunnel)?;
        let other = devices.iter().find(|device| device.kind != Driver::Tunnel)?;
        Some((&tunnel.name, &other.name))
    })
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};

    use super::*;

    fn interface(name: &str, kind: Driver, elsewhere: bool) -> Interface {
        Interface {
            index: 7,
            name: name.to_owned(),
            kind,
            uplink: false,
            peer_in_other_namespace: elsewhere,
            namespace: elsewhere.then_some(0),
            link: Some(2),
            controller: None,
            bridged: false,
            ethernet: true,
            up: true,
        }
    }

    fn globs(text: &str) -> GlobSet {
        GlobSetBuilder::new().add(Glob::new(text).unwrap()).build().unwrap()
    }

    /// One end of a pair is a pod's if the other end is elsewhere. A veth whose both ends are on
    /// the host (a bridge's uplink, docker's own plumbing) is no pod's, nor is one that carries
    /// the node's default route.
    #[test]
    fn pods_are_pairs_into_other_namespaces() {
        let selection = Selection { pods: Pods::Auto, node_devices: globs("eth*") };
        for kind in [Driver::Veth, Driver::Netkit] {
            let pod = interface("eth0", kind, true);
            assert_eq!(selection.role(&pod), Some(Role::Pod));
            assert_eq!(selection.role(&Interface { uplink: true, ..pod }), Some(Role::Node), "an uplink");
            assert_eq!(selection.role(&interface("veth1", kind, false)), None);
        }
        assert_eq!(selection.role(&interface("eth0", Driver::Other, false)), Some(Role::Node));
        assert_eq!(selection.role(&interface("lo", Driver::Other, false)), None);
        assert_eq!(selection.role(&interface("macvlan1", Driver::Other, true)), None, "its lower device is elsewhere");
    }

    /// A tunnel beside an uplink, a VLAN above its device, a bond above its port: each packet
    /// passes both.
    #[test]
    fn devices_above_one_another() {
        let device = |name: &str, index, kind, link, controller| Interface {
            index,
            link,
            controller,
            ..interface(name, kind, false)
        };
        let eth0 = device("eth0", 2, Driver::Other, None, None);
        let eth1 = device("eth1", 3, Driver::Other, None, None);
        let vxlan = device("flannel.1", 4, Driver::Tunnel, None, None);
        assert_eq!(doubles(&[&eth0, &eth1]), None);
        assert_eq!(doubles(&[&vxlan]), None);
        assert_eq!(doubles(&[&eth0, &vxlan]), Some(("flannel.1", "eth0")));
        let vlan = device("eth0.7", 5, Driver::Other, Some(2), None);
        assert_eq!(doubles(&[&eth0, &vlan]), Some(("eth0.7", "eth0")));
        assert_eq!(doubles(&[&eth1, &vlan]), None);
        let port = device("eth2", 6, Driver::Other, None, Some(7));
        let bond = device("bond0", 7, Driver::Other, None, None);
        assert_eq!(doubles(&[&port, &bond]), Some(("bond0", "eth2")));
        // The number of a veth's peer is no device below it.
        let veth = device("veth1", 8, Driver::Veth, Some(2), None);
        assert_eq!(doubles(&[&eth0, &veth]), None);
    }

    /// Globs replace the rule for pairs; what they match need not be one.
    #[test]
    fn globs_replace_the_rule() {
        let selection = Selection { pods: Pods::Globs(globs("cali*")), node_devices: GlobSet::empty() };
        assert_eq!(selection.role(&interface("cali12", Driver::Other, false)), Some(Role::Pod));
        assert_eq!(selection.role(&interface("veth1", Driver::Veth, true)), None);
    }
}
