//! Maps a flow to the number of its context.
//!
//! The values of a context depend on the two ends of a flow, at times on its direction and
//! addresses. A tuple of values has a [`ContextId`]; the same names keep it over all indexes, so a
//! series goes on when the index changes. Putting the values together takes time. But what they
//! depend on fits into 60 bits (`Contexts::ends`), and a cache of the result for those bits needs
//! the context itself only once for each meaning of the endpoints' ids ([`Index::generation`]),
//! which is seldom a new one: most indexes only add to the one before.
//!
//! A tuple gets its number, and its texts an owner, when its first series is admitted, and both go
//! with its last one.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};
use webb_flow::hash::RandomState;
use webb_flow::{Extra, Flow};
use webb_index::Index;

use super::context::{ContextSpec, Ends};
use super::end_numbers::EndNumbers;
use super::removed_pods::{PodLabels, RemovedPods};
use super::value::{OwnedValue, Value};

/// A tuple of context values in one metric. Without a context all flows have number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContextId(pub u32);

impl ContextId {
    /// Context of series that stand for others: every context label is `~other`.
    pub const OTHER: Self = Self(u32::MAX);
    /// Context of the series that stands for all others, whatever their fixed labels.
    pub const REST: Self = Self(u32::MAX - 1);
}

/// Tuples that are remembered as they were before they were cut. Texts beyond the limit of a label
/// are rare, unless they are made up.
const MAX_UNCUT_ENTRIES: usize = 1 << 12;

/// The context of values that were cut, and what owns those.
#[derive(Debug)]
struct Uncut {
    id: ContextId,
    _owned: Vec<OwnedValue>,
}

/// The contexts of one metric.
#[derive(Debug)]
pub struct Contexts {
    spec: ContextSpec,
    /// Index that the last flows were named by.
    index: Arc<Index>,
    ends: EndNumbers,
    /// Whether it shows names from DNS.
    uses_dns: bool,
    ids: HashTable<ContextId>,
    hasher: RandomState,
    /// Values of all contexts, one behind the other, by number.
    values: Vec<OwnedValue>,
    /// Number of values in a context.
    width: usize,
    /// Contexts by their values as they were before they were cut.
    uncut: HashMap<Box<[Value]>, Uncut, RandomState>,
    /// Numbers that are free again.
    free: Vec<ContextId>,
    pods: PodLabels,
    /// The values of the flow that was looked up last.
    scratch: Vec<Value>,
}

impl Contexts {
    /// An empty table of contexts.
    pub fn new(spec: ContextSpec) -> Self {
        Self {
            ends: EndNumbers::new(spec.uses()),
            uses_dns: spec.uses().source_dns || spec.uses().destination_dns,
            width: spec.label_names().len(),
            pods: PodLabels::default(),
            free: Vec::new(),
            spec,
            index: Arc::default(),
            ids: HashTable::new(),
            hasher: RandomState::default(),
            values: Vec::new(),
            uncut: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    /// Adds the places at which its values name pods.
    #[must_use]
    pub(super) fn with_pods(self, pods: PodLabels) -> Self {
        Self { pods, ..self }
    }

    /// Number of contexts.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Removes the contexts that name deleted pods, and returns them. Their numbers will be given
    /// to others: nothing may be counted under them any more.
    pub fn forget(&mut self, gone: &RemovedPods) -> HashSet<ContextId, RandomState> {
        if self.pods.is_empty() {
            return HashSet::default();
        }
        let (pods, gone) = (std::mem::take(&mut self.pods), gone.known());
        let forgotten = self.remove(|_, values| pods.name(values, &gone));
        self.pods = pods;
        forgotten
    }

    /// Forgets all contexts but these: nothing is counted under the others any more.
    pub fn retain(&mut self, used: &HashSet<ContextId, RandomState>) {
        self.remove(|id, _| !used.contains(&id));
    }

    fn remove(&mut self, gone: impl Fn(ContextId, &[OwnedValue]) -> bool) -> HashSet<ContextId, RandomState> {
        let (values, width) = (&self.values, self.width);
        let forgotten: HashSet<ContextId, RandomState> =
            self.ids.extract_if(|&mut id| gone(id, row(values, width, id))).collect();
        if !forgotten.is_empty() {
            self.uncut.retain(|_, uncut| !forgotten.contains(&uncut.id));
        }
        for &id in &forgotten {
            for place in row_mut(&mut self.values, self.width, id) {
                *place = OwnedValue::of(Value::EMPTY);
            }
            self.free.push(id);
        }
        forgotten
    }

    /// Numbers the contexts anew without gaps, and gives back the memory of removed ones. Returns
    /// the new number of each.
    pub fn compact(&mut self) -> HashMap<ContextId, ContextId, RandomState> {
        let mut ids: Vec<ContextId> = self.ids.drain().collect();
        ids.sort_unstable_by_key(|id| id.0);
        let old = std::mem::take(&mut self.values);
        (self.ids, self.free) = (HashTable::new(), Vec::new());
        let mut moved = HashMap::default();
        for id in ids {
            let values = row(&old, self.width, id).to_vec();
            moved.insert(id, self.insert(values));
        }
        for uncut in self.uncut.values_mut() {
            uncut.id = moved.get(&uncut.id).copied().unwrap_or(ContextId::OTHER);
        }
        moved
    }

    /// Names the next flows by this index. True if symbols and ids mean something else there, or
    /// too many ends are known: then all ends have other numbers.
    pub fn follow(&mut self, index: &Arc<Index>) -> bool {
        let anew = self.index.generation() != index.generation()
            || !std::ptr::eq(self.index.services(), index.services())
            || self.uses_dns && self.has_other_names(index)
            || self.ends.is_full(self.count());
        if anew {
            self.clear_ends();
            self.uncut.clear();
        }
        if !Arc::ptr_eq(&self.index, index) {
            self.index = Arc::clone(index);
        }
        anew
    }

    /// True if an index has DNS names of another generation than the last one: their symbols may
    /// mean something else.
    pub fn has_other_names(&self, index: &Index) -> bool {
        self.index.dns_names().generation() != index.dns_names().generation()
    }

    /// Forgets the numbers of ends: keys with them must not be used any more.
    pub(super) fn clear_ends(&mut self) {
        self.ends.clear();
    }

    /// All that the context depends on, in 60 bits, while ids mean the same;
    /// [`super::slot_cache::NO_ENDS`] for ends without a number.
    #[inline]
    pub(super) fn ends(&self, flow: &Flow, extra: Option<&Extra>) -> u64 {
        self.ends.of(flow, extra, &self.index)
    }

    /// The same, with numbers for both ends.
    pub(super) fn give_ends(&mut self, flow: &Flow, extra: Option<&Extra>) -> u64 {
        self.ends.give(flow, extra, &self.index)
    }

    /// The values of a context, in the order of the specification's label names.
    pub(super) fn values(&self, id: ContextId) -> &[OwnedValue] {
        row(&self.values, self.width, id)
    }

    /// Looks up the context of a flow; none if no series has it.
    pub fn find(&mut self, flow: &Flow, extra: Option<&Extra>) -> Option<ContextId> {
        if self.width == 0 {
            return Some(ContextId(0));
        }
        self.scratch.clear();
        let index = &self.index;
        let ends = Ends {
            flow,
            extra,
            index,
            source: index.endpoint(flow.source),
            destination: index.endpoint(flow.destination),
        };
        self.spec.values(ends, &mut self.scratch);
        let uncut = || self.uncut.get(self.scratch.as_slice()).map(|uncut| uncut.id);
        self.known(&self.scratch).or_else(uncut)
    }

    fn known(&self, values: &[Value]) -> Option<ContextId> {
        let same = |&id: &ContextId| is(row(&self.values, self.width, id), values);
        self.ids.find(hash(&self.hasher, values.iter().copied()), same).copied()
    }

    /// Numbers the context of the flow that was looked up last and had none.
    #[cold]
    pub fn insert_last(&mut self) -> ContextId {
        let shown: Vec<OwnedValue> = self.scratch.iter().map(|&value| OwnedValue::shown(value)).collect();
        if is(&shown, &self.scratch) {
            return self.insert(shown);
        }
        // Two tuples that differ beyond the limit alone are one.
        let values: Vec<Value> = shown.iter().map(OwnedValue::value).collect();
        let id = self.known(&values).unwrap_or_else(|| self.insert(shown));
        if self.uncut.len() >= MAX_UNCUT_ENTRIES {
            self.uncut.clear();
        }
        let owned = self.scratch.iter().map(|&value| OwnedValue::of(value)).collect();
        self.uncut.insert(self.scratch.as_slice().into(), Uncut { id, _owned: owned });
        id
    }

    fn insert(&mut self, values: Vec<OwnedValue>) -> ContextId {
        let hashed = hash(&self.hasher, values.iter().map(OwnedValue::value));
        let id = if let Some(free) = self.free.pop() {
            for (place, value) in row_mut(&mut self.values, self.width, free).iter_mut().zip(values) {
                *place = value;
            }
            free
        } else {
            let next = self.values.len().checked_div(self.width).unwrap_or(0);
            self.values.extend(values);
            ContextId(u32::try_from(next).unwrap_or(u32::MAX))
        };
        let (all, width, hasher) = (&self.values, self.width, &self.hasher);
        let hash = |id: &ContextId| hash(hasher, row(all, width, *id).iter().map(OwnedValue::value));
        self.ids.insert_unique(hashed, id, hash);
        id
    }
}

fn hash(hasher: &RandomState, values: impl Iterator<Item = Value>) -> u64 {
    let mut state = hasher.build_hasher();
    values.for_each(|value| value.hash(&mut state));
    state.finish()
}

fn is(owned: &[OwnedValue], values: &[Value]) -> bool {
    owned.iter().map(OwnedValue::value).eq(values.iter().copied())
}

fn row(values: &[OwnedValue], width: usize, id: ContextId) -> &[OwnedValue] {
    let first = (id.0 as usize).saturating_mul(width);
    values.get(first..first.saturating_add(width)).unwrap_or_default()
}

fn row_mut(values: &mut [OwnedValue], width: usize, id: ContextId) -> &mut [OwnedValue] {
    let first = (id.0 as usize).saturating_mul(width);
    values.get_mut(first..first.saturating_add(width)).unwrap_or_default()
}
