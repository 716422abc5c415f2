//! Where the counter of a flow was found the last time: one look instead of two, in as little memory as possible.
//!
//! The slow way to a counter leads over the names of both ends to the number of their context, and from there to the
//! series. Nearly every flow goes a way that another went before. So the end of the way is noted under its start: who
//! the two ends are, and the fixed labels. An entry is 16 bytes, four to a cache line, since what a look costs is
//! fetching that line; beyond what fits into the caches, nothing else about a counter matters as much.

use std::hint::black_box;

use webb_flow::hash::seed;

/// The start of a way. What is `NOWHERE` is never noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Who the ends are ([`super::contexts::Contexts::ends`]), and in the two highest bits the table.
    ends: u64,
    /// The plugin's key.
    fixed: u64,
}

/// Bits of [`Way::ends`] that are not the table's.
const ENDS: u32 = 62;

/// Ends that have no number.
pub(super) const NOWHERE: u64 = (1 << ENDS) - 1;

/// Tables that a metric may have.
pub(super) const TABLES: usize = 1 << (64 - ENDS);

impl Way {
    #[inline]
    pub(super) fn new(table: usize, ends: u64, fixed: u64) -> Self {
        Self { ends: ends | (table as u64) << ENDS, fixed }
    }

    #[inline]
    pub(super) fn table(self) -> usize {
        usize::from((self.ends >> ENDS).to_le_bytes()[0])
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

/// Places at first, and at most: 32 MiB. A memo that is full then is emptied.
const FEWEST: usize = 64;
const MOST: usize = 1 << 21;

/// The memo of one metric. Open addressing: a way is at the place its hash says, or in the next free one.
#[derive(Debug)]
pub(super) struct Memo {
    /// As many as a power of two, a quarter of them free.
    places: Vec<Entry>,
    noted: usize,
    /// Nobody outside may know which ways share a place: one for each half of a way.
    seeds: [u64; 2],
}

impl Default for Memo {
    fn default() -> Self {
        Self { places: vec![FREE; FEWEST], noted: 0, seeds: [seed(), seed()] }
    }
}

impl Memo {
    /// Where to look for a way, as long as the memo lives.
    #[inline]
    pub(super) fn hash(&self, way: Way) -> u32 {
        let [ends, fixed] = self.seeds;
        let mixed = u128::from(way.ends ^ ends) * u128::from(way.fixed ^ fixed);
        #[allow(clippy::cast_possible_truncation, reason = "both halves are mixed into what remains")]
        let hash = (mixed >> 64) as u32 ^ (mixed >> 16) as u32;
        hash
    }

    /// Has the places of these hashes fetched into the cache, all at the same time, which takes hardly longer than
    /// fetching one.
    #[inline]
    pub(super) fn fetch(&self, hashes: impl Iterator<Item = u32>) {
        let mask = self.places.len() - 1;
        let places = hashes.map(|hash| self.places.get(hash as usize & mask).map_or(0, |entry| entry.slot));
        // Nothing waits for the sum but the end of the loop.
        black_box(places.fold(0, |sum, slot| sum ^ slot));
    }

    /// Where the way led, if it is noted. `hash` is its own.
    #[inline]
    pub(super) fn find(&self, way: Way, hash: u32) -> Option<u32> {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let entry = self.places.get(at)?;
            if entry.ends == way.ends && u64::from(entry.fixed) == way.fixed && entry.slot != NONE {
                return Some(entry.slot);
            }
            if entry.slot == NONE {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// Notes where a way leads that is not noted yet. Keys of more than 32 bits are not: they are rare.
    pub(super) fn note(&mut self, way: Way, slot: u32) {
        let Ok(fixed) = u32::try_from(way.fixed) else { return };
        if way.ends & NOWHERE == NOWHERE || slot == NONE {
            return;
        }
        if self.noted >= self.places.len() / 4 * 3 {
            self.grow();
        }
        self.put(Entry { ends: way.ends, fixed, slot }, self.hash(way));
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
        if self.places.len() >= MOST {
            return self.clear();
        }
        let twice = vec![FREE; self.places.len() * 2];
        let before = std::mem::replace(&mut self.places, twice);
        self.noted = 0;
        for entry in before.into_iter().filter(|entry| entry.slot != NONE) {
            let hash = self.hash(Way { ends: entry.ends, fixed: entry.fixed.into() });
            self.put(entry, hash);
        }
    }

    /// Forgets all ways: they lead elsewhere now.
    pub(super) fn clear(&mut self) {
        if self.noted > 0 {
            self.places.fill(FREE);
            self.noted = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn find(memo: &Memo, way: Way) -> Option<u32> {
        memo.find(way, memo.hash(way))
    }

    /// What has no number, or too large a key, must never be found under another's.
    #[test]
    fn what_cannot_be_noted_is_not() {
        let mut memo = Memo::default();
        for way in [Way::new(0, NOWHERE, 7), Way::new(3, NOWHERE, 0), Way::new(1, 5, 1 << 32)] {
            memo.note(way, 1);
            assert_eq!(find(&memo, way), None, "{way:?}");
        }
        assert_eq!(find(&memo, Way::new(0, 0, 0)), None, "a free place is no way");
    }

    /// A memo that is full must not stop working, nor lead astray.
    #[test]
    fn at_its_limit_it_begins_anew() {
        let mut memo = Memo::default();
        let ways = (0..MOST as u64).map(|ends| Way::new(0, ends, 0));
        ways.enumerate().for_each(|(slot, way)| memo.note(way, u32::try_from(slot).unwrap()));
        assert_eq!(memo.places.len(), MOST);
        assert_eq!(find(&memo, Way::new(0, 0, 0)), None);
        let last = MOST - 1;
        assert_eq!(find(&memo, Way::new(0, last as u64, 0)), u32::try_from(last).ok());
    }

    /// Ways that would share one place under any seed that is only added to them must not share one.
    #[test]
    fn no_ways_are_made_to_collide() {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let start = |fixed: u64| fixed.wrapping_mul(ODD).rotate_left(32);
        let ways = (1..100_000).map(|fixed| Way { ends: start(fixed), fixed }).filter(|way| way.ends < NOWHERE);
        let ways: Vec<Way> = ways.take(1000).collect();
        let memo = Memo::default();
        let hashes: std::collections::HashSet<u32> = ways.iter().map(|way| memo.hash(*way)).collect();
        assert!(hashes.len() > 990, "{} hashes of {} ways", hashes.len(), ways.len());
    }

    proptest! {
        /// A way leads where it was noted to lead, and no way that was not noted leads anywhere.
        #[test]
        fn as_a_map(notes in prop::collection::vec((0..3_usize, 0..20_u64, 0..20_u64), 0..400)) {
            let (mut memo, mut map) = (Memo::default(), HashMap::new());
            for (slot, &(table, ends, fixed)) in notes.iter().enumerate() {
                let way = Way::new(table, ends, fixed);
                prop_assert_eq!((way.table(), way.fixed()), (table, fixed));
                let known = map.get(&(table, ends, fixed)).copied();
                prop_assert_eq!(find(&memo, way), known);
                if known.is_none() {
                    memo.note(way, u32::try_from(slot).unwrap());
                    map.insert((table, ends, fixed), u32::try_from(slot).unwrap());
                }
            }
            memo.clear();
            prop_assert_eq!(find(&memo, Way::new(0, 0, 0)), None);
        }
    }
}
