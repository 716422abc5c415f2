//! The table of rows, bounded: what finds it full is added to rows of fewer parts.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use webb_flow::hash::RandomState;
use webb_flow::sym::Names;

use super::key::{Fold, RowKey};
use super::sums::Sums;

/// Rows of namespace pairs beyond the limit of rows, as a share of it: a tenth.
const NAMESPACE_SHARE: usize = 10;

#[derive(Debug)]
struct Row {
    key: RowKey,
    sums: Sums,
    /// Own the key's symbols; none in a free place.
    names: Option<Names>,
}

/// Rows by key.
#[derive(Debug)]
pub(crate) struct Rows {
    limit: usize,
    places: Vec<Row>,
    /// Places of the rows.
    ids: HashTable<u32>,
    free: Vec<u32>,
    hasher: RandomState,
    /// Rows of [`Fold::Namespaces`].
    of_namespaces: usize,
}

impl Rows {
    pub(crate) fn new(limit: usize) -> Self {
        let hasher = RandomState::default();
        Self { limit, places: Vec::new(), ids: HashTable::new(), free: Vec::new(), hasher, of_namespaces: 0 }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The place of a key, or of the folded one that stands for it.
    pub(crate) fn place(&mut self, key: &RowKey) -> u32 {
        if let Some(place) = self.find(key) {
            return place;
        }
        if self.ids.len() - self.of_namespaces < self.limit {
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
        let same = |place: &u32| self.places.get(*place as usize).is_some_and(|row| row.key == *key);
        self.ids.find(self.hasher.hash_one(key), same).copied()
    }

    fn insert(&mut self, key: RowKey) -> u32 {
        let row = Row { key, sums: Sums::default(), names: Some(key.hold()) };
        let place = self.free.pop().unwrap_or_else(|| u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        match self.places.get_mut(place as usize) {
            Some(free) => *free = row,
            None => self.places.push(row),
        }
        let (places, hasher) = (&self.places, &self.hasher);
        let hash = |place: &u32| places.get(*place as usize).map_or(0, |row| hasher.hash_one(row.key));
        self.ids.insert_unique(hasher.hash_one(key), place, hash);
        place
    }

    /// The sums of a place, and whether it stands for others.
    #[inline]
    pub(crate) fn sums(&mut self, place: u32) -> Option<(&mut Sums, bool)> {
        self.places.get_mut(place as usize).map(|row| (&mut row.sums, row.key.fold != Fold::None))
    }

    /// Hands out all rows with a sum, and begins anew: rows without one are removed. True if any
    /// was.
    pub(crate) fn drain(&mut self, mut with: impl FnMut(&RowKey, &Sums)) -> bool {
        let before = self.free.len();
        for (place, row) in self.places.iter_mut().enumerate().filter(|(_, row)| row.names.is_some()) {
            if row.sums.is_empty() {
                let hash = self.hasher.hash_one(row.key);
                if let Ok(entry) = self.ids.find_entry(hash, |other| *other as usize == place) {
                    entry.remove();
                }
                self.of_namespaces -= usize::from(row.key.fold == Fold::Namespaces);
                *row = Row { key: RowKey::default(), sums: Sums::default(), names: None };
                self.free.push(u32::try_from(place).unwrap_or(u32::MAX));
            } else {
                with(&row.key, &row.sums);
                row.sums.clear();
            }
        }
        self.free.len() != before
    }
}
