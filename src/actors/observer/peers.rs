//! The nodes that serve flows: those of the cluster, as this node knows them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use webb_cluster::Cache;
use webb_observer::{Peer, qualified, server_name};

/// Makes the list of nodes, anew when one has changed.
pub(super) struct Peers {
    pub(super) cache: Arc<Cache>,
    pub(super) cluster: String,
    pub(super) node: String,
    /// Port of the listeners of all nodes; without one no node can be reached.
    pub(super) port: Option<u16>,
    pub(super) tls: bool,
}

impl Peers {
    /// Publishes the list if it has changed since `version`, and returns the present version.
    pub(super) fn publish(&self, version: Option<u64>, to: &watch::Sender<Arc<[Peer]>>) -> u64 {
        let now = self.cache.nodes_version();
        if version != Some(now) {
            let peers = self.list(self.cache.nodes());
            to.send_if_modified(|known| {
                let is_changed = **known != *peers;
                if is_changed {
                    *known = peers.into();
                }
                is_changed
            });
        }
        now
    }

    /// This node is there before the cluster says so.
    fn list(&self, mut nodes: Vec<(String, Vec<IpAddr>)>) -> Vec<Peer> {
        if !nodes.iter().any(|(name, _)| *name == self.node) {
            nodes.push((self.node.clone(), Vec::new()));
        }
        nodes.sort_unstable();
        nodes.iter().map(|(name, addresses)| self.peer(name, addresses)).collect()
    }

    fn peer(&self, node: &str, addresses: &[IpAddr]) -> Peer {
        let ip = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = ip.zip(self.port).map(|(ip, port)| SocketAddr::new(*ip, port).to_string());
        Peer {
            name: qualified(&self.cluster, node),
            address: address.unwrap_or_default(),
            server_name: self.tls.then(|| server_name(&self.cluster, node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 comes first, an IPv6 address has brackets, and a node without an address, or without a
    /// port to reach it at, has none; this node is always there. Names in certificates have no dots
    /// of their own.
    #[test]
    fn addresses_of_nodes() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        let nodes = vec![
            ("node-b.example".to_owned(), ips(&["fd00::2", "192.0.2.2"])),
            ("c".to_owned(), ips(&["fd00::3"])),
            ("d".to_owned(), ips(&[])),
        ];
        let peers = |port, tls| {
            let (cache, node) = (Arc::new(Cache::new(webb_cluster::CacheSettings::default())), "a".to_owned());
            Peers { cache, cluster: "east".to_owned(), node, port, tls }.list(nodes.clone())
        };
        let of = |peers: Vec<Peer>| peers.into_iter().map(|peer| (peer.name, peer.address)).collect::<Vec<_>>();
        let expected =
            [("east/a", ""), ("east/c", "[fd00::3]:4244"), ("east/d", ""), ("east/node-b.example", "192.0.2.2:4244")];
        assert_eq!(of(peers(Some(4244), false)), expected.map(|(name, at)| (name.to_owned(), at.to_owned())));
        assert!(peers(None, false).iter().all(|peer| peer.address.is_empty() && peer.server_name.is_none()));
        let names: Vec<_> = peers(Some(1), true).into_iter().filter_map(|peer| peer.server_name).collect();
        assert_eq!(names[3], "node-b-example.east.hubble-grpc.cilium.io");
    }
}
