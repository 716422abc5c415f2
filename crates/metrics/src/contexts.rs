//! From a flow to the number of its context, and to a number for its two ends that is found faster.
//!
//! The values of a context depend on the two ends of a flow, at times on its direction and
//! addresses. A tuple of values has a [`ContextId`]; the same names keep it over all indexes, so a
//! series goes on when the index changes. Putting the values together takes time. But what they
//! depend on fits into 62 bits (`Contexts::ends`), and a cache of the result for those bits
//! (`memo`) needs the context itself only once for each meaning of the endpoints' ids
//! ([`Index::generation`]), which is seldom a new one: most indexes only add to the one before.

use std::hash::BuildHasher;
use std::net::Ipv6Addr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};
use webb_flow::hash::RandomState;
use webb_flow::sym::Sym;
use webb_flow::{Address, Extra, Family, Flow};
use webb_index::{End, Index};

use super::context::{ContextSpec, Ends, Uses};
use super::limit;
use super::removed_pods::{PodLabels, RemovedPods};
use super::slot_cache::NO_ENDS;

/// A tuple of context values in one metric. Without a context all flows have number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContextId(pub u32);

impl ContextId {
    /// Of series that stand for others: every context label is `~other`.
    pub const OTHER: Self = Self(u32::MAX);
    /// Of the one that stands for all others, whatever their fixed labels.
    pub const REST: Self = Self(u32::MAX - 1);
}

/// One end of a flow, for contexts that show addresses, DNS names or services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Where {
    endpoint: u32,
    address: Address,
    names: Sym,
    service: Sym,
    family: Family,
    /// Whether it is an IP packet: only such have addresses.
    addressed: bool,
    /// Whether the address is written as IPv6 though it is IPv4's.
    mapped: bool,
}

/// Bits of the number of an end: two of them and a direction fit into 62.
const END_BITS: u32 = 30;

/// Memos are emptied at this size: addresses can be made up, and a memo must not grow with them for
/// ever.
const MAX_MEMO_ENTRIES: usize = 1 << 20;

/// The same for texts beyond the limit of a label. They are rare, unless they are made up.
const MAX_UNCUT_ENTRIES: usize = 1 << 12;

/// Numbers that there are for contexts.
const NUMBERS: usize = (u32::MAX - 1) as usize;

/// The contexts of one metric.
#[derive(Debug)]
pub struct Contexts {
    spec: ContextSpec,
    uses: Uses,
    /// What the last flows were named by.
    index: Arc<Index>,
    /// Numbers of ends; only where an endpoint alone is not enough.
    ends: HashMap<Where, u32, RandomState>,
    /// The number of the next end. Numbers are not given twice while ids mean the same.
    next_end: u32,
    ids: HashTable<ContextId>,
    hasher: RandomState,
    /// Of all contexts, one behind the other, by number.
    values: Vec<Sym>,
    /// How many values a context has.
    width: usize,
    /// How many contexts there are values of, those that were forgotten included.
    numbers: usize,
    /// Contexts by their values as they were before they were cut.
    uncut: HashMap<Box<[Sym]>, ContextId, RandomState>,
    /// Numbers that are free again.
    free: Vec<ContextId>,
    /// How many there may be; all further ones are [`ContextId::OTHER`].
    limit: usize,
    pods: PodLabels,
    /// Texts of addresses, so that an index change does not format them again.
    addresses: HashMap<Address, Sym, RandomState>,
    scratch: Vec<Sym>,
}

impl Contexts {
    /// No context is known yet.
    pub fn new(spec: ContextSpec) -> Self {
        Self {
            uses: spec.uses(),
            width: spec.label_names().len(),
            pods: PodLabels::default(),
            free: Vec::new(),
            limit: NUMBERS,
            spec,
            index: Arc::default(),
            ends: HashMap::default(),
            next_end: 0,
            ids: HashTable::new(),
            hasher: RandomState::default(),
            values: Vec::new(),
            numbers: 0,
            uncut: HashMap::default(),
            addresses: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    /// With the places where its values name pods.
    #[must_use]
    pub(super) fn with_pods(self, pods: PodLabels) -> Self {
        Self { pods, ..self }
    }

    /// Remembers no more than so many tuples of names.
    pub fn limit(&mut self, most: usize) {
        self.limit = most.min(NUMBERS);
    }

    /// Forgets the contexts that name pods that are gone, and says which they were. Their numbers
    /// will be given to others: nothing may be counted under them any more.
    pub fn forget(&mut self, gone: &RemovedPods) -> HashSet<ContextId, RandomState> {
        if self.pods.is_empty() {
            return HashSet::default();
        }
        let pods = std::mem::take(&mut self.pods);
        let forgotten = self.remove(|_, values| pods.name(values, gone));
        self.pods = pods;
        forgotten
    }

    /// Forgets all contexts but these: nothing is counted under the others any more.
    pub fn retain(&mut self, used: &HashSet<ContextId, RandomState>) {
        self.remove(|id, _| !used.contains(&id));
    }

    fn remove(&mut self, gone: impl Fn(ContextId, &[Sym]) -> bool) -> HashSet<ContextId, RandomState> {
        let (values, width) = (&self.values, self.width);
        let forgotten: HashSet<ContextId, RandomState> =
            self.ids.extract_if(|&mut id| gone(id, row(values, width, id))).collect();
        if !forgotten.is_empty() {
            self.uncut.retain(|_, id| !forgotten.contains(id));
            self.free.extend(forgotten.iter().copied());
        }
        forgotten
    }

    /// The index that the next flows are named by. True if ids mean something else there: then all
    /// ends have other numbers.
    pub fn follow(&mut self, index: &Arc<Index>) -> bool {
        let other = self.index.generation() != index.generation();
        if other {
            self.ends.clear();
            self.next_end = 0;
        }
        if !Arc::ptr_eq(&self.index, index) {
            self.index = Arc::clone(index);
        }
        other
    }

    /// All that the context depends on, in 62 bits, while ids mean the same; [`NO_ENDS`] where they
    /// are not enough.
    #[inline]
    pub(super) fn ends(&mut self, flow: &Flow, extra: Option<&Extra>) -> u64 {
        let uses = self.uses;
        let mut source = if uses.source { flow.source.row() } else { 0 };
        let mut destination = if uses.destination { flow.destination.row() } else { 0 };
        if uses.source_ip || uses.source_dns || uses.service {
            source = self.end(End::Source, source, flow, extra);
        }
        if uses.destination_ip || uses.destination_dns || uses.service {
            destination = self.end(End::Destination, destination, flow, extra);
        }
        if (source | destination) >> END_BITS != 0 {
            return NO_ENDS;
        }
        let direction = if uses.direction { flow.direction as u8 } else { 0 };
        u64::from(source) | u64::from(destination) << END_BITS | u64::from(direction) << (2 * END_BITS)
    }

    /// The number of one end that is more than an endpoint.
    fn end(&mut self, end: End, endpoint: u32, flow: &Flow, extra: Option<&Extra>) -> u32 {
        let uses = self.uses;
        let (ip, names, address) = match end {
            End::Source => (uses.source_ip, uses.source_dns, flow.source_ip),
            End::Destination => (uses.destination_ip, uses.destination_dns, flow.destination_ip),
        };
        let is = Where {
            endpoint,
            address: if ip { address } else { Address::default() },
            names: if names { end.dns_names(extra) } else { Sym::EMPTY },
            service: if uses.service { end.service(flow, extra, &self.index) } else { Sym::EMPTY },
            family: if ip { flow.family } else { Family::NotUsed },
            addressed: ip && is_addressed(flow, extra),
            mapped: ip && mapped(extra, end),
        };
        if let Some(&known) = self.ends.get(&is) {
            return known;
        }
        let number = self.next_end;
        self.next_end = number.saturating_add(1);
        if self.ends.len() >= MAX_MEMO_ENTRIES {
            self.ends.clear();
        }
        self.ends.insert(is, number);
        number
    }

    /// The values of a context, in the order of the specification's label names.
    pub fn values(&self, id: ContextId) -> &[Sym] {
        row(&self.values, self.width, id)
    }

    /// The context of a flow.
    pub fn of(&mut self, flow: &Flow, extra: Option<&Extra>) -> ContextId {
        if self.width == 0 {
            return ContextId(0);
        }
        self.scratch.clear();
        let texts = &mut self.addresses;
        let ends = Ends {
            flow,
            extra,
            index: &self.index,
            source: self.index.endpoint(flow.source),
            destination: self.index.endpoint(flow.destination),
            address: |end| {
                let address = if end == End::Source { flow.source_ip } else { flow.destination_ip };
                // An IP message may lack one address; nothing but IPv6's `::` is all zeros.
                let absent = address == Address::default() && flow.family != Family::V6;
                let mapped = mapped(extra, end);
                match (absent || !is_addressed(flow, extra), mapped) {
                    (true, _) => Sym::EMPTY,
                    (false, false) => text(texts, address),
                    (false, true) => Sym::new(&Ipv6Addr::from(address.0).to_string()),
                }
            },
        };
        self.spec.values(ends, &mut self.scratch);
        if let Some(known) = self.find(&self.scratch) {
            return known;
        }
        if let Some(&known) = self.uncut.get(self.scratch.as_slice()) {
            return known;
        }
        self.meet()
    }

    fn find(&self, values: &[Sym]) -> Option<ContextId> {
        let same = |&id: &ContextId| row(&self.values, self.width, id) == values;
        self.ids.find(self.hasher.hash_one(values), same).copied()
    }

    /// Values that are not known as they stand.
    #[cold]
    fn meet(&mut self) -> ContextId {
        if self.numbers - self.free.len() >= self.limit {
            return ContextId::OTHER;
        }
        let shown: Vec<Sym> = self.scratch.iter().map(|&value| cut(value)).collect();
        let is_cut = shown != self.scratch;
        // Two tuples that differ beyond the limit alone are one.
        let known = if is_cut { self.find(&shown) } else { None };
        let id = known.unwrap_or_else(|| self.put(&shown));
        if is_cut {
            if self.uncut.len() >= MAX_UNCUT_ENTRIES {
                self.uncut.clear();
            }
            self.uncut.insert(self.scratch.as_slice().into(), id);
        }
        id
    }

    fn put(&mut self, values: &[Sym]) -> ContextId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.values.resize(self.values.len() + self.width, Sym::EMPTY);
            self.numbers += 1;
            ContextId(u32::try_from(self.numbers - 1).unwrap_or(u32::MAX))
        });
        let first = id.0 as usize * self.width;
        if let Some(place) = self.values.get_mut(first..first + self.width) {
            place.copy_from_slice(values);
        }
        let (all, width, hasher) = (&self.values, self.width, &self.hasher);
        let hash = |id: &ContextId| hasher.hash_one(row(all, width, *id));
        self.ids.insert_unique(hasher.hash_one(values), id, hash);
        id
    }
}

fn row(values: &[Sym], width: usize, id: ContextId) -> &[Sym] {
    let first = (id.0 as usize).saturating_mul(width);
    values.get(first..first.saturating_add(width)).unwrap_or_default()
}

fn cut(value: Sym) -> Sym {
    let text = value.text();
    let short = limit::cut(&text);
    if short.len() < text.len() { Sym::new(short) } else { value }
}

/// A flow may have an IP message that does not say its version.
fn is_addressed(flow: &Flow, extra: Option<&Extra>) -> bool {
    extra.map_or(flow.family != Family::NotUsed, |extra| extra.has_ip)
}

fn mapped(extra: Option<&Extra>, end: End) -> bool {
    extra.is_some_and(|extra| if end == End::Source { extra.mapped.source } else { extra.mapped.destination })
}

fn text(texts: &mut HashMap<Address, Sym, RandomState>, address: Address) -> Sym {
    if let Some(&known) = texts.get(&address) {
        return known;
    }
    if texts.len() >= MAX_MEMO_ENTRIES {
        texts.clear();
    }
    let text = Sym::new(&address.ip().to_string());
    texts.insert(address, text);
    text
}
