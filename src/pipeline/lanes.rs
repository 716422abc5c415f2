//! The list of lanes: metrics are added and removed while flows are in the pipeline.
//!
//! Only the reader changes the list, between two batches: a lane that is added gets every batch
//! behind that point, one that is taken out none, and what a change means for the aggregators that
//! stay travels on their lanes like a batch. So however often the configuration changes, each flow
//! is counted once or not at all by each metric, and a snapshot shows all metrics on the same side
//! of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use webb_index::filters::Layer7Reads;
use webb_metrics::Layer7Wishes;

use super::lane::{Consumer, Item, Lane};
use super::snapshot::{SnapshotRequest, SnapshotResponse};

/// Layer 7 fields that a history needs, of what is looked for at all.
const SHOWN: Layer7Wishes = Layer7Wishes {
    dns: true,
    http: true,
    unanswered: false,
    grpc: false,
    grpc_path: false,
    reads: Layer7Reads { query: true, url: true, headers: true, trace: true, names: true, answers: true },
};

/// The reader's lanes, one for each metric.
#[derive(Debug, Default)]
pub struct Lanes {
    now: ArcSwap<List>,
    verdicts: AtomicBool,
    connections: AtomicBool,
    layer7: ArcSwap<Layer7Wishes>,
}

/// The lanes between two changes. Replaced whole, so that no flow is counted on both sides of a
/// change.
#[derive(Debug, Default)]
struct List {
    lanes: Arc<Vec<Arc<Lane>>>,
    /// Flows that were skipped by removed lanes, which are metrics'.
    skipped: u64,
}

impl List {
    /// Flows that were skipped since start.
    fn skipped(&self) -> Skipped {
        let mut skipped = Skipped { by_metrics: self.skipped, ..Skipped::default() };
        for lane in self.lanes.iter() {
            *(match lane.consumer() {
                Consumer::Metric => &mut skipped.by_metrics,
                Consumer::History => &mut skipped.by_history,
                Consumer::Rollups => &mut skipped.by_rollups,
            }) += lane.skipped();
        }
        skipped
    }
}

/// Flows that were skipped since start, by the lanes that they are missing behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// By lanes of metrics, removed ones too; once for each metric.
    pub by_metrics: u64,
    /// By the lane of the history.
    pub by_history: u64,
    /// By the lane of the rollups.
    pub by_rollups: u64,
}

impl Skipped {
    /// Those that metrics or the history lack, which are lost events as Hubble counts them. What
    /// rows lack is said by their heartbeats.
    pub fn of_hubble(self) -> u64 {
        self.by_metrics + self.by_history
    }
}

/// A change of the lanes, carried out between two batches.
pub struct LaneChange {
    /// All lanes from then on.
    pub lanes: Vec<Arc<Lane>>,
    /// Items for some of them at that point.
    pub control: Vec<(Arc<Lane>, Item)>,
    /// Called when that is done.
    pub done: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for LaneChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneChange")
            .field("lanes", &self.lanes.len())
            .field("control", &self.control.len())
            .finish_non_exhaustive()
    }
}

impl Lanes {
    /// The lanes to begin with.
    pub fn new(lanes: Vec<Arc<Lane>>) -> Self {
        let now = List { lanes: Arc::new(lanes), skipped: 0 };
        Self { now: ArcSwap::from_pointee(now), ..Self::default() }
    }

    /// Sets whether a metric needs policy verdicts: without one, none are computed.
    pub fn want_verdicts(&self, wanted: bool) {
        self.verdicts.store(wanted, Relaxed);
    }

    /// True if a metric needs policy verdicts.
    pub fn verdicts_wanted(&self) -> bool {
        self.verdicts.load(Relaxed)
    }

    /// Sets whether a metric counts events of connections: without one, none are made.
    pub fn want_connections(&self, wanted: bool) {
        self.connections.store(wanted, Relaxed);
    }

    /// True if a metric counts events of connections.
    pub fn connections_wanted(&self) -> bool {
        self.connections.load(Relaxed)
    }

    /// Sets the layer 7 fields that the metrics need.
    pub fn want_layer7(&self, wishes: Layer7Wishes) {
        self.layer7.store(Arc::new(wishes));
    }

    /// Layer 7 fields that the metrics need, the history while there is one that is read, and the
    /// rollups while rows are made: they count questions without an answer wherever DNS is read.
    pub fn layer7_wanted(&self) -> Layer7Wishes {
        let list = self.now.load();
        let mut wishes = **self.layer7.load();
        if list.lanes.iter().any(|lane| lane.consumer() == Consumer::History && lane.is_wanted()) {
            wishes = wishes.and(SHOWN);
        }
        wishes.unanswered |= wishes.dns && list.lanes.iter().any(|lane| lane.are_rows_wanted());
        wishes
    }

    /// The lanes as they are now.
    pub fn list(&self) -> Arc<Vec<Arc<Lane>>> {
        Arc::clone(&self.now.load().lanes)
    }

    /// Flows that were skipped since start.
    pub fn skipped(&self) -> Skipped {
        self.now.load().skipped()
    }

    /// Calls `with` for each lane. No reference is counted, so once a batch costs nothing.
    pub(super) fn each(&self, mut with: impl FnMut(&Lane)) {
        for lane in self.now.load().lanes.iter() {
            with(lane);
        }
    }

    /// Calls `with` for each lane of an aggregator.
    pub(super) fn each_counting(&self, mut with: impl FnMut(&Lane)) {
        self.each(|lane| {
            if lane.counts() {
                with(lane);
            }
        });
    }

    /// Requests the series of every lane, and answers which lanes these are. For the thread alone
    /// that sends batches.
    pub(super) fn request_snapshots(&self, answer: &Sender<SnapshotResponse>) {
        let mut asked = Vec::new();
        self.each_counting(|lane| {
            asked.push(lane.id());
            lane.request(SnapshotRequest { lane: lane.id(), answer: answer.clone() });
        });
        // The collector may have stopped waiting.
        let _late = answer.send(SnapshotResponse::Asked(asked));
    }

    /// Sends what lanes without room did not take, as far as they have room now.
    pub(super) fn flush(&self) {
        self.each(|lane| {
            if lane.has_unsent() {
                lane.flush();
            }
        });
    }

    /// Calls `with` for each lane of a consumer that follows open connections.
    pub(super) fn each_following(&self, mut with: impl FnMut(&Lane)) {
        self.each(|lane| {
            if lane.consumer() != Consumer::History {
                with(lane);
            }
        });
    }

    /// Carries out a change. For the thread alone that sends batches.
    pub(super) fn change(&self, LaneChange { lanes, control, done }: LaneChange) {
        let old = self.now.load_full();
        let gone = old.lanes.iter().filter(|lane| !lanes.iter().any(|other| other.id() == lane.id()));
        // This thread alone sends, so a lane that goes skips no flow any more.
        let skipped = old.skipped + gone.map(|lane| lane.skipped()).sum::<u64>();
        self.now.store(Arc::new(List { lanes: Arc::new(lanes), skipped }));
        for (lane, item) in control {
            lane.send_control(item);
        }
        done();
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::Flow;
    use webb_flow::fault::{Components, State};
    use webb_index::Index;

    use super::*;
    use crate::pipeline::Batch;

    /// A lane without a reader, which has skipped this batch.
    fn skipping(batch: &Arc<Batch>) -> Arc<Lane> {
        let component = Components::default().component("down");
        component.set_state(State::Restarting, "");
        let (lane, _) = Lane::new(component);
        lane.send(batch, || ());
        Arc::new(lane)
    }

    /// Questions without an answer are looked for where DNS is read and rows are made, and not
    /// where one of both is missing.
    #[test]
    fn rows_want_unanswered_questions() {
        let (lane, _) = Lane::to(Consumer::Rollups, Components::default().component("unused"));
        let lane = Arc::new(lane);
        let lanes = Lanes::new(vec![Arc::clone(&lane)]);
        let mut found = Vec::new();
        for (dns, rows) in [(true, false), (true, true), (false, true), (false, false)] {
            lanes.want_layer7(Layer7Wishes { dns, ..Layer7Wishes::default() });
            lane.want_rows(rows);
            found.push(lanes.layer7_wanted().unanswered);
        }
        assert_eq!(found, [false, true, false, false]);
    }

    /// Skipped flows are counted once while lanes change: a counter that is read at any moment
    /// never falls.
    #[test]
    fn skipped_flows_are_counted_once() {
        const CHANGES: u64 = 20_000;
        let flows = vec![Flow::default(); 100];
        let batch = Arc::new(Batch { index: Arc::new(Index::default()), flows, extras: Vec::new() });
        let stays = skipping(&batch);
        let lanes = Lanes::new(vec![Arc::clone(&stays)]);
        let change = |lanes| LaneChange { lanes, control: Vec::new(), done: Box::new(|| ()) };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let fell = scope.spawn(|| {
                let (mut before, mut fell) = (0, 0);
                while !over.load(Relaxed) {
                    let now = lanes.skipped().by_metrics;
                    fell += u64::from(now < before);
                    before = now;
                }
                fell
            });
            for _ in 0..CHANGES {
                lanes.change(change(vec![Arc::clone(&stays), skipping(&batch)]));
                lanes.change(change(vec![Arc::clone(&stays)]));
            }
            over.store(true, Relaxed);
            assert_eq!(fell.join().unwrap(), 0, "how often the counter fell");
        });
        assert_eq!(lanes.skipped(), Skipped { by_metrics: 100 * (1 + CHANGES), by_history: 0, by_rollups: 0 });
    }
}
