//! The interner: a [`Sym`] is a 32-bit stand-in for a string that lives as long as the process.
//!
//! Label values (pod names, namespaces, workloads) are interned when the index of the cluster is built, never on the
//! event path. The event path compares and copies `Sym`s; text is looked up again only when a series is born.
//! Append-only: a pod name that will never come back stays. Ten million names of 40 bytes are the 32-bit limit's
//! neighbourhood, and a node that saw so many pods is older than any we know.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, RwLock};

/// A name in the process-wide interner. `Sym::EMPTY` is the empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sym(u32);

#[derive(Debug, Default)]
struct Names {
    by_text: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(|| {
    let empty: Arc<str> = Arc::from("");
    RwLock::new(Names { by_text: HashMap::from([(Arc::clone(&empty), 0)]), texts: vec![empty] })
});

impl Sym {
    /// The empty string.
    pub const EMPTY: Self = Self(0);

    /// Interns `text`. Takes a lock; not for the event path.
    pub fn new(text: &str) -> Self {
        if text.is_empty() {
            return Self::EMPTY;
        }
        if let Some(&known) = read().by_text.get(text) {
            return Self(known);
        }
        let mut names = NAMES.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(&known) = names.by_text.get(text) {
            return Self(known);
        }
        let text: Arc<str> = Arc::from(text);
        // 2^32 names would be hundreds of gigabytes of text: memory ends first. Saturating keeps it total.
        let id = u32::try_from(names.texts.len()).unwrap_or(u32::MAX);
        names.texts.push(Arc::clone(&text));
        names.by_text.insert(text, id);
        Self(id)
    }

    /// The symbol of `text` if it is interned. Takes a shared lock; not for the event path.
    pub fn known(text: &str) -> Option<Self> {
        read().by_text.get(text).copied().map(Self)
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
    }
}
