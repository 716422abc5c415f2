//! The reader's end: flows of layer 7 are named by the index of the batch that they go into.
//!
//! A flow waits for the name of a new pod, or for the translation of its connection, as those of
//! packets do. It has its own queue, since it carries more.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, never};
use webb_decode::expiring::Expiring;
use webb_decode::name;
use webb_flow::clock::now_ns;
use webb_flow::{Address, Extra, ExtraId, Flow, Point};
use webb_index::Index;

use super::closes::{self, ClosesSender};
use super::dns_names::{self, NamesReader, NamesWriter};
use super::messages::{Messages, Outbox};
use crate::pipeline::deferred_flows::DeferredFlows;
use crate::pipeline::unnamed::{MAX_MISSES, MISS_TTL_NS, is_unnamed, unnamed_ends};
use crate::pipeline::{BATCH, Batch, Counters};
use crate::records::Waker;

/// Longest wait for the name of a pod.
const NAME_TIMEOUT: Duration = Duration::from_millis(2500);

/// Longest wait for the translation of a connection.
const TRANSLATION_TIMEOUT: Duration = Duration::from_millis(250);

/// Maximal number of waiting flows; one more passes as it is.
const MAX_WAITING: usize = 4096;

/// Longest sleep of the reader while one waits.
const WAITING_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Interval of the comparison of the clocks.
const CLOCKS_INTERVAL: Duration = Duration::from_secs(1);

/// Flows of layer 7 on their way into a batch.
#[derive(Debug)]
pub struct Inbox {
    from: Receiver<Messages>,
    back: Option<Sender<Messages>>,
    /// A load that is being taken, and how far.
    current: Option<(Messages, usize)>,
    waiting: VecDeque<(Flow, Extra, Instant)>,
    /// Addresses that were waited for in vain.
    misses: Expiring<Address, ()>,
    /// Batches that wait for names from DNS.
    pub(in crate::pipeline) names: NamesReader,
    closes: Option<ClosesSender>,
    /// Unix time less `CLOCK_MONOTONIC`, and the time of that comparison.
    wall: (u64, Option<Instant>),
}

impl Default for Inbox {
    /// An inbox without a dissector.
    fn default() -> Self {
        Self {
            from: never(),
            back: None,
            current: None,
            waiting: VecDeque::new(),
            misses: Expiring::new(MISS_TTL_NS, MAX_MISSES),
            names: NamesReader::default(),
            closes: None,
            wall: (0, None),
        }
    }
}

/// State of one turn of the reader.
pub(in crate::pipeline) struct Turn<'a> {
    pub(in crate::pipeline) deferred: &'a DeferredFlows,
    pub(in crate::pipeline) counters: &'a Counters,
    pub(in crate::pipeline) spare: &'a mut Vec<Extra>,
    pub(in crate::pipeline) now: Instant,
    /// True at the last turn: no flow waits any longer.
    pub(in crate::pipeline) last: bool,
}

impl Inbox {
    /// Both ends of the way from the dissector; the wakers are those of both threads.
    pub fn channel(reader: Waker, dissector: Waker) -> (Outbox, NamesWriter, Self) {
        let (closes, receiver) = closes::channel();
        let (outbox, from, back) = Outbox::new(reader.clone(), receiver);
        let (writer, names) = dns_names::channel(reader, dissector);
        (outbox, writer, Self { from, back: Some(back), names, closes: Some(closes), ..Self::default() })
    }

    /// Sends the close that a flow of packets stands for to the dissector.
    #[inline]
    pub(in crate::pipeline) fn see(&self, flow: &Flow) {
        if let Some(closes) = &self.closes {
            closes.send(flow);
        }
    }

    /// True if nothing waits here.
    pub(in crate::pipeline) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none() && self.from.is_empty() && self.names.is_idle()
    }

    /// Maximal sleep of the reader.
    pub(in crate::pipeline) fn poll_timeout(&self, turn: Duration) -> Duration {
        let waits = !self.waiting.is_empty() || self.current.is_some() || !self.names.is_idle();
        if waits { turn.min(WAITING_POLL_INTERVAL) } else { turn }
    }

    /// Puts into the batch what has room and does not wait.
    pub(in crate::pipeline) fn turn(&mut self, room: &mut Batch, mut turn: Turn<'_>) {
        for _ in 0..self.waiting.len() {
            if room.flows.len() >= BATCH {
                return;
            }
            let Some((flow, mut extra, since)) = self.waiting.pop_front() else { return };
            self.place(flow, &mut extra, since, room, &mut turn);
        }
        while room.flows.len() < BATCH {
            let Some((mut messages, mut at)) =
                self.current.take().or_else(|| self.from.try_recv().ok().map(|messages| (messages, 0)))
            else {
                return;
            };
            while let Some((flow, extra)) = messages.rows().get_mut(at).filter(|_| room.flows.len() < BATCH) {
                turn.counters.messages.fetch_add(1, Relaxed);
                let (flow, now) = (*flow, turn.now);
                self.place(flow, extra, now, room, &mut turn);
                at += 1;
            }
            if at < messages.len() {
                self.current = Some((messages, at));
            } else if let Some(back) = &self.back {
                // The dissector may be gone.
                let _dropped = back.try_send(messages);
            }
        }
    }

    /// Names a flow and puts it into the batch, or has it wait. Its extra is taken, and a spare row
    /// left in its place.
    fn place(&mut self, mut flow: Flow, extra: &mut Extra, since: Instant, room: &mut Batch, turn: &mut Turn<'_>) {
        let waited = turn.now.saturating_duration_since(since);
        let settled = settle(&mut flow, &room.index, turn.deferred, waited, &mut self.misses);
        let mut row = turn.spare.pop().unwrap_or_default();
        std::mem::swap(&mut row, extra);
        if !settled && !turn.last && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((flow, row, since));
            return;
        }
        flow.point = Point::default();
        flow.time_ns = flow.time_ns.saturating_add(self.wall_offset(turn.now));
        flow.extra = ExtraId(u32::try_from(room.extras.len()).unwrap_or(u32::MAX));
        room.extras.push(row);
        room.flows.push(flow);
    }

    /// Layer 7 has the wall clock's time, which exemplars carry.
    fn wall_offset(&mut self, now: Instant) -> u64 {
        if self.wall.1.is_none_or(|looked| now.saturating_duration_since(looked) > CLOCKS_INTERVAL) {
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let unix = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
            self.wall = (unix.saturating_sub(now_ns()), Some(now));
        }
        self.wall.0
    }
}

/// Names both ends. False if that is worth another try later. An address that was waited for in
/// vain is not waited for again for a while.
fn settle(
    flow: &mut Flow,
    index: &Index,
    deferred: &DeferredFlows,
    waited: Duration,
    misses: &mut Expiring<Address, ()>,
) -> bool {
    name(flow, index);
    if is_unnamed(flow) && index.awaits_names() {
        let now = now_ns();
        misses.expire(now);
        if !unnamed_ends(flow).all(|address| misses.get(&address).is_some()) {
            if waited < NAME_TIMEOUT {
                return false;
            }
            unnamed_ends(flow).for_each(|address| _ = misses.insert(address, (), now));
        }
    }
    !flow.source.any_front(flow.destination) || deferred.translate(flow, index) || waited >= TRANSLATION_TIMEOUT
}

#[cfg(test)]
mod tests {
    use webb_flow::Address;
    use webb_flow::clock::Clock;
    use webb_index::{Draft, PodChanges};

    use super::*;
    use crate::pipeline::deferred_flows::Translations;

    /// A flow waits for a name only where names come from somewhere, not for ever, and not for one
    /// that was waited for in vain.
    #[test]
    fn names_are_waited_for_where_they_come_from_somewhere() {
        let deferred = DeferredFlows::new(Translations::default(), Clock::default());
        let pod = Address::from("10.244.1.7".parse::<std::net::IpAddr>().unwrap());
        let mut misses = Expiring::new(MISS_TTL_NS, MAX_MISSES);
        for (sourced, waited, settled) in [
            (false, Duration::ZERO, true),
            (true, Duration::ZERO, false),
            (true, NAME_TIMEOUT, true),
            (true, Duration::ZERO, true),
        ] {
            let mut draft = Draft::default();
            draft.set_networks(&["10.244.0.0/16".parse().unwrap()]);
            draft.set_sourced(sourced);
            let index = draft.publish(0, PodChanges::default());
            let mut flow = Flow { source_ip: pod, destination_ip: pod, ..Flow::default() };
            assert_eq!(settle(&mut flow, &index, &deferred, waited, &mut misses), settled, "{sourced} {waited:?}");
            assert!(is_unnamed(&flow));
        }
    }
}
