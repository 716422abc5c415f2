//! Consistent cuts: every aggregator's series as they stood behind the same batch.
//!
//! A scrape posts a [`Command::Cut`]; the reader puts a [`Cut`] into every lane between two batches; the lanes are
//! first-in first-out, so all aggregators answer for exactly the same flows without anyone having waited for anyone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use webb_metrics::expose::Snapshot;

use super::{Command, Lanes};
use crate::records::Waker;

/// What comes back for a request.
#[derive(Debug)]
pub enum Answer {
    /// The reader's: the lanes that were asked.
    Asked(Vec<u64>),
    /// One lane's series: a snapshot for each of its tables.
    Series(u64, Vec<Snapshot>),
}

/// A request for an aggregator's series; answered at most once, never waited for.
#[derive(Debug, Clone)]
pub struct Cut {
    lane: u64,
    answer: Sender<Answer>,
}

impl Cut {
    /// Answers. There is always room for an answer, so this never blocks.
    pub fn answer(self, snapshots: Vec<Snapshot>) {
        // The desk stopped waiting: the next cut will bring these series.
        let _late = self.answer.send(Answer::Series(self.lane, snapshots));
    }
}

/// Where requests to the reader are posted.
#[derive(Debug, Clone)]
pub struct Commands {
    to: Sender<Command>,
    waker: Waker,
}

impl Commands {
    /// Where to post, and where the reader finds what was posted.
    pub fn new(waker: Waker) -> (Self, Receiver<Command>) {
        let (to, requests) = bounded(16);
        (Self { to, waker }, requests)
    }

    /// Posts a request; gives it back if the reader has too many already, or is gone.
    pub fn post(&self, command: Command) -> Result<(), Command> {
        self.to.try_send(command).map_err(TrySendError::into_inner)?;
        self.waker.wake();
        Ok(())
    }
}

/// Where cuts are asked for and their answers gathered.
#[derive(Debug)]
pub struct CutDesk {
    commands: Commands,
    lanes: Arc<Lanes>,
    /// By lane; older lanes first.
    last: BTreeMap<u64, Vec<Snapshot>>,
}

impl CutDesk {
    /// A desk for these lanes, whose reader takes these requests.
    pub fn new(lanes: Arc<Lanes>, commands: Commands) -> Self {
        Self { commands, lanes, last: BTreeMap::new() }
    }

    /// Asks for a cut and waits for the answers, at most `patience`. A lane that does not answer in time keeps its
    /// last snapshot; how many did not is returned. Blocking: for a blocking thread only.
    pub fn cut(&mut self, patience: Duration) -> usize {
        let (answer, answers) = unbounded();
        if self.commands.post(Command::Cut(answer)).is_err() {
            return self.last.len().max(1);
        }
        self.gather(&answers, patience)
    }

    /// The last cut, once the reader has ended and nobody else writes to the lanes.
    pub fn final_cut(&mut self, patience: Duration) -> usize {
        let (answer, answers) = unbounded();
        cut_all(&self.lanes, &answer);
        drop(answer);
        self.gather(&answers, patience)
    }

    fn gather(&mut self, answers: &Receiver<Answer>, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut asked: Option<Vec<u64>> = None;
        let mut answered = BTreeMap::new();
        while asked.as_ref().is_none_or(|lanes| answered.len() < lanes.len()) {
            match answers.recv_deadline(deadline) {
                Ok(Answer::Asked(lanes)) => asked = Some(lanes),
                Ok(Answer::Series(lane, snapshots)) => drop(answered.insert(lane, snapshots)),
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

/// Puts a cut into every lane and says which these are.
pub(super) fn cut_all(lanes: &Lanes, answer: &Sender<Answer>) {
    let mut asked = Vec::new();
    lanes.each(|lane| {
        asked.push(lane.id());
        lane.cut(Cut { lane: lane.id(), answer: answer.clone() });
    });
    // The desk may have stopped waiting.
    let _late = answer.send(Answer::Asked(asked));
}
