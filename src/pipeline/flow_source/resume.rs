//! Where a new connection goes on, and which of its first responses were counted before.
//!
//! A server begins where it is asked to by time, and its flows are not quite in the order of time.
//! So the request reaches back behind the last flow, and what was counted already is recognised by
//! its id. If the first new flow comes without a known one before it, the server no longer has the
//! last flow: then there is a gap.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use webb_flow::hash::RandomState;

/// Flows that are remembered: as many as the largest history of Cilium's agent has. 1 MiB.
const MAX_REMEMBERED: usize = 1 << 16;

/// Time by which the request reaches back behind the last flow: by so much may a flow be late.
const REACH_NS: u64 = 1_000_000_000;

/// A flow, or another response, by its id.
#[derive(Debug, Clone, Copy)]
struct Known {
    id: u64,
    time_ns: u64,
}

/// The flows that were counted last.
#[derive(Debug)]
pub(super) struct Resume {
    /// Nothing is asked for from before this time.
    earliest_ns: u64,
    any: bool,
    recent: VecDeque<Known>,
    /// What may come again, and how often; empty unless a connection has begun.
    replayed: HashMap<u64, u32, RandomState>,
    /// Time of the last flow of the connection before.
    last_ns: u64,
    /// No flow of the connection was known so far, and one must be.
    expected: bool,
}

/// The id of a flow: of its uuid, or of all of it.
pub(super) fn id_of(bytes: &[u8]) -> u64 {
    static IDS: std::sync::LazyLock<RandomState> = std::sync::LazyLock::new(RandomState::default);
    IDS.hash_one(bytes)
}

impl Resume {
    /// The first connection asks for flows from `since_ns` on.
    pub(super) fn new(since_ns: u64) -> Self {
        Self {
            earliest_ns: since_ns,
            any: false,
            recent: VecDeque::new(),
            replayed: HashMap::default(),
            last_ns: 0,
            expected: false,
        }
    }

    /// Begins a connection: returns the time from which flows are to be asked for.
    pub(super) fn begin(&mut self) -> u64 {
        let Some(last) = self.recent.back().map(|last| last.time_ns) else { return self.earliest_ns };
        let mut since_ns = last.saturating_sub(REACH_NS).max(self.earliest_ns);
        if self.recent.len() == MAX_REMEMBERED
            && let Some(first) = self.recent.front()
        {
            // What is older is not known any more.
            since_ns = since_ns.max(first.time_ns.saturating_add(1)).min(last);
        }
        self.replayed.clear();
        for known in &self.recent {
            *self.replayed.entry(known.id).or_default() += 1;
        }
        self.last_ns = last;
        self.expected = true;
        since_ns
    }

    /// Nothing is expected of the connection: that flows are missing is known already.
    pub(super) fn expect_nothing(&mut self) {
        self.expected = false;
    }

    /// Asks for flows from now on only.
    pub(super) fn skip_to(&mut self, now_ns: u64) {
        self.recent.clear();
        self.earliest_ns = now_ns;
        // The times of the flows may be others than this machine's.
        self.any = false;
    }

    /// True if a response may be one that was counted before.
    #[inline]
    pub(super) fn is_replaying(&self) -> bool {
        !self.replayed.is_empty()
    }

    /// True if what has this id was counted before the connection began, and has not come again.
    pub(super) fn was_counted(&mut self, id: u64) -> bool {
        let Some(count) = self.replayed.get_mut(&id) else { return false };
        *count -= 1;
        if *count == 0 {
            self.replayed.remove(&id);
        }
        self.expected = false;
        true
    }

    /// True, once, if a flow that is new shows that others are missing before it.
    #[inline]
    pub(super) fn is_gap(&mut self, time_ns: u64) -> bool {
        let gap = self.expected && time_ns > self.last_ns;
        self.expected &= !gap;
        gap
    }

    /// Remembers a flow that was counted.
    #[inline]
    pub(super) fn counted(&mut self, id: u64, time_ns: u64) {
        if !self.any {
            (self.any, self.earliest_ns) = (true, time_ns);
        }
        if !self.replayed.is_empty() && time_ns > self.last_ns.saturating_add(REACH_NS) {
            self.replayed = HashMap::default();
        }
        self.remember(Known { id, time_ns });
    }

    /// Remembers a response that is no flow.
    pub(super) fn passed(&mut self, id: u64) {
        let time_ns = self.recent.back().map_or(self.earliest_ns, |last| last.time_ns);
        self.remember(Known { id, time_ns });
    }

    /// Passes over a response when it comes again.
    pub(super) fn pass_over(&mut self, response: &[u8]) {
        self.passed(id_of(response));
    }

    #[inline]
    fn remember(&mut self, known: Known) {
        if self.recent.len() == MAX_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Flows of these numbers, a tenth of a second apart, come; those that are new are returned.
    fn receive(resume: &mut Resume, numbers: impl IntoIterator<Item = u64>) -> (Vec<u64>, bool) {
        let (mut new, mut gap) = (Vec::new(), false);
        for number in numbers {
            if resume.is_replaying() && resume.was_counted(number) {
                continue;
            }
            let time_ns = 100 * SECOND + number * SECOND / 10;
            gap |= resume.is_gap(time_ns);
            resume.counted(number, time_ns);
            new.push(number);
        }
        (new, gap)
    }

    /// What is sent again is recognised, and nothing is missing.
    #[test]
    fn flows_are_counted_once() {
        let mut resume = Resume::new(100 * SECOND);
        assert_eq!(resume.begin(), 100 * SECOND);
        assert_eq!(receive(&mut resume, 0..50), ((0..50).collect(), false));
        // The last flow is of 104.9 s.
        assert_eq!(resume.begin(), 103_900_000_000);
        assert_eq!(receive(&mut resume, 39..60), ((50..60).collect(), false));
        // From its time on nothing can come again.
        assert!(resume.is_replaying());
        assert_eq!(receive(&mut resume, [60]), (vec![60], false));
        assert!(!resume.is_replaying());
        // One that came late, before the last.
        resume.begin();
        assert_eq!(receive(&mut resume, [59, 61, 60]), (vec![61], false));
    }

    /// Without any flow that is known there is a gap, once; not if it is known otherwise, or if
    /// nothing was received before.
    #[test]
    fn gaps() {
        let mut resume = Resume::new(100 * SECOND);
        resume.begin();
        receive(&mut resume, 0..50);
        resume.begin();
        assert_eq!(receive(&mut resume, 70..80), ((70..80).collect(), true));
        assert!(!resume.is_gap(u64::MAX));
        resume.begin();
        resume.expect_nothing();
        assert_eq!(receive(&mut resume, 90..92), (vec![90, 91], false));
    }

    /// Responses that are the same in every byte are as many as there were.
    #[test]
    fn equal_flows_are_counted_as_often_as_they_came() {
        let mut resume = Resume::new(0);
        receive(&mut resume, [7, 7, 7]);
        resume.begin();
        assert_eq!(receive(&mut resume, [7, 7, 7, 7, 8]), (vec![7, 8], false));
    }

    /// The memory is bounded, and what it does not reach is not asked for.
    #[test]
    fn the_memory_is_bounded() {
        let mut resume = Resume::new(0);
        for number in 0..3 * MAX_REMEMBERED as u64 {
            resume.counted(number, SECOND + number);
        }
        assert_eq!(resume.recent.len(), MAX_REMEMBERED);
        assert_eq!(resume.begin(), SECOND + 2 * MAX_REMEMBERED as u64 + 1);
        resume.skip_to(5);
        assert_eq!(resume.begin(), 5);
    }
}
