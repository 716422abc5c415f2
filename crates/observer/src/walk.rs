//! The events that answer a request: the place in the history where the answer begins, and the
//! walk from there on.

use std::sync::Arc;

use webb_flow::{Flow, sym};
use webb_index::filters::{Filters, OtherEvent};

use crate::choice::{Choice, Chosen};
use crate::details::Details;
use crate::history::History;
use crate::segment::{Event, Other, OtherSort, Segment};
use crate::wire;

/// Events that are looked at before other work gets its turn.
const EVENTS_A_TURN: usize = 8192;

/// The same with expressions, each of which may take some microseconds, a costly list of them a
/// millisecond.
const EVENTS_OF_EXPRESSIONS_A_TURN: usize = 16;

/// `event_type.type` of agent and debug events.
const AGENT_EVENT: i32 = 130;
const DEBUG_EVENT: i32 = 2;

/// The kind of events that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Flows,
    Agent,
    Debug,
    /// Events of every kind that the filters select.
    All,
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
    /// Events of the time that was asked for are gone, the newest of them at this Unix time in
    /// nanoseconds.
    Gone(u64),
    /// Events that were gone before they could be read.
    Lost(u64),
    /// Many events were looked at, none of them to be sent; call again.
    Turn,
    /// Nothing more until the history grows.
    Wait,
    /// Nothing at all, but the answer goes on.
    Never,
    /// The answer is complete.
    End,
}

/// A walk through the history for one request.
#[derive(Debug)]
pub(crate) struct Walk {
    filters: Filters,
    /// What is sent beside what the filters include; without it they alone decide.
    choice: Option<Choice>,
    /// The last event was sent as part of a sample.
    is_sampled: bool,
    limits: Limits,
    /// For filters that read them.
    details: Option<Details>,
    /// The search for the beginning; none once it is found.
    search: Option<Search>,
    /// No event can match: the filters want flows of other nodes alone.
    is_elsewhere: bool,
    /// Number of the event to look at next.
    next: u64,
    /// The walk begins with the oldest event, whichever that is then.
    is_at_oldest: bool,
    /// Where the walk ends, unless it follows.
    end: u64,
    left: Option<u64>,
    /// Events of a turn.
    turn: usize,
    /// Segments at hand, the next event's last: they are taken off the end. While the beginning is
    /// searched, the event's before it.
    at_hand: Vec<(u64, Arc<Segment>)>,
    /// The node's labels that the filters know.
    node_labels: Option<Arc<[String]>>,
    /// Names that were dropped when the filters last forgot theirs.
    dropped_names: u64,
}

/// The search for the event that an answer begins with, back from the newest.
#[derive(Debug)]
struct Search {
    /// Number of the event behind the one to look at next.
    before: u64,
    /// Events that count so far.
    counted: u64,
}

impl Walk {
    /// A walk that has not begun. `seed` is the number of this run in the flows' ids.
    pub(crate) fn new(history: &History, filters: Filters, limits: Limits, seed: u64) -> Self {
        let all = history.read(u64::MAX);
        let Limits { number, first, follow, since_ns, .. } = limits;
        let is_new = since_ns.is_none() && !first && follow && number == 0;
        let is_whole = since_ns.is_none() && !is_new && (first || number == 0);
        let search = (!is_new && !is_whole).then_some(Search { before: all.next, counted: 0 });
        Self {
            details: filters.read_details().then(|| Details::new(seed)),
            is_elsewhere: filters.want_other_nodes() && history.is_of_this_node(),
            turn: turn(&filters),
            filters,
            choice: None,
            is_sampled: false,
            search,
            next: if is_new { all.next } else { all.oldest },
            is_at_oldest: is_whole,
            end: all.next,
            left: (!follow && number > 0).then_some(number),
            at_hand: Vec::new(),
            node_labels: None,
            dropped_names: sym::dropped(),
            limits,
        }
    }

    /// A walk that has no end, from event `next` on, over all that the filters select.
    pub(crate) fn follow(filters: Filters, next: u64, seed: u64) -> Self {
        let limits =
            Limits { wanted: Wanted::All, number: 0, first: false, follow: true, since_ns: None, until_ns: None };
        Self {
            details: filters.read_details().then(|| Details::new(seed)),
            turn: turn(&filters),
            filters,
            choice: None,
            is_sampled: false,
            limits,
            search: None,
            is_elsewhere: false,
            next,
            is_at_oldest: false,
            end: next,
            left: None,
            at_hand: Vec::new(),
            node_labels: None,
            dropped_names: sym::dropped(),
        }
    }

    /// The same over the flows that a choice sends.
    pub(crate) fn choose(filters: Filters, choice: Choice, next: u64, seed: u64) -> Self {
        Self { choice: Some(choice), ..Self::follow(filters, next, seed) }
    }

    /// True if the last event was sent as part of a sample.
    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Passes an event over.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    /// Drops the segments at hand, which a slow reader would keep alive.
    pub(crate) fn let_go(&mut self) {
        self.at_hand.clear();
    }

    /// Searches the beginning for a turn. True once it is found.
    fn search(&mut self, history: &History, mut search: Search) -> bool {
        let Limits { number, since_ns, .. } = self.limits;
        for _ in 0..self.turn {
            while self.at_hand.last().is_some_and(|(first, _)| *first >= search.before) {
                self.at_hand.pop();
                self.enter();
            }
            if self.at_hand.is_empty() {
                let cut = history.read_back(search.before);
                // Events that went meanwhile are not missed: they are older than those in sight.
                self.next = cut.oldest.min(search.before);
                self.at_hand = cut.segments;
                self.enter();
            }
            let Some((first, segment)) = self.at_hand.last().filter(|_| search.before > self.next) else {
                self.is_at_oldest = true;
                return true;
            };
            search.before -= 1;
            let place = usize::try_from(search.before - first).unwrap_or(usize::MAX);
            let matches =
                |event: &&Event| matches(&self.filters, self.limits.wanted, &mut self.details, segment, place, event);
            let Some(event) = segment.events.get(place).filter(matches) else { continue };
            match since_ns {
                Some(since_ns) if segment.time_ns(event) < since_ns => {
                    self.next = search.before + 1;
                    return true;
                }
                Some(_) => {}
                None => {
                    search.counted += 1;
                    if search.counted == number {
                        self.next = search.before;
                        return true;
                    }
                }
            }
        }
        self.search = Some(search);
        false
    }

    /// The newest event of the time that was asked for which is gone, if there is one.
    fn gone(&self, history: &History) -> Option<Step> {
        let since_ns = self.limits.since_ns?;
        let is_until = |gone_ns: &u64| self.limits.until_ns.is_none_or(|until_ns| since_ns <= until_ns.min(*gone_ns));
        history.gone_ns().filter(|gone_ns| *gone_ns >= since_ns).filter(is_until).map(Step::Gone)
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
        if self.is_elsewhere {
            return if self.limits.follow { Step::Never } else { Step::End };
        }
        if let Some(search) = self.search.take() {
            if !self.search(history, search) {
                return Step::Turn;
            }
            self.at_hand.clear();
            if let Some(gone) = self.gone(history) {
                return gone;
            }
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
            let is_lost = self.limits.wanted != Wanted::All && is_lost(segment, event);
            if self.limits.until_ns.is_some_and(|until_ns| !is_lost && segment.time_ns(event) > until_ns) {
                self.left = Some(0);
                return Step::End;
            }
            let is_sent = match (self.choice, event) {
                _ if is_lost => self.limits.wanted == Wanted::Flows,
                (Some(choice), Event::Flow(flow)) => {
                    let chosen = choose(choice, &self.filters, &mut self.details, segment, place, flow);
                    self.is_sampled = chosen == Chosen::Sampled;
                    chosen != Chosen::No
                }
                (Some(_), Event::Other(_)) => false,
                (None, _) => matches(&self.filters, self.limits.wanted, &mut self.details, segment, place, event),
            };
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
        let gone = oldest.saturating_sub(self.next);
        self.next += gone;
        let lost = if std::mem::take(&mut self.is_at_oldest) { 0 } else { gone };
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
        if let Some((_, segment)) = self.at_hand.last()
            && !self.node_labels.as_ref().is_some_and(|known| Arc::ptr_eq(known, &segment.node_labels))
        {
            self.filters.set_local_node_labels(&segment.node_labels);
            self.node_labels = Some(Arc::clone(&segment.node_labels));
        }
        // What filters remember of names is forgotten once a symbol may mean another.
        let dropped = sym::dropped();
        if dropped != self.dropped_names {
            self.dropped_names = dropped;
            self.filters.clear_caches();
        }
    }
}

/// True if the event in a place of a segment is wanted, and passes the filters.
fn matches(
    filters: &Filters,
    wanted: Wanted,
    details: &mut Option<Details>,
    segment: &Segment,
    place: usize,
    event: &Event,
) -> bool {
    match (wanted, event) {
        (Wanted::Flows | Wanted::All, Event::Flow(flow)) => match details {
            Some(details) if segment.encoded.is_empty() => {
                let extra = details.extra(segment, place, flow);
                filters.pass(flow, Some(&extra), &segment.index)
            }
            _ => filters.pass(flow, segment.extra(flow), &segment.index),
        },
        (Wanted::Agent, Event::Other(row)) => sort(segment, *row) == Some(OtherSort::Agent),
        (Wanted::Debug, Event::Other(row)) => sort(segment, *row) == Some(OtherSort::Debug),
        (Wanted::All, Event::Other(row)) => {
            segment.other(*row).is_some_and(|other| filters.pass_other(seen_by_filters(other)))
        }
        _ => false,
    }
}

/// What a choice makes of the flow in a place of a segment.
fn choose(
    choice: Choice,
    filters: &Filters,
    details: &mut Option<Details>,
    segment: &Segment,
    place: usize,
    flow: &Flow,
) -> Chosen {
    match details {
        Some(details) if segment.encoded.is_empty() => {
            let extra = details.extra(segment, place, flow);
            choice.of(filters, flow, Some(&extra), &segment.index)
        }
        _ => choice.of(filters, flow, segment.extra(flow), &segment.index),
    }
}

/// Events of a turn.
fn turn(filters: &Filters) -> usize {
    if filters.have_expressions() { EVENTS_OF_EXPRESSIONS_A_TURN } else { EVENTS_A_TURN }
}

/// The type of an event that is no flow: its own number is the first field of each.
fn seen_by_filters(other: &Other) -> OtherEvent {
    let own = wire::fields(&other.message).find(|field| field.number == 1).map_or(0, |field| field.value.number());
    let own = i32::try_from(own).unwrap_or(0);
    match other.sort {
        OtherSort::Lost => OtherEvent::Lost,
        OtherSort::Agent => OtherEvent::Typed(AGENT_EVENT, own),
        OtherSort::Debug => OtherEvent::Typed(DEBUG_EVENT, own),
    }
}

fn sort(segment: &Segment, row: u32) -> Option<OtherSort> {
    segment.other(row).map(|other| other.sort)
}

fn is_lost(segment: &Segment, event: &Event) -> bool {
    matches!(event, Event::Other(row) if sort(segment, *row) == Some(OtherSort::Lost))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use webb_flow::Event as FlowEvent;
    use webb_index::filters::RegexBudget;
    use webb_index::{Flows, Index};

    use super::*;
    use crate::encode::Encoder;
    use crate::filter;
    use crate::proto::flow as api;
    use crate::record::Recorder;

    /// Flows carry the labels that the node had when they came, and are found by them.
    #[test]
    fn labels_of_the_node() {
        let (history, mut recorder) = (History::new(100), Recorder::default());
        let index = Arc::new(Index::default());
        for (time_ns, zone) in [(1, None), (2, Some("zone=a")), (3, Some("zone=a")), (4, Some("zone=b"))] {
            recorder.set_node_labels(zone.map(str::to_owned).into_iter().collect());
            let flows = [Flow { time_ns, event: FlowEvent::Trace, ..Flow::default() }];
            recorder.record(&history, Flows { flows: &flows, extras: &[], index: &index }, 0, 0);
        }
        let expression =
            Some(api::flow_filter::Experimental { cel_expression: vec!["'zone=a' in _flow.node_labels".into()] });
        let by_label = api::FlowFilter { node_labels: vec!["zone=a".into()], ..api::FlowFilter::default() };
        let by_expression = api::FlowFilter { experimental: expression, ..api::FlowFilter::default() };
        for filter in [by_label, by_expression] {
            let filters = filter::compile(vec![filter], Vec::new(), &RegexBudget::default()).unwrap();
            let limits = Limits {
                wanted: Wanted::Flows,
                number: 0,
                first: false,
                follow: false,
                since_ns: None,
                until_ns: None,
            };
            let mut walk = Walk::new(&history, filters, limits, 7);
            let mut encoder = Encoder::new("here".into(), "1".into(), 7);
            let mut found = Vec::new();
            while let Step::Event(segment, place) = walk.step(&history) {
                let flow = api::Flow::decode(encoder.encoded(&segment, place)).unwrap();
                assert_eq!(flow.node_labels, ["zone=a"]);
                found.push(flow.time.unwrap().nanos);
            }
            assert_eq!(found, [2, 3]);
        }
    }
}
