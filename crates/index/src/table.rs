//! Persistent hash table from an address of one family to a number; clones share unchanged shards.
//!
//! Open addressing with linear probing, at most a quarter full, so that a probe nearly always ends
//! at its first slot, for misses too; the key is the address itself, four bytes for IPv4. A table
//! has 256 shards, chosen by hash. A clone copies pointers; changing one address copies its shard,
//! some hundred addresses in a large cluster, and only while an older clone shares it.
//!
//! Addresses can be chosen by an attacker: in an EndpointSlice, or by a remote host as those that
//! are looked up. So the hash is seeded: which addresses collide cannot be known from outside.

use std::sync::Arc;

use webb_flow::hash::seed;

const SHARDS: usize = 256;

/// Slots for each address from which on a shard of more than [`ROOMY_SLOTS`] becomes smaller: four
/// times as many as it has when it grows.
const ROOMY: usize = 16;
const ROOMY_SLOTS: usize = 64;

/// Bit of a stored number: the owner of the address changed lately, and [`Table::owner_at`] has the
/// former ones.
pub(super) const CHANGED: u32 = 1 << 31;

/// The random seeds of a table's hash.
#[derive(Debug, Clone, Copy)]
struct Seeds(u64, u64);

/// An address of one family.
pub(super) trait AddressKey: Copy + Ord + Default {
    /// Both halves, from the least significant one on.
    fn halves(self) -> [u64; 2];
}

impl AddressKey for u32 {
    #[inline]
    fn halves(self) -> [u64; 2] {
        [u64::from(self), 0]
    }
}

impl AddressKey for u128 {
    #[inline]
    fn halves(self) -> [u64; 2] {
        [self, self >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0))
    }
}

impl Seeds {
    /// The product of both halves, and once more that of a constant: seeds may be poor multipliers
    /// for addresses in a row, and every bit of the key must reach every bit that is used.
    #[inline]
    fn hash(self, key: impl AddressKey) -> u64 {
        let [low, high] = key.halves();
        fold(fold_of(low ^ self.0, high ^ self.1))
    }
}

#[inline]
fn fold(word: u64) -> u64 {
    fold_of(word, 0x9e37_79b9_7f4a_7c15)
}

/// Both halves of a product.
#[inline]
fn fold_of(one: u64, other: u64) -> u64 {
    let [low, high] = (u128::from(one) * u128::from(other)).halves();
    low ^ high
}

/// One address. Free if `to` is 0.
#[derive(Debug, Clone, Copy, Default)]
struct Slot<K> {
    key: K,
    to: u32,
}

#[derive(Debug, Clone)]
struct Shard<K> {
    /// A power of two; at least one is free.
    slots: Arc<[Slot<K>]>,
    used: usize,
}

/// A previous owner of an address, and the end of its ownership.
#[derive(Debug, Clone, Copy)]
struct PreviousOwner<K> {
    key: K,
    until_ns: u64,
    to: u32,
}

/// Addresses of one family, each with a number that is not 0.
#[derive(Debug, Clone)]
pub(super) struct Table<K> {
    seeds: Seeds,
    shards: Vec<Shard<K>>,
    /// Previous owners by shard, sorted by address and time.
    past: Vec<Arc<[PreviousOwner<K>]>>,
}

impl<K: AddressKey> Default for Table<K> {
    fn default() -> Self {
        let shard = Shard { slots: Arc::from([Slot::default()]), used: 0 };
        Self { seeds: Seeds(seed(), seed()), shards: vec![shard; SHARDS], past: vec![Arc::default(); SHARDS] }
    }
}

impl<K: AddressKey> Table<K> {
    /// The number of an address; 0 if it has none.
    #[inline]
    pub(super) fn get(&self, key: K) -> u32 {
        let hash = self.seeds.hash(key);
        let Some(shard) = self.shards.get(shard_of(hash)) else { return 0 };
        let (mask, mut at) = (shard.slots.len() - 1, start_of(hash));
        // There is a free slot, so this ends.
        while let Some(slot) = shard.slots.get(at & mask) {
            if slot.key == key || slot.to == 0 {
                return slot.to;
            }
            at += 1;
        }
        0
    }

    /// The owner of an address at `time_ns`, if the history has one that differs from the current.
    pub(super) fn owner_at(&self, key: K, time_ns: u64) -> Option<u32> {
        let past = self.past.get(shard_of(self.seeds.hash(key)))?;
        let at = past.partition_point(|entry| (entry.key, entry.until_ns) <= (key, time_ns));
        past.get(at).filter(|entry| entry.key == key).map(|entry| entry.to)
    }

    /// The previous owners of an address, oldest first, each with the end of its ownership.
    pub(super) fn previous_owners(&self, key: K) -> Vec<(u64, u32)> {
        let past = self.past.get(shard_of(self.seeds.hash(key))).map_or(&[][..], |past| past);
        past.iter().filter(|entry| entry.key == key).map(|entry| (entry.until_ns, entry.to)).collect()
    }

    /// Upserts the number of an address; 0 removes it.
    pub(super) fn set(&mut self, key: K, to: u32) {
        let hash = self.seeds.hash(key);
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return };
        if to == 0 {
            shard.remove(key, self.seeds);
        } else {
            shard.insert(key, self.seeds, to);
        }
    }

    /// Records the end of an ownership, and drops those of this address that ended before
    /// `horizon_ns`. Returns whether any is left.
    pub(super) fn record(&mut self, key: K, ended: Option<(u64, u32)>, horizon_ns: u64) -> bool {
        let Some(past) = self.past.get_mut(shard_of(self.seeds.hash(key))) else { return false };
        let mut entries: Vec<PreviousOwner<K>> =
            past.iter().filter(|entry| entry.key != key || entry.until_ns >= horizon_ns).copied().collect();
        entries.extend(ended.map(|(until_ns, to)| PreviousOwner { key, until_ns, to }));
        entries.sort_by_key(|entry| (entry.key, entry.until_ns));
        let known = entries.iter().any(|entry| entry.key == key);
        *past = Arc::from(entries);
        known
    }
}

#[inline]
fn shard_of(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[7])
}

#[inline]
fn start_of(hash: u64) -> usize {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) as usize
}

impl<K: AddressKey> Shard<K> {
    fn insert(&mut self, key: K, seeds: Seeds, to: u32) {
        if (self.used + 1) * 4 > self.slots.len() {
            self.resize(seeds);
        }
        self.place(key, seeds.hash(key), to);
    }

    /// Gives the shard room for one address more than it has.
    fn resize(&mut self, seeds: Seeds) {
        let kept: Vec<Slot<K>> = self.slots.iter().filter(|slot| slot.to != 0).copied().collect();
        let room = ((self.used + 1) * 4).next_power_of_two().max(8);
        *self = Self { slots: vec![Slot::default(); room].into(), used: 0 };
        for slot in kept {
            self.place(slot.key, seeds.hash(slot.key), slot.to);
        }
    }

    fn place(&mut self, key: K, hash: u64, to: u32) {
        let slots = Arc::make_mut(&mut self.slots);
        let (mask, mut at) = (slots.len() - 1, start_of(hash));
        while let Some(slot) = slots.get_mut(at & mask) {
            if slot.to == 0 || slot.key == key {
                self.used += usize::from(slot.to == 0);
                *slot = Slot { key, to };
                return;
            }
            at += 1;
        }
    }

    /// Frees the slot, and moves up what a probe would no longer find behind the gap.
    fn remove(&mut self, key: K, seeds: Seeds) {
        let slots = Arc::make_mut(&mut self.slots);
        let mask = slots.len() - 1;
        let mut gap = start_of(seeds.hash(key)) & mask;
        loop {
            match slots.get(gap) {
                Some(slot) if slot.to != 0 && slot.key == key => break,
                Some(slot) if slot.to != 0 => gap = (gap + 1) & mask,
                _ => return,
            }
        }
        self.used -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let Some(slot) = slots.get(at).copied().filter(|slot| slot.to != 0) else { break };
            let home = start_of(seeds.hash(slot.key)) & mask;
            // It stays if its home lies behind the gap, counted around the end.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                if let Some(free) = slots.get_mut(gap) {
                    *free = slot;
                }
                gap = at;
            }
        }
        if let Some(free) = slots.get_mut(gap) {
            *free = Slot::default();
        }
        if self.slots.len() > ROOMY_SLOTS && self.used * ROOMY < self.slots.len() {
            self.resize(seeds);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Longest distance of one of these from its place.
    fn longest_probe<K: AddressKey>(keys: impl IntoIterator<Item = K>) -> usize {
        let mut table = Table::default();
        let keys: Vec<K> = keys.into_iter().collect();
        for &key in &keys {
            table.set(key, 1);
        }
        let probe = |key: K| {
            let hash = table.seeds.hash(key);
            let shard = &table.shards[shard_of(hash)];
            let mask = shard.slots.len() - 1;
            (0..=mask).find(|step| shard.slots[(start_of(hash) + step) & mask].key == key).unwrap()
        };
        keys.iter().map(|&key| probe(key)).max().unwrap()
    }

    proptest! {
        /// After any sequence of changes the table equals a map, and a clone that was taken
        /// half-way keeps its contents.
        #[test]
        fn as_a_map(first in changes(), second in changes()) {
            let (mut table, mut map) = (Table::default(), BTreeMap::new());
            let mut apply = |table: &mut Table<u32>, changes: &[(u32, u32)]| {
                for &(key, to) in changes {
                    table.set(key, to);
                    if to == 0 { map.remove(&key) } else { map.insert(key, to) };
                }
                map.clone()
            };
            let then = apply(&mut table, &first);
            let old = table.clone();
            let now = apply(&mut table, &second);
            for key in 0..600 {
                prop_assert_eq!(old.get(key), then.get(&key).copied().unwrap_or(0));
                prop_assert_eq!(table.get(key), now.get(&key).copied().unwrap_or(0));
            }
        }
    }

    fn changes() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((0..600_u32, 0..5_u32), 0..900)
    }

    /// Addresses that came and went leave no room behind; those that stay are found.
    #[test]
    fn room_goes_with_addresses() {
        let slots = |table: &Table<u32>| table.shards.iter().map(|shard| shard.slots.len()).sum::<usize>();
        let mut table = Table::default();
        (0..100_000).for_each(|key| table.set(key, key + 1));
        assert!(slots(&table) >= 400_000);
        (500..100_000).for_each(|key| table.set(key, 0));
        assert!(slots(&table) <= ROOMY_SLOTS * SHARDS, "{}", slots(&table));
        assert!((0..500).all(|key| table.get(key) == key + 1));
        assert!((500..100_000).all(|key| table.get(key) == 0));
    }

    /// Addresses as clusters give them out (in a row, a block for each node, every 16th) must not
    /// pile up, whatever the seeds.
    #[test]
    fn usual_addresses_spread() {
        let (base, prefix) = (0x0a00_0000_u32, 0xfd00_0010_0244_u128 << 80);
        for _ in 0..20 {
            assert!(longest_probe((0..20_000).map(|at| base + at)) < 32);
            assert!(longest_probe((0..20_000).map(|at| base + (at / 110) * 256 + at % 110)) < 32);
            assert!(longest_probe((0..20_000).map(|at| base + at * 16)) < 32);
            assert!(longest_probe((0..20_000).map(|at| base + at * 65_536)) < 32);
            assert!(longest_probe((0..20_000).map(|at| prefix + at)) < 32);
            assert!(longest_probe((0..20_000).map(|at| prefix + (at << 64))) < 32);
        }
    }

    /// Addresses that were chosen to share one place of one table are spread in every other.
    #[test]
    fn chosen_collisions_do_not_carry_over() {
        let table: Table<u128> = Table::default();
        let place = |key: u128| {
            let hash = table.seeds.hash(key);
            (shard_of(hash) % 64, start_of(hash) % 64)
        };
        let chosen: Vec<u128> = (0..1_000_000).filter(|&key| place(key) == (0, 0)).collect();
        assert!(chosen.len() > 100, "{} addresses of one place", chosen.len());
        assert!(longest_probe(chosen) < 16);
    }

    /// Times before a change resolve to the previous owner; entries that are too old are dropped.
    #[test]
    fn history() {
        let mut table: Table<u128> = Table::default();
        assert!(table.record(7, Some((100, 1)), 0));
        assert!(table.record(7, Some((200, 2)), 0));
        assert!(table.record(8, Some((150, 9)), 0));
        let at = |time| table.owner_at(7, time);
        assert_eq!(
            [at(0), at(99), at(100), at(199), at(200), at(300)],
            [Some(1), Some(1), Some(2), Some(2), None, None]
        );
        assert_eq!(table.previous_owners(7), [(100, 1), (200, 2)]);
        assert!(table.record(7, None, 150));
        assert_eq!(table.owner_at(7, 50), Some(2));
        assert!(!table.record(7, None, 201));
        assert_eq!(table.owner_at(7, 50), None);
        assert_eq!(table.owner_at(8, 50), Some(9));
    }
}
