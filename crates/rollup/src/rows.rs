//! The table of rows, bounded: what finds it full is added to rows of fewer parts.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use webb_flow::hash::RandomState;
use webb_flow::sym::Names;

use super::key::{Fold, RowKey};
use super::sums::Sums;

/// Rows of namespace pairs beyond the limit of rows, as a share of it: a tenth.
const NAMESPACE_SHARE: usize = 10;

#[derive(Debug, Default)]
struct Row {
    key: RowKey,
    /// Own the key's symbols; none in a free place.
    names: Option<Names>,
}

/// The part of a row that each flow writes, apart from its key: a cache line for packets, and one
/// for what else there is.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Slot {
    /// The row stands for others.
    folded: bool,
    sums: Sums,
}

/// Rows by key.
#[derive(Debug)]
pub(crate) struct Rows {
    limit: usize,
    /// By place.
    keys: Vec<Row>,
    /// By place.
    slots: Vec<Slot>,
    /// Places of the rows.
    ids: HashTable<u32>,
    free: Vec<u32>,
    hasher: RandomState,
    /// Rows of [`Fold::Namespaces`].
    of_namespaces: usize,
    /// Rows without a sum were removed in this window already.
    swept: bool,
}

impl Rows {
    pub(crate) fn new(limit: usize) -> Self {
        let hasher = RandomState::default();
        Self {
            limit,
            keys: Vec::new(),
            slots: Vec::new(),
            ids: HashTable::new(),
            free: Vec::new(),
            hasher,
            of_namespaces: 0,
            swept: false,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// True if a new key would be folded although rows of windows before take up room: then
    /// [`Rows::sweep`] makes some. Once a window at most, as that looks through all rows.
    pub(crate) fn wants_sweep(&self, key: &RowKey) -> bool {
        !self.swept && self.is_full() && self.find(key).is_none()
    }

    /// Removes rows without a sum: their places mean something else from now on.
    pub(crate) fn sweep(&mut self) {
        self.swept = true;
        for place in 0..self.keys.len() {
            if self.is_used(place) && self.slots.get(place).is_some_and(|slot| slot.sums.is_empty()) {
                self.remove(place);
            }
        }
    }

    fn is_used(&self, place: usize) -> bool {
        self.keys.get(place).is_some_and(|row| row.names.is_some())
    }

    fn is_full(&self) -> bool {
        self.ids.len() - self.of_namespaces >= self.limit
    }

    /// The place of a key, or of the folded one that stands for it.
    pub(crate) fn place(&mut self, key: &RowKey) -> u32 {
        if let Some(place) = self.find(key) {
            return place;
        }
        if !self.is_full() {
            return self.insert(*key);
        }
        let folded = key.folded(Fold::Namespaces);
        if let Some(place) = self.find(&folded) {
            return place;
        }
        if self.of_namespaces < (self.limit / NAMESPACE_SHARE).max(1) {
            self.of_namespaces += 1;
            return self.insert(folded);
        }
        // Verdict, reporter and primary stay, so there are few of these.
        let folded = key.folded(Fold::All);
        self.find(&folded).unwrap_or_else(|| self.insert(folded))
    }

    fn find(&self, key: &RowKey) -> Option<u32> {
        let same = |place: &u32| self.keys.get(*place as usize).is_some_and(|row| row.key == *key);
        self.ids.find(self.hasher.hash_one(key), same).copied()
    }

    fn insert(&mut self, key: RowKey) -> u32 {
        let (row, slot) =
            (Row { key, names: Some(key.hold()) }, Slot { folded: key.fold != Fold::None, ..Slot::default() });
        let place = self.free.pop().unwrap_or_else(|| u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        if let (Some(free), Some(sums)) = (self.keys.get_mut(place as usize), self.slots.get_mut(place as usize)) {
            (*free, *sums) = (row, slot);
        } else {
            self.keys.push(row);
            self.slots.push(slot);
        }
        let (keys, hasher) = (&self.keys, &self.hasher);
        let hash = |place: &u32| keys.get(*place as usize).map_or(0, |row| hasher.hash_one(row.key));
        self.ids.insert_unique(hasher.hash_one(key), place, hash);
        place
    }

    /// The sums of a place, and whether it stands for others.
    #[inline]
    pub(crate) fn sums(&mut self, place: u32) -> Option<(&mut Sums, bool)> {
        self.slots.get_mut(place as usize).map(|slot| (&mut slot.sums, slot.folded))
    }

    /// A connection of the row has opened.
    pub(crate) fn raise(&mut self, place: u32) {
        if let Some((sums, _)) = self.sums(place) {
            sums.connections.open = sums.connections.open.saturating_add(1);
        }
    }

    /// A connection of the row is no longer open.
    pub(crate) fn lower(&mut self, place: u32) {
        if let Some((sums, _)) = self.sums(place) {
            sums.connections.open = sums.connections.open.saturating_sub(1);
        }
    }

    /// Hands out all rows with a sum, and begins anew: rows without one are removed. True if any
    /// was.
    pub(crate) fn drain(&mut self, mut with: impl FnMut(&RowKey, &Sums)) -> bool {
        self.swept = false;
        let before = self.free.len();
        for place in 0..self.keys.len() {
            let (Some(row), Some(slot)) = (self.keys.get(place), self.slots.get_mut(place)) else { continue };
            if row.names.is_none() {
                continue;
            }
            if slot.sums.is_empty() {
                self.remove(place);
            } else {
                with(&row.key, &slot.sums);
                slot.sums.clear();
            }
        }
        self.free.len() != before
    }

    fn remove(&mut self, place: usize) {
        let Some(row) = self.keys.get_mut(place) else { return };
        let key = std::mem::take(row).key;
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Slot::default();
        }
        if let Ok(entry) = self.ids.find_entry(self.hasher.hash_one(key), |other| *other as usize == place) {
            entry.remove();
        }
        self.of_namespaces -= usize::from(key.fold == Fold::Namespaces);
        self.free.push(u32::try_from(place).unwrap_or(u32::MAX));
    }
}
