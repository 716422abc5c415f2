//! What heartbeats are held against: packets that the eBPF programs saw, from where a process goes
//! on.
//!
//! The kernel's counters are those since its maps were made, which a handover leaves to the next
//! process. That one goes on from the last window of the process before, if a spool directory has
//! its ledger: so over all heartbeats of a node each packet is seen once, and what a killed process
//! had read and not sent is lost packets of the next one. Without a directory it goes on from what
//! was read before.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use webb_rollup::{Lost, Seen};

use crate::pipeline::Counters;

/// What a process of before had done with maps that were taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandedOver {
    /// What the programs had seen just before this process read its first record.
    pub seen: Seen,
    /// Packets of records that were read before, since the maps were made.
    pub read_packets: u64,
}

/// Packets of records that this process has read, and that no row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unrolled {
    /// Of drops in which no pod took part.
    pub foreign_packets: u64,
    /// Of records that were lost to a panic, and of those that the decoder rejected.
    pub lost: Lost,
}

impl Counters {
    /// What was read in vain.
    pub fn unrolled(&self) -> Unrolled {
        let count = |of: &AtomicU64| of.load(Relaxed);
        let flows = count(&self.panicked) + self.rejected.iter().map(count).sum::<u64>();
        let packets = count(&self.panicked_packets) + count(&self.rejected_packets);
        // A drop is one packet.
        Unrolled { foreign_packets: count(&self.foreign), lost: Lost { flows, packets, bytes: 0 } }
    }
}

/// Sources of a heartbeat's ledger.
pub struct RollupLedger {
    /// Reads what the programs have seen; none if that fails.
    pub seen: Box<dyn Fn() -> Option<Seen> + Send + Sync>,
    /// Reads what of it was read in vain.
    pub unrolled: Box<dyn Fn() -> Unrolled + Send + Sync>,
    /// A number of the programs' maps, which no others have.
    pub maps: u64,
    /// The state in which they were taken over; none where they are new.
    pub handed_over: Option<HandedOver>,
}

impl fmt::Debug for RollupLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollupLedger").field("maps", &self.maps).finish_non_exhaustive()
    }
}

/// What the ledger of a process begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Start {
    /// What the programs had seen.
    pub(super) seen: Seen,
    /// Packets of records that were read before, since the maps were made.
    pub(super) read_packets: u64,
    /// Those of them that the process before has not sent in rows: it was killed.
    pub(super) lost_packets: u64,
}

impl RollupLedger {
    /// The start of a process whose rows have each record that it reads. `note`: that of the last
    /// window of a process before ([`Note`]).
    pub(super) fn start(&self, note: &str) -> Start {
        let Some(HandedOver { seen, read_packets }) = self.handed_over else { return Start::default() };
        let note = Note::parse(note).filter(|note| note.maps == self.maps);
        let Some(Note { seen, accounted, .. }) = note else {
            // As the programs' own counters would be if nothing waited then: what they missed
            // since the last window is not known.
            let packets = read_packets + seen.missing_packets + seen.foreign_packets;
            return Start { seen: Seen { packets, ..seen }, read_packets, lost_packets: 0 };
        };
        let lost_packets = accounted.map_or(0, |accounted| read_packets.saturating_sub(accounted));
        Start { seen, read_packets, lost_packets }
    }

    /// What the programs have seen, and what belongs in no row; none if that cannot be read.
    pub(super) fn seen(&self) -> Option<Seen> {
        let seen = (self.seen)()?;
        let foreign_packets = seen.foreign_packets + (self.unrolled)().foreign_packets;
        Some(Seen { foreign_packets, ..seen })
    }

    /// The note for the next process about a window's end, at which `seen` was read. `rolled_up`:
    /// packets of records that were read since the maps were made, and are in rows or lost; none
    /// where rows were not made all the time.
    pub(super) fn note(&self, seen: Seen, rolled_up: Option<u64>) -> String {
        let foreign = (self.unrolled)().foreign_packets;
        // The next process counts from 0 what is not the programs'.
        let seen = Seen { foreign_packets: seen.foreign_packets.saturating_sub(foreign), ..seen };
        Note { maps: self.maps, seen, accounted: rolled_up.map(|packets| packets + foreign) }.text()
    }
}

/// The ledger at the end of a window, for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    maps: u64,
    /// What the programs had seen.
    seen: Seen,
    /// Packets of records that were read since the maps were made, and are known to be in rows or
    /// not; none where rows were not made all the time.
    accounted: Option<u64>,
}

/// What a note begins with.
const HEAD: &str = "ledger";

impl Note {
    fn text(self) -> String {
        let Self { maps, seen, accounted } = self;
        let numbers = [maps].into_iter().chain(seen.numbers()).chain(accounted);
        numbers.fold(HEAD.to_owned(), |text, number| format!("{text} {number}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        words.next().filter(|head| *head == HEAD)?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let (maps, rest) = numbers.split_first()?;
        let (seen, accounted) = rest.split_first_chunk()?;
        let accounted = match accounted {
            [] => None,
            [accounted] => Some(*accounted),
            _ => return None,
        };
        Some(Self { maps: *maps, seen: Seen::of(*seen), accounted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(maps: u64, handed_over: Option<HandedOver>) -> RollupLedger {
        let unrolled = || Unrolled { foreign_packets: 5, lost: Lost::default() };
        RollupLedger { seen: Box::new(|| None), unrolled: Box::new(unrolled), maps, handed_over }
    }

    /// A process goes on from the window of before, whose lost packets are those that were read
    /// since. Of other maps, or without a note, it goes on from what was read.
    #[test]
    fn a_ledger_goes_on() {
        let at_end = Seen::of([1000, 40, 4000, 10, 3, 2]);
        let note = ledger(7, None).note(Seen { foreign_packets: 15, ..at_end }, Some(895));
        let since = Seen::of([5000, 140, 14_000, 30, 4, 2]);
        let handed_over = HandedOver { seen: since, read_packets: 950 };
        let of = |maps, note: &str| ledger(maps, Some(handed_over)).start(note);
        assert_eq!(of(7, &note), Start { seen: at_end, read_packets: 950, lost_packets: 50 });
        let unknown = ledger(7, None).note(Seen { foreign_packets: 15, ..at_end }, None);
        assert_eq!(of(7, &unknown), Start { seen: at_end, read_packets: 950, lost_packets: 0 });
        let read = Seen { packets: 950 + 140 + 30, ..since };
        for (maps, note) in [(8, &*note), (7, ""), (7, "ledger 7 1 2"), (7, "ledger x"), (7, &format!("{note} 1"))] {
            assert_eq!(of(maps, note), Start { seen: read, read_packets: 950, lost_packets: 0 }, "{maps} {note}");
        }
        assert_eq!(ledger(7, None).start(&note), Start::default(), "of new maps");
    }
}
