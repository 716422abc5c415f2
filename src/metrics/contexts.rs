//! From a flow to the number of its context: one memo lookup, and none at all without a context.
//!
//! The values of a context depend on the two ends of a flow, at times on its direction and addresses. All that follows
//! from these is worked out once and remembered until endpoint ids mean something else ([`Index::meaning`]), which is
//! seldom: most indexes only add to the one before. What is remembered is a [`ContextId`], the number of a tuple of names, and the same names keep their
//! number over all indexes, so a series goes on when the index changes.

use std::net::Ipv6Addr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::context::{ContextSpec, End, Ends, Uses, dns, service};
use super::gone::{Gone, PodLabels};
use super::limit;
use crate::flow::{Address, EndpointId, Extra, Family, Flow};
use crate::index::Index;
use crate::sym::Sym;

/// A tuple of context values in one metric. Without a context all flows have number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContextId(pub u32);

impl ContextId {
    /// Of series that stand for others: every context label is `~other`.
    pub const OTHER: Self = Self(u32::MAX);
    /// Of the one that stands for all others, whatever their fixed labels.
    pub const REST: Self = Self(u32::MAX - 1);
}

/// The ends of a flow, less what the context does not use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Who {
    source: EndpointId,
    destination: EndpointId,
    direction: u8,
    /// Whether an address of zeros is one.
    family: Family,
    /// Whether it is an IP packet: only such have addresses.
    addressed: bool,
    /// Whether the addresses are written as IPv6 though they are IPv4's.
    mapped: [bool; 2],
}

/// [`Who`] with the addresses, the DNS names and the services, for contexts that show them.
type WhoAndWhere = (Who, [Address; 2], [Sym; 2], [Sym; 2]);

/// Memos are emptied at this size: addresses can be made up, and a memo must not grow with them for ever.
const MEMO_LIMIT: usize = 1 << 20;

/// Numbers that there are for contexts.
const NUMBERS: usize = (u32::MAX - 1) as usize;

/// The contexts of one metric.
#[derive(Debug)]
pub struct Contexts {
    spec: ContextSpec,
    uses: Uses,
    /// What the memos hold for.
    index: Arc<Index>,
    by_ends: HashMap<Who, ContextId, RandomState>,
    by_addresses: HashMap<WhoAndWhere, ContextId, RandomState>,
    ids: HashMap<Arc<[Sym]>, ContextId, RandomState>,
    values: Vec<Arc<[Sym]>>,
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
            pods: PodLabels::default(),
            free: Vec::new(),
            limit: NUMBERS,
            spec,
            index: Arc::default(),
            by_ends: HashMap::default(),
            by_addresses: HashMap::default(),
            ids: HashMap::default(),
            values: Vec::new(),
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

    /// Forgets the contexts that name pods that are gone, and says which they were. Their numbers will be given to
    /// others: nothing may be counted under them any more.
    pub fn forget(&mut self, gone: &Gone) -> HashSet<ContextId, RandomState> {
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
        let mut forgotten: HashSet<ContextId, RandomState> = HashSet::default();
        let free: HashSet<ContextId, RandomState> = self.free.iter().copied().collect();
        for (at, values) in self.values.iter_mut().enumerate() {
            let id = ContextId(u32::try_from(at).unwrap_or(u32::MAX));
            if !free.contains(&id) && gone(id, values) {
                forgotten.insert(id);
                *values = Arc::default();
            }
        }
        if !forgotten.is_empty() {
            self.by_ends.clear();
            self.by_addresses.clear();
            self.ids.retain(|_, id| !forgotten.contains(id));
            self.free.extend(forgotten.iter().copied());
        }
        forgotten
    }

    /// The index that the next flows are named by.
    pub fn follow(&mut self, index: &Arc<Index>) {
        if !Arc::ptr_eq(&self.index, index) {
            if self.index.meaning() != index.meaning() {
                self.by_ends.clear();
                self.by_addresses.clear();
            }
            self.index = Arc::clone(index);
        }
    }

    /// The context of a flow.
    #[inline]
    pub fn of(&mut self, flow: &Flow, extras: &[Extra]) -> ContextId {
        if self.spec.is_empty() {
            return ContextId(0);
        }
        let who = Who {
            source: if self.uses.source { flow.source } else { EndpointId::NONE },
            destination: if self.uses.destination { flow.destination } else { EndpointId::NONE },
            direction: if self.uses.direction { flow.direction as u8 } else { 0 },
            family: Family::NotUsed,
            addressed: false,
            mapped: [false; 2],
        };
        let uses = self.uses;
        let extra = extras.get(flow.extra.0 as usize);
        if uses.source_ip || uses.destination_ip || uses.source_dns || uses.destination_dns || uses.service {
            return self.by_address(who, flow, extra);
        }
        match self.by_ends.get(&who) {
            Some(&known) => known,
            None => self.meet(who, flow),
        }
    }

    /// The values of a context, in the order of the specification's label names.
    pub fn values(&self, id: ContextId) -> &[Sym] {
        self.values.get(id.0 as usize).map_or(&[], |values| values)
    }

    fn by_address(&mut self, who: Who, flow: &Flow, extra: Option<&Extra>) -> ContextId {
        let uses = self.uses;
        let address = |used, address| if used { address } else { Address::default() };
        let names = |used, end| if used { dns(flow, extra, &self.index, end) } else { Sym::EMPTY };
        let service = |end| if uses.service { service(flow, extra, &self.index, end) } else { Sym::EMPTY };
        let key = (
            Who { family: flow.family, addressed: is_addressed(flow, extra), mapped: mapped(extra), ..who },
            [address(uses.source_ip, flow.source_ip), address(uses.destination_ip, flow.destination_ip)],
            [names(uses.source_dns, End::Source), names(uses.destination_dns, End::Destination)],
            [service(End::Source), service(End::Destination)],
        );
        if let Some(&known) = self.by_addresses.get(&key) {
            return known;
        }
        let id = self.work_out(flow, extra);
        if self.by_addresses.len() >= MEMO_LIMIT {
            self.by_addresses.clear();
        }
        self.by_addresses.insert(key, id);
        id
    }

    #[cold]
    fn meet(&mut self, who: Who, flow: &Flow) -> ContextId {
        let id = self.work_out(flow, None);
        if self.by_ends.len() >= MEMO_LIMIT {
            self.by_ends.clear();
        }
        self.by_ends.insert(who, id);
        id
    }

    fn work_out(&mut self, flow: &Flow, extra: Option<&Extra>) -> ContextId {
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
                let [source, destination] = mapped(extra);
                let mapped = if end == End::Source { source } else { destination };
                match (absent || !is_addressed(flow, extra), mapped) {
                    (true, _) => Sym::EMPTY,
                    (false, false) => text(texts, address),
                    (false, true) => Sym::new(&Ipv6Addr::from(address.0).to_string()),
                }
            },
        };
        self.spec.values(ends, &mut self.scratch);
        if let Some(&known) = self.ids.get(self.scratch.as_slice()) {
            return known;
        }
        if self.values.len() - self.free.len() >= self.limit {
            return ContextId::OTHER;
        }
        let values: Arc<[Sym]> = Arc::from(self.scratch.as_slice());
        let shown: Arc<[Sym]> = values.iter().map(|&value| cut(value)).collect();
        // Two tuples that differ beyond the limit alone are one.
        let id = self.ids.get(&shown).copied().unwrap_or_else(|| {
            let free = self.free.pop();
            if let Some((id, place)) = free.and_then(|id| self.values.get_mut(id.0 as usize).map(|place| (id, place))) {
                *place = Arc::clone(&shown);
                id
            } else {
                self.values.push(Arc::clone(&shown));
                ContextId(u32::try_from(self.values.len() - 1).unwrap_or(u32::MAX))
            }
        });
        self.ids.insert(shown, id);
        self.ids.insert(values, id);
        id
    }
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

fn mapped(extra: Option<&Extra>) -> [bool; 2] {
    extra.map_or([false; 2], |extra| [extra.mapped.source, extra.mapped.destination])
}

fn text(texts: &mut HashMap<Address, Sym, RandomState>, address: Address) -> Sym {
    if let Some(&known) = texts.get(&address) {
        return known;
    }
    if texts.len() >= MEMO_LIMIT {
        texts.clear();
    }
    let text = Sym::new(&address.ip().to_string());
    texts.insert(address, text);
    text
}
