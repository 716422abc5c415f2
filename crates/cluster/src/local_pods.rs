//! Tracks which pods are of this node, so that a scrape need not go through all of the cluster's,
//! and counts how their addresses come and go.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use webb_index::ObjectKey;

use super::stored_pod::StoredPod;

/// Addresses of one family that pods of this node got, and that they gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AddressEvents {
    pub allocated: u64,
    pub released: u64,
}

#[derive(Debug, Default)]
struct Counters {
    allocated: AtomicU64,
    released: AtomicU64,
}

/// Keys of this node's pods, and events of their addresses.
#[derive(Debug, Default)]
pub(super) struct LocalPods {
    keys: Mutex<HashSet<Arc<ObjectKey>>>,
    v4: Counters,
    v6: Counters,
}

impl LocalPods {
    /// Tracks a change of a pod: its state before and now, each if it is one of this node.
    pub(super) fn track(&self, key: &Arc<ObjectKey>, before: Option<&StoredPod>, now: Option<&StoredPod>) {
        if before.is_some() != now.is_some() {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            if now.is_some() {
                keys.insert(Arc::clone(key));
            } else {
                keys.remove(key);
            }
        }
        let [before, now] = [before, now].map(|pod| pod.map(StoredPod::own_addresses).unwrap_or_default());
        for address in now.iter().filter(|address| !before.contains(address)) {
            self.counters(*address).allocated.fetch_add(1, Relaxed);
        }
        for address in before.iter().filter(|address| !now.contains(address)) {
            self.counters(*address).released.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn keys(&self) -> Vec<Arc<ObjectKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Events of IPv4 and of IPv6 addresses.
    pub(super) fn events(&self) -> [AddressEvents; 2] {
        [&self.v4, &self.v6].map(|counters| AddressEvents {
            allocated: counters.allocated.load(Relaxed),
            released: counters.released.load(Relaxed),
        })
    }

    fn counters(&self, address: IpAddr) -> &Counters {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}
