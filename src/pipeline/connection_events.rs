//! Events of connections on their way from the records into the batches.
//!
//! An event is named and translated like the flow of a packet. When a batch is full, its failed
//! attempts to connect are settled ([`webb_decode::attempts`]): by then it is known which drops are
//! a policy's.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use webb_decode::attempts::Attempts;
use webb_decode::connections::Openers;
use webb_decode::{LookupReasons, name};
use webb_flow::Flow;
use webb_flow::open::ListingStep;

use super::deferred_flows::DeferredFlows;
use super::{BATCH, Batch, Counters};

/// Takes events out of records, as long as a metric counts them.
#[derive(Debug)]
pub(super) struct ConnectionEvents {
    attempts: Attempts,
    openers: Openers,
    wanted: bool,
    handed_on: u64,
}

/// Destination of the flow of an event.
type Way<'a> = (&'a mut Batch, &'a mut DeferredFlows);

impl ConnectionEvents {
    /// `most`: connections that can be open.
    pub(super) fn new(most: usize) -> Self {
        Self { attempts: Attempts::default(), openers: Openers::new(most), wanted: false, handed_on: 0 }
    }

    /// Follows a listing of all open connections.
    pub(super) fn list(&mut self, step: ListingStep) {
        if step == ListingStep::Begin {
            self.openers.clear();
        }
    }

    /// Between two batches: releases the refusals that have waited long enough. With `last`, all.
    pub(super) fn turn(&mut self, wanted: bool, (room, deferred): Way<'_>, now: Instant, last: bool) {
        self.wanted = wanted;
        self.attempts.turn(deferred.now_ns());
        while room.flows.len() < BATCH
            && let Some(mut flow) = self.attempts.next(last)
        {
            name(&mut flow, &room.index);
            put(flow, (room, deferred), now);
        }
    }

    /// True if no event waits.
    pub(super) fn is_idle(&self) -> bool {
        self.attempts.is_idle()
    }

    /// Takes an event out of the record in hand.
    #[inline(never)]
    pub(super) fn take(&mut self, mut flow: Flow, way: Way<'_>, now: Instant) {
        // A device of the node is no end of a connection.
        if !self.wanted || flow.is_reported_by_opener().is_none() {
            return;
        }
        let behind = way.0.index.pod_at_interface(flow.ifindex);
        if self.attempts.passes(&flow, behind) {
            return;
        }
        self.openers.follow(&mut flow);
        if let Some(flow) = self.attempts.hold(flow) {
            put(flow, way, now);
        }
    }

    /// Settles the failed attempts of a batch.
    pub(super) fn settle(&mut self, flows: &mut Vec<Flow>, counters: &Counters) {
        self.handed_on += self.attempts.settle(flows);
        counters.connection_events.store(self.handed_on, Relaxed);
        for (count, (_, now)) in counters.attempts.iter().zip(self.attempts.counts().rows()) {
            count.store(now, Relaxed);
        }
    }
}

/// Puts the flow of an event into the batch, or defers it.
fn put(flow: Flow, (room, deferred): Way<'_>, now: Instant) {
    if flow.source.any_front(flow.destination) {
        deferred.take(flow, LookupReasons { front: true, opens: false, suspect: None }, room, now);
    } else {
        room.flows.push(flow);
    }
}
