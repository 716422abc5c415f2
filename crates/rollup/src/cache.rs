//! Caches the row of a flow by what its key depends on, while ids and symbols mean the same.

use std::sync::Arc;

use hashbrown::HashMap;
use webb_flow::hash::RandomState;
use webb_flow::{Extra, Flow};
use webb_index::{End, Index};

use super::call::Call;
use super::ends::names;
use super::primary::Primary;
use super::sums::Share;

/// Entries at most, some 10.7 MB; a full cache is cleared.
const MAX_ENTRIES: usize = 1 << 17;

/// All that the key of a flow's row depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    /// Rows of both endpoints.
    ends: u64,
    /// DNS names of both.
    names: u64,
    /// Port, protocol, verdict, reporter, which end opened, and which report is primary; the last
    /// tells the events of drops from others, too.
    call: u64,
    /// Reason of a drop, or the policy of a verdict; and the service.
    more: u64,
}

impl CacheKey {
    #[inline]
    pub(crate) fn new(
        flow: &Flow,
        extra: Option<&Extra>,
        index: &Index,
        call: Call,
        (share, primary): (Share, Primary),
    ) -> Self {
        let service = flow.service;
        let at_source = index.services().name(service.at_source()).qualified.id();
        let at_destination = index.services().name(service.at_destination()).qualified.id();
        let bits = u64::from(call.by_source) | u64::from(call.known) << 1 | u64::from(share == Share::Unenforced) << 2;
        // The policy of a connection that passed all the same, or the reason of a drop.
        let by =
            if share == Share::Unenforced { flow.ruling.policy().map_or(0, |row| row + 1) } else { flow.reason.0.id() };
        Self {
            ends: u64::from(flow.source.0) | u64::from(flow.destination.0) << 32,
            names: u64::from(names(End::Source, flow, extra, index).id())
                | u64::from(names(End::Destination, flow, extra, index).id()) << 32,
            call: u64::from(call.port)
                | u64::from(flow.l4 as u8) << 16
                | u64::from(flow.verdict as u8) << 24
                | u64::from(call.reporter as u8) << 32
                | bits << 40
                | (primary as u64) << 48,
            more: u64::from(by) | u64::from(at_source ^ at_destination) << 32,
        }
    }
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    places: HashMap<CacheKey, u32, RandomState>,
    index: Arc<Index>,
    /// [`webb_flow::sym::dropped`] when it was cleared last.
    dropped: u64,
    cleared: u64,
}

impl Cache {
    /// Times that places which were handed out have become void.
    #[inline]
    pub(crate) fn cleared(&self) -> u64 {
        self.cleared
    }

    /// Names the next flows by this index, and forgets all that means something else there.
    pub(crate) fn follow(&mut self, index: &Arc<Index>) {
        let dropped = webb_flow::sym::dropped();
        if Arc::ptr_eq(&self.index, index) && self.dropped == dropped {
            return;
        }
        let same = self.index.generation() == index.generation()
            && std::ptr::eq(self.index.services(), index.services())
            && std::ptr::eq(self.index.agents(), index.agents())
            && self.index.policy_revision() == index.policy_revision()
            && self.dropped == dropped;
        if !same {
            self.places.clear();
        }
        self.index = Arc::clone(index);
        self.dropped = dropped;
    }

    #[inline]
    pub(crate) fn find(&self, key: &CacheKey) -> Option<u32> {
        self.places.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: CacheKey, place: u32) {
        if self.places.len() >= MAX_ENTRIES {
            self.places.clear();
        }
        self.places.insert(key, place);
    }

    pub(crate) fn clear(&mut self) {
        self.cleared += 1;
        self.places.clear();
    }
}
