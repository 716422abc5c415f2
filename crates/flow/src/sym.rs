//! The interner: a [`Sym`] is a 32-bit stand-in for a string that lives as long as the process.
//!
//! An endpoint's names are interned when they are first read, which is when its series are created,
//! and not for each flow. The event path compares and copies `Sym`s; text is looked up again only
//! when a series is created.
//!
//! Append-only: a pod's name that will never come back stays, since a series may show it for as
//! long as it likes. But the pods of a cluster that never exchanged a packet with this node are not
//! in here, however many come and go. One that did costs two names of some 100 bytes each: a
//! thousand new peers a day are 6 MB in a month, and `webb_interned_names` shows it.

use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock, RwLock};

use hashbrown::HashTable;

use crate::hash::RandomState;

/// A name in the process-wide interner. `Sym::EMPTY` is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sym(u32);

#[derive(Debug)]
struct Names {
    /// Found by the hash of their text, which is kept once, in `texts`.
    ids: HashTable<u32>,
    hasher: RandomState,
    texts: Vec<Arc<str>>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(|| {
    let mut names = Names { ids: HashTable::new(), hasher: RandomState::default(), texts: Vec::new() };
    names.insert("");
    RwLock::new(names)
});

impl Names {
    fn find(&self, text: &str) -> Option<u32> {
        let is = |id: &u32| self.texts.get(*id as usize).is_some_and(|known| **known == *text);
        self.ids.find(self.hasher.hash_one(text), is).copied()
    }

    fn insert(&mut self, text: &str) -> u32 {
        // 2^32 names would be hundreds of gigabytes of text: memory ends first. Saturating keeps it
        // total.
        let id = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.texts.push(Arc::from(text));
        let (hasher, texts) = (&self.hasher, &self.texts);
        let hash = |id: &u32| hasher.hash_one(texts.get(*id as usize).map_or("", |text| text));
        self.ids.insert_unique(hash(&id), id, hash);
        id
    }
}

impl Sym {
    /// The empty string.
    pub const EMPTY: Self = Self(0);

    /// Interns `text`. Takes a lock; not for the event path.
    pub fn new(text: &str) -> Self {
        if text.is_empty() {
            return Self::EMPTY;
        }
        if let Some(known) = read().find(text) {
            return Self(known);
        }
        let mut names = NAMES.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        Self(names.find(text).unwrap_or_else(|| names.insert(text)))
    }

    /// The symbol of `text` if it is interned. Takes a shared lock; not for the event path.
    pub fn known(text: &str) -> Option<Self> {
        read().find(text).map(Self)
    }

    /// The text. Takes a shared lock; not for the event path.
    pub fn text(self) -> Arc<str> {
        let names = read();
        names.texts.get(self.0 as usize).map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// True for the empty string.
    pub fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    /// The number behind it, for packing into keys.
    pub fn id(self) -> u32 {
        self.0
    }

    /// The symbol of a number from [`Sym::id`]; any other number reads as the empty string.
    pub fn of(id: u32) -> Self {
        Self(id)
    }
}

fn read() -> std::sync::RwLockReadGuard<'static, Names> {
    NAMES.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How many names are interned, for `webb_interned_names`.
pub fn interned() -> usize {
    read().texts.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Equal text must give equal symbols, or a series would be counted under two keys.
    #[test]
    fn equal_text_equal_sym() {
        let first = Sym::new("default/tiefighter");
        assert_eq!(first, Sym::new("default/tiefighter"));
        assert_ne!(first, Sym::new("default/xwing"));
        assert_eq!(&*first.text(), "default/tiefighter");
        assert!(Sym::new("").is_empty());
        assert_eq!(Sym::known("default/tiefighter"), Some(first));
        assert_eq!(Sym::known("a-name-that-no-test-interns"), None);
        assert_eq!(&*first.text(), "default/tiefighter");
    }
}
