//! The last events of this node, in segments: oldest out first, each reader at its own pace.
//!
//! A writer hands over a whole segment under a lock that no event waits for; a reader takes a few
//! segments at a time under the same lock and reads them without it. A reader that falls behind
//! the oldest event continues there, and knows exactly how many it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::namespaces::Namespaces;
use crate::segment::{Event, Segment};

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
}

#[derive(Debug)]
struct Ring {
    segments: VecDeque<(u64, Arc<Segment>)>,
    limit: u64,
    /// Number of the next event.
    next: u64,
    flows: u64,
    namespaces: Namespaces,
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
            flows: 0,
            namespaces: Namespaces::default(),
        };
        Self { ring: Mutex::new(ring), written: watch::Sender::new(0) }
    }

    /// Appends a segment. `now_ns` is `CLOCK_MONOTONIC`.
    pub fn push(&self, segment: Segment, now_ns: u64) {
        self.put(segment, 0, now_ns);
    }

    /// Replaces the newest segment by one that has its `known` events and more.
    pub(crate) fn extend(&self, segment: Segment, known: usize, now_ns: u64) {
        self.put(segment, known, now_ns);
    }

    fn put(&self, segment: Segment, known: usize, now_ns: u64) {
        let news = segment.events.get(known..).unwrap_or(&[]);
        if news.is_empty() {
            return;
        }
        let count = news.len() as u64;
        let flows = news.iter().filter(|event| matches!(event, Event::Flow(_))).count() as u64;
        let next = {
            let mut ring = self.ring();
            ring.namespaces.add(&segment, known, now_ns);
            let first = if known == 0 { None } else { ring.segments.pop_back().map(|(first, _)| first) };
            let first = first.unwrap_or(ring.next);
            ring.next += count;
            ring.flows += flows;
            ring.segments.push_back((first, Arc::new(segment)));
            let oldest = ring.oldest();
            // A segment goes when the last of its events is too old.
            while ring.segments.get(1).is_some_and(|(second, _)| *second <= oldest) {
                ring.segments.pop_front();
            }
            ring.next
        };
        self.written.send_replace(next);
    }

    /// All that can be read.
    pub fn all(&self) -> Cut {
        let ring = self.ring();
        Cut { segments: ring.segments.iter().cloned().collect(), oldest: ring.oldest(), next: ring.next }
    }

    /// A few segments, from the one that holds event `from` on, or from the oldest.
    pub fn read(&self, from: u64) -> Cut {
        let ring = self.ring();
        let behind = ring.segments.partition_point(|(first, _)| *first <= from);
        let segments = ring.segments.range(behind.saturating_sub(1)..).take(SEGMENTS_AT_A_TIME).cloned().collect();
        Cut { segments, oldest: ring.oldest(), next: ring.next }
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        let ring = self.ring();
        Totals { held: ring.next - ring.oldest(), limit: ring.limit, flows: ring.flows }
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
        let kept = self.next.saturating_sub(self.limit);
        self.segments.front().map_or(self.next, |(first, _)| kept.max(*first))
    }
}

#[cfg(test)]
mod tests {
    use webb_flow::Flow;

    use super::*;

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
}
