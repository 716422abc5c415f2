//! The last events of this node, in segments: oldest out first, each reader at its own pace.
//!
//! A writer hands over a whole segment under a lock that no event waits for; a reader takes a few
//! segments at a time under the same lock and reads them without it. A reader that falls behind
//! the oldest event continues there, and knows exactly how many it missed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use webb_flow::sym::Sym;

use crate::namespaces::{self, Namespaces};
use crate::segment::Segment;

/// The most events that a history may be asked to keep.
pub const MAX_EVENTS: usize = 1 << 20;

/// Segments that a reader takes at a time: what it keeps alive while it is slow.
const SEGMENTS_AT_A_TIME: usize = 8;

/// The last events.
#[derive(Debug)]
pub struct History {
    ring: Mutex<Ring>,
    /// Events so far; readers wait for it to change.
    written: watch::Sender<u64>,
    missed: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    segments: VecDeque<Held>,
    limit: u64,
    /// Number of the next event.
    next: u64,
    /// Number of the first event that is not too old.
    recent: u64,
    /// Time of the last event of the segments that are gone, Unix time in nanoseconds.
    gone_ns: Option<u64>,
    flows: u64,
    bytes: u64,
    /// Another program wrote some of the flows.
    has_others: bool,
    namespaces: Namespaces,
}

#[derive(Debug)]
struct Held {
    /// Number of the first event.
    first: u64,
    segment: Arc<Segment>,
    bytes: u64,
}

/// Segments from some event on, each with the number of its first event.
#[derive(Debug, Clone, Default)]
pub struct Cut {
    /// The segments, oldest first.
    pub segments: Vec<(u64, Arc<Segment>)>,
    /// Number of the oldest event that can still be read.
    pub oldest: u64,
    /// Number that the next event will have.
    pub next: u64,
}

/// Totals of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Events that can be read.
    pub held: u64,
    /// Events that can be held.
    pub limit: u64,
    /// Flows ever written.
    pub flows: u64,
}

impl History {
    /// A history of the last `limit` events, at least one and at most [`MAX_EVENTS`].
    pub fn new(limit: usize) -> Self {
        let ring = Ring {
            segments: VecDeque::new(),
            limit: limit.clamp(1, MAX_EVENTS) as u64,
            next: 0,
            recent: 0,
            gone_ns: None,
            flows: 0,
            bytes: 0,
            has_others: false,
            namespaces: Namespaces::default(),
        };
        Self { ring: Mutex::new(ring), written: watch::Sender::new(0), missed: AtomicU64::new(0) }
    }

    /// Appends a segment. `now_ns` is `CLOCK_MONOTONIC`.
    pub fn push(&self, segment: Segment, now_ns: u64) {
        let namespaces = namespaces::of(&segment);
        self.put(segment, 0, &namespaces, now_ns);
    }

    /// Replaces the newest segment by one that has its `known` events and more, of these
    /// namespaces.
    pub(crate) fn extend(&self, segment: Segment, known: usize, namespaces: &[Sym], now_ns: u64) {
        self.put(segment, known, namespaces, now_ns);
    }

    fn put(&self, segment: Segment, known: usize, namespaces: &[Sym], now_ns: u64) {
        if segment.events.len() <= known {
            return;
        }
        let (events, flows) = (segment.events.len() as u64, segment.flows());
        let bytes = segment.bytes() as u64;
        let next = {
            let mut ring = self.ring();
            ring.namespaces.add(namespaces, now_ns);
            ring.has_others |= !segment.encoded.is_empty();
            let replaced = if known == 0 { None } else { ring.segments.pop_back() };
            let first = replaced.as_ref().map_or(ring.next, |held| held.first);
            ring.bytes = ring.bytes + bytes - replaced.as_ref().map_or(0, |held| held.bytes);
            ring.flows = ring.flows + flows - replaced.map_or(0, |held| held.segment.flows());
            ring.next = first + events;
            ring.segments.push_back(Held { first, segment: Arc::new(segment), bytes });
            ring.let_go();
            ring.next
        };
        self.written.send_replace(next);
    }

    /// Lets go of events from before `time_ns`, Unix time in nanoseconds. The segment that is being
    /// written stays, without these.
    pub fn expire(&self, time_ns: u64) {
        let mut ring = self.ring();
        let mut recent = ring.oldest();
        for held in &ring.segments {
            let from = usize::try_from(recent.saturating_sub(held.first)).unwrap_or(usize::MAX);
            let rest = held.segment.events.get(from..).unwrap_or(&[]);
            let old = rest.iter().take_while(|event| held.segment.time_ns(event) < time_ns).count();
            recent += old as u64;
            if old < rest.len() {
                break;
            }
        }
        ring.recent = recent;
        ring.let_go();
    }

    /// All that can be read.
    pub fn all(&self) -> Cut {
        let ring = self.ring();
        ring.cut(0, ring.segments.len())
    }

    /// A few segments, from the one that holds event `from` on, or from the oldest.
    pub fn read(&self, from: u64) -> Cut {
        let ring = self.ring();
        let behind = ring.segments.partition_point(|held| held.first <= from);
        ring.cut(behind.saturating_sub(1), SEGMENTS_AT_A_TIME)
    }

    /// A few segments that end with the one that holds event `before - 1`.
    pub(crate) fn read_back(&self, before: u64) -> Cut {
        let ring = self.ring();
        let behind = ring.segments.partition_point(|held| held.first < before);
        let at = behind.saturating_sub(SEGMENTS_AT_A_TIME);
        ring.cut(at, behind - at)
    }

    /// Time of the newest event that is gone, Unix time in nanoseconds; none before there is one.
    pub(crate) fn gone_ns(&self) -> Option<u64> {
        let ring = self.ring();
        let Some(held) = ring.segments.front() else { return ring.gone_ns };
        let last = usize::try_from(ring.oldest() - held.first).ok().and_then(|gone| gone.checked_sub(1));
        let last = last.and_then(|last| held.segment.events.get(last));
        last.map_or(ring.gone_ns, |event| Some(held.segment.time_ns(event)))
    }

    /// True while all flows were seen on this node.
    pub(crate) fn is_of_this_node(&self) -> bool {
        !self.ring().has_others
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        let ring = self.ring();
        Totals { held: ring.next - ring.oldest(), limit: ring.limit, flows: ring.flows }
    }

    /// Memory of the events and their names, about, in bytes. Reads every name; for scrapes.
    pub fn bytes(&self) -> u64 {
        let ring = self.ring();
        ring.bytes + ring.shared_bytes()
    }

    /// Adds events that were gone before a client could read them.
    pub(crate) fn miss(&self, count: u64) {
        self.missed.fetch_add(count, Relaxed);
    }

    /// Events that were gone before clients could read them: each as often as clients missed it.
    pub fn missed(&self) -> u64 {
        self.missed.load(Relaxed)
    }

    /// The namespaces of the last hour's flows, sorted.
    pub fn namespaces(&self, now_ns: u64) -> Vec<String> {
        self.ring().namespaces.of_the_last_hour(now_ns)
    }

    /// Notices of new events: the number of events so far.
    pub fn notices(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn oldest(&self) -> u64 {
        let kept = self.next.saturating_sub(self.limit).max(self.recent);
        self.segments.front().map_or(self.next, |held| kept.max(held.first))
    }

    /// Memory of indexes and names, each counted once: neighbours share them, and the last of these
    /// has all.
    fn shared_bytes(&self) -> u64 {
        let mut bytes = 0;
        for (at, held) in self.segments.iter().enumerate() {
            let next = self.segments.get(at + 1);
            if !next.is_some_and(|next| held.segment.shares_names(&next.segment)) {
                bytes += held.segment.shared_bytes() as u64;
            }
        }
        bytes
    }

    /// Frees the segments without an event that counts. Never the newest, which may be replaced.
    fn let_go(&mut self) {
        let oldest = self.oldest();
        while self.segments.get(1).is_some_and(|second| second.first <= oldest) {
            let Some(gone) = self.segments.pop_front() else { return };
            self.bytes -= gone.bytes;
            self.gone_ns = gone.segment.events.last().map(|event| gone.segment.time_ns(event)).or(self.gone_ns);
        }
    }

    fn cut(&self, at: usize, count: usize) -> Cut {
        let held = self.segments.iter().skip(at).take(count);
        let segments = held.map(|held| (held.first, Arc::clone(&held.segment))).collect();
        Cut { segments, oldest: self.oldest(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::Flow;

    use super::*;
    use crate::segment::Event;

    fn flows(from: u64, count: u64) -> Segment {
        let flow = |time_ns| Event::Flow(Flow { time_ns, ..Flow::default() });
        Segment { events: (from..from + count).map(flow).collect(), ..Segment::default() }
    }

    /// The limit holds to the event, whatever the size of the segments, and a segment with no event
    /// left is not kept.
    #[test]
    fn oldest_events_go_first() {
        let history = History::new(10);
        let mut written = 0;
        for count in [3, 3, 1, 7, 2, 25, 1, 1] {
            history.push(flows(written, count), 0);
            written += count;
            let all = history.all();
            assert_eq!((all.next, all.oldest), (written, written.saturating_sub(10)));
            let (first, oldest) = all.segments.first().unwrap();
            assert!(first + oldest.events.len() as u64 > all.oldest, "the oldest segment has events that count");
            assert_eq!(history.totals().held, written.min(10));
        }
        assert_eq!(history.totals().flows, written);
    }

    /// A reader finds the segment of its event, or the oldest one, and little more at a time.
    #[test]
    fn readers_find_their_place() {
        let history = History::new(1000);
        for segment in 0..20 {
            history.push(flows(segment * 5, 5), 0);
        }
        let firsts = |from: u64| history.read(from).segments.iter().map(|(first, _)| *first).collect::<Vec<_>>();
        assert_eq!(firsts(0), [0, 5, 10, 15, 20, 25, 30, 35]);
        assert_eq!(firsts(94), [90, 95]);
        assert_eq!(firsts(95), [95]);
        assert_eq!(firsts(100), [95], "the end of the last segment, to be waited at");
        history.push(flows(100, 990), 0);
        assert_eq!(history.read(3).oldest, 90);
        assert_eq!(firsts(3), [90, 95, 100]);
    }

    /// Events that are too old are not read any more, to the event; the time of the newest one that
    /// is gone is known, whether it went by number or by age.
    #[test]
    fn old_events_expire() {
        let history = History::new(1000);
        assert_eq!(history.gone_ns(), None);
        for segment in 0..4 {
            history.push(flows(segment * 5, 5), 0);
        }
        assert_eq!(history.gone_ns(), None, "nothing is gone yet");
        for (before, oldest, gone) in
            [(0, 0, None), (3, 3, Some(2)), (5, 5, Some(4)), (17, 17, Some(16)), (2, 17, Some(16))]
        {
            history.expire(before);
            assert_eq!((history.all().oldest, history.gone_ns()), (oldest, gone), "{before}");
        }
        assert_eq!(history.all().segments.len(), 1);
        history.expire(100);
        assert_eq!((history.totals().held, history.gone_ns()), (0, Some(19)));
        assert_eq!(history.all().segments.len(), 1, "the newest may still be written");
        history.push(flows(100, 7), 0);
        assert_eq!((history.totals().held, history.all().segments.len()), (7, 1));
        let by_number = History::new(4);
        by_number.push(flows(0, 6), 0);
        assert_eq!(by_number.gone_ns(), Some(1));
    }

    /// The bytes are those of the segments that are held, and none stay behind.
    #[test]
    fn bytes_are_those_that_are_held() {
        let history = History::new(100);
        for segment in 0..200 {
            history.push(flows(segment * 10, 10), 0);
        }
        let each = size_of::<Event>() as u64 * 10;
        let bytes = history.bytes();
        assert!((10 * each..20 * each).contains(&bytes), "{bytes}");
    }

    /// The segments before an event, a few at a time, down to the oldest.
    #[test]
    fn readers_go_back() {
        let history = History::new(1000);
        for segment in 0..20 {
            history.push(flows(segment * 5, 5), 0);
        }
        let firsts =
            |before: u64| history.read_back(before).segments.iter().map(|(first, _)| *first).collect::<Vec<_>>();
        assert_eq!(firsts(100), [60, 65, 70, 75, 80, 85, 90, 95]);
        assert_eq!(firsts(60), [20, 25, 30, 35, 40, 45, 50, 55]);
        assert_eq!(firsts(7), [0, 5]);
        assert_eq!(firsts(0), [0; 0]);
    }
}
