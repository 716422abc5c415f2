//! Requests to the reader, handled between two batches.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use webb_flow::open::ListingStep;
use webb_metrics::RemovedPods;

use super::lane::Item;
use super::lanes::{LaneChange, Lanes};
use super::snapshot::SnapshotResponse;
use crate::records::Waker;

/// Requests that may wait for the reader.
const MAX_COMMANDS_QUEUED: usize = 16;

/// A request to the reader.
pub enum Command {
    /// Requests the series of every lane; answers go here.
    Snapshot(Sender<SnapshotResponse>),
    /// Changes the lanes.
    Change(LaneChange),
    /// Has every aggregator remove the series of these deleted pods.
    Forget(Arc<RemovedPods>),
    /// Takes a step of a listing of all open connections behind the flows so far; then this is
    /// called.
    List(ListingStep, Box<dyn FnOnce() + Send>),
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Snapshot(_) => "Snapshot",
            Self::Change(_) => "Change",
            Self::Forget(_) => "Forget",
            Self::List(..) => "List",
        })
    }
}

impl Command {
    /// Carries the request out, between two batches. For the thread alone that sends batches.
    pub(super) fn carry_out(self, lanes: &Lanes) {
        match self {
            Self::Snapshot(answer) => lanes.request_snapshots(&answer),
            Self::Change(change) => lanes.change(change),
            Self::List(step, done) => {
                lanes.each_following(|lane| lane.send_control(Item::List(step)));
                done();
            }
            Self::Forget(gone) => lanes.each_counting(|lane| lane.send_control(Item::Forget(Arc::clone(&gone)))),
        }
    }
}

/// The sending end of the reader's requests.
#[derive(Debug, Clone)]
pub struct Commands {
    to: Sender<Command>,
    waker: Waker,
}

impl Commands {
    /// Both ends; posting wakes the reader by `waker`.
    pub fn new(waker: Waker) -> (Self, Receiver<Command>) {
        let (to, requests) = bounded(MAX_COMMANDS_QUEUED);
        (Self { to, waker }, requests)
    }

    /// Posts a request; gives it back if the reader's queue is full, or the reader has ended.
    pub fn post(&self, command: Command) -> Result<(), Command> {
        self.to.try_send(command).map_err(TrySendError::into_inner)?;
        self.waker.wake();
        Ok(())
    }
}
