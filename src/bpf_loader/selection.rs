//! Which interfaces are watched, and as what.

use globset::GlobSet;

use super::interfaces::{Interface, Kind};

/// What an interface is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The host side of a pod's interface.
    Pod,
    /// A device of the node itself.
    Node,
}

/// How pods' interfaces are recognised.
#[derive(Debug, Clone)]
pub enum Pods {
    /// Every veth whose peer sits in another network namespace, but for the node's uplink.
    Veths,
    /// Every interface whose name matches, whatever it is.
    Globs(GlobSet),
}

/// Which interfaces are watched.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Pods' interfaces.
    pub pods: Pods,
    /// Names of the node's own devices; may be empty.
    pub node_devices: GlobSet,
}

impl Default for Selection {
    fn default() -> Self {
        Self { pods: Pods::Veths, node_devices: GlobSet::empty() }
    }
}

impl Selection {
    /// What `interface` is to be watched as. A pod's interface stays one, also if a glob for devices matches it.
    pub fn role(&self, interface: &Interface) -> Option<Role> {
        let pod = match &self.pods {
            Pods::Veths => interface.kind == Kind::Veth && interface.peer_in_other_namespace,
            Pods::Globs(globs) => globs.is_match(&interface.name),
        };
        if pod {
            return Some(Role::Pod);
        }
        self.node_devices.is_match(&interface.name).then_some(Role::Node)
    }
}

#[cfg(test)]
mod tests {
    use globset::{Glob, GlobSetBuilder};

    use super::*;

    fn interface(name: &str, veth: bool, elsewhere: bool) -> Interface {
        Interface {
            index: 7,
            name: name.to_owned(),
            kind: if veth { Kind::Veth } else { Kind::Other },
            peer_in_other_namespace: elsewhere,
            peer: None,
            bridged: false,
            ethernet: true,
            up: true,
        }
    }

    fn globs(text: &str) -> GlobSet {
        GlobSetBuilder::new().add(Glob::new(text).unwrap()).build().unwrap()
    }

    /// A veth whose both ends are on the host (a bridge's uplink, docker's own plumbing) is no pod.
    #[test]
    fn pods_are_veths_into_other_namespaces() {
        let selection = Selection { pods: Pods::Veths, node_devices: globs("eth*") };
        assert_eq!(selection.role(&interface("veth1", true, true)), Some(Role::Pod));
        assert_eq!(selection.role(&interface("veth1", true, false)), None);
        assert_eq!(selection.role(&interface("eth0", false, false)), Some(Role::Node));
        assert_eq!(selection.role(&interface("eth0", true, true)), Some(Role::Pod));
        assert_eq!(selection.role(&interface("lo", false, false)), None);
    }

    /// Globs replace the rule for veths; what they match need not be one.
    #[test]
    fn globs_replace_the_rule() {
        let selection = Selection { pods: Pods::Globs(globs("cali*")), node_devices: GlobSet::empty() };
        assert_eq!(selection.role(&interface("cali12", false, false)), Some(Role::Pod));
        assert_eq!(selection.role(&interface("veth1", true, true)), None);
    }
}
