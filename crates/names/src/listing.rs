//! Keeps a directory equal to the API server's pods and nodes.

use std::convert::Infallible;

use tokio::sync::Notify;
use webb_cluster::kubernetes::{Access, Status, WatchTimings, follow_pods_and_nodes};
use webb_cluster::{Cache, Kind};

use crate::directory::Directory;

/// Keeps `directory` equal to the API server's pods and nodes, until it is dropped. Needs a tokio
/// runtime with I/O and time. `nodes` is for nodes alone, and `status` of the kinds `Pod` and
/// `Node`.
pub async fn list(
    access: &Access,
    timings: &WatchTimings,
    directory: &Directory,
    nodes: &Cache,
    status: &Status,
) -> Infallible {
    let changed = Notify::new();
    tokio::select! {
        never = follow_pods_and_nodes(access, timings, directory, nodes, status, &changed) => match never {},
        never = send_nodes(directory, nodes, status, &changed) => match never {},
    }
}

/// Brings all nodes into the directory once they are listed, and again when they change.
async fn send_nodes(directory: &Directory, nodes: &Cache, status: &Status, changed: &Notify) -> Infallible {
    let mut known = None;
    loop {
        changed.notified().await;
        let version = nodes.nodes_version();
        if status.has_listed(Kind::Node) && known.replace(version) != Some(version) {
            directory.set_nodes(nodes.node_networks());
        }
    }
}
