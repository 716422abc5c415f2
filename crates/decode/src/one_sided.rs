//! Counts connections of which the programs see one side only.
//!
//! A TCP packet acknowledges something only after its sender has received something. Where a pod
//! does so and nothing was seen to enter by its interface, packets reach it past the hook:
//! `bpf_redirect_peer` puts them straight into the pod's end of the pair. The kernel marks the
//! record ([`webb_flow::abi::flag::ONE_SIDED`]); here they are counted.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Interfaces that are kept for messages, at most.
const MAX_INTERFACES: usize = 4;

/// Counts one-sided connections, and keeps the first interfaces.
#[derive(Debug, Default)]
pub struct OneSided {
    count: AtomicU64,
    interfaces: [AtomicU32; MAX_INTERFACES],
}

impl OneSided {
    /// Counts one such record.
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

    /// The number of such records.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// The first interfaces with such records, by index.
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
