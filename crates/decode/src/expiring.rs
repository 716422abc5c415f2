//! A bounded table of entries that expire.
//!
//! Expiry follows the order of insertion and costs nothing but the entries that expire. At the
//! bound the oldest entry is evicted: what is waited for comes soon or not at all, so of two
//! entries the younger one is worth more.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;

/// Entries by key.
#[derive(Debug)]
pub struct Expiring<K, V> {
    /// Each with the number of its insertion: times may be equal.
    entries: HashMap<K, (u64, V), RandomState>,
    /// Oldest first. An entry that was removed or replaced leaves its place here until the next
    /// compaction.
    order: VecDeque<Place<K>>,
    inserted: u64,
    ttl_ns: u64,
    most: usize,
}

/// Place of an entry in the order of insertion.
#[derive(Debug)]
struct Place<K> {
    since_ns: u64,
    number: u64,
    key: K,
}

impl<K: Copy + Eq + Hash, V> Expiring<K, V> {
    /// A table of at most `most` entries that live for `ttl_ns`. Memory grows with them.
    pub fn new(ttl_ns: u64, most: usize) -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new(), inserted: 0, ttl_ns, most }
    }

    /// Upserts an entry. Returns the evicted one: that of the same key, or the oldest of a full
    /// table.
    pub fn insert(&mut self, key: K, value: V, now_ns: u64) -> Option<V> {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|place| entries.get(&place.key).is_some_and(|(number, _)| *number == place.number));
        }
        let same = self.remove(&key);
        let oldest = if self.entries.len() >= self.most { self.pop() } else { None };
        self.inserted += 1;
        self.order.push_back(Place { since_ns: now_ns, number: self.inserted, key });
        self.entries.insert(key, (self.inserted, value));
        same.or(oldest)
    }

    /// The entry of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// The entry of a key, to be changed; its time stays.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Removes expired entries, and returns their number.
    pub fn expire(&mut self, now_ns: u64) -> u64 {
        let mut expired = 0;
        while self.order.front().is_some_and(|place| place.since_ns.saturating_add(self.ttl_ns) <= now_ns) {
            expired += u64::from(self.pop_front().is_some());
        }
        expired
    }

    /// Removes the oldest entry.
    fn pop(&mut self) -> Option<V> {
        loop {
            let oldest = self.pop_front();
            if oldest.is_some() || self.order.is_empty() {
                return oldest;
            }
        }
    }

    /// Removes the first place in order, and its entry if it is still there.
    fn pop_front(&mut self) -> Option<V> {
        let Place { number, key, .. } = self.order.pop_front()?;
        if self.entries.get(&key).is_some_and(|(own, _)| *own == number) { self.remove(&key) } else { None }
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The oldest goes first, by time and for want of room; an entry that was put in again is young
    /// again.
    #[test]
    fn the_oldest_goes_first() {
        let mut table = Expiring::new(60, 2);
        assert_eq!(table.insert('a', 1, 0), None);
        assert_eq!(table.insert('b', 2, 10), None);
        assert_eq!(table.insert('a', 3, 20), Some(1));
        assert_eq!(table.expire(79), 1, "b, which is 69 old");
        assert_eq!(table.insert('c', 4, 80), None);
        assert_eq!(table.insert('d', 5, 80), Some(3), "a, for want of room");
        assert_eq!((table.remove(&'c'), table.get(&'d'), table.len()), (Some(4), Some(&5), 1));
        assert_eq!((table.expire(140), table.is_empty()), (1, true));
    }

    /// An entry that is put in again and again at one time has few places.
    #[test]
    fn again_at_one_time() {
        let mut table = Expiring::new(60, 100);
        for _ in 0..10_000 {
            table.insert('a', (), 7);
        }
        assert!(table.order.len() <= 2 + 65, "{}", table.order.len());
        assert_eq!((table.expire(67), table.order.len()), (1, 0));
    }

    proptest! {
        /// No entry outlasts its lifetime, exceeds the bound, or lacks an end in the list of
        /// places.
        #[test]
        fn memory_is_bounded(steps in prop::collection::vec((0_u8..40, 0_u64..30, any::<bool>()), 0..600)) {
            let mut table = Expiring::new(100, 16);
            let mut now_ns = 0;
            for (key, passed_ns, remove) in steps {
                now_ns += passed_ns;
                table.expire(now_ns);
                if remove {
                    table.remove(&key);
                } else {
                    table.insert(key, now_ns, now_ns);
                }
                prop_assert!(table.len() <= 16 && table.order.len() <= 2 * 16 + 66);
                prop_assert!(table.entries.values().all(|(_, since_ns)| now_ns - since_ns < 100));
            }
        }
    }
}
