//! The reader's second look at the few flows that ask for one: who is behind a service's or a node's address, and what
//! policies say of a new connection.
//!
//! What connection tracking tells comes over a bounded channel and is taken in between two batches; the table belongs
//! to this thread alone. A record may be read before the translation of its connection has been told: such a flow
//! waits among at most [`MOST_WAITING`] others, while the follower of connection tracking is asked whether it has heard
//! everything. It has, within milliseconds: then the flow goes on, named by its service alone if there was nothing to
//! hear. That is no hardship, since nobody sees it before the next scrape. Nothing here allocates once it has grown to
//! what is usual, and a flow that does not ask never comes by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never};
use webb_decode::Why;
use webb_decode::drops::{Denial, opened_by_sender};
use webb_decode::nat::{Change, Connection, Conversation, Peer, Table};
use webb_decode::services::{NatLookup, look};
use webb_decode::verdicts::Verdicts;
use webb_flow::clock::Clock;
use webb_flow::{Flow, L4, Reply};
use webb_index::Index;

use super::questions::{Question, Questions};
use super::unnamed::{Unnamed, is_unnamed};
use super::{BATCH, Batch, Counters};
use crate::records::Waker;

/// What the follower hears it tells unasked. When it is asked, so long after a record was read, it has heard of that
/// connection too: the kernel tells of it when the first packet leaves the node's hands, a moment after its record.
const LAG: Duration = Duration::from_millis(5);

/// How long a flow waits at most, should the follower be held up: by a machine that has no core for it, say.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long the reader sleeps at most while somebody waits.
const DOZE: Duration = Duration::from_millis(5);

/// As above, while they wait for names alone.
const NAP: Duration = Duration::from_millis(20);

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
    /// Takes questions, if there is anybody to answer them.
    pub ask: Option<Sender<Connection>>,
    /// Rung to be told when everything that has happened has been told, and after questions.
    pub bell: Option<Waker>,
    /// How many translations are remembered.
    pub most: usize,
}

impl Default for Translations {
    /// Nobody tells.
    fn default() -> Self {
        Self { changes: never(), ask: None, followed: Arc::default(), bell: None, most: 0 }
    }
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    why: Why,
    since: Instant,
}

/// What the second look remembers; outlives a life of the reader's thread.
#[derive(Debug)]
pub(super) struct SecondLook {
    translations: Translations,
    table: Table,
    verdicts: Verdicts,
    clock: Clock,
    now_ns: u64,
    unnamed: Unnamed,
    questions: Questions,
    waiting: VecDeque<Waiting>,
    /// When the bell was last rung, until that is answered.
    asked: Option<Instant>,
    /// All that had happened by then has been told.
    known: Option<Instant>,
    tally: Tally,
    /// Whether a metric wants verdicts, and somebody follows connection tracking; looked at once a turn.
    wanted: bool,
    followed: bool,
}

/// Results of lookups, and verdicts, since the last publication.
#[derive(Debug, Default)]
struct Tally {
    hit: u64,
    delayed: u64,
    missed: u64,
    verdicts: u64,
}

impl SecondLook {
    pub(super) fn new(translations: Translations, clock: Clock) -> Self {
        Self {
            table: Table::new(translations.most),
            questions: Questions::new(translations.ask.clone()),
            unnamed: Unnamed::default(),
            translations,
            now_ns: 0,
            verdicts: Verdicts::default(),
            clock,
            waiting: VecDeque::new(),
            asked: None,
            known: None,
            tally: Tally::default(),
            wanted: false,
            followed: false,
        }
    }

    /// True if no flow waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.questions.is_empty() && self.unnamed.is_empty()
    }

    /// How long the reader may sleep. Names take longer than what connection tracking tells.
    pub(super) fn patience(&self, turn: Duration) -> Duration {
        let doze = self.waiting.is_empty() && self.questions.is_empty();
        match (doze, self.unnamed.is_empty()) {
            (true, true) => turn,
            (true, false) => turn.min(NAP),
            (false, _) => turn.min(DOZE),
        }
    }

    /// Between two batches: takes in what was told, and lets go whom it was told for or whose time is up. With `last`,
    /// nobody waits any longer.
    pub(super) fn turn(&mut self, room: &mut Batch, now: Instant, wanted: bool, last: bool) {
        self.wanted = wanted;
        self.now_ns = self.clock.now_ns();
        self.verdicts.turn(self.now_ns);
        self.followed = self.translations.followed.load(Relaxed) && !last;
        let mut news = false;
        for _ in 0..MOST_CHANGES {
            if room.flows.len() >= BATCH {
                break;
            }
            let Ok(change) = self.translations.changes.try_recv() else { break };
            if change == Change::UpToDate {
                self.known = self.asked.take();
            }
            if let Change::Answer(asked, conversation) = change {
                self.tracked(&asked, conversation, room);
            } else {
                self.table.apply(change);
                news = true;
            }
        }
        while let Some(question) = self.questions.over(now, !self.followed) {
            self.untracked(question, room);
        }
        self.unnamed.turn(&room.index, self.now_ns);
        while room.flows.len() < BATCH
            && let Some((flow, why)) = self.unnamed.next(&room.index, self.now_ns, last)
        {
            let why = Why { front: flow.source.any_front(flow.destination), ..why };
            self.take_named(flow, why, room, now);
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
        let told = self.known.is_some_and(|known| known >= waiting.since + LAG);
        told || !self.followed || now >= waiting.since + PATIENCE
    }

    /// At the end of a turn: asks whether everything has been told, if somebody waits for that and nobody has asked yet.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.questions.announce()
            && let Some(bell) = &self.translations.bell
        {
            bell.wake();
        }
        let Some(oldest) = self.waiting.front() else { return };
        let unanswered = self.asked.is_some_and(|asked| now < asked + PATIENCE);
        if unanswered || now < oldest.since + LAG {
            return;
        }
        if let Some(bell) = &self.translations.bell {
            self.asked = Some(now);
            bell.wake();
        }
    }

    fn again(&mut self, mut waiting: Waiting, room: &mut Batch, now: Instant) {
        let look = look(&mut waiting.flow, &room.index, &self.table);
        if look.may_come && !self.is_over(&waiting, now) {
            self.waiting.push_back(waiting);
            return;
        }
        match look.named {
            NatLookup::Resolved => self.tally.delayed += 1,
            NatLookup::Unresolved => self.tally.missed += 1,
            NatLookup::NotTranslated => {}
        }
        self.finish(waiting.flow, waiting.why, look.backend, room, now);
    }

    /// Takes a second look at a flow and puts it into the batch, or has it wait.
    #[inline(never)]
    pub(super) fn take(&mut self, flow: Flow, why: Why, room: &mut Batch, now: Instant) {
        if !is_unnamed(&flow) {
            self.take_named(flow, why, room, now);
        } else if let Some(flow) = self.unnamed.hold(flow, why, self.now_ns) {
            self.take_named(flow, why, room, now);
        }
    }

    /// As above, of a flow that does not wait for a name.
    fn take_named(&mut self, mut flow: Flow, why: Why, room: &mut Batch, now: Instant) {
        let mut backend = None;
        if why.front {
            let look = look(&mut flow, &room.index, &self.table);
            if look.may_come && self.followed && self.waiting.len() < MOST_WAITING {
                self.waiting.push_back(Waiting { flow, why, since: now });
                return;
            }
            match look.named {
                NatLookup::Resolved => self.tally.hit += 1,
                NatLookup::Unresolved => self.tally.missed += 1,
                NatLookup::NotTranslated => {}
            }
            backend = look.backend;
        }
        self.finish(flow, why, backend, room, now);
    }

    /// True if a reply may bring a verdict.
    #[inline]
    pub(super) fn awaits(&self, flow: &Flow) -> bool {
        flow.reply == Reply::Yes && (self.verdicts.any_waiting() || !self.questions.is_empty())
    }

    /// The verdict that a reply brings.
    #[inline(never)]
    pub(super) fn answered(&mut self, flow: &Flow, room: &mut Batch) {
        let verdict = self.reply(flow, None, &room.index);
        self.put(verdict, room);
    }

    fn reply(&mut self, flow: &Flow, backend: Option<Peer>, index: &Index) -> Option<Flow> {
        let verdict = self.verdicts.answered(flow, backend, index);
        if verdict.is_none() && flow.l4 == L4::Udp {
            self.questions.keep_reply(flow);
        }
        verdict
    }

    fn finish(&mut self, mut flow: Flow, why: Why, backend: Option<Peer>, room: &mut Batch, now: Instant) {
        if let Some(suspect) = why.suspect {
            let denial = suspect.judge(&mut flow, &room.index);
            if denial != Denial::IfOpening {
                self.dropped(flow, denial == Denial::Denied, room);
            } else if !self.followed {
                self.dropped(flow, false, room);
            } else if let Some(flow) = self.questions.ask(Connection::of(&flow), (flow, why, backend), now) {
                self.dropped(flow, false, room);
            }
            return;
        }
        room.flows.push(flow);
        if !self.wanted {
            return;
        }
        let verdict = if why.opens {
            if flow.l4 == L4::Udp && opened_by_sender(&flow) != Some(true) {
                self.opened_perhaps(flow, why, backend, room, now);
                return;
            }
            self.verdicts.opened(&flow, backend, &room.index)
        } else if self.awaits(&flow) {
            self.reply(&flow, backend, &room.index)
        } else {
            None
        };
        self.put(verdict, room);
    }

    fn dropped(&mut self, flow: Flow, denied: bool, room: &mut Batch) {
        room.flows.push(flow);
        if denied && self.wanted {
            let verdict = self.verdicts.denied(&flow, &room.index);
            self.put(Some(verdict), room);
        }
    }

    /// A datagram that is the first here. Its own flow has been handed on; the verdict may wait.
    fn opened_perhaps(&mut self, flow: Flow, why: Why, backend: Option<Peer>, room: &mut Batch, now: Instant) {
        if Verdicts::side(&flow, &room.index).is_none() {
            return;
        }
        let asked = Connection::of(&flow);
        if !self.followed || self.questions.ask(asked, (flow, why, backend), now).is_some() {
            let verdict = self.verdicts.untracked(&flow, backend, &room.index);
            self.put(verdict, room);
        }
    }

    /// What connection tracking answered about a datagram.
    fn tracked(&mut self, asked: &Connection, conversation: Conversation, room: &mut Batch) {
        let mut unanswered = Vec::new();
        let answered = self.questions.answered(asked, |question| unanswered.push(question));
        for question in unanswered {
            self.untracked(question, room);
        }
        let Some(Question { mut flow, why, backend, reply, .. }) = answered else { return };
        let backend = look(&mut flow, &room.index, &self.table).backend.or(backend);
        let opens = conversation == Conversation::New;
        if let Some(suspect) = why.suspect {
            let denied = opens && suspect.opening(&mut flow, &room.index);
            self.dropped(flow, denied, room);
        } else if opens {
            let verdict = self
                .verdicts
                .opened(&flow, backend, &room.index)
                .or_else(|| reply.and_then(|reply| self.verdicts.answered(&reply, backend, &room.index)));
            self.put(verdict, room);
        }
    }

    /// A datagram that connection tracking was not asked about in time.
    fn untracked(&mut self, Question { mut flow, why, backend, .. }: Question, room: &mut Batch) {
        let backend = look(&mut flow, &room.index, &self.table).backend.or(backend);
        if why.suspect.is_some() {
            self.dropped(flow, false, room);
        } else {
            let verdict = self.verdicts.untracked(&flow, backend, &room.index);
            self.put(verdict, room);
        }
    }

    fn put(&mut self, verdict: Option<Flow>, room: &mut Batch) {
        self.tally.verdicts += u64::from(verdict.is_some());
        room.flows.extend(verdict);
    }

    /// Makes the counts public.
    pub(super) fn publish(&mut self, counters: &Counters) {
        let Tally { hit, delayed, missed, verdicts } = std::mem::take(&mut self.tally);
        counters.verdicts.fetch_add(verdicts, Relaxed);
        for (count, new) in counters.lookups.iter().zip([hit, delayed, missed]) {
            if new > 0 {
                count.fetch_add(new, Relaxed);
            }
        }
        for (count, new) in counters.name_waits.iter().zip(self.unnamed.outcomes()) {
            if new > 0 {
                count.fetch_add(new, Relaxed);
            }
        }
        counters.waiting_for_names.store(self.unnamed.len() as u64, Relaxed);
        counters.translations.store(self.table.len() as u64, Relaxed);
        counters.refused.store(self.table.refused(), Relaxed);
        for (count, known) in counters.undecided.iter().zip(self.verdicts.undecided()) {
            count.store(known, Relaxed);
        }
    }
}

impl Default for SecondLook {
    fn default() -> Self {
        Self::new(Translations::default(), Clock::default())
    }
}
