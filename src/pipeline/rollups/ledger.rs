//! What heartbeats are held against: packets that the eBPF programs saw, from where a process goes
//! on.
//!
//! The kernel's counters are those since its maps were made, which a handover leaves to the next
//! process. That one goes on from the last window of the process before, if a spool directory has
//! its ledger: so over all heartbeats of a node each packet is seen once, and what a killed process
//! had read and not sent is lost packets of the next one. Without a directory it goes on from what
//! was read before.
//!
//! The directory's note may be stale: a later window could not be noted there, or was sent by a
//! process that has none. So the number of windows that were handed on is kept in the maps, and a
//! note is of the last one only if it has the same number.

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
    /// Windows whose rows were handed on before, since the maps were made.
    pub windows: u64,
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
    /// Writes the number of windows that were handed on since the maps were made, beside them.
    pub count_windows: Box<dyn Fn(u64) + Send + Sync>,
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
    /// Windows that were handed on before, since the maps were made.
    pub(super) fn windows_before(&self) -> u64 {
        self.handed_over.map_or(0, |before| before.windows)
    }

    /// True if rows of these maps were sent after the window with this note.
    pub(super) fn is_stale(&self, note: &str) -> bool {
        let noted = Note::parse(note).filter(|note| note.maps == self.maps).map_or(0, |note| note.windows);
        self.windows_before() != noted
    }

    /// The start of a process whose rows have each record that it reads. `note`: that of the last
    /// window of a process before ([`Note`]).
    pub(super) fn start(&self, note: &str) -> Start {
        let Some(HandedOver { seen, read_packets, windows }) = self.handed_over else { return Start::default() };
        let note = Note::parse(note).filter(|note| note.maps == self.maps && note.windows == windows);
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

    /// The note for the next process about a window's end, at which `seen` was read. `windows`: its
    /// number since the maps were made. `rolled_up`: packets of records that were read since then,
    /// and are in rows or lost; none where rows were not made all the time.
    pub(super) fn note(&self, seen: Seen, windows: u64, rolled_up: Option<u64>) -> String {
        let foreign = (self.unrolled)().foreign_packets;
        // The next process counts from 0 what is not the programs'.
        let seen = Seen { foreign_packets: seen.foreign_packets.saturating_sub(foreign), ..seen };
        Note { maps: self.maps, windows, seen, accounted: rolled_up.map(|packets| packets + foreign) }.text()
    }
}

/// The ledger at the end of a window, for the next process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    maps: u64,
    /// Windows that were handed on since the maps were made, with this one.
    windows: u64,
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
        let Self { maps, windows, seen, accounted } = self;
        let numbers = [maps, windows].into_iter().chain(seen.numbers()).chain(accounted);
        numbers.fold(HEAD.to_owned(), |text, number| format!("{text} {number}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        words.next().filter(|head| *head == HEAD)?;
        let numbers: Vec<u64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let ([maps, windows], rest) = numbers.split_first_chunk()?;
        let (seen, accounted) = rest.split_first_chunk()?;
        let accounted = match accounted {
            [] => None,
            [accounted] => Some(*accounted),
            _ => return None,
        };
        Some(Self { maps: *maps, windows: *windows, seen: Seen::of(*seen), accounted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(maps: u64, handed_over: Option<HandedOver>) -> RollupLedger {
        let unrolled = || Unrolled { foreign_packets: 5, lost: Lost::default() };
        let count_windows = Box::new(|_| {});
        RollupLedger { seen: Box::new(|| None), unrolled: Box::new(unrolled), count_windows, maps, handed_over }
    }

    /// A process goes on from the window of before, whose lost packets are those that were read
    /// since. Of other maps, without a note, or if rows were sent after it, it goes on from what
    /// was read.
    #[test]
    fn a_ledger_goes_on() {
        let at_end = Seen::of([1000, 40, 4000, 10, 3, 2]);
        let noted =
            |windows, rolled_up| ledger(7, None).note(Seen { foreign_packets: 15, ..at_end }, windows, rolled_up);
        let note = noted(9, Some(895));
        let since = Seen::of([5000, 140, 14_000, 30, 4, 2]);
        let handed_over = HandedOver { seen: since, read_packets: 950, windows: 9 };
        let of = |maps, note: &str| ledger(maps, Some(handed_over)).start(note);
        assert_eq!(of(7, &note), Start { seen: at_end, read_packets: 950, lost_packets: 50 });
        let unknown = noted(9, None);
        assert_eq!(of(7, &unknown), Start { seen: at_end, read_packets: 950, lost_packets: 0 });
        let read = Seen { packets: 950 + 140 + 30, ..since };
        let (stale, longer) = (noted(8, Some(895)), format!("{note} 1"));
        for (maps, note) in
            [(8, &*note), (7, ""), (7, "ledger 7 1 2"), (7, "ledger x"), (7, longer.as_str()), (7, stale.as_str())]
        {
            assert_eq!(of(maps, note), Start { seen: read, read_packets: 950, lost_packets: 0 }, "{maps} {note}");
        }
        assert_eq!(ledger(7, None).start(&note), Start::default(), "of new maps");
        let is_stale = |maps, handed_over, note: &str| ledger(maps, handed_over).is_stale(note);
        assert!(!is_stale(7, Some(handed_over), &note) && is_stale(7, Some(handed_over), &stale));
        assert!(is_stale(7, Some(handed_over), ""), "rows were sent, and it is not noted up to when");
        let first = Some(HandedOver { windows: 0, ..handed_over });
        assert!(!is_stale(8, first, &note), "of these maps no rows were sent yet");
        assert!(!is_stale(8, None, &note), "of new maps");
    }
}
