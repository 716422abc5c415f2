//! Interns keys and counts their references.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use webb_flow::hash::RandomState;

/// Distinct keys, each with a number that it keeps as long as it has references.
#[derive(Debug)]
pub(super) struct Interner<K> {
    numbers: HashMap<Arc<K>, u32, RandomState>,
    /// Keys by number, with the count of references.
    keys: Vec<Option<(Arc<K>, usize)>>,
    free: Vec<u32>,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), keys: Vec::new(), free: Vec::new() }
    }
}

impl<K: Eq + Hash> Interner<K> {
    /// Adds a reference to a key. Returns its number, and whether the key is new.
    pub(super) fn acquire(&mut self, key: K) -> (u32, bool) {
        if let Some(&number) = self.numbers.get(&key) {
            if let Some(Some((_, used))) = self.keys.get_mut(number as usize) {
                *used += 1;
            }
            return (number, false);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.keys.push(None);
            u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
        });
        let key = Arc::new(key);
        self.numbers.insert(Arc::clone(&key), number);
        if let Some(place) = self.keys.get_mut(number as usize) {
            *place = Some((key, 1));
        }
        (number, true)
    }

    /// Removes a reference. Returns whether it was the last: the number is then reused.
    pub(super) fn release(&mut self, number: u32) -> bool {
        let Some(place) = self.keys.get_mut(number as usize) else { return false };
        let Some((key, used)) = place else { return false };
        *used = used.saturating_sub(1);
        if *used > 0 {
            return false;
        }
        self.numbers.remove(key);
        *place = None;
        self.free.push(number);
        true
    }

    /// The key of a number.
    pub(super) fn get(&self, number: u32) -> Option<&K> {
        self.keys.get(number as usize)?.as_ref().map(|(key, _)| &**key)
    }

    /// Every number below [`Interner::capacity`], each with its key.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, Option<&K>)> {
        (0..).zip(&self.keys).map(|(number, place)| (number, place.as_ref().map(|(key, _)| &**key)))
    }

    /// Number above the greatest one in use.
    pub(super) fn capacity(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key keeps its number while anything refers to it, and only then is the number reused.
    #[test]
    fn numbers_are_kept_while_referenced() {
        let mut interner = Interner::default();
        assert_eq!(interner.acquire("a"), (0, true));
        assert_eq!(interner.acquire("b"), (1, true));
        assert_eq!(interner.acquire("a"), (0, false));
        assert!(!interner.release(0), "one reference is left");
        assert_eq!(interner.acquire("c"), (2, true));
        assert!(interner.release(0));
        assert_eq!(interner.get(0), None);
        assert_eq!(interner.acquire("d"), (0, true));
        assert_eq!(interner.acquire("a"), (3, true), "a released key is new again");
        assert_eq!(
            interner.slots().map(|(_, key)| key.copied()).collect::<Vec<_>>(),
            [Some("d"), Some("b"), Some("c"), Some("a")]
        );
    }
}
