//! The cache behind the published names: what was learned, for how long, and its bounds.
//!
//! An answer that repeats what is known changes nothing but a time, and that only every few
//! seconds. Each bound evicts what expires first: of the address, of the pod, or of the pod that
//! has the most, so a pod that looks up without end costs others nothing.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashTable};
use webb_flow::Address;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Name, Sym};

use super::{DnsNames, Entry, PARTS, Pair, Texts, part};
use crate::Index;

const SECOND_NS: u64 = 1_000_000_000;

/// How long a name stays at least and at most, whatever its TTL.
const MIN_TTL_NS: u64 = 60 * SECOND_NS;
const MAX_TTL_NS: u64 = 3600 * SECOND_NS;

/// Ends of names are multiples of this.
const END_STEP_NS: u64 = 4 * SECOND_NS;

/// How often names are looked through for those whose time is over.
const EXPIRE_INTERVAL_NS: u64 = SECOND_NS;

/// Texts are owned anew at this many beside twice those in use, and not more often than that: each
/// time costs the aggregators their caches.
const MIN_TEXTS: usize = 4096;
const MIN_GENERATION_NS: u64 = 10 * SECOND_NS;

/// Bounds of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    /// Pairs of a pod and an address.
    pub pairs: usize,
    /// Those of one pod.
    pub pairs_of_pod: usize,
    /// Names of one pair.
    pub names_of_pair: usize,
    /// Texts that one generation may own.
    pub texts: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { pairs: 65_536, pairs_of_pod: 1024, names_of_pair: 16, texts: 262_144 }
    }
}

/// Why a name was evicted before its time, or not learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NameRefusal {
    /// The address had too many names.
    Address,
    /// The pod had too many addresses.
    Pod,
    /// All pods together had.
    Table,
    /// There were too many new texts in too short a time.
    Texts,
}

impl NameRefusal {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Address, Self::Pod, Self::Table, Self::Texts];

    /// As the label `reason` prints it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Pod => "pod",
            Self::Table => "table",
            Self::Texts => "texts",
        }
    }
}

/// A name of a pair, and the time when it ends.
#[derive(Debug)]
struct Learned {
    name: Box<str>,
    end_ns: u64,
}

#[derive(Debug)]
struct Names {
    /// Sorted by name.
    learned: Vec<Learned>,
    /// Of all of them, the last end: the pair's place in its pod's order.
    end_ns: u64,
}

impl Names {
    fn last_end(&self) -> u64 {
        self.learned.iter().map(|learned| learned.end_ns).max().unwrap_or(0)
    }

    fn joined(&self) -> String {
        let mut text = String::new();
        for learned in &self.learned {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&learned.name);
        }
        text
    }
}

/// A pod that asked.
#[derive(Debug)]
struct Pod {
    /// Which pod has the address: its `namespace/name`, empty while that is not known.
    name: Name,
    /// Its addresses by the end of their names.
    order: BTreeSet<(u64, Address)>,
}

/// What pods have learned from DNS.
#[derive(Debug)]
pub struct DnsNameCache {
    limits: NameLimits,
    pairs: HashMap<Pair, Names, RandomState>,
    pods: HashMap<Address, Pod, RandomState>,
    published: DnsNames,
    /// The parts of the published table with their changes so far, where there are any.
    changed: Vec<Option<HashTable<Entry>>>,
    is_changed: bool,
    generation_ns: u64,
    looked_ns: u64,
    refused: [u64; NameRefusal::ALL.len()],
    expired: u64,
}

impl DnsNameCache {
    /// An empty cache.
    pub fn new(limits: NameLimits) -> Self {
        Self {
            limits,
            pairs: HashMap::default(),
            pods: HashMap::default(),
            published: DnsNames::default(),
            changed: Vec::new(),
            is_changed: false,
            generation_ns: 0,
            looked_ns: 0,
            refused: [0; NameRefusal::ALL.len()],
            expired: 0,
        }
    }

    /// The number of pairs of a pod and an address.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Names evicted or not learned, by [`NameRefusal`].
    pub fn refused(&self) -> [u64; NameRefusal::ALL.len()] {
        self.refused
    }

    /// Number of names whose time was over.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Inserts the addresses of an answer to a question of `pod`, for `ttl` seconds. The name is as
    /// Hubble prints questions: lower case, with a trailing dot. `owner` is the pod's
    /// `namespace/name`, empty if that is not known.
    pub fn learn(
        &mut self,
        (pod, owner): (Address, Sym),
        name: &str,
        addresses: &[Address],
        (ttl, now_ns): (u32, u64),
    ) {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || addresses.is_empty() {
            return;
        }
        let stays = (u64::from(ttl) * SECOND_NS).clamp(MIN_TTL_NS, MAX_TTL_NS);
        let end_ns = now_ns.saturating_add(stays).next_multiple_of(END_STEP_NS);
        self.verify(pod, owner);
        for &peer in addresses {
            self.learn_one(Pair { pod, peer }, owner, name, (end_ns, now_ns));
        }
    }

    fn learn_one(&mut self, pair: Pair, owner: Sym, name: &str, (end_ns, now_ns): (u64, u64)) {
        let known = self.pairs.get_mut(&pair).and_then(|names| {
            let at = names.learned.binary_search_by(|learned| (*learned.name).cmp(name)).ok()?;
            names.learned.get_mut(at)
        });
        if let Some(learned) = known {
            if end_ns > learned.end_ns {
                learned.end_ns = end_ns;
                self.reorder(pair);
            }
            return;
        }
        if !self.has_room_for_text(now_ns) {
            return self.refuse(NameRefusal::Texts);
        }
        if self.pairs.contains_key(&pair) {
            self.evict_name(pair);
        } else {
            self.evict_pair(pair.pod);
        }
        let names = self.pairs.entry(pair).or_insert(Names { learned: Vec::new(), end_ns: 0 });
        let at = names.learned.partition_point(|learned| *learned.name < *name);
        names.learned.insert(at, Learned { name: name.into(), end_ns });
        self.pods.entry(pair.pod).or_insert_with(|| Pod { name: Name::of(owner), order: BTreeSet::new() });
        self.reorder(pair);
        self.show(pair);
    }

    /// Removes the pairs of pods whose addresses other pods have now. Call it for each new index.
    pub fn follow(&mut self, index: &Index) {
        let owner = |pod| index.endpoint(index.find(pod)).pod;
        let pods: Vec<(Address, Sym)> = self.pods.keys().map(|pod| (*pod, owner(*pod))).collect();
        for (pod, owner) in pods {
            self.verify(pod, owner);
        }
    }

    /// Forgets what another pod with this address has learned. A pod that was not known before is
    /// taken for the one that is.
    fn verify(&mut self, pod: Address, owner: Sym) {
        let Some(known) = self.pods.get_mut(&pod) else { return };
        if known.name.sym() == owner {
            return;
        }
        if known.name.sym().is_empty() {
            known.name = Name::of(owner);
            return;
        }
        while let Some(&(_, peer)) = self.pods.get(&pod).and_then(|known| known.order.first()) {
            self.remove(Pair { pod, peer });
        }
    }

    /// Forgets names whose time is over.
    pub fn expire(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.looked_ns) < EXPIRE_INTERVAL_NS {
            return;
        }
        self.looked_ns = now_ns;
        let pods: Vec<Address> = self.pods.keys().copied().collect();
        for pod in pods {
            while let Some(&(end_ns, peer)) = self.pods.get(&pod).and_then(|known| known.order.first()) {
                if end_ns > now_ns {
                    break;
                }
                let names = self.pairs.get(&Pair { pod, peer }).map_or(0, |names| names.learned.len());
                self.expired += names as u64;
                self.remove(Pair { pod, peer });
            }
        }
        self.expire_names(now_ns);
    }

    /// Of pairs that stay, forgets the names whose time is over.
    fn expire_names(&mut self, now_ns: u64) {
        let is_over = |names: &Names| names.learned.iter().any(|learned| learned.end_ns <= now_ns);
        let over: Vec<Pair> = self.pairs.iter().filter(|(_, names)| is_over(names)).map(|(pair, _)| *pair).collect();
        for pair in over {
            if let Some(names) = self.pairs.get_mut(&pair) {
                let before = names.learned.len();
                names.learned.retain(|learned| learned.end_ns > now_ns);
                self.expired += (before - names.learned.len()) as u64;
            }
            self.show(pair);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        if self.pairs.is_empty() && !self.is_changed {
            return;
        }
        let generation = self.published.generation + 1;
        *self = Self { refused: self.refused, expired: self.expired, is_changed: true, ..Self::new(self.limits) };
        self.published.generation = generation;
    }

    /// The table with all changes since the last call; none if there were none.
    pub fn publish(&mut self, now_ns: u64) -> Option<Arc<DnsNames>> {
        if !self.is_changed {
            return None;
        }
        self.renew_texts(now_ns);
        let DnsNames { parts, .. } = &mut self.published;
        for (place, changed) in parts.iter_mut().zip(&mut self.changed) {
            if let Some(entries) = changed.take() {
                *place = Arc::new(entries);
            }
        }
        self.is_changed = false;
        Some(Arc::new(self.published.clone()))
    }

    /// Makes room for one more name of a pair.
    fn evict_name(&mut self, pair: Pair) {
        let most = self.limits.names_of_pair;
        let Some(names) = self.pairs.get_mut(&pair).filter(|names| names.learned.len() >= most) else { return };
        let first = names.learned.iter().enumerate().min_by_key(|(_, learned)| learned.end_ns);
        if let Some(at) = first.map(|(at, _)| at) {
            names.learned.remove(at);
            self.refuse(NameRefusal::Address);
        }
    }

    /// Makes room for one more pair of a pod.
    fn evict_pair(&mut self, pod: Address) {
        let held = self.pods.get(&pod).map_or(0, |known| known.order.len());
        let (from, reason) = if held >= self.limits.pairs_of_pod {
            (Some(pod), NameRefusal::Pod)
        } else if self.pairs.len() >= self.limits.pairs {
            let most = self.pods.iter().max_by_key(|(_, known)| known.order.len());
            (most.map(|(pod, _)| *pod), NameRefusal::Table)
        } else {
            return;
        };
        let first = from.and_then(|pod| Some(Pair { pod, peer: self.pods.get(&pod)?.order.first()?.1 }));
        if let Some(pair) = first {
            self.remove(pair);
            self.refuse(reason);
        }
    }

    fn refuse(&mut self, reason: NameRefusal) {
        if let Some(count) = self.refused.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Puts a pair at its place in the order of its pod.
    fn reorder(&mut self, pair: Pair) {
        let (Some(names), Some(pod)) = (self.pairs.get_mut(&pair), self.pods.get_mut(&pair.pod)) else { return };
        let end_ns = names.last_end();
        if end_ns != names.end_ns {
            pod.order.remove(&(names.end_ns, pair.peer));
            pod.order.insert((end_ns, pair.peer));
            names.end_ns = end_ns;
        }
    }

    fn remove(&mut self, pair: Pair) {
        if let Some(names) = self.pairs.remove(&pair)
            && let Some(pod) = self.pods.get_mut(&pair.pod)
        {
            pod.order.remove(&(names.end_ns, pair.peer));
            if pod.order.is_empty() {
                self.pods.remove(&pair.pod);
            }
        }
        self.show(pair);
    }

    /// Brings the names of a pair into the table that is published next.
    fn show(&mut self, pair: Pair) {
        let hasher = &self.published.hasher;
        if self.published.parts.is_empty() {
            self.published.parts = vec![Arc::default(); PARTS];
            self.changed = std::iter::repeat_with(|| None).take(PARTS).collect();
        }
        let hash = hasher.hash_one(pair);
        let shared = self.published.parts.get(part(hash));
        let Some((changed, shared)) = self.changed.get_mut(part(hash)).zip(shared) else { return };
        let entries = changed.get_or_insert_with(|| (**shared).clone());
        let found = entries.find_entry(hash, |entry| entry.pair == pair);
        self.is_changed = true;
        let Some(names) = self.pairs.get(&pair) else {
            if let Ok(found) = found {
                found.remove();
            }
            return;
        };
        let name = Name::new(&names.joined());
        let entry = Entry { pair, names: name.sym() };
        owned(&self.published.texts).push(name);
        match found {
            Ok(mut found) => *found.get_mut() = entry,
            Err(_) => _ = entries.insert_unique(hash, entry, |entry| hasher.hash_one(entry.pair)),
        }
    }

    /// True unless so many texts are owned that no more may be.
    fn has_room_for_text(&mut self, now_ns: u64) -> bool {
        if owned(&self.published.texts).len() < self.limits.texts {
            return true;
        }
        self.renew_texts(now_ns);
        owned(&self.published.texts).len() < self.limits.texts
    }

    /// Owns the texts in use anew if most are not, which begins a generation: those of the one
    /// before go with its last table.
    fn renew_texts(&mut self, now_ns: u64) {
        let texts = owned(&self.published.texts).len();
        let due = now_ns.saturating_sub(self.generation_ns) >= MIN_GENERATION_NS;
        if !due || texts < 2 * self.pairs.len() + MIN_TEXTS.min(self.limits.texts / 2) {
            return;
        }
        let renewed: Texts = Arc::new(Mutex::new(Vec::with_capacity(self.pairs.len())));
        for (at, part) in self.published.parts.iter().enumerate() {
            let entries = self.changed.get(at).and_then(Option::as_ref).unwrap_or(part);
            owned(&renewed).extend(entries.iter().map(|entry| Name::of(entry.names)));
        }
        self.published.texts = renewed;
        self.published.generation += 1;
        self.generation_ns = now_ns;
        self.is_changed = true;
    }
}

/// Only the cache changes it; tables only drop it.
fn owned(texts: &Texts) -> std::sync::MutexGuard<'_, Vec<Name>> {
    texts.lock().unwrap_or_else(PoisonError::into_inner)
}
