//! The reader's second look at the few flows that ask for one: who is behind a service's or a node's address, and what
//! policies say of a new connection.
//!
//! What connection tracking tells comes over a bounded channel and is taken in between two batches; the table belongs
//! to this thread alone. A record may be read before the translation of its connection has been told: such a flow
//! waits, at most [`PATIENCE`] and among [`MOST_WAITING`] others, and then goes on named by its service alone. Nothing
//! here allocates once it has grown to what is usual, and a flow that does not ask never comes by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};

use super::{BATCH, Batch, Counters};
use crate::decode::Why;
use crate::decode::nat::{Change, Peer, Table};
use crate::decode::services::{Named, look};
use crate::decode::verdicts::Verdicts;
use crate::flow::{Flow, Reply};

/// How long a flow waits for the translation of its connection.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many may wait at once; one more goes on without.
const MOST_WAITING: usize = 4096;

/// How many changes are taken in between two batches: a burst must not hold the records up.
const MOST_CHANGES: usize = 8192;

/// Where the reader hears of translations.
#[derive(Debug, Clone)]
pub struct Translations {
    /// What connection tracking tells.
    pub changes: Receiver<Change>,
    /// Whether somebody follows it: waiting is worth while only then.
    pub followed: Arc<AtomicBool>,
    /// How many translations are remembered.
    pub most: usize,
}

impl Default for Translations {
    /// Nobody tells.
    fn default() -> Self {
        Self { changes: never(), followed: Arc::default(), most: 0 }
    }
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    why: Why,
    until: Instant,
}

/// What the second look remembers; outlives a life of the reader's thread.
#[derive(Debug)]
pub(super) struct SecondLook {
    translations: Translations,
    table: Table,
    verdicts: Verdicts,
    waiting: VecDeque<Waiting>,
    tally: Tally,
    /// Whether a metric wants verdicts, and somebody follows connection tracking; looked at once a turn.
    wanted: bool,
    followed: bool,
}

/// Results of lookups since the last publication.
#[derive(Debug, Default)]
struct Tally {
    found: u64,
    late: u64,
    alone: u64,
}

impl SecondLook {
    pub(super) fn new(translations: Translations) -> Self {
        Self {
            table: Table::new(translations.most),
            translations,
            verdicts: Verdicts::default(),
            waiting: VecDeque::new(),
            tally: Tally::default(),
            wanted: false,
            followed: false,
        }
    }

    /// True if no flow waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How long the reader may sleep.
    pub(super) fn patience(&self, turn: Duration) -> Duration {
        if self.is_idle() { turn } else { turn.min(PATIENCE / 4) }
    }

    /// Between two batches: takes in what was told, and lets go whom it was told for or whose time is up. With `last`,
    /// nobody waits any longer.
    pub(super) fn turn(&mut self, room: &mut Batch, now: Instant, wanted: bool, last: bool) {
        self.wanted = wanted;
        self.followed = self.translations.followed.load(Relaxed) && !last;
        let mut news = false;
        for change in self.translations.changes.try_iter().take(MOST_CHANGES) {
            self.table.apply(change);
            news = true;
        }
        for _ in 0..self.waiting.len() {
            if room.flows.len() >= BATCH
                || !(news || self.waiting.front().is_some_and(|first| self.is_over(first, now)))
            {
                break;
            }
            if let Some(waiting) = self.waiting.pop_front() {
                self.again(waiting, room, now);
            }
        }
    }

    fn is_over(&self, waiting: &Waiting, now: Instant) -> bool {
        !self.followed || now >= waiting.until
    }

    fn again(&mut self, mut waiting: Waiting, room: &mut Batch, now: Instant) {
        let look = look(&mut waiting.flow, &room.index, &self.table);
        if look.may_come && !self.is_over(&waiting, now) {
            self.waiting.push_back(waiting);
            return;
        }
        match look.named {
            Named::Found => self.tally.late += 1,
            Named::Alone => self.tally.alone += 1,
            Named::Plain | Named::Node => {}
        }
        self.finish(waiting.flow, waiting.why, look.backend, room);
    }

    /// Takes a second look at a flow and puts it into the batch, or has it wait.
    #[inline(never)]
    pub(super) fn take(&mut self, mut flow: Flow, why: Why, room: &mut Batch, now: Instant) {
        let mut backend = None;
        if why.front {
            let look = look(&mut flow, &room.index, &self.table);
            let worth_while = look.may_come && (look.named == Named::Alone || why.opens);
            if worth_while && self.followed && self.waiting.len() < MOST_WAITING {
                self.waiting.push_back(Waiting { flow, why, until: now + PATIENCE });
                return;
            }
            match look.named {
                Named::Found => self.tally.found += 1,
                Named::Alone => self.tally.alone += 1,
                Named::Plain | Named::Node => {}
            }
            backend = look.backend;
        }
        self.finish(flow, why, backend, room);
    }

    /// True if a reply may bring a verdict.
    #[inline]
    pub(super) fn awaits(&self, flow: &Flow) -> bool {
        self.verdicts.any_waiting() && flow.reply == Reply::Yes
    }

    /// The verdict that a reply brings.
    #[inline(never)]
    pub(super) fn answered(&mut self, flow: &Flow, room: &mut Batch) {
        room.flows.extend(self.verdicts.answered(flow));
    }

    fn finish(&mut self, flow: Flow, why: Why, backend: Option<Peer>, room: &mut Batch) {
        room.flows.push(flow);
        if !self.wanted {
            return;
        }
        let verdict = if why.opens {
            self.verdicts.opened(&flow, backend, &room.index)
        } else if why.denied {
            Some(self.verdicts.denied(&flow, &room.index))
        } else if self.awaits(&flow) {
            self.verdicts.answered(&flow)
        } else {
            None
        };
        room.flows.extend(verdict);
    }

    /// Makes the counts public.
    pub(super) fn publish(&mut self, counters: &Counters) {
        let Tally { found, late, alone } = std::mem::take(&mut self.tally);
        for (count, new) in counters.lookups.iter().zip([found, late, alone]) {
            if new > 0 {
                count.fetch_add(new, Relaxed);
            }
        }
        counters.translations.store(self.table.len() as u64, Relaxed);
        counters.refused.store(self.table.refused(), Relaxed);
        counters.undecided.store(self.verdicts.undecided(), Relaxed);
    }
}

impl Default for SecondLook {
    fn default() -> Self {
        Self::new(Translations::default())
    }
}
