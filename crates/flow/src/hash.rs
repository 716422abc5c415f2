//! Hashing that cannot be foreseen from outside: the hasher of every table that pods or remote
//! hosts can feed.
//!
//! Addresses, ports and names are chosen by others. A table whose hash they could work out would be
//! filled with keys of one place, and each look into it would cost as many steps as there are such
//! keys. foldhash is fast, but seeds itself with addresses and the time; here its seeds come from
//! the kernel's random numbers.

use std::hash::BuildHasher;
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, SeedableRandomState};

/// Hashes with seeds of its own. Takes the place of `foldhash::fast::RandomState`.
#[derive(Debug, Clone)]
pub struct RandomState(SeedableRandomState);

impl Default for RandomState {
    fn default() -> Self {
        static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(seed()));
        Self(SeedableRandomState::with_seed(seed(), &SHARED))
    }
}

impl BuildHasher for RandomState {
    type Hasher = FoldHasher<'static>;

    #[inline]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// A random number, another each time. The standard library's hasher is a keyed one, and its keys
/// are the kernel's.
pub fn seed() -> u64 {
    std::hash::RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Two tables never share a hash; one always has the same for a key.
    #[test]
    fn each_has_seeds_of_its_own() {
        let states: Vec<_> = (0..100).map(|_| RandomState::default()).collect();
        let hashes: HashSet<u64> = states.iter().map(|state| state.hash_one(7_u32)).collect();
        assert_eq!(hashes.len(), states.len());
        assert!(states.iter().all(|state| state.hash_one("key") == state.clone().hash_one("key")));
    }
}
