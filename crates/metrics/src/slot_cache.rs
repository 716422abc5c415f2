//! Caches the slot of a series by the ends and fixed labels of a flow: one lookup instead of two.
//!
//! A miss resolves the names of both ends to the number of their context, and that to the series.
//! Nearly every flow is a hit. An entry is 16 bytes, four to a cache line, since the cost of a
//! lookup is fetching that line.

use std::hint::black_box;

use webb_flow::hash::seed;

/// The key of an entry. Keys with [`NO_ENDS`] are never cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheKey {
    /// The two ends ([`super::contexts::Contexts::ends`]), and in the four highest bits the table.
    ends: u64,
    /// The plugin's key.
    fixed: u64,
}

/// Bits of [`CacheKey::ends`] that are not the table's.
const ENDS: u32 = 60;

/// Ends that have no number.
pub(super) const NO_ENDS: u64 = (1 << ENDS) - 1;

/// Tables of a metric, at most.
pub(super) const TABLES: usize = 1 << (64 - ENDS);

impl CacheKey {
    #[inline]
    pub(super) fn new(table: usize, ends: u64, fixed: u64) -> Self {
        Self { ends: ends | (table as u64) << ENDS, fixed }
    }

    #[inline]
    pub(super) fn table(self) -> usize {
        usize::from((self.ends >> ENDS).to_le_bytes()[0])
    }

    /// True if its ends have numbers, so that it can be cached.
    #[inline]
    pub(super) fn has_ends(self) -> bool {
        self.ends & NO_ENDS != NO_ENDS
    }

    #[inline]
    pub(super) fn fixed(self) -> u64 {
        self.fixed
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    ends: u64,
    fixed: u32,
    /// `NONE` in a place that is free.
    slot: u32,
}

const NONE: u32 = u32::MAX;
const FREE: Entry = Entry { ends: 0, fixed: 0, slot: NONE };

/// Entries at first, and at most: 32 MiB. A cache that is full then is cleared.
const INITIAL_ENTRIES: usize = 64;
const MAX_ENTRIES: usize = 1 << 21;

/// The cache of one metric, by open addressing with linear probing.
#[derive(Debug)]
pub(super) struct SlotCache {
    /// A power of two; at least a quarter are free.
    places: Vec<Entry>,
    noted: usize,
    /// Random, so that collisions cannot be provoked: one for each half of a key.
    seeds: [u64; 2],
}

impl Default for SlotCache {
    fn default() -> Self {
        Self { places: vec![FREE; INITIAL_ENTRIES], noted: 0, seeds: [seed(), seed()] }
    }
}

impl SlotCache {
    /// The hash of a key in this cache.
    #[inline]
    pub(super) fn hash(&self, key: CacheKey) -> u32 {
        let [ends, fixed] = self.seeds;
        let mixed = u128::from(key.ends ^ ends) * u128::from(key.fixed ^ fixed);
        #[allow(clippy::cast_possible_truncation, reason = "both halves are mixed into what remains")]
        let hash = (mixed >> 64) as u32 ^ (mixed >> 16) as u32;
        hash
    }

    /// Prefetches the entries of these hashes in parallel, which takes hardly longer than fetching
    /// one.
    #[inline]
    pub(super) fn fetch(&self, hashes: impl Iterator<Item = u32>) {
        let mask = self.places.len() - 1;
        let places = hashes.map(|hash| self.places.get(hash as usize & mask).map_or(0, |entry| entry.slot));
        // Nothing waits for the sum but the end of the loop.
        black_box(places.fold(0, |sum, slot| sum ^ slot));
    }

    /// Looks up the slot of a key with the hash `hash`.
    #[inline]
    pub(super) fn find(&self, key: CacheKey, hash: u32) -> Option<u32> {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = self.places.get(at)?;
            if entry.ends == key.ends && u64::from(entry.fixed) == key.fixed && entry.slot != NONE {
                return Some(entry.slot);
            }
            if entry.slot == NONE {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// Notes where a key leads that is not noted yet. Keys of more than 32 bits are not: they are
    /// rare.
    pub(super) fn note(&mut self, key: CacheKey, slot: u32) {
        let Ok(fixed) = u32::try_from(key.fixed) else { return };
        if !key.has_ends() || slot == NONE {
            return;
        }
        if self.noted >= self.places.len() / 4 * 3 {
            self.grow();
        }
        self.put(Entry { ends: key.ends, fixed, slot }, self.hash(key));
    }

    fn put(&mut self, entry: Entry, hash: u32) {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        // A quarter of the places is free, so this ends.
        while let Some(place) = self.places.get_mut(at) {
            if place.slot == NONE {
                *place = entry;
                self.noted += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        if self.places.len() >= MAX_ENTRIES {
            return self.clear();
        }
        let twice = vec![FREE; self.places.len() * 2];
        let before = std::mem::replace(&mut self.places, twice);
        self.noted = 0;
        for entry in before.into_iter().filter(|entry| entry.slot != NONE) {
            let hash = self.hash(CacheKey { ends: entry.ends, fixed: entry.fixed.into() });
            self.put(entry, hash);
        }
    }

    /// Forgets all keys: they lead elsewhere now. A cache that was mostly empty becomes smaller.
    pub(super) fn clear(&mut self) {
        let enough = (self.noted * 2).next_power_of_two().max(INITIAL_ENTRIES);
        if enough < self.places.len() / 2 {
            self.places = vec![FREE; enough];
        } else if self.noted > 0 {
            self.places.fill(FREE);
        }
        self.noted = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn find(cache: &SlotCache, key: CacheKey) -> Option<u32> {
        cache.find(key, cache.hash(key))
    }

    /// A flow without a number, or with too large a key, must never be found under another's.
    #[test]
    fn what_cannot_be_noted_is_not() {
        let mut cache = SlotCache::default();
        for key in [CacheKey::new(0, NO_ENDS, 7), CacheKey::new(3, NO_ENDS, 0), CacheKey::new(1, 5, 1 << 32)] {
            cache.note(key, 1);
            assert_eq!(find(&cache, key), None, "{key:?}");
        }
        assert_eq!(find(&cache, CacheKey::new(0, 0, 0)), None, "a free place is no key");
    }

    /// A cache that is full must not stop working, nor lead astray.
    #[test]
    fn at_its_limit_it_begins_anew() {
        let mut cache = SlotCache::default();
        let keys = (0..MAX_ENTRIES as u64).map(|ends| CacheKey::new(0, ends, 0));
        keys.enumerate().for_each(|(slot, key)| cache.note(key, u32::try_from(slot).unwrap()));
        assert_eq!(cache.places.len(), MAX_ENTRIES);
        assert_eq!(find(&cache, CacheKey::new(0, 0, 0)), None);
        let last = MAX_ENTRIES - 1;
        assert_eq!(find(&cache, CacheKey::new(0, last as u64, 0)), u32::try_from(last).ok());
    }

    /// Ways that would share one place under any seed that is only added to them must not share
    /// one.
    #[test]
    fn no_ways_are_made_to_collide() {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let start = |fixed: u64| fixed.wrapping_mul(ODD).rotate_left(32);
        let keys = (1..100_000).map(|fixed| CacheKey { ends: start(fixed), fixed }).filter(|key| key.ends < NO_ENDS);
        let keys: Vec<CacheKey> = keys.take(1000).collect();
        let cache = SlotCache::default();
        let hashes: std::collections::HashSet<u32> = keys.iter().map(|key| cache.hash(*key)).collect();
        assert!(hashes.len() > 990, "{} hashes of {} keys", hashes.len(), keys.len());
    }

    proptest! {
        /// A key leads where it was noted to lead, and no key that was not noted leads anywhere.
        #[test]
        fn as_a_map(notes in prop::collection::vec((0..3_usize, 0..20_u64, 0..20_u64), 0..400)) {
            let (mut cache, mut map) = (SlotCache::default(), HashMap::new());
            for (slot, &(table, ends, fixed)) in notes.iter().enumerate() {
                let key = CacheKey::new(table, ends, fixed);
                prop_assert_eq!((key.table(), key.fixed()), (table, fixed));
                let known = map.get(&(table, ends, fixed)).copied();
                prop_assert_eq!(find(&cache, key), known);
                if known.is_none() {
                    cache.note(key, u32::try_from(slot).unwrap());
                    map.insert((table, ends, fixed), u32::try_from(slot).unwrap());
                }
            }
            cache.clear();
            prop_assert_eq!(find(&cache, CacheKey::new(0, 0, 0)), None);
        }
    }
}
