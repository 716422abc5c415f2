//! The interner: a [`Sym`] is a 32-bit stand-in for a string.
//!
//! The event path compares and copies `Sym`s; text is looked up again only when a series is
//! created. An endpoint's names are interned when they are first read, which is when its series are
//! created, and not for each flow.
//!
//! Two lifetimes: [`Sym::new`] interns for as long as the process lives, which is for constants and
//! for what a configuration or a program names. All that comes and goes, pods, their workloads and
//! labels, services, nodes, is interned as a [`Name`], which owns its text: with its last owner the
//! text is dropped, and the number is used again. So a `Sym` of such a name is valid only while an
//! owner of it lives: the row of an index, or a series. What keeps a `Sym` for longer keeps its
//! `Name`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, RwLock};

use hashbrown::HashTable;

use crate::hash::RandomState;
use crate::room::is_spacious;

/// A name in the process-wide interner. `Sym::EMPTY` is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sym(u32);

/// Texts that were dropped so far.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Set in [`Entry::owners`] of what is never dropped.
const PERMANENT: u32 = 1 << 31;

#[derive(Debug)]
struct Entry {
    /// Text of the symbol; none while the number is free.
    text: Option<Arc<str>>,
    /// Number of [`Name`]s that own it, and [`PERMANENT`].
    owners: AtomicU32,
}

impl Entry {
    /// Adds an owner, or for ever.
    fn hold(&self, permanent: bool) {
        if permanent {
            self.owners.fetch_or(PERMANENT, Relaxed);
        } else if self.owners.load(Relaxed) & PERMANENT == 0 {
            self.owners.fetch_add(1, Relaxed);
        }
    }

    /// Removes an owner; true if it was the last.
    fn release(&self) -> bool {
        self.owners.load(Relaxed) & PERMANENT == 0 && self.owners.fetch_sub(1, Relaxed) == 1
    }
}

#[derive(Debug, Default)]
struct Interner {
    /// Found by the hash of their text, which is kept once, in `entries`.
    ids: HashTable<u32>,
    hasher: RandomState,
    entries: Vec<Entry>,
    /// Numbers without a text. The least is used first, so that the last ones come free for good.
    free: BinaryHeap<Reverse<u32>>,
}

static INTERNER: LazyLock<RwLock<Interner>> = LazyLock::new(|| {
    let mut interner = Interner::default();
    interner.insert("", true);
    RwLock::new(interner)
});

impl Interner {
    fn entry(&self, id: u32) -> Option<&Entry> {
        self.entries.get(id as usize)
    }

    fn text(&self, id: u32) -> &str {
        self.entry(id).and_then(|entry| entry.text.as_deref()).unwrap_or_default()
    }

    fn find(&self, text: &str) -> Option<u32> {
        self.ids.find(self.hasher.hash_one(text), |id| self.text(*id) == text).copied()
    }

    /// Finds a text and adds an owner. The count is changed under a lock that excludes
    /// [`Interner::drop_unowned`], so what is found here stays.
    fn hold(&self, text: &str, permanent: bool) -> Option<u32> {
        let id = self.find(text)?;
        self.entry(id)?.hold(permanent);
        Some(id)
    }

    fn insert(&mut self, text: &str, permanent: bool) -> u32 {
        let owners = AtomicU32::new(if permanent { PERMANENT } else { 1 });
        let entry = Entry { text: Some(Arc::from(text)), owners };
        // 2^32 names would be hundreds of gigabytes of text: memory ends first. Saturating keeps it
        // total.
        let next = || u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let id = self.free.pop().map_or_else(next, |Reverse(id)| id);
        match self.entries.get_mut(id as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        let (hasher, entries) = (&self.hasher, &self.entries);
        let text_of = |id: u32| entries.get(id as usize).and_then(|entry| entry.text.as_deref()).unwrap_or_default();
        self.ids.insert_unique(hasher.hash_one(text), id, |&id| hasher.hash_one(text_of(id)));
        id
    }

    /// Drops the text of a number without an owner: another thread may have found it meanwhile, or
    /// have dropped it already.
    fn drop_unowned(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        if entry.owners.load(Relaxed) != 0 {
            return;
        }
        let Some(text) = entry.text.take() else { return };
        // Before the number can be used again, under the same lock.
        DROPPED.fetch_add(1, Relaxed);
        let hash = self.hasher.hash_one(&*text);
        if let Ok(found) = self.ids.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        self.free.push(Reverse(id));
    }

    fn is_spacious(&self) -> bool {
        let names = self.ids.len();
        is_spacious(self.ids.capacity(), names) || is_spacious(self.entries.capacity(), names)
    }

    /// Gives back the room of a table that held far more names. Numbers behind the last text are
    /// dropped; those between texts stay.
    fn trim(&mut self) {
        let names = self.ids.len();
        if is_spacious(self.ids.capacity(), names) {
            let Self { ids, hasher, entries, .. } = self;
            let text_of =
                |id: u32| entries.get(id as usize).and_then(|entry| entry.text.as_deref()).unwrap_or_default();
            ids.shrink_to_fit(|&id| hasher.hash_one(text_of(id)));
        }
        let used = self.entries.iter().rposition(|entry| entry.text.is_some()).map_or(0, |last| last + 1);
        if is_spacious(self.entries.len(), names) && used < self.entries.len() {
            self.entries.truncate(used);
            self.free.retain(|Reverse(id)| (*id as usize) < used);
        }
        if is_spacious(self.entries.capacity(), self.entries.len()) {
            self.entries.shrink_to_fit();
        }
        if is_spacious(self.free.capacity(), self.free.len()) {
            self.free.shrink_to_fit();
        }
    }
}

fn intern(text: &str, permanent: bool) -> Sym {
    if text.is_empty() {
        return Sym::EMPTY;
    }
    if let Some(known) = read().hold(text, permanent) {
        return Sym(known);
    }
    let mut interner = write();
    Sym(interner.hold(text, permanent).unwrap_or_else(|| interner.insert(text, permanent)))
}

impl Sym {
    /// The empty string.
    pub const EMPTY: Self = Self(0);

    /// Interns `text` for ever. Takes a lock; not for the event path.
    pub fn new(text: &str) -> Self {
        intern(text, true)
    }

    /// The symbol of `text` if it is interned. Takes a shared lock; not for the event path.
    pub fn known(text: &str) -> Option<Self> {
        read().find(text).map(Self)
    }

    /// The text. Takes a shared lock; not for the event path.
    pub fn text(self) -> Arc<str> {
        let interner = read();
        interner.entry(self.0).and_then(|entry| entry.text.clone()).unwrap_or_else(|| Arc::from(""))
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

/// Owns an interned text: it stays for as long as one of its names does.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Name(Sym);

impl Name {
    /// Interns `text` until this name and its clones are dropped. Takes a lock; not for the event
    /// path.
    pub fn new(text: &str) -> Self {
        Self(intern(text, false))
    }

    /// Becomes another owner of an owned symbol. Takes a shared lock; not for the event path.
    pub fn of(sym: Sym) -> Self {
        match read().entry(sym.0).filter(|entry| entry.text.is_some()) {
            Some(entry) => entry.hold(false),
            None => return Self(Sym::EMPTY),
        }
        Self(sym)
    }

    /// Its symbol, valid until the name is dropped.
    pub fn sym(&self) -> Sym {
        self.0
    }
}

impl Clone for Name {
    fn clone(&self) -> Self {
        Self::of(self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let last = read().entry(self.0.0).is_some_and(Entry::release);
        if last {
            write().drop_unowned(self.0.0);
        }
    }
}

/// Names that are owned together: what a pod, or a table of services, is called.
#[derive(Debug, Default, Clone)]
pub struct Names(Vec<Name>);

impl Names {
    /// Interns `text` until this is dropped.
    pub fn intern(&mut self, text: &str) -> Sym {
        let name = Name::new(text);
        let sym = name.sym();
        if !sym.is_empty() {
            self.0.push(name);
        }
        sym
    }

    /// Becomes another owner of an owned symbol until this is dropped. Takes a shared lock; not for
    /// the event path.
    pub fn hold(&mut self, sym: Sym) {
        self.0.push(Name::of(sym));
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the texts. Takes a shared lock; not for the event path.
    pub fn bytes(&self) -> usize {
        let interner = read();
        self.0.iter().map(|name| interner.text(name.0.0).len() + size_of::<Name>()).sum()
    }
}

fn read() -> std::sync::RwLockReadGuard<'static, Interner> {
    INTERNER.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write() -> std::sync::RwLockWriteGuard<'static, Interner> {
    INTERNER.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Gives back the room of the interner where it held far more names. Takes a lock, and moves what
/// is left; not for the event path.
pub fn trim() {
    let is_due = read().is_spacious();
    if is_due {
        write().trim();
    }
}

/// The number of texts that were dropped so far. While it stays the same every symbol means what it
/// did, whether or not it has an owner; a table by symbols is cleared when it has changed.
pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// Number of interned names, for `webb_interned_names`.
pub fn interned() -> usize {
    let interner = read();
    interner.entries.len() - interner.free.len()
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

    /// A text goes with its last owner, whichever that is, and what is interned for ever does not.
    #[test]
    fn a_text_goes_with_its_last_owner() {
        let known = |text: &str| Sym::known(text).is_some();
        let first = Name::new("owned/short-job");
        let (second, third) = (first.clone(), Name::of(first.sym()));
        drop(first);
        drop(third);
        assert!(known("owned/short-job"));
        assert_eq!(&*second.sym().text(), "owned/short-job");
        let before = dropped();
        drop(second);
        assert!(!known("owned/short-job"));
        assert!(dropped() > before);
        let kept = Name::new("owned/policy");
        Sym::new("owned/policy");
        drop(kept);
        drop(Name::new("owned/policy"));
        assert!(known("owned/policy"));
        let mut names = Names::default();
        assert_eq!(names.intern(""), Sym::EMPTY);
        names.intern("owned/together");
        assert!(known("owned/together"));
        drop(names);
        assert!(!known("owned/together"));
    }

    /// Names that came and went leave no room behind, and those that stayed keep their numbers: the
    /// ones that come later take the least that are free.
    #[test]
    fn room_goes_with_names() {
        const MANY: u32 = 100_000;
        let mut interner = Interner::default();
        let first = interner.insert("first", false);
        let many: Vec<u32> = (0..MANY).map(|number| interner.insert(&format!("job-{number}"), false)).collect();
        let drop_all = |interner: &mut Interner, ids: &[u32]| {
            for id in ids {
                assert!(interner.entry(*id).is_some_and(Entry::release));
                interner.drop_unowned(*id);
            }
        };
        drop_all(&mut interner, &many);
        let second = interner.insert("second", false);
        assert_eq!((first, second), (0, 1));
        assert!(interner.is_spacious());
        interner.trim();
        assert!(!interner.is_spacious());
        assert_eq!((interner.entries.len(), interner.free.len()), (2, 0));
        assert!(interner.entries.capacity().max(interner.free.capacity()) < 100);
        assert_eq!((interner.find("first"), interner.find("second")), (Some(0), Some(1)));
        assert_eq!(interner.insert("third", false), 2);
    }

    /// Threads intern and drop the same few texts at once: a symbol reads as its own text until its
    /// owner is dropped.
    #[test]
    fn an_owned_symbol_keeps_its_text() {
        let text = |number: usize| format!("owned/thread-{}", number % 7);
        std::thread::scope(|scope| {
            for from in 0..4 {
                scope.spawn(move || {
                    for number in from..20_000 + from {
                        let name = Name::new(&text(number));
                        assert_eq!(*name.sym().text(), *text(number));
                        let clone = name.clone();
                        drop(name);
                        assert_eq!(*clone.sym().text(), *text(number));
                    }
                });
            }
        });
        assert!((0..7).all(|number| Sym::known(&text(number)).is_none()));
    }
}
