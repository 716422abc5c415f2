//! The server as its clients see it: this node, its cluster, and the other nodes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::calls::Calls;

/// The cluster of names that carry none.
const DEFAULT_CLUSTER: &str = "default";

/// This node, and what stops its server.
#[derive(Debug, Clone)]
pub struct Site {
    /// Name of this node in Kubernetes.
    pub node: String,
    /// Name of the cluster; `default` or empty if it has none.
    pub cluster: String,
    /// The program and its version.
    pub version: String,
    /// Start of the program, `CLOCK_MONOTONIC` in nanoseconds.
    pub started_ns: u64,
    /// Counts of the calls.
    pub calls: Arc<Calls>,
    /// The nodes that serve flows, this one included.
    pub peers: watch::Receiver<Arc<[Peer]>>,
    /// Set to true when the server stops: answers that follow end then.
    pub stopping: watch::Receiver<bool>,
}

/// A node that serves flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, as [`qualified`] writes it.
    pub name: String,
    /// Its address with the port. A node without one is not announced.
    pub address: String,
    /// The name in its certificate; none without TLS.
    pub server_name: Option<String>,
}

/// The name of a node with its cluster's, as flows and notices of peers have it.
pub fn qualified(cluster: &str, node: &str) -> String {
    if cluster.is_empty() || cluster == DEFAULT_CLUSTER { node.to_owned() } else { format!("{cluster}/{node}") }
}

/// The name in a node's certificate, as relays expect it.
pub fn server_name(cluster: &str, node: &str) -> String {
    let cluster = if cluster.is_empty() { DEFAULT_CLUSTER } else { cluster };
    format!("{}.{}.hubble-grpc.cilium.io", node.replace('.', "-"), cluster.replace('.', "-"))
}

impl Site {
    /// The qualified name of this node.
    pub fn name(&self) -> String {
        qualified(&self.cluster, &self.node)
    }

    /// The name of this node with its cluster's, whichever that is, as filters match it.
    pub(crate) fn path(&self) -> String {
        let cluster = if self.cluster.is_empty() { DEFAULT_CLUSTER } else { &self.cluster };
        format!("{cluster}/{}", self.node)
    }

    /// The cluster's name in lists of namespaces.
    pub(crate) fn listed_cluster(&self) -> &str {
        if self.cluster == DEFAULT_CLUSTER { "" } else { &self.cluster }
    }
}
