//! Counters of the input and output of each stage: the user-space half of the ledger.
//!
//! The loops count in plain fields and publish once a batch, so these atomics cost nothing per
//! event. For the reader, `read` is the sum of all [`DECODE_OUTCOMES`] at rest; for an aggregator,
//! `sent` on its lane is the sum of what it counted, skipped and lost to a panic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use webb_decode::DecodeError;
use webb_decode::attempts::ATTEMPT_OUTCOMES;
use webb_decode::verdicts::Undecided;
use webb_flow::abi::Record;
use webb_flow::{Flow, Sort};

use super::unnamed::NAME_WAITS;

/// Outcomes of records that were read, as `webb_reader_records_total`: decoded, rejected by
/// kind of error, none of ours (`foreign`: a drop in which no pod took part), or lost to a panic
/// (`panicked`).
pub const DECODE_OUTCOMES: usize = 3 + DecodeError::ALL.len();

/// Outcomes of NAT lookups for the addresses of services and nodes, as
/// `webb_conntrack_lookups_total` counts them: `delayed` is a hit that the flow waited for; after a
/// `miss` the flow is named by its service alone.
pub const LOOKUPS: [&str; 3] = ["hit", "delayed", "miss"];

/// Counters of the reader and decoder: written by the reader's thread, read by scrapes.
#[derive(Debug, Default)]
pub struct Counters {
    /// Records taken out of the rings.
    pub read: AtomicU64,
    /// Time of the first record that was decoded (`CLOCK_MONOTONIC`, nanoseconds); 0 before it.
    pub first_packet_ns: AtomicU64,
    /// Records that became a flow.
    pub decoded: AtomicU64,
    /// Drops in which no pod took part.
    pub foreign: AtomicU64,
    /// Records that made the reader or decoder panic.
    pub panicked: AtomicU64,
    /// Packets that these records stood for.
    pub panicked_packets: AtomicU64,
    /// Records that could not be decoded, by error.
    pub rejected: [AtomicU64; DecodeError::ALL.len()],
    /// Packets that these records stood for.
    pub rejected_packets: AtomicU64,
    /// Flows of layer 7 that the dissector made.
    pub messages: AtomicU64,
    /// Flows handed to the lanes.
    pub flows: AtomicU64,
    /// Batches handed to the lanes.
    pub batches: AtomicU64,
    /// Number of batches that were allocated.
    pub allocated: AtomicU64,
    /// Flows that were looked up in the table of translations, by [`LOOKUPS`].
    pub lookups: [AtomicU64; LOOKUPS.len()],
    /// Flows without a name, by [`NAME_WAITS`].
    pub name_waits: [AtomicU64; NAME_WAITS.len()],
    /// Flows that wait for a name now.
    pub waiting_for_names: AtomicU64,
    /// Translations that are known.
    pub translations: AtomicU64,
    /// Number of translations that the full table refused.
    pub refused: AtomicU64,
    /// Policy verdicts that were put beside the flow of their packet.
    pub verdicts: AtomicU64,
    /// Those on connections that passed although they are forbidden.
    pub unenforced: AtomicU64,
    /// Flows of events of connections.
    pub connection_events: AtomicU64,
    /// Decoded records of an event alone, without the flow of a packet.
    pub event_records: AtomicU64,
    /// Events as they were settled, in the order of [`webb_decode::attempts::AttemptCounts::rows`].
    pub attempts: [AtomicU64; ATTEMPT_OUTCOMES],
    /// Connections without a policy verdict, by [`Undecided::ALL`].
    pub undecided: [AtomicU64; Undecided::ALL.len()],
    /// Lookups of the ends of flows, in the order of [`Sort::ALL`].
    pub looked_up: [AtomicU64; Sort::ALL.len()],
    /// Flows that were named before the cluster source was synced for the first time.
    pub unsynced: AtomicU64,
}

/// Lookups of the ends of flows: counted for each flow, published once a batch.
#[derive(Debug, Default)]
pub(super) struct LookedUp([u64; Sort::ALL.len()]);

impl LookedUp {
    #[inline]
    pub(super) fn note(&mut self, flow: &Flow) {
        for end in [flow.source, flow.destination] {
            if let Some(count) = self.0.get_mut(end.sort() as usize) {
                *count += 1;
            }
        }
    }
}

impl Counters {
    /// Every outcome of a record with its label and count.
    pub fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let mut outcomes = Vec::with_capacity(DECODE_OUTCOMES);
        outcomes.push(("decoded", self.decoded.load(Relaxed)));
        outcomes.push(("foreign", self.foreign.load(Relaxed)));
        outcomes.push(("panicked", self.panicked.load(Relaxed)));
        for (error, count) in DecodeError::ALL.iter().zip(&self.rejected) {
            outcomes.push((error.label(), count.load(Relaxed)));
        }
        outcomes
    }

    /// Lookups by the label's value.
    pub fn lookups(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Sort::ALL.iter().zip(&self.looked_up).map(|(sort, count)| (sort.label(), count.load(Relaxed)))
    }

    pub(super) fn look_up(&self, LookedUp(found): &LookedUp, ready: bool) {
        for (count, found) in self.looked_up.iter().zip(found) {
            count.fetch_add(*found, Relaxed);
        }
        if !ready {
            // Each flow has two ends.
            self.unsynced.fetch_add(found.iter().sum::<u64>() / 2, Relaxed);
        }
    }

    /// Counts a record that made the reader or decoder panic.
    pub(super) fn count_panic(&self, packets: u32) {
        self.panicked.fetch_add(1, Relaxed);
        self.panicked_packets.fetch_add(packets.into(), Relaxed);
    }

    /// Counts a record that could not be decoded.
    pub(super) fn reject(&self, error: DecodeError, record: &[u8]) {
        if let Some(count) = self.rejected.get(error as usize) {
            count.fetch_add(1, Relaxed);
        }
        // One of another version may have anything where this one has its packets.
        if error != DecodeError::Version {
            self.rejected_packets.fetch_add(Record::packets_of(record).into(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::EndpointId;

    use super::*;

    /// Both ends of each flow count, and flows of an index that is not complete count as unsynced.
    #[test]
    fn both_ends_count() {
        let counters = Counters::default();
        let flow = |source, destination| Flow { source, destination, ..Flow::default() };
        let local = EndpointId::new(Sort::Local, 7);
        for ready in [false, true] {
            let mut found = LookedUp::default();
            found.note(&flow(local, EndpointId::WORLD));
            found.note(&flow(EndpointId::new(Sort::Node, 8), local));
            found.note(&flow(EndpointId::NONE, EndpointId::new(Sort::Service, 1)));
            counters.look_up(&found, ready);
        }
        let counts: Vec<_> = counters.lookups().collect();
        let expected = [
            ("unknown", 2),
            ("local", 4),
            ("remote", 0),
            ("mesh", 0),
            ("service", 2),
            ("node", 2),
            ("unnamed", 0),
            ("world", 2),
        ];
        assert_eq!(counts, expected);
        assert_eq!(counters.unsynced.load(Relaxed), 3);
    }
}
