//! The lanes as they are now: metrics come and go while flows are on the road.
//!
//! Only the reader changes the list, between two batches: a lane that is added gets every batch behind that point, one
//! that is taken out none, and what a change tells the aggregators that stay travels on their lanes like a batch. So
//! however often the configuration changes, each flow is counted once or not at all by each metric, and a cut shows
//! all metrics on the same side of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use super::{Item, Lane};

/// The reader's lanes, one for each metric.
#[derive(Debug, Default)]
pub struct Lanes {
    list: ArcSwap<Vec<Arc<Lane>>>,
    /// Skipped by lanes that are gone.
    skipped: AtomicU64,
    verdicts: AtomicBool,
}

/// A change of the lanes, carried out between two batches.
pub struct Change {
    /// All lanes from then on.
    pub lanes: Vec<Arc<Lane>>,
    /// What some of them are told at that point.
    pub tell: Vec<(Arc<Lane>, Item)>,
    /// Called when that is done.
    pub done: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("lanes", &self.lanes.len())
            .field("tell", &self.tell.len())
            .finish_non_exhaustive()
    }
}

impl Lanes {
    /// The lanes to begin with.
    pub fn new(lanes: Vec<Arc<Lane>>) -> Self {
        Self { list: ArcSwap::from_pointee(lanes), skipped: AtomicU64::new(0), verdicts: AtomicBool::new(false) }
    }

    /// Says whether a metric wants policy verdicts: without one, none are worked out.
    pub fn want_verdicts(&self, wanted: bool) {
        self.verdicts.store(wanted, Relaxed);
    }

    /// Whether a metric wants policy verdicts.
    pub fn verdicts_wanted(&self) -> bool {
        self.verdicts.load(Relaxed)
    }

    /// The lanes as they are now.
    pub fn list(&self) -> Arc<Vec<Arc<Lane>>> {
        self.list.load_full()
    }

    /// Flows that were skipped since start, by lanes that are gone too.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Relaxed) + self.list.load().iter().map(|lane| lane.skipped()).sum::<u64>()
    }

    /// Calls `with` for each lane. No reference is counted, so once a batch costs nothing.
    pub(super) fn each(&self, mut with: impl FnMut(&Lane)) {
        for lane in self.list.load().iter() {
            with(lane);
        }
    }

    /// Carries out a change. For the reader's thread alone.
    pub(super) fn change(&self, Change { lanes, tell, done }: Change) {
        let old = self.list.load_full();
        for gone in old.iter().filter(|lane| !lanes.iter().any(|other| other.id() == lane.id())) {
            self.skipped.fetch_add(gone.skipped(), Relaxed);
        }
        self.list.store(Arc::new(lanes));
        for (lane, item) in tell {
            lane.tell(item);
        }
        done();
    }
}
