//! What the directory knows of one stream.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;
use prost::Message as _;
use tokio::sync::Notify;
use webb_flow::hash::RandomState;

use super::nodes::NodeTable;
use super::pods::Pods;
use crate::nodes_digest::NodesDigest;
use crate::wire;

/// Entries of an answer at most.
const MAX_ENTRIES: usize = 512;

/// Bytes at which an answer takes no further profile and no further entry. A client reads 4 MiB,
/// and an object of Kubernetes has 1.5 at most.
const ENOUGH_BYTES: usize = 256 << 10;

/// Blocks of an answer at most, and nodes.
pub(super) const MAX_BLOCKS: usize = 16_384;

/// Profiles of one stream at most: after them both sides forget all, and those in use are sent
/// again.
pub(crate) const MAX_PROFILES: usize = 16_384;

/// What is sent on one stream at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Profiles until both sides forget them.
    pub(super) profiles: usize,
    /// Blocks of an answer, and nodes.
    pub(super) blocks: usize,
}

/// The addresses that a client holds, and changes that were not sent yet.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) leases: HashSet<IpAddr, RandomState>,
    dirty: BTreeSet<IpAddr>,
    dirty_blocks: BTreeSet<IpAddr>,
    /// The blocks were sent once, or are being sent.
    knows_blocks: bool,
    /// The last change of nodes that was sent; none before the first.
    nodes_sent: Option<u64>,
    /// Of the nodes that it has of an earlier stream.
    pub(super) nodes_before: Option<NodesDigest>,
    profiles: HashSet<u64, RandomState>,
    /// Notified when there may be something to send.
    pub(super) wake: Arc<Notify>,
    /// It waits for its turn to be notified.
    pub(super) in_turn: bool,
}

impl Client {
    /// Marks an address that it asks for.
    pub(super) fn mark_asked(&mut self, address: IpAddr) {
        self.dirty.insert(address);
        self.wake.notify_one();
    }

    /// Marks a changed address that it holds.
    pub(super) fn mark_changed(&mut self, address: IpAddr) {
        self.dirty.insert(address);
    }

    /// Marks changed blocks. False if it was not told of any yet.
    pub(super) fn mark_blocks(&mut self, blocks: &BTreeSet<IpAddr>) -> bool {
        if self.knows_blocks {
            self.dirty_blocks.extend(blocks);
        }
        self.knows_blocks
    }

    /// Gives an address up.
    pub(super) fn release(&mut self, address: IpAddr) -> bool {
        self.dirty.remove(&address);
        self.leases.remove(&address)
    }

    /// Changes that were not sent, as far as they fit into one answer.
    pub(super) fn next(&mut self, pods: &Pods, nodes: Option<&NodeTable>, bounds: Bounds) -> Option<wire::Answer> {
        let nodes = nodes.and_then(|nodes| self.nodes(nodes, bounds.blocks));
        let has_more_nodes = nodes.as_ref().is_some_and(|nodes| nodes.more);
        // A client that knows the networks is ready: the nodes come first.
        let networks = if has_more_nodes { None } else { self.networks(pods, bounds.blocks) };
        if self.dirty.is_empty() && networks.is_none() && nodes.is_none() {
            return None;
        }
        let mut bytes = nodes.as_ref().map_or(0, wire::Nodes::encoded_len);
        let mut answer = wire::Answer { networks, nodes, ..wire::Answer::default() };
        'addresses: while let Some(&address) = self.dirty.first()
            && answer.entries.len() < MAX_ENTRIES
            && bytes < ENOUGH_BYTES
        {
            let owners = pods.of(address);
            let is_new = |number: u64| !self.profiles.contains(&number);
            let new = owners.iter().filter(|pod| is_new(pod.number)).count();
            if self.profiles.len() + new > bounds.profiles && !self.profiles.is_empty() {
                if !answer.profiles.is_empty() || !answer.entries.is_empty() {
                    // Of this answer's own profiles none may be forgotten.
                    break;
                }
                self.profiles.clear();
                answer.forget_profiles = true;
            }
            for pod in owners {
                if self.profiles.contains(&pod.number) {
                    continue;
                }
                if bytes >= ENOUGH_BYTES {
                    // The other profiles come with the next answer, and the entry after them.
                    break 'addresses;
                }
                let profile = pod.profile.message(pod.number);
                bytes += profile.encoded_len();
                answer.profiles.push(profile);
                self.profiles.insert(pod.number);
            }
            let entry = pods.entry(address);
            bytes += entry.encoded_len();
            answer.entries.push(entry);
            self.dirty.pop_first();
        }
        if !self.dirty.is_empty() || has_more_nodes {
            self.wake.notify_one();
        }
        Some(answer)
    }

    fn nodes(&mut self, nodes: &NodeTable, at_most: usize) -> Option<wire::Nodes> {
        if self.nodes_sent == Some(nodes.last()) {
            return None;
        }
        if self.nodes_before.take().is_some_and(|before| before == nodes.digest()) {
            self.nodes_sent = Some(nodes.last());
            return Some(wire::Nodes { same: true, ..wire::Nodes::default() });
        }
        let (begins, mut changes) = nodes.since(self.nodes_sent);
        let mut message = wire::Nodes { begins, ..wire::Nodes::default() };
        let (mut bytes, mut count) = (0, 0);
        while bytes < ENOUGH_BYTES && count < at_most {
            let Some((number, change)) = changes.next() else {
                self.nodes_sent = Some(nodes.last());
                return Some(message);
            };
            bytes += change.add_to(&mut message);
            count += 1;
            self.nodes_sent = Some(number);
        }
        message.more = self.nodes_sent != Some(nodes.last());
        Some(message)
    }

    fn networks(&mut self, pods: &Pods, at_most: usize) -> Option<wire::Networks> {
        let begins = !std::mem::replace(&mut self.knows_blocks, true);
        if begins {
            self.dirty_blocks.extend(pods.blocks());
        } else if self.dirty_blocks.is_empty() {
            return None;
        }
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        while added.len() + removed.len() < at_most
            && let Some(block) = self.dirty_blocks.pop_first()
        {
            if pods.has_block(block) { &mut added } else { &mut removed }.push(block);
        }
        let message = |blocks: Vec<IpAddr>| Some(blocks.into_iter().collect());
        let more = !self.dirty_blocks.is_empty();
        Some(wire::Networks { begins, added: message(added), removed: message(removed), more })
    }
}
