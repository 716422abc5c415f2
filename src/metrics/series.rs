//! The counters of one table: a number per series, found by one hash probe.
//!
//! A series is known by its context and the number the plugin packed its fixed labels into. Its slot is the same for
//! as long as it lives, so its values, its label text and its place in the order can each be kept where they are used:
//! values here, dense, for counting and copying; text and order shared with snapshots.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::contexts::ContextId;
use super::plugin::{Table, Texts};
use crate::expose::{Labels, Snapshot, write_pair};
use crate::sym::Sym;

/// What tells one series of a table from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    fixed: u64,
    context: ContextId,
}

/// Where the value of a label comes from.
#[derive(Debug, Clone, Copy)]
enum From {
    Fixed(usize),
    Context(usize),
}

/// The series of one table.
#[derive(Debug)]
pub struct SeriesTable {
    table: &'static Table,
    /// All label names, sorted, as they are written.
    layout: Vec<(&'static str, From)>,
    slots: HashMap<Key, u32, RandomState>,
    /// By slot, then by family.
    values: Vec<u64>,
    labels: Labels,
}

impl SeriesTable {
    /// A table without series; `context` are the names of the context's labels.
    pub fn new(table: &'static Table, context: &[&'static str]) -> Self {
        let fixed = table.labels.iter().enumerate().map(|(at, &name)| (name, From::Fixed(at)));
        let mut layout: Vec<(&'static str, From)> =
            fixed.chain(context.iter().enumerate().map(|(at, &name)| (name, From::Context(at)))).collect();
        layout.sort_unstable_by_key(|&(name, _)| name);
        Self { table, layout, slots: HashMap::default(), values: Vec::new(), labels: Labels::default() }
    }

    /// Adds to the values of a series. `texts` is called only if it is not known yet.
    ///
    /// A counter that passes 2^64 starts again at 0, which Prometheus takes for what it is.
    #[inline]
    pub fn add<'a, const N: usize>(
        &mut self,
        context: ContextId,
        fixed: u64,
        increments: [u64; N],
        texts: impl FnOnce() -> (Texts, &'a [Sym]),
    ) {
        debug_assert_eq!(N, self.table.families.len(), "one increment for each family of the table");
        let key = Key { fixed, context };
        let slot = match self.slots.get(&key) {
            Some(&known) => known,
            None => self.give_birth(key, texts()),
        };
        let first = slot as usize * N;
        if let Some(values) = self.values.get_mut(first..first + N) {
            for (value, increment) in values.iter_mut().zip(increments) {
                *value = value.wrapping_add(increment);
            }
        }
    }

    #[cold]
    fn give_birth(&mut self, key: Key, (fixed, context): (Texts, &[Sym])) -> u32 {
        let mut text = String::new();
        for &(name, from) in &self.layout {
            match from {
                From::Fixed(at) => write_pair(&mut text, name, fixed.get(at).map_or("", |text| text)),
                From::Context(at) => {
                    write_pair(&mut text, name, &context.get(at).copied().unwrap_or(Sym::EMPTY).text());
                }
            }
        }
        let slot = self.labels.push(&text);
        self.values.resize(self.labels.slots() * self.table.families.len(), 0);
        self.slots.insert(key, slot);
        slot
    }

    /// How many families share the table.
    pub fn families(&self) -> usize {
        self.table.families.len()
    }

    /// How many series each of them has.
    pub fn series(&self) -> usize {
        self.labels.len()
    }

    /// All values as they are now. Copies numbers only; label texts are shared.
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            families: self.table.families,
            values: self.values.clone(),
            labels: self.labels.sheet(),
            ..Snapshot::default()
        }
    }
}
