//! Listings of all open connections: requested when an instance begins, and after losses.

use std::time::{Duration, Instant};

use webb_flow::open::ListingStep;

use super::state::RollupState;
use super::work::Work;

/// Time without further losses after which a listing follows: it would be lost as well.
pub(super) const LISTING_DELAY: Duration = Duration::from_secs(5);

impl RollupState {
    /// Requests a listing some time after flows were skipped, and no more are.
    pub(super) fn make_good(&self, work: &mut Work, now: Instant) {
        let skipped = self.lane.skipped();
        if skipped != work.skipped {
            (work.skipped, work.list_at) = (skipped, Some(now + LISTING_DELAY));
        }
        if work.list_at.is_some_and(|at| now >= at) {
            work.list_at = None;
            self.list();
        }
    }

    /// Takes a step of a listing. One that flows are missing of has no end: what it did not name
    /// may be open.
    pub(super) fn take_step(&self, work: &mut Work, step: ListingStep) {
        let skipped = self.lane.skipped();
        if step == ListingStep::Begin {
            work.skipped_before = skipped;
        }
        let is_whole = skipped == work.skipped_before;
        if work.windows.is_some() && (is_whole || step != ListingStep::End) {
            work.rollups.list(step);
        }
    }

    /// Requests a listing, where connections are followed.
    pub(super) fn list(&self) {
        if let Some((_, list)) = self.following.get() {
            list();
        }
    }
}
