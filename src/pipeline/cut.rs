//! Consistent cuts: every aggregator's series as they stood behind the same batch.
//!
//! A scrape posts a [`Command::Cut`]; the reader puts a [`Cut`] into every lane between two batches; the lanes are
//! first-in first-out, so all aggregators answer for exactly the same flows without anyone having waited for anyone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Command, Lane};
use crate::expose::Snapshot;
use crate::records::Waker;

/// Which lane answers, and its series: a snapshot for each of its tables.
pub type Answer = (usize, Vec<Snapshot>);

/// A request for an aggregator's series; answered at most once, never waited for.
#[derive(Debug, Clone)]
pub struct Cut {
    lane: usize,
    answer: Sender<Answer>,
}

impl Cut {
    /// Answers. The desk has room for every lane's answer, so this never blocks.
    pub fn answer(self, snapshots: Vec<Snapshot>) {
        // The desk stopped waiting: the next cut will bring these series.
        let _late = self.answer.try_send((self.lane, snapshots));
    }
}

/// Where cuts are asked for and their answers gathered.
#[derive(Debug)]
pub struct CutDesk {
    commands: Sender<Command>,
    waker: Waker,
    lanes: Arc<[Lane]>,
    last: Vec<Vec<Snapshot>>,
}

impl CutDesk {
    /// A desk for these lanes and the reader's end of its requests.
    pub fn new(lanes: Arc<[Lane]>, waker: Waker) -> (Self, Receiver<Command>) {
        let (commands, requests) = bounded(4);
        let last = vec![Vec::new(); lanes.len()];
        (Self { commands, waker, lanes, last }, requests)
    }

    /// Asks for a cut and waits for the answers, at most `patience`. A lane that does not answer in time keeps its
    /// last snapshot; how many did not is returned. Blocking: for a blocking thread only.
    pub fn cut(&mut self, patience: Duration) -> usize {
        let (answer, answers) = bounded(self.last.len());
        if self.commands.try_send(Command::Cut(answer)).is_err() {
            return self.last.len();
        }
        self.waker.wake();
        self.gather(&answers, patience)
    }

    /// The last cut, once the reader has ended and nobody else writes to the lanes.
    pub fn final_cut(&mut self, patience: Duration) -> usize {
        let (answer, answers) = bounded(self.last.len());
        cut_all(&self.lanes, &answer);
        self.gather(&answers, patience)
    }

    fn gather(&mut self, answers: &Receiver<Answer>, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut missing = self.last.len();
        while missing > 0 {
            let Ok((lane, snapshots)) = answers.recv_deadline(deadline) else { break };
            if let Some(last) = self.last.get_mut(lane) {
                *last = snapshots;
                missing -= 1;
            }
        }
        missing
    }

    /// The last snapshots of every lane that has ever answered.
    pub fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.last.iter().flatten()
    }
}

/// Puts a cut into every lane.
pub(super) fn cut_all(lanes: &[Lane], answer: &Sender<Answer>) {
    for (at, lane) in lanes.iter().enumerate() {
        lane.cut(Cut { lane: at, answer: answer.clone() });
    }
}
