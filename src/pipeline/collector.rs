//! Barrier snapshots: every aggregator's series after the same batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use webb_metrics::expose::Snapshot;

use super::command::{Command, Commands};
use super::lanes::Lanes;
use super::snapshot::SnapshotResponse;

/// Collects the series of all aggregators, and keeps the last ones of each.
#[derive(Debug)]
pub struct SnapshotCollector {
    commands: Commands,
    lanes: Arc<Lanes>,
    /// Last snapshots by lane; older lanes first.
    last: BTreeMap<u64, Vec<Snapshot>>,
}

impl SnapshotCollector {
    /// A collector for these lanes; their reader receives these requests.
    pub fn new(lanes: Arc<Lanes>, commands: Commands) -> Self {
        Self { commands, lanes, last: BTreeMap::new() }
    }

    /// Requests a snapshot and waits for the answers, at most `timeout`. A lane that does not
    /// answer in time keeps its last snapshot; how many did not is returned. Blocking: for a
    /// blocking thread only.
    pub fn collect(&mut self, timeout: Duration) -> usize {
        let (answer, answers) = unbounded();
        if self.commands.post(Command::Snapshot(answer)).is_err() {
            return self.last.len().max(1);
        }
        self.gather(&answers, timeout)
    }

    /// The last snapshot, once the reader has ended and nothing else writes to the lanes.
    pub fn collect_last(&mut self, timeout: Duration) -> usize {
        let (answer, answers) = unbounded();
        self.lanes.request_snapshots(&answer);
        drop(answer);
        self.gather(&answers, timeout)
    }

    fn gather(&mut self, answers: &Receiver<SnapshotResponse>, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
        let mut asked: Option<Vec<u64>> = None;
        let mut answered = BTreeMap::new();
        while asked.as_ref().is_none_or(|lanes| answered.len() < lanes.len()) {
            match answers.recv_deadline(deadline) {
                Ok(SnapshotResponse::Asked(lanes)) => asked = Some(lanes),
                Ok(SnapshotResponse::Series(lane, snapshots)) => drop(answered.insert(lane, snapshots)),
                Err(_late) => break,
            }
        }
        let missing = match &asked {
            Some(lanes) => {
                // A lane that is gone takes its series along.
                self.last.retain(|lane, _| lanes.contains(lane));
                lanes.len() - answered.len()
            }
            None => self.last.len().max(1),
        };
        self.last.extend(answered);
        missing
    }

    /// The last snapshots of every lane that has ever answered.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.last.values().flatten()
    }
}
