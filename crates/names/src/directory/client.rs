//! What the directory knows of one stream.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;
use prost::Message as _;
use tokio::sync::Notify;
use webb_flow::hash::RandomState;

use super::pods::Pods;
use crate::wire;

/// Entries of an answer at most.
const MAX_ENTRIES: usize = 512;

/// Bytes at which an answer takes no further entry. A client reads 4 MiB, and a pod's labels have
/// one at most.
const ENOUGH_BYTES: usize = 256 << 10;

/// Profiles of one stream at most: after them both sides forget all, and those in use are sent
/// again.
pub(crate) const MAX_PROFILES: usize = 16_384;

/// The addresses that a client holds, and changes that were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) leases: HashSet<IpAddr, RandomState>,
    dirty: BTreeSet<IpAddr>,
    dirty_blocks: BTreeSet<IpAddr>,
    /// The blocks were sent once.
    knows_blocks: bool,
    profiles: HashSet<u64, RandomState>,
    /// Notified when there is something to send.
    pub(super) bell: Arc<Notify>,
}

impl Client {
    /// Marks an address that it holds.
    pub(super) fn mark(&mut self, address: IpAddr) {
        self.dirty.insert(address);
        self.bell.notify_one();
    }

    /// Marks blocks.
    pub(super) fn mark_blocks(&mut self, blocks: &BTreeSet<IpAddr>) {
        if self.knows_blocks {
            self.dirty_blocks.extend(blocks);
            self.bell.notify_one();
        }
    }

    /// Gives an address up.
    pub(super) fn release(&mut self, address: IpAddr) -> bool {
        self.dirty.remove(&address);
        self.leases.remove(&address)
    }

    /// Changes that were not sent, as far as they fit into one answer. `at_most`: the profiles of
    /// the stream.
    pub(super) fn next(&mut self, pods: &Pods, at_most: usize) -> Option<wire::Answer> {
        let networks = self.networks(pods);
        if self.dirty.is_empty() && networks.is_none() {
            return None;
        }
        let mut answer = wire::Answer { networks, ..wire::Answer::default() };
        let mut bytes = 0;
        while let Some(&address) = self.dirty.first()
            && answer.entries.len() < MAX_ENTRIES
            && bytes < ENOUGH_BYTES
        {
            let owners = pods.of(address);
            let is_new = |number: u64| !self.profiles.contains(&number);
            let new = owners.iter().filter(|pod| is_new(pod.number)).count();
            if self.profiles.len() + new > at_most && !self.profiles.is_empty() {
                if !answer.profiles.is_empty() || !answer.entries.is_empty() {
                    // Of this answer's own profiles none may be forgotten.
                    break;
                }
                self.profiles.clear();
                answer.forget_profiles = true;
            }
            for pod in owners {
                if self.profiles.insert(pod.number) {
                    let profile = pod.profile.message(pod.number);
                    bytes += profile.encoded_len();
                    answer.profiles.push(profile);
                }
            }
            let entry = pods.entry(address);
            bytes += entry.encoded_len();
            answer.entries.push(entry);
            self.dirty.pop_first();
        }
        if !self.dirty.is_empty() {
            self.bell.notify_one();
        }
        Some(answer)
    }

    fn networks(&mut self, pods: &Pods) -> Option<wire::Networks> {
        if !self.knows_blocks {
            self.knows_blocks = true;
            let added = Some(pods.blocks().collect());
            return Some(wire::Networks { begins: true, added, removed: None });
        }
        let blocks = std::mem::take(&mut self.dirty_blocks);
        if blocks.is_empty() {
            return None;
        }
        let (added, removed): (Vec<IpAddr>, Vec<IpAddr>) = blocks.into_iter().partition(|block| pods.has_block(*block));
        let message = |blocks: Vec<IpAddr>| Some(blocks.into_iter().collect());
        Some(wire::Networks { begins: false, added: message(added), removed: message(removed) })
    }
}
