//! Connections of which the programs see one side only.
//!
//! A TCP packet acknowledges something only after its sender has received something. Where a pod does so and nothing
//! was seen to enter by its interface, packets reach it past the hook: `bpf_redirect_peer` puts them straight into the
//! pod's end of the pair. The kernel marks the record ([`webb_flow::abi::flag::ONE_SIDED`]); here they are counted.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Interfaces that are remembered, for a person.
const MOST: usize = 4;

/// How often that was seen, and at which interfaces.
#[derive(Debug, Default)]
pub struct OneSided {
    count: AtomicU64,
    interfaces: [AtomicU32; MOST],
}

impl OneSided {
    /// Takes note of one such record.
    #[cold]
    pub fn note(&self, ifindex: u32) {
        self.count.fetch_add(1, Relaxed);
        for slot in &self.interfaces {
            match slot.compare_exchange(0, ifindex, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(known) if known == ifindex => return,
                Err(_) => {}
            }
        }
    }

    /// How many such records there were.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The first interfaces at which it was seen, by index.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.interfaces.iter().map(|slot| slot.load(Relaxed)).filter(|&ifindex| ifindex != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record counts; of the interfaces the first few are kept, each once.
    #[test]
    fn the_first_interfaces_are_kept() {
        let seen = OneSided::default();
        for ifindex in [7, 8, 7, 9, 10, 11, 12] {
            seen.note(ifindex);
        }
        assert_eq!(seen.count(), 7);
        assert_eq!(seen.interfaces().collect::<Vec<_>>(), [7, 8, 9, 10]);
    }
}
