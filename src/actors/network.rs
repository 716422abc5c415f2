//! State shared by the interface thread and the resolver: the network's topology in one direction,
//! the coverage of this node's pods in the other.
//!
//! Both are restarted on their own; what one of them knew last stays here.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use futures::FutureExt;
use tokio::sync::Notify;
use webb_cluster::{Coverage, PodInterface};

use crate::network::{NetworkEvent, NetworkWatch, Node};

/// This node's network as it was last seen.
#[derive(Debug, Default)]
pub struct Network {
    seen: Mutex<State>,
    /// Counts the changes of `seen`.
    version: AtomicU64,
    /// The task or the thread that waits for the next version.
    changed: Notify,
    waits: Mutex<Option<Thread>>,
    coverage: Mutex<Coverage>,
}

#[derive(Debug, Default)]
struct State {
    node: Node,
    /// None until the interface thread has set it, which another source of flows does without.
    watched: Option<Vec<PodInterface>>,
}

impl Network {
    /// Reads what there is now: names that are worked out before the interfaces are followed need
    /// it.
    ///
    /// # Errors
    /// If netlink does not answer.
    pub async fn read() -> io::Result<Self> {
        let mut watch = NetworkWatch::new().await?;
        let network = Self::default();
        // What is there already comes without a wait.
        while let Some(change) = watch.next().now_or_never() {
            if let NetworkEvent::Node(node) = change? {
                network.set(&node, None);
            }
        }
        Ok(network)
    }

    /// Takes note of this node's addresses and routes, and of the interfaces that are watched as
    /// pods', if any are to be.
    pub fn set(&self, node: &Node, watched: Option<Vec<PodInterface>>) {
        let mut seen = self.seen();
        if seen.node != *node || seen.watched != watched {
            *seen = State { node: node.clone(), watched };
            drop(seen);
            self.version.fetch_add(1, Relaxed);
            self.changed.notify_one();
            if let Some(thread) = &*self.waits.lock().unwrap_or_else(PoisonError::into_inner) {
                thread.unpark();
            }
        }
    }

    /// Waits for a change since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends this thread's waits with every change, from now on.
    pub fn wake_this_thread(&self) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
    }

    /// Changes whenever anything here does.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// This machine's own addresses: `reserved:host`, whether its Node object lists them or not.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.seen().node.addresses.clone()
    }

    /// The interfaces behind which something is known to be, watched or not.
    pub fn interfaces(&self) -> Vec<PodInterface> {
        let seen = self.seen();
        interfaces(&seen.node, seen.watched.as_deref().unwrap_or_default())
    }

    /// The interfaces that are watched as pods'; none where none are to be, as with another source
    /// of flows.
    pub fn watched(&self) -> Option<Vec<PodInterface>> {
        let seen = self.seen();
        let all = interfaces(&seen.node, seen.watched.as_ref()?);
        Some(all.into_iter().filter(|interface| interface.watched).collect())
    }

    /// Takes note of how this node's pods are covered. What is wrong is logged when it changes.
    pub fn set_coverage(&self, coverage: Coverage) {
        let mut known = self.coverage.lock().unwrap_or_else(PoisonError::into_inner);
        let complaint = coverage.complaint();
        if complaint != known.complaint() {
            if let Some(complaint) = &complaint {
                tracing::warn!("{complaint}");
            } else {
                tracing::info!("every pod of this node is watched");
            }
        }
        *known = coverage;
    }

    /// Last known coverage of this node's pods.
    pub fn coverage(&self) -> Coverage {
        self.coverage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn seen(&self) -> MutexGuard<'_, State> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The interfaces behind which something is known to be: by routes, and by what `watched`
/// interfaces lead to.
fn interfaces(node: &Node, watched: &[PodInterface]) -> Vec<PodInterface> {
    let mut all: BTreeMap<u32, PodInterface> =
        watched.iter().map(|interface| (interface.index, interface.clone())).collect();
    for &(index, address) in &node.routes {
        let new = PodInterface { index, namespace: None, watched: false, addresses: Vec::new() };
        all.entry(index).or_insert(new).addresses.push(address);
    }
    let mut all: Vec<PodInterface> = all.into_values().collect();
    for interface in &mut all {
        interface.addresses.sort_unstable();
        interface.addresses.dedup();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Routes and the far end of an interface are merged; a change is reported once.
    #[test]
    fn both_sources_come_together() {
        let [a, b]: [IpAddr; 2] = ["10.244.1.11", "10.244.1.12"].map(|ip| ip.parse().unwrap());
        let node = Node { addresses: vec![], routes: vec![(7, a), (8, b)] };
        let watched = PodInterface { index: 7, namespace: Some(0), watched: true, addresses: vec![a] };
        let network = Network::default();
        network.set(&node, None);
        assert_eq!((network.interfaces().len(), network.watched()), (2, None), "no interface is to be watched");
        network.set(&node, Some(vec![watched.clone()]));
        let both = [watched.clone(), PodInterface { index: 8, namespace: None, watched: false, addresses: vec![b] }];
        assert_eq!((network.interfaces().as_slice(), network.watched()), (&both[..], Some(vec![watched.clone()])));
        let version = network.version();
        network.set(&node, Some(vec![watched.clone()]));
        assert_eq!(network.version(), version);
        network.set(&Node { addresses: vec![b], ..node }, Some(vec![watched]));
        assert!(network.version() > version);
    }
}
