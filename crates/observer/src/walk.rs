//! The events that answer a request: the place in the history where the answer begins, and the
//! walk from there on.

use std::sync::Arc;

use webb_index::filters::Filters;

use crate::history::{Cut, History};
use crate::segment::{Event, OtherSort, Segment};

/// Events that are looked at before other work gets its turn.
const EVENTS_A_TURN: usize = 8192;

/// The same with expressions, each of which may take some microseconds.
const EVENTS_OF_EXPRESSIONS_A_TURN: usize = 256;

/// The kind of events that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Flows,
    Agent,
    Debug,
}

/// The limits of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) wanted: Wanted,
    /// Events to send, or those of the past to begin with when following; 0 is all.
    pub(crate) number: u64,
    pub(crate) first: bool,
    pub(crate) follow: bool,
    /// Unix time in nanoseconds.
    pub(crate) since_ns: Option<u64>,
    pub(crate) until_ns: Option<u64>,
}

/// A step of the walk.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event to send: its segment and its place there.
    Event(Arc<Segment>, usize),
    /// Events that were gone before they could be read.
    Lost(u64),
    /// Many events were looked at, none of them to be sent; call again.
    Turn,
    /// Nothing more until the history grows.
    Wait,
    /// The answer is complete.
    End,
}

/// A walk through the history for one request.
#[derive(Debug)]
pub(crate) struct Walk {
    filters: Filters,
    limits: Limits,
    /// Number of the event to look at next.
    next: u64,
    /// Where the walk ends, unless it follows.
    end: u64,
    left: Option<u64>,
    /// Events of a turn.
    turn: usize,
    /// Segments at hand, the next event's last: they are taken off the end.
    at_hand: Vec<(u64, Arc<Segment>)>,
    generation: u64,
}

impl Walk {
    /// Finds the place where the answer to a request begins.
    pub(crate) fn new(history: &History, filters: Filters, limits: Limits) -> Self {
        let all = history.all();
        let mut walk = Self {
            turn: if filters.have_expressions() { EVENTS_OF_EXPRESSIONS_A_TURN } else { EVENTS_A_TURN },
            filters,
            next: all.oldest,
            end: all.next,
            left: (!limits.follow && limits.number > 0).then_some(limits.number),
            at_hand: Vec::new(),
            generation: 0,
            limits,
        };
        walk.next = walk.start(&all);
        walk
    }

    fn start(&mut self, all: &Cut) -> u64 {
        let Limits { number, first, follow, since_ns, .. } = self.limits;
        match since_ns {
            None if first => return all.oldest,
            None if follow && number == 0 => return all.next,
            None if number == 0 => return all.oldest,
            _ => {}
        }
        let mut counted = 0;
        for (first, segment) in all.segments.iter().rev() {
            self.meet(segment);
            for (number_of_event, event) in
                segment.events.iter().enumerate().rev().map(|(at, event)| (first + at as u64, event))
            {
                if number_of_event < all.oldest {
                    return all.oldest;
                }
                if !self.matches(segment, event) {
                    continue;
                }
                match since_ns {
                    Some(since_ns) if segment.time_ns(event) < since_ns => return number_of_event + 1,
                    Some(_) => {}
                    None => {
                        counted += 1;
                        if counted == number {
                            return number_of_event;
                        }
                    }
                }
            }
        }
        all.oldest
    }

    /// Number of the event that the walk looks at next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The next step.
    pub(crate) fn step(&mut self, history: &History) -> Step {
        if self.left == Some(0) {
            return Step::End;
        }
        for _ in 0..self.turn {
            if !self.limits.follow && self.next >= self.end {
                return Step::End;
            }
            let Some((first, segment)) = self.at_hand.last() else {
                match self.refill(history) {
                    Some(step) => return step,
                    None => continue,
                }
            };
            let place = usize::try_from(self.next.saturating_sub(*first)).unwrap_or(usize::MAX);
            let Some(event) = segment.events.get(place) else {
                self.at_hand.pop();
                self.enter();
                continue;
            };
            let is_lost = is_lost(segment, event);
            if self.limits.until_ns.is_some_and(|until_ns| !is_lost && segment.time_ns(event) > until_ns) {
                self.left = Some(0);
                return Step::End;
            }
            let is_sent = if is_lost { self.limits.wanted == Wanted::Flows } else { self.matches(segment, event) };
            let sent = is_sent.then(|| Arc::clone(segment));
            self.next += 1;
            if let Some(segment) = sent {
                if let Some(left) = self.left.as_mut().filter(|_| !is_lost) {
                    *left -= 1;
                }
                return Step::Event(segment, place);
            }
        }
        Step::Turn
    }

    /// Takes the next segments from the history.
    fn refill(&mut self, history: &History) -> Option<Step> {
        let cut = history.read(self.next);
        // What is gone behind the end of the answer is no loss of it.
        let oldest = if self.limits.follow { cut.oldest } else { cut.oldest.min(self.end) };
        let lost = oldest.saturating_sub(self.next);
        self.next += lost;
        self.at_hand = cut.segments;
        self.at_hand.reverse();
        // The first may lie before the oldest event that counts.
        while self.at_hand.last().is_some_and(|(first, segment)| first + segment.events.len() as u64 <= self.next) {
            self.at_hand.pop();
        }
        self.enter();
        if lost > 0 {
            return Some(Step::Lost(lost));
        }
        self.at_hand.is_empty().then_some(if self.limits.follow { Step::Wait } else { Step::End })
    }

    /// Prepares for the segment at hand.
    fn enter(&mut self) {
        if let Some((_, segment)) = self.at_hand.last().cloned() {
            self.meet(&segment);
        }
    }

    /// Clears what filters remember of names, if this segment's names may be others'.
    fn meet(&mut self, segment: &Segment) {
        let generation = segment.index.generation();
        if generation != self.generation {
            self.generation = generation;
            self.filters.clear_caches();
        }
    }

    fn matches(&self, segment: &Segment, event: &Event) -> bool {
        match (self.limits.wanted, event) {
            (Wanted::Flows, Event::Flow(flow)) => self.filters.pass(flow, segment.extra(flow), &segment.index),
            (Wanted::Agent, Event::Other(row)) => sort(segment, *row) == Some(OtherSort::Agent),
            (Wanted::Debug, Event::Other(row)) => sort(segment, *row) == Some(OtherSort::Debug),
            _ => false,
        }
    }
}

fn sort(segment: &Segment, row: u32) -> Option<OtherSort> {
    segment.other(row).map(|other| other.sort)
}

fn is_lost(segment: &Segment, event: &Event) -> bool {
    matches!(event, Event::Other(row) if sort(segment, *row) == Some(OtherSort::Lost))
}
