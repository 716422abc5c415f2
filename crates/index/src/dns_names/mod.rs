//! Names that pods have looked up in DNS, by the addresses that the answers gave.
//!
//! A [`DnsNameCache`] learns from answers, and publishes immutable [`DnsNames`] that share all
//! unchanged parts with the ones before. A table travels as part of an [`crate::Index`], so a
//! lookup is one probe without lock or allocation, and all flows of a batch have the names of one
//! moment.
//!
//! Names belong to the pod that sent the question: an answer labels only the flows between that pod
//! and the address.

mod cache;
#[cfg(test)]
mod tests;

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};

use hashbrown::HashTable;
use webb_flow::Address;
use webb_flow::hash::RandomState;
use webb_flow::sym::{Name, Sym};

pub use cache::{DnsNameCache, NameLimits, NameRefusal};

/// Parts of a table: so much of it is copied for one change.
const PARTS: usize = 64;

/// A pod that asked, and an address that an answer gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Pair {
    pod: Address,
    peer: Address,
}

/// The names of a pair: sorted, joined with `,`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pair: Pair,
    names: Sym,
}

/// Owns the texts of all tables of one generation.
type Texts = Arc<Mutex<Vec<Name>>>;

/// Which names a pod has looked up for an address. Immutable; a clone shares all parts.
#[derive(Debug, Clone, Default)]
pub struct DnsNames {
    /// None, or [`PARTS`].
    parts: Vec<Arc<HashTable<Entry>>>,
    hasher: RandomState,
    generation: u64,
    texts: Texts,
}

impl DnsNames {
    /// Looks up the names that `pod` has looked up and that led to `peer`: sorted, joined with `,`;
    /// empty if there is none. The symbol is valid while this table lives.
    #[inline]
    pub fn find(&self, pod: Address, peer: Address) -> Sym {
        if self.parts.is_empty() {
            return Sym::EMPTY;
        }
        let pair = Pair { pod, peer };
        let hash = self.hasher.hash_one(pair);
        let entries = self.parts.get(part(hash));
        let found = entries.and_then(|entries| entries.find(hash, |entry| entry.pair == pair));
        found.map_or(Sym::EMPTY, |entry| entry.names)
    }

    /// The generation of its symbols: within one no symbol is reused, so a cache of them stays
    /// valid until this number changes.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// The part of a hash, of bits that the tables themselves use least.
#[inline]
fn part(hash: u64) -> usize {
    usize::from((hash >> 40).to_le_bytes()[0]) % PARTS
}
