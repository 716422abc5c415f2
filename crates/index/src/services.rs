//! Resolves a packet's address and port to a service.
//!
//! A frontend is an address (of the cluster, of a load balancer, or one of the node's own), a port
//! and a protocol; backends never resolve to a service (hubble-contract §5.5). A node port is open
//! on every node, so it is kept once, by port, and looked up where an address is a node's.

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Names, Sym};
use webb_flow::{Address, L4, ServiceId};

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// TCP, UDP or SCTP.
    pub protocol: L4,
    /// Port at the service's own addresses.
    pub port: u16,
    /// Port on every node; 0 for none.
    pub node_port: u16,
}

/// The input of the table: one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses, of the cluster, of load balancers and external ones.
    pub addresses: Vec<Address>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// `flow.Service`, interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: Sym,
    /// Its name.
    pub name: Sym,
    /// Both, as `namespace/name`.
    pub qualified: Sym,
}

type Map<K> = HashMap<K, ServiceId, RandomState>;

/// All services by frontend.
#[derive(Debug)]
pub struct Services {
    frontends: Map<(Address, u16, L4)>,
    node_ports: Map<(u16, L4)>,
    /// Names by id; the first is [`ServiceId::NONE`].
    names: Vec<ServiceName>,
    /// Own what `names` has.
    _owned: Names,
}

impl Default for Services {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Services {
    /// Builds the table, which owns the names in it. Of two services that claim a frontend the
    /// first gets it. Interns, so not for the event path.
    pub fn new(specs: &[ServiceSpec]) -> Self {
        let (mut names, mut owned) = (vec![ServiceName::default()], Names::default());
        names.extend(specs.iter().map(|spec| ServiceName {
            namespace: owned.intern(&spec.namespace),
            name: owned.intern(&spec.name),
            qualified: owned.intern(&format!("{}/{}", spec.namespace, spec.name)),
        }));
        let mut table = Self { frontends: Map::default(), node_ports: Map::default(), names, _owned: owned };
        for (spec, number) in specs.iter().zip(1..) {
            let id = ServiceId(number);
            for port in &spec.ports {
                for &address in &spec.addresses {
                    table.frontends.entry((address, port.port, port.protocol)).or_insert(id);
                }
                if port.node_port != 0 {
                    table.node_ports.entry((port.node_port, port.protocol)).or_insert(id);
                }
            }
        }
        table
    }

    /// Looks up the service of an address and a port; `of_node` is true for an address of a node.
    /// The packet's own protocol is tried first, then TCP, then UDP, as Hubble does.
    pub fn find(&self, address: Address, port: u16, protocol: L4, of_node: bool) -> ServiceId {
        [protocol, L4::Tcp, L4::Udp]
            .into_iter()
            .find_map(|protocol| {
                let own = self.frontends.get(&(address, port, protocol));
                own.or_else(|| self.node_ports.get(&(port, protocol)).filter(|_| of_node)).copied()
            })
            .unwrap_or(ServiceId::NONE)
    }

    /// The name of a service; empty for an id that is not of this table.
    pub fn name(&self, id: ServiceId) -> ServiceName {
        self.names.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// Number of services.
    pub fn len(&self) -> usize {
        self.names.len().saturating_sub(1)
    }

    /// True without any service.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn ip(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn service(name: &str, address: &str, protocol: L4, port: u16, node_port: u16) -> ServiceSpec {
        ServiceSpec {
            namespace: "a".into(),
            name: name.into(),
            addresses: vec![ip(address)],
            ports: vec![ServicePort { protocol, port, node_port }],
        }
    }

    /// Frontends resolve by their own protocol, by TCP before UDP otherwise, node ports on nodes
    /// only, backends never.
    #[test]
    fn frontends_resolve() {
        let table = Services::new(&[
            service("tcp", "10.96.0.1", L4::Tcp, 53, 30053),
            service("udp", "10.96.0.1", L4::Udp, 53, 0),
            service("other", "10.96.0.1", L4::Udp, 80, 30080),
            service("late", "10.96.0.1", L4::Tcp, 53, 30053),
        ]);
        let find = |address: &str, port, protocol, of_node| {
            table.name(table.find(ip(address), port, protocol, of_node)).qualified.text().to_string()
        };
        assert_eq!(find("10.96.0.1", 53, L4::Tcp, false), "a/tcp", "the first of two keeps it");
        assert_eq!(find("10.96.0.1", 53, L4::Udp, false), "a/udp");
        assert_eq!(find("10.96.0.1", 53, L4::Sctp, false), "a/tcp");
        assert_eq!(find("10.96.0.1", 80, L4::Tcp, false), "a/other");
        assert_eq!(find("192.168.0.1", 30053, L4::Tcp, true), "a/tcp");
        assert_eq!(find("192.168.0.1", 30053, L4::Tcp, false), "");
        assert_eq!(find("192.168.0.1", 53, L4::Tcp, true), "");
        assert_eq!(find("10.96.0.2", 53, L4::Tcp, false), "");
        assert_eq!(table.len(), 4);
    }
}
