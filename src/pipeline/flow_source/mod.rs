//! A server of Hubble's API as the source of flows, in place of the rings and the decoder.
//!
//! One thread follows the server, decodes what it sends, and fills the batches of the lanes. While
//! a lane is full it does not read, so that the server's own buffer is the elastic one, and the
//! server tells what was lost in it. Commands are handled between two batches, as by the reader,
//! also while there is no connection.
//!
//! What survives a run of the thread, and a connection, sits in the [`FlowSourceState`]: the flows
//! that were counted last, by which the next connection goes on behind them.

mod backoff;
mod ledger;
mod link;
mod resume;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::Receiver;
use webb_flow::fault::inject;
use webb_flowlog::{Content, Reader};
use webb_observer::client::{ServerAddress, ServerState};

pub use backoff::Backoff;
pub use ledger::{Gap, LostEvents, Outcome, SourceLedger};

use super::pool::Pool;
use super::{Command, Counters, Lanes, Lifecycle};
use crate::records::Waker;
use resume::{Resume, id_of};

/// Shared parts of the source; they survive a restart of its thread.
#[derive(Debug)]
pub struct FlowSource {
    /// The server.
    pub server: ServerAddress,
    /// Rung for commands and for the end.
    pub waker: Waker,
    /// Lanes, one for each aggregator.
    pub lanes: Arc<Lanes>,
    /// Requests.
    pub commands: Receiver<Command>,
    /// Counters of the output: flows and batches.
    pub counters: Arc<Counters>,
    /// Counters of the input.
    pub ledger: Arc<SourceLedger>,
    /// State that survives a run.
    pub state: FlowSourceState,
}

/// State that survives a run of the source's thread.
#[derive(Debug)]
pub struct FlowSourceState(Mutex<Persistent>);

impl FlowSourceState {
    /// The state of a source that has flows from `since_ns` on, Unix time in nanoseconds: the start
    /// of the agent.
    pub fn new(since_ns: u64) -> Self {
        Self(Mutex::new(Persistent {
            reader: Reader::default(),
            pool: Pool::default(),
            resume: Resume::new(since_ns),
            in_hand: None,
            server: None,
            was_connected: false,
        }))
    }
}

#[derive(Debug)]
struct Persistent {
    reader: Reader,
    pool: Pool,
    resume: Resume,
    /// The response that is being read; one that is here at the start of a run made the last one
    /// panic.
    in_hand: Option<Bytes>,
    server: Option<KnownServer>,
    was_connected: bool,
}

/// What the server said of itself at the last connection.
#[derive(Debug, Clone, Copy)]
struct KnownServer {
    state: ServerState,
    at: Instant,
    /// Flows that were counted until then.
    counted: u64,
}

impl FlowSource {
    /// Reads a response: a flow joins the batch.
    fn take(&self, kept: &mut Persistent, response: &Bytes) {
        let Persistent { reader, resume, in_hand, .. } = kept;
        self.ledger.received.fetch_add(1, Relaxed);
        if resume.is_replaying() && resume.was_counted(id_of(response)) {
            return self.ledger.count(Outcome::Duplicate);
        }
        *in_hand = Some(response.clone());
        inject::point("flow_source");
        match reader.response(response) {
            Ok(Content::Flow) => {
                let Some((flow, extra)) = reader.last() else { return };
                let (time_ns, uuid) = (flow.time_ns, extra.uuid.as_bytes());
                let id = id_of(if uuid.is_empty() { response } else { uuid });
                if resume.is_replaying() && resume.was_counted(id) {
                    reader.retract();
                    self.ledger.count(Outcome::Duplicate);
                } else {
                    if resume.is_gap(time_ns) {
                        self.gap(kept.server.is_none());
                    }
                    resume.counted(id, time_ns);
                    self.ledger.count(Outcome::Counted);
                }
            }
            Ok(Content::Lost { source, events }) => {
                resume.passed(id_of(response));
                self.ledger.count(Outcome::LostEvents);
                self.ledger.lose(source, events);
            }
            Ok(Content::Other) => self.ledger.count(Outcome::Other),
            Err(error) => {
                resume.passed(id_of(response));
                self.ledger.count(Outcome::Refused(error.fault()));
                tracing::warn!("a flow of {} cannot be read and is left out: {error}", self.server);
            }
        }
        *in_hand = None;
    }

    fn gap(&self, unknown: bool) {
        let gap = if unknown { Gap::Unknown } else { Gap::Overwritten };
        self.ledger.count_gap(gap);
        tracing::warn!(
            "flows are missing: {} no longer has those that came after the last one before the connection ended",
            self.server
        );
    }

    /// Sends the batch to every lane if it holds anything. Waits for lanes that are full.
    fn hand_on(&self, kept: &mut Persistent, lifecycle: &Lifecycle) {
        let Persistent { reader, pool, .. } = kept;
        if reader.is_empty() {
            return;
        }
        let mut batch = pool.take(reader.batch().index);
        if let Some(room) = Arc::get_mut(&mut batch) {
            reader.hand_over(&mut room.flows, &mut room.extras, &mut pool.spare);
        }
        self.counters.flows.fetch_add(batch.flows.len() as u64, Relaxed);
        self.counters.batches.fetch_add(1, Relaxed);
        self.counters.allocated.store(pool.allocated(), Relaxed);
        self.lanes.each(|lane| lane.send(&batch, || lifecycle.beat()));
        pool.keep(batch);
    }

    /// Handles commands, between two batches.
    fn handle_commands(&self, kept: &mut Persistent, lifecycle: &Lifecycle) {
        if !self.commands.is_empty() {
            // A scrape has all that was received before it.
            self.hand_on(kept, lifecycle);
        }
        while let Ok(command) = self.commands.try_recv() {
            command.carry_out(&self.lanes);
        }
        self.lanes.flush();
    }
}
