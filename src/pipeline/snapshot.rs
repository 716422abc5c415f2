//! Requests for an aggregator's series.
//!
//! A scrape wants the series of all aggregators after the same batch (a barrier snapshot): the
//! reader puts a request into every lane between two batches, and the lanes are first-in first-out.
//! Thus all aggregators answer for exactly the same flows, and none waits for another.

use crossbeam_channel::Sender;
use webb_metrics::expose::Snapshot;

/// The answers to a request.
#[derive(Debug)]
pub enum SnapshotResponse {
    /// Ids of the lanes that must answer; sent by the reader.
    Asked(Vec<u64>),
    /// One lane's series: a snapshot for each of its tables.
    Series(u64, Vec<Snapshot>),
}

/// A request for an aggregator's series; answered at most once, never waited for.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    pub(super) lane: u64,
    pub(super) answer: Sender<SnapshotResponse>,
}

impl SnapshotRequest {
    /// Answers. There is always room for an answer, so this never blocks.
    pub fn answer(self, snapshots: Vec<Snapshot>) {
        // A collector that stopped waiting gets these series by its next request.
        let _late = self.answer.send(SnapshotResponse::Series(self.lane, snapshots));
    }
}
