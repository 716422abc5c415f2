//! Deferred resolution of the few flows that decoding leaves open: the pod behind a service's or a
//! node's address (NAT lookup), a name that has not arrived, and the policy verdict on a new
//! connection.
//!
//! Translations arrive from the conntrack follower over a bounded channel and are applied between
//! two batches; the table belongs to this thread alone. A record may be read before the translation
//! of its connection has arrived. Such a flow waits among at most [`MAX_WAITING`] others until the
//! follower has confirmed that it is up to date, which takes milliseconds; after a miss the flow is
//! named by its service alone. Nothing here allocates once it has grown to its usual size, and
//! flows without an open query never get here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never};
use webb_decode::LookupReasons;
use webb_decode::drops::{DropDecision, Suspect, opened_by_sender};
use webb_decode::nat::{Connection, Conversation, NatUpdate, Peer, Table};
use webb_decode::policy_changes::Held;
use webb_decode::services::{NatLookup, lookup};
use webb_decode::verdicts::Verdicts;
use webb_flow::clock::Clock;
use webb_flow::{Event, Flow, L4, Reply, Verdict};
use webb_index::Index;
use webb_names::Asks;

use super::pending_queries::{PendingQueries, PendingQuery};
use super::unnamed::{Unnamed, Waited, is_unnamed};
use super::{BATCH, Batch, Counters};
use crate::records::Waker;

/// Delay before the follower is requested to flush. The kernel emits a connection's NEW
/// event after POSTROUTING, a moment after our record; by then the follower has received it.
const EVENT_DELAY: Duration = Duration::from_millis(5);

/// Longest wait of a flow for its translation, for a follower that gets no CPU.
const TRANSLATION_TIMEOUT: Duration = Duration::from_millis(250);

/// Longest sleep of the reader while a flow waits for a translation.
const WAITING_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Longest sleep of the reader while flows wait for names only.
const UNNAMED_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Maximal number of waiting flows; one more passes without its translation.
const MAX_WAITING: usize = 4096;

/// Changes applied between two batches: a burst must not delay the records.
const MAX_CHANGES_PER_TURN: usize = 8192;

/// The reader's connection to the conntrack follower.
#[derive(Debug, Clone)]
pub struct Translations {
    /// Translations that began and ended.
    pub changes: Receiver<NatUpdate>,
    /// Set while the follower runs: waiting is worth while only then.
    pub followed: Arc<AtomicBool>,
    /// Takes queries, if there is a follower.
    pub ask: Option<Sender<Connection>>,
    /// Wakes the follower to confirm that it is up to date, and to answer queries.
    pub waker: Option<Waker>,
    /// Maximal number of cached translations.
    pub most: usize,
}

impl Default for Translations {
    /// Without a follower.
    fn default() -> Self {
        Self { changes: never(), ask: None, followed: Arc::default(), waker: None, most: 0 }
    }
}

#[derive(Debug)]
struct Waiting {
    flow: Flow,
    why: LookupReasons,
    /// Its wait for names, if it has waited for some before.
    waited: Option<Waited>,
    since: Instant,
}

/// A packet that was dropped while newer policies were being compiled.
#[derive(Debug)]
struct HeldDrop {
    flow: Flow,
    why: LookupReasons,
    backend: Option<Peer>,
}

/// Flows that wait, and the tables to resolve them. Outlives a run of the reader's thread.
#[derive(Debug)]
pub(super) struct DeferredFlows {
    translations: Translations,
    table: Table,
    verdicts: Verdicts,
    drops: Held<HeldDrop>,
    clock: Clock,
    now_ns: u64,
    unnamed: Unnamed,
    queries: PendingQueries,
    waiting: VecDeque<Waiting>,
    /// Time of the open query to the follower, until it is answered.
    asked: Option<Instant>,
    /// All events up to then have been received.
    known: Option<Instant>,
    counts: LookupCounts,
    /// True if a metric needs verdicts; read once a turn, as is `followed`: the follower runs.
    wanted: bool,
    followed: bool,
}

/// Results of lookups, and verdicts, since the last publication.
#[derive(Debug, Default)]
struct LookupCounts {
    hit: u64,
    delayed: u64,
    missed: u64,
    verdicts: u64,
    unenforced: u64,
}

impl DeferredFlows {
    pub(super) fn new(translations: Translations, clock: Clock) -> Self {
        Self {
            table: Table::new(translations.most),
            queries: PendingQueries::new(translations.ask.clone()),
            unnamed: Unnamed::default(),
            translations,
            now_ns: 0,
            verdicts: Verdicts::default(),
            drops: Held::default(),
            clock,
            waiting: VecDeque::new(),
            asked: None,
            known: None,
            counts: LookupCounts::default(),
            wanted: false,
            followed: false,
        }
    }

    /// Has a relay asked for the names that are waited for.
    pub(super) fn set_asks(&mut self, asks: Option<Asks>) {
        self.unnamed.set_asks(asks);
    }

    /// True if no flow waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.queries.is_empty() && self.is_up_to_date()
    }

    /// True if no flow waits for a newer index.
    fn is_up_to_date(&self) -> bool {
        self.unnamed.is_empty() && self.drops.is_empty() && self.verdicts.is_settled()
    }

    /// The longest sleep of the reader. Names take longer to arrive than translations.
    pub(super) fn poll_timeout(&self, turn: Duration) -> Duration {
        let idle = self.waiting.is_empty() && self.queries.is_empty();
        match (idle, self.is_up_to_date()) {
            (true, true) => turn,
            (true, false) => turn.min(UNNAMED_POLL_INTERVAL),
            (false, _) => turn.min(WAITING_POLL_INTERVAL),
        }
    }

    /// Between two batches: applies translations, and releases the flows that these resolve or that
    /// have timed out. With `last`, all waiting flows are released.
    pub(super) fn turn(&mut self, room: &mut Batch, now: Instant, wanted: bool, last: bool) {
        self.wanted = wanted;
        self.now_ns = self.clock.now_ns();
        self.verdicts.turn(&room.index, self.now_ns);
        self.followed = self.translations.followed.load(Relaxed) && !last;
        let mut changed = false;
        for _ in 0..MAX_CHANGES_PER_TURN {
            if room.flows.len() >= BATCH {
                break;
            }
            let Ok(change) = self.translations.changes.try_recv() else { break };
            if change == NatUpdate::Flushed {
                self.known = self.asked.take();
            }
            if let NatUpdate::Answer(asked, conversation) = change {
                self.tracked(&asked, conversation, room);
            } else {
                self.table.apply(change);
                changed = true;
            }
        }
        while let Some(query) = self.queries.over(now, !self.followed) {
            self.untracked(query, room);
        }
        self.unnamed.turn(&room.index, self.now_ns);
        while room.flows.len() < BATCH
            && let Some((flow, why, waited)) = self.unnamed.next(&room.index, last)
        {
            let why = LookupReasons { front: flow.source.any_front(flow.destination), ..why };
            self.take_named(flow, why, Some(waited), room, now);
        }
        while room.flows.len() < BATCH
            && let Some((HeldDrop { flow, why, backend }, has_come)) = self.drops.next(&room.index, self.now_ns, last)
        {
            match why.suspect {
                Some(suspect) if has_come => self.suspect(flow, suspect, why, backend, room, now),
                Some(suspect) => self.dismiss(flow, suspect, room),
                None => {}
            }
        }
        while room.flows.len() < BATCH
            && let Some(verdict) = self.verdicts.next_settled(&room.index, last)
        {
            self.put(Some(verdict), room);
        }
        for _ in 0..self.waiting.len() {
            if room.flows.len() >= BATCH
                || !(changed || self.waiting.front().is_some_and(|first| self.is_over(first, now)))
            {
                break;
            }
            if let Some(waiting) = self.waiting.pop_front() {
                self.again(waiting, room, now);
            }
        }
    }

    fn is_over(&self, waiting: &Waiting, now: Instant) -> bool {
        let confirmed = self.known.is_some_and(|known| known >= waiting.since + EVENT_DELAY);
        confirmed || !self.followed || now >= waiting.since + TRANSLATION_TIMEOUT
    }

    /// Ends a turn: queries the follower if a flow waits for it and no query is open.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.queries.announce()
            && let Some(waker) = &self.translations.waker
        {
            waker.wake();
        }
        let Some(oldest) = self.waiting.front() else { return };
        let unanswered = self.asked.is_some_and(|asked| now < asked + TRANSLATION_TIMEOUT);
        if unanswered || now < oldest.since + EVENT_DELAY {
            return;
        }
        if let Some(waker) = &self.translations.waker {
            self.asked = Some(now);
            waker.wake();
        }
    }

    fn again(&mut self, mut waiting: Waiting, room: &mut Batch, now: Instant) {
        let unresolved = waiting.flow;
        let found = lookup(&mut waiting.flow, &room.index, &self.table);
        if found.may_resolve_later && !self.is_over(&waiting, now) {
            self.waiting.push_back(waiting);
            return;
        }
        let Waiting { flow, why, mut waited, .. } = waiting;
        if self.unnamed.hold_for_backend((unresolved, &flow), why, found.backend, &mut waited, &room.index) {
            return;
        }
        self.unnamed.count(waited);
        match found.outcome {
            NatLookup::Resolved => self.counts.delayed += 1,
            NatLookup::Unresolved => self.counts.missed += 1,
            NatLookup::NotTranslated => {}
        }
        self.finish(flow, why, found.backend, room, now);
    }

    /// The time of this turn, of the clock that flows are stamped with.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Resolves a flow and puts it into the batch, or defers it.
    #[inline(never)]
    pub(super) fn take(&mut self, flow: Flow, why: LookupReasons, room: &mut Batch, now: Instant) {
        // Before the first names every flow would wait; those waited in the rings. Without a source
        // none will come.
        if !is_unnamed(&flow) || !room.index.awaits_names() {
            self.take_named(flow, why, None, room, now);
        } else if let waited @ Some(_) = self.unnamed.hold(flow, why) {
            self.take_named(flow, why, waited, room, now);
        }
    }

    /// Takes a flow that does not wait for the names of its ends.
    fn take_named(
        &mut self,
        mut flow: Flow,
        why: LookupReasons,
        mut waited: Option<Waited>,
        room: &mut Batch,
        now: Instant,
    ) {
        let mut backend = None;
        if why.front {
            let unresolved = flow;
            let found = lookup(&mut flow, &room.index, &self.table);
            if self.unnamed.hold_for_backend((unresolved, &flow), why, found.backend, &mut waited, &room.index) {
                return;
            }
            if found.may_resolve_later && self.followed && self.waiting.len() < MAX_WAITING {
                self.waiting.push_back(Waiting { flow, why, waited, since: now });
                return;
            }
            match found.outcome {
                NatLookup::Resolved => self.counts.hit += 1,
                NatLookup::Unresolved => self.counts.missed += 1,
                NatLookup::NotTranslated => {}
            }
            backend = found.backend;
        }
        self.unnamed.count(waited);
        self.finish(flow, why, backend, room, now);
    }

    /// Names a flow of layer 7. False if its translation may come yet, which is worth waiting for.
    pub(super) fn translate(&self, flow: &mut Flow, index: &Index) -> bool {
        !(lookup(flow, index, &self.table).may_resolve_later && self.followed)
    }

    /// True if a reply may bring a verdict.
    #[inline]
    pub(super) fn awaits(&self, flow: &Flow) -> bool {
        flow.reply == Reply::Yes && (self.verdicts.any_waiting() || !self.queries.is_empty())
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
            self.queries.keep_reply(flow);
        }
        verdict
    }

    fn finish(&mut self, flow: Flow, why: LookupReasons, backend: Option<Peer>, room: &mut Batch, now: Instant) {
        if let Some(suspect) = why.suspect {
            if !room.index.has_newer_policies() {
                self.suspect(flow, suspect, why, backend, room, now);
            } else if let Err(held) = self.drops.hold(HeldDrop { flow, why, backend }, &room.index, self.now_ns) {
                self.dismiss(held.flow, suspect, room);
            }
            return;
        }
        room.flows.push(flow);
        if !self.wanted || flow.event == Event::Connection {
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

    /// A drop that may be a denial.
    fn suspect(
        &mut self,
        mut flow: Flow,
        suspect: Suspect,
        why: LookupReasons,
        backend: Option<Peer>,
        room: &mut Batch,
        now: Instant,
    ) {
        let denial = suspect.evaluate(&mut flow, &room.index);
        if denial == DropDecision::Other || !self.verdicts.was_forbidden(&flow, suspect, &room.index) {
            self.dismiss(flow, suspect, room);
        } else if denial == DropDecision::Denied {
            self.dropped(flow, true, room);
        } else if !self.followed {
            self.dropped(flow, false, room);
        } else if let Some(flow) = self.queries.ask(Connection::of(&flow), (flow, why, backend), now) {
            self.dropped(flow, false, room);
        }
    }

    /// A drop that is no denial, or perhaps none.
    fn dismiss(&mut self, mut flow: Flow, suspect: Suspect, room: &mut Batch) {
        suspect.dismiss(&mut flow);
        self.dropped(flow, false, room);
    }

    fn dropped(&mut self, flow: Flow, denied: bool, room: &mut Batch) {
        room.flows.push(flow);
        if denied && self.wanted {
            let verdict = self.verdicts.denied(&flow, &room.index);
            self.put(Some(verdict), room);
        }
    }

    /// A datagram that is the first here. Its own flow has been handed on; the verdict may wait.
    fn opened_perhaps(
        &mut self,
        flow: Flow,
        why: LookupReasons,
        backend: Option<Peer>,
        room: &mut Batch,
        now: Instant,
    ) {
        if Verdicts::side(&flow, &room.index).is_none() {
            return;
        }
        let asked = Connection::of(&flow);
        if !self.followed || self.queries.ask(asked, (flow, why, backend), now).is_some() {
            let verdict = self.verdicts.untracked(&flow, backend, &room.index);
            self.put(verdict, room);
        }
    }

    /// Applies the answer of connection tracking about a datagram.
    fn tracked(&mut self, asked: &Connection, conversation: Conversation, room: &mut Batch) {
        let mut unanswered = Vec::new();
        let answered = self.queries.answered(asked, |query| unanswered.push(query));
        for query in unanswered {
            self.untracked(query, room);
        }
        let Some(PendingQuery { mut flow, why, backend, reply, .. }) = answered else { return };
        let backend = lookup(&mut flow, &room.index, &self.table).backend.or(backend);
        let opens = conversation == Conversation::New;
        if let Some(suspect) = why.suspect {
            let denied = opens
                && self.verdicts.was_forbidden(&flow, suspect, &room.index)
                && suspect.opening(&mut flow, &room.index);
            self.dropped(flow, denied, room);
        } else if opens {
            let verdict = self
                .verdicts
                .opened(&flow, backend, &room.index)
                .or_else(|| reply.and_then(|reply| self.verdicts.answered(&reply, backend, &room.index)));
            self.put(verdict, room);
        }
    }

    /// A datagram for which connection tracking did not answer in time.
    fn untracked(&mut self, PendingQuery { mut flow, why, backend, .. }: PendingQuery, room: &mut Batch) {
        let backend = lookup(&mut flow, &room.index, &self.table).backend.or(backend);
        if why.suspect.is_some() {
            self.dropped(flow, false, room);
        } else {
            let verdict = self.verdicts.untracked(&flow, backend, &room.index);
            self.put(verdict, room);
        }
    }

    fn put(&mut self, verdict: Option<Flow>, room: &mut Batch) {
        self.counts.verdicts += u64::from(verdict.is_some());
        self.counts.unenforced += u64::from(verdict.is_some_and(|verdict| verdict.verdict == Verdict::Audit));
        room.flows.extend(verdict);
    }

    /// Makes the counts public.
    pub(super) fn publish(&mut self, counters: &Counters) {
        let LookupCounts { hit, delayed, missed, verdicts, unenforced } = std::mem::take(&mut self.counts);
        counters.verdicts.fetch_add(verdicts, Relaxed);
        counters.unenforced.fetch_add(unenforced, Relaxed);
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

impl Default for DeferredFlows {
    fn default() -> Self {
        Self::new(Translations::default(), Clock::default())
    }
}
