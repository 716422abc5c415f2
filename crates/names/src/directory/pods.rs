//! The pods of the cluster, by name and by address, and the blocks that their addresses are in.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use webb_cluster::{Change, Pod};
use webb_flow::hash::RandomState;
use webb_index::ObjectKey;

use crate::addresses::block;
use crate::nodes::Nodes;
use crate::profile::{Profile, Profiles};
use crate::wire;

/// Pods of one address that an entry names, the latest first: two that follow each other have one
/// for a moment, and more only by a fault.
pub(crate) const MAX_PODS_OF_ADDRESS: usize = 8;

/// A pod, as far as it is named by its addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPod {
    pub(super) key: ObjectKey,
    pub(super) profile: Arc<Profile>,
    pub(super) number: u64,
    node: Arc<str>,
    created: i64,
    addresses: Box<[IpAddr]>,
}

impl NamedPod {
    fn message(&self) -> wire::Pod {
        wire::Pod {
            name: self.key.name.clone(),
            profile: self.number,
            node: self.node.to_string(),
            created: self.created,
        }
    }
}

/// What a change of the pods changes for those that hold addresses.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) blocks: BTreeSet<IpAddr>,
}

impl Changed {
    /// A block has its first address now, or lost its last. One that does both in one change, as
    /// that of a pod that is alone in it, is what it was.
    fn toggle_block(&mut self, block: IpAddr) {
        if !self.blocks.remove(&block) {
            self.blocks.insert(block);
        }
    }
}

/// All pods with an address of their own.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_key: HashMap<ObjectKey, Arc<NamedPod>, RandomState>,
    by_address: HashMap<IpAddr, Vec<Arc<NamedPod>>, RandomState>,
    profiles: Profiles,
    nodes: Nodes,
    /// Number of addresses in each block.
    blocks: HashMap<IpAddr, usize, RandomState>,
}

impl Pods {
    /// Upserts a pod. One that has finished, or uses the node's addresses, has none of its own.
    pub(super) fn upsert(&mut self, key: ObjectKey, pod: &Pod, changed: &mut Changed) -> Change {
        if pod.finished || pod.host_network || pod.addresses.is_empty() {
            return if self.remove(&key, changed) { Change::Updated } else { Change::Equal };
        }
        let (profile, number) = self.profiles.intern(Profile::of(&key.namespace, pod));
        let (node, addresses) = (self.nodes.intern(&pod.node), pod.addresses.clone().into());
        let pod = NamedPod { key, profile, number, node, created: pod.created, addresses };
        let change = match self.by_key.get(&pod.key) {
            Some(known) if **known == pod => return Change::Equal,
            Some(_) => Change::Updated,
            None => Change::Created,
        };
        let before = self.take(&pod.key, changed);
        let pod = Arc::new(pod);
        for address in &pod.addresses {
            changed.addresses.insert(*address);
            self.by_address.entry(*address).or_default().push(Arc::clone(&pod));
            let count = self.blocks.entry(block(*address)).or_default();
            *count += 1;
            if *count == 1 {
                changed.toggle_block(block(*address));
            }
        }
        drop(before);
        self.by_key.insert(pod.key.clone(), pod);
        change
    }

    /// Removes a pod. False if it had no address.
    pub(super) fn remove(&mut self, key: &ObjectKey, changed: &mut Changed) -> bool {
        self.take(key, changed).is_some()
    }

    fn take(&mut self, key: &ObjectKey, changed: &mut Changed) -> Option<Arc<NamedPod>> {
        let pod = self.by_key.remove(key)?;
        for address in &pod.addresses {
            changed.addresses.insert(*address);
            if let Some(owners) = self.by_address.get_mut(address) {
                owners.retain(|owner| !Arc::ptr_eq(owner, &pod));
                if owners.is_empty() {
                    self.by_address.remove(address);
                }
            }
            if let Some(count) = self.blocks.get_mut(&block(*address)) {
                *count -= 1;
                if *count == 0 {
                    self.blocks.remove(&block(*address));
                    changed.toggle_block(block(*address));
                }
            }
        }
        Some(pod)
    }

    /// The pods that are not in a list.
    pub(super) fn unlisted(&self, is_listed: impl Fn(&ObjectKey) -> bool) -> Vec<ObjectKey> {
        self.by_key.keys().filter(|key| !is_listed(key)).cloned().collect()
    }

    /// The pods that have an address, the latest first.
    pub(super) fn of(&self, address: IpAddr) -> Vec<&Arc<NamedPod>> {
        let mut pods: Vec<&Arc<NamedPod>> = self.by_address.get(&address).into_iter().flatten().collect();
        pods.sort_unstable_by(|a, b| (b.created, &b.key).cmp(&(a.created, &a.key)));
        pods.truncate(MAX_PODS_OF_ADDRESS);
        pods
    }

    /// The entry of an address.
    pub(super) fn entry(&self, address: IpAddr) -> wire::Entry {
        let pods = self.of(address).into_iter().map(|pod| pod.message()).collect();
        wire::Entry { address: Some([address].into_iter().collect()), pods }
    }

    pub(super) fn has_block(&self, block: IpAddr) -> bool {
        self.blocks.contains_key(&block)
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = IpAddr> {
        self.blocks.keys().copied()
    }

    /// Numbers of pods with an address, of addresses, of profiles.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.by_key.len(), self.by_address.len(), self.profiles.len())
    }
}
