//! The client's state: the addresses that an agent holds, and what the relay said of each.
//!
//! It is bounded: of the addresses that pods have, and of all others, the one that was asked for
//! first is released when there are too many; of the others, one without an answer, which flows
//! wait for, is released last. Its maps are sorted: hash tables whose entries come and go would
//! take twice the memory. While no relay is there the answers stay; a new stream begins with all
//! addresses being asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use webb_cluster::{NodeChanges, Pod};
use webb_flow::hash::RandomState;
use webb_index::ObjectKey;

use crate::directory::{MAX_PODS_OF_ADDRESS, MAX_PROFILES};
use crate::held_nodes::HeldNodes;
use crate::nodes::Nodes;
use crate::nodes_digest::NodesDigest;
use crate::profile::Profile;
use crate::protocol_error::ProtocolError;
use crate::wire;

/// Addresses of pods that are held at most.
const MAX_NAMED: usize = 24_576;

/// Other addresses that are held at most, those without an answer among them.
const MAX_UNNAMED: usize = 4096;

/// Blocks of pods' addresses at most: 8 million addresses.
const MAX_BLOCKS: usize = 131_072;

/// Addresses of one request at most.
const MAX_OF_REQUEST: usize = 4096;

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Pods to look up with [`Held::pod`].
    pub pods: BTreeSet<ObjectKey>,
    /// The blocks of pods' addresses are others.
    pub networks: bool,
    /// Changed nodes, which are not held here.
    pub nodes: NodeChanges,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldCounts {
    /// Addresses that pods have.
    pub named: usize,
    /// Addresses that no pod has.
    pub unnamed: usize,
    /// Addresses without an answer.
    pub unanswered: usize,
    /// Addresses with an answer of an earlier stream.
    pub stale: usize,
    /// Addresses that were released to make room, since start.
    pub evicted: u64,
    /// Entries of addresses that are not held, since start: released while they were on their way.
    pub unasked: u64,
    /// Blocks that had no room, since start: addresses in them are not asked for.
    pub refused_blocks: u64,
}

/// Where an address stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Never,
    Before,
    Now,
}

#[derive(Debug)]
struct HeldAddress {
    /// Its place in the order of the asks.
    stamp: u64,
    answered: Answered,
    pods: Box<[Arc<ObjectKey>]>,
}

/// A pod, with those of its addresses that are held.
#[derive(Debug)]
struct HeldPod {
    profile: Arc<Profile>,
    node: Arc<str>,
    created: i64,
    addresses: Box<[IpAddr]>,
}

/// The addresses that an agent holds.
#[derive(Debug)]
pub struct Held {
    own_node: String,
    at_most: (usize, usize),
    addresses: BTreeMap<IpAddr, HeldAddress>,
    /// Addresses that pods have, and all others, by stamp.
    named: BTreeMap<u64, IpAddr>,
    unnamed: BTreeMap<u64, IpAddr>,
    last_stamp: u64,
    pods: BTreeMap<Arc<ObjectKey>, HeldPod>,
    /// Of this stream.
    profiles: HashMap<u64, Arc<Profile>, RandomState>,
    nodes: Nodes,
    blocks: BTreeSet<IpAddr>,
    /// Those of a new stream, until all are here.
    coming_blocks: Option<BTreeSet<IpAddr>>,
    /// A relay has said which blocks there are.
    knows_blocks: bool,
    /// This stream's relay sends nodes, or the last one's.
    sends_nodes: bool,
    sent_nodes: HeldNodes,
    /// What was not sent to the relay yet: addresses to ask for, and to release.
    outgoing: BTreeMap<IpAddr, bool>,
    /// There is a stream; the next one begins with all that is held by then.
    has_stream: bool,
    counts: HeldCounts,
}

impl Held {
    /// Holds nothing yet. Pods of `own_node` are ignored.
    pub fn new(own_node: String) -> Self {
        Self::bounded(own_node, MAX_NAMED, MAX_UNNAMED)
    }

    /// Holds so many addresses of pods at most, and so many others.
    pub fn bounded(own_node: String, named: usize, unnamed: usize) -> Self {
        Self {
            own_node,
            at_most: (named, unnamed),
            addresses: BTreeMap::new(),
            named: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            last_stamp: 0,
            pods: BTreeMap::new(),
            profiles: HashMap::default(),
            nodes: Nodes::default(),
            blocks: BTreeSet::new(),
            coming_blocks: None,
            knows_blocks: false,
            sends_nodes: true,
            sent_nodes: HeldNodes::default(),
            outgoing: BTreeMap::new(),
            has_stream: false,
            counts: HeldCounts::default(),
        }
    }

    /// Takes an address on. True if it is to be asked for.
    pub fn ask(&mut self, address: IpAddr) -> bool {
        if self.addresses.contains_key(&address) {
            return false;
        }
        self.last_stamp += 1;
        let stamp = self.last_stamp;
        self.addresses.insert(address, HeldAddress { stamp, answered: Answered::Never, pods: Box::default() });
        self.unnamed.insert(stamp, address);
        self.counts.unanswered += 1;
        self.send(address, true);
        let released = self.make_room();
        debug_assert!(released.is_empty(), "an address without pods changes none");
        true
    }

    /// The next request; none if there is nothing to say.
    pub fn next_request(&mut self) -> Option<wire::Request> {
        let (mut ask, mut release) = (Vec::new(), Vec::new());
        while ask.len() + release.len() < MAX_OF_REQUEST
            && let Some((address, is_ask)) = self.outgoing.pop_first()
        {
            if is_ask { &mut ask } else { &mut release }.push(address);
        }
        let message = |addresses: Vec<IpAddr>| (!addresses.is_empty()).then(|| addresses.into_iter().collect());
        let (ask, release) = (message(ask), message(release));
        (ask.is_some() || release.is_some()).then_some(wire::Request { hello: None, release, ask })
    }

    /// True if [`Held::next_request`] has something to say.
    pub fn has_request(&self) -> bool {
        !self.outgoing.is_empty()
    }

    fn send(&mut self, address: IpAddr, is_ask: bool) {
        if self.has_stream {
            self.outgoing.insert(address, is_ask);
        }
    }

    /// Ends the stream: what is held stays, and may be out of date from now on.
    pub fn end(&mut self) {
        self.has_stream = false;
        self.outgoing.clear();
        for held in self.addresses.values_mut().filter(|held| held.answered == Answered::Now) {
            held.answered = Answered::Before;
            self.counts.stale += 1;
        }
    }

    /// The digest of the nodes that were sent, for the greeting of the next stream; none if the
    /// relay is to send them all.
    pub fn offer_nodes(&mut self) -> Option<NodesDigest> {
        self.sent_nodes.offer()
    }

    /// Has the next stream send all nodes: those that were sent may not have arrived where they are
    /// kept.
    pub fn invalidate_nodes(&mut self) {
        self.sent_nodes.invalidate();
    }

    /// Begins a new stream: the relay knows nothing of what is held. It may be of a version that
    /// sends no nodes.
    pub fn begin(&mut self, sends_nodes: bool) {
        self.end();
        self.sends_nodes = sends_nodes;
        self.profiles.clear();
        self.coming_blocks = None;
        self.has_stream = true;
        self.outgoing = self.addresses.keys().map(|address| (*address, true)).collect();
    }

    /// Takes an answer.
    ///
    /// What comes before a part that no correct relay sends is taken, so there are changes beside
    /// the error.
    pub fn take(&mut self, answer: wire::Answer) -> (Changes, Result<(), ProtocolError>) {
        let mut changes = Changes::default();
        let outcome = self.take_parts(answer, &mut changes);
        changes.pods.append(&mut self.make_room());
        (changes, outcome)
    }

    fn take_parts(&mut self, answer: wire::Answer, changes: &mut Changes) -> Result<(), ProtocolError> {
        if answer.forget_profiles {
            self.profiles.clear();
        }
        for message in answer.profiles {
            if self.profiles.len() >= MAX_PROFILES + MAX_PODS_OF_ADDRESS {
                return Err(ProtocolError::TooMany("profiles"));
            }
            let (number, profile) = (message.number, Profile::read(message)?);
            if self.profiles.insert(number, Arc::new(profile)).is_some() {
                return Err(ProtocolError::KnownProfile);
            }
        }
        if let Some(nodes) = answer.nodes {
            self.sent_nodes.take(nodes, &mut changes.nodes)?;
        }
        if let Some(networks) = &answer.networks {
            self.take_networks(networks)?;
            changes.networks = !networks.more;
        }
        answer.entries.into_iter().try_for_each(|entry| self.take_entry(entry, &mut changes.pods))
    }

    fn take_networks(&mut self, networks: &wire::Networks) -> Result<(), ProtocolError> {
        let none = wire::Addresses::default();
        let (added, removed) = (networks.added.as_ref().unwrap_or(&none), networks.removed.as_ref().unwrap_or(&none));
        if networks.begins {
            self.coming_blocks = Some(BTreeSet::new());
        }
        let blocks = self.coming_blocks.as_mut().unwrap_or(&mut self.blocks);
        for block in removed.read()? {
            blocks.remove(&block);
        }
        for block in added.read()? {
            if blocks.len() < MAX_BLOCKS || blocks.contains(&block) {
                blocks.insert(block);
            } else {
                self.counts.refused_blocks += 1;
            }
        }
        if !networks.more
            && let Some(all) = self.coming_blocks.take()
        {
            (self.blocks, self.knows_blocks) = (all, true);
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: wire::Entry, changed: &mut BTreeSet<ObjectKey>) -> Result<(), ProtocolError> {
        let address = entry.address.unwrap_or_default().read_one()?;
        if entry.pods.len() > MAX_PODS_OF_ADDRESS {
            return Err(ProtocolError::TooMany("pods of an address"));
        }
        let mut pods = Vec::with_capacity(entry.pods.len());
        for pod in entry.pods {
            let profile = self.profiles.get(&pod.profile).ok_or(ProtocolError::UnknownProfile)?;
            if pod.name.is_empty() {
                return Err(ProtocolError::Pod);
            }
            if pod.node != self.own_node {
                let key = ObjectKey { namespace: profile.namespace.clone(), name: pod.name };
                let known = self.pods.get_key_value(&key).map(|(key, _)| Arc::clone(key));
                let key = known.unwrap_or_else(|| Arc::new(key));
                pods.push((key, Arc::clone(profile), self.nodes.intern(&pod.node), pod.created));
            }
        }
        let Some(held) = self.addresses.get_mut(&address) else {
            self.counts.unasked += 1;
            return Ok(());
        };
        match std::mem::replace(&mut held.answered, Answered::Now) {
            Answered::Never => self.counts.unanswered -= 1,
            Answered::Before => self.counts.stale -= 1,
            Answered::Now => {}
        }
        let keys: Box<[Arc<ObjectKey>]> = pods.iter().map(|(key, ..)| Arc::clone(key)).collect();
        let before = std::mem::replace(&mut held.pods, keys);
        let stamp = held.stamp;
        for key in before {
            if !pods.iter().any(|(now, ..)| *now == key) {
                self.leave(address, &key);
                changed.insert(ObjectKey::clone(&key));
            }
        }
        let is_named = !pods.is_empty();
        for (key, profile, node, created) in pods {
            let fresh = || HeldPod {
                profile: Arc::clone(&profile),
                node: Arc::clone(&node),
                created,
                addresses: Box::default(),
            };
            let known = self.pods.entry(Arc::clone(&key)).or_insert_with(fresh);
            if *known.profile != *profile || known.node != node || known.created != created {
                let addresses = std::mem::take(&mut known.addresses);
                *known = HeldPod { profile, node, created, addresses };
                changed.insert(ObjectKey::clone(&key));
            }
            if !known.addresses.contains(&address) {
                known.addresses = known.addresses.iter().copied().chain([address]).collect();
                changed.insert(ObjectKey::clone(&key));
            }
        }
        let (into, out_of) =
            if is_named { (&mut self.named, &mut self.unnamed) } else { (&mut self.unnamed, &mut self.named) };
        out_of.remove(&stamp);
        into.insert(stamp, address);
        Ok(())
    }

    /// An address is not a pod's any more, or not held.
    fn leave(&mut self, address: IpAddr, key: &ObjectKey) {
        if let Some(pod) = self.pods.get_mut(key) {
            pod.addresses = pod.addresses.iter().copied().filter(|other| *other != address).collect();
            if pod.addresses.is_empty() {
                self.pods.remove(key);
            }
        }
    }

    /// Releases addresses until there is room. Returns the pods that this changes.
    fn make_room(&mut self) -> BTreeSet<ObjectKey> {
        let mut changed = BTreeSet::new();
        while let Some(address) = self.surplus() {
            let Some(held) = self.addresses.remove(&address) else { continue };
            match held.answered {
                Answered::Never => self.counts.unanswered -= 1,
                Answered::Before => self.counts.stale -= 1,
                Answered::Now => {}
            }
            self.counts.evicted += 1;
            self.send(address, false);
            for key in held.pods {
                self.leave(address, &key);
                changed.insert(ObjectKey::clone(&key));
            }
        }
        changed
    }

    fn surplus(&mut self) -> Option<IpAddr> {
        let (named, unnamed) = self.at_most;
        if self.named.len() > named {
            return self.named.pop_first().map(|(_, address)| address);
        }
        if self.unnamed.len() > unnamed {
            let stamp = self.first_answered().or_else(|| self.unnamed.first_key_value().map(|(stamp, _)| *stamp))?;
            return self.unnamed.remove(&stamp);
        }
        None
    }

    /// The stamp of the oldest address that no pod has. Those without an answer are few, and
    /// passed over; without a relay they may be all.
    fn first_answered(&self) -> Option<u64> {
        if self.counts.unanswered == self.unnamed.len() {
            return None;
        }
        let is_answered =
            |address: &IpAddr| self.addresses.get(address).is_some_and(|held| held.answered != Answered::Never);
        self.unnamed.iter().find(|(_, address)| is_answered(address)).map(|(stamp, _)| *stamp)
    }

    /// A pod, with those of its addresses that are held; none if none is.
    pub fn pod(&self, key: &ObjectKey) -> Option<Pod> {
        let HeldPod { profile, node, created, addresses } = self.pods.get(key)?;
        Some(Pod {
            labels: profile.labels.clone(),
            addresses: addresses.to_vec(),
            created: *created,
            workload: profile.workload.clone(),
            node: node.to_string(),
            service_account: profile.service_account.clone(),
            ports: profile.ports.clone(),
            vendor: profile.vendor,
            ..Pod::default()
        })
    }

    /// Names of all pods.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.pods.keys().map(|key| &**key)
    }

    /// The pods that the relay named at an address that is held; none if there is no answer.
    pub fn at(&self, address: IpAddr) -> Option<&[Arc<ObjectKey>]> {
        self.addresses.get(&address).filter(|held| held.answered != Answered::Never).map(|held| &*held.pods)
    }

    /// The addresses that are held.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// First addresses of the blocks that pods have addresses of.
    pub fn blocks(&self) -> impl Iterator<Item = IpAddr> {
        self.blocks.iter().copied()
    }

    /// True if the relay sends nodes; expected before there was one.
    pub fn sends_nodes(&self) -> bool {
        self.sends_nodes
    }

    /// True once a relay has said which blocks there are.
    pub fn knows_networks(&self) -> bool {
        self.knows_blocks
    }

    /// Numbers for metrics.
    pub fn counts(&self) -> HeldCounts {
        HeldCounts { named: self.named.len(), unnamed: self.unnamed.len() - self.counts.unanswered, ..self.counts }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
