//! Figures of the rollups, which their thread publishes and others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use webb_flow::open::Corrections;
use webb_rollup::Lost;

/// Published after each batch.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rows: AtomicU64,
    pub(super) flows: AtomicU64,
    pub(super) passed_over: AtomicU64,
    pub(super) folded: AtomicU64,
    /// Packets that a killed process had read, and not sent in rows.
    pub(super) lost_before: AtomicU64,
    panicked: AtomicU64,
    panicked_packets: AtomicU64,
    panicked_bytes: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) windows: AtomicU64,
    pub(super) held: AtomicU64,
    pub(super) corrected: [AtomicU64; 3],
}

/// What became of the flows that the thread was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RollupCounts {
    /// Rows of the open window.
    pub rows: u64,
    /// Flows that are in a row.
    pub flows: u64,
    /// Flows that stand beside another of the same packet.
    pub passed_over: u64,
    /// Flows in folded rows, of those in rows.
    pub folded: u64,
    /// Flows that were lost to a panic.
    pub panicked: u64,
    /// Flows that came while no output took rows.
    pub ignored: u64,
    /// Windows that have ended.
    pub windows: u64,
    /// Records of ended windows that are not yet offered to outputs, each for each output.
    pub held: u64,
    /// By how much open connections were off ([`Corrections`]).
    pub corrected: Corrections,
}

impl Figures {
    /// What became of the flows so far.
    pub(super) fn counts(&self) -> RollupCounts {
        let Self { rows, flows, passed_over, folded, panicked, ignored, windows, held, corrected, .. } = self;
        let [rows, flows, passed_over, folded, panicked, ignored, windows, held] =
            [rows, flows, passed_over, folded, panicked, ignored, windows, held].map(|figure| figure.load(Relaxed));
        let [added, removed, refused] = corrected.each_ref().map(|figure| figure.load(Relaxed));
        let corrected = Corrections { added, removed, refused };
        RollupCounts { rows, flows, passed_over, folded, panicked, ignored, windows, held, corrected }
    }

    /// Adds what was lost to a panic: one flow at most.
    pub(super) fn add_panicked(&self, lost: Lost) {
        self.panicked.fetch_add(lost.flows, Relaxed);
        self.panicked_packets.fetch_add(lost.packets, Relaxed);
        self.panicked_bytes.fetch_add(lost.bytes, Relaxed);
    }

    /// What was lost to panics.
    pub(super) fn panicked(&self) -> Lost {
        let figures = [&self.panicked, &self.panicked_packets, &self.panicked_bytes];
        let [flows, packets, bytes] = figures.map(|figure| figure.load(Relaxed));
        Lost { flows, packets, bytes }
    }
}
