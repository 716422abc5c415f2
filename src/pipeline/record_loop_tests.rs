//! Attempts to connect that failed, beside the flows that they are no part of.

use webb_flow::fault::Components;
use webb_flow::{ConnectionEvent, Event, Flow, Verdict};

use super::*;
use crate::pipeline::Consumer;
use crate::pipeline::lane::DEPTH;

/// A history and its lane, which nothing empties.
fn state() -> (HistoryState, Receiver<Item>) {
    let (lane, items) = Lane::to(Consumer::History, Components::default().component("unused"));
    (HistoryState::new(Arc::new(History::new(4095)), Arc::new(lane), "node".to_owned(), None), items)
}

/// Three flows, two attempts that failed, and one that did not.
fn batch() -> Arc<Batch> {
    let flow = Flow { event: Event::Trace, verdict: Verdict::Forwarded, ..Flow::default() };
    let of = |event| flow.connection(event, 0);
    let [refused, lost, accepted] =
        [ConnectionEvent::Refused, ConnectionEvent::TimedOut, ConnectionEvent::Accepted].map(of);
    let flows = vec![flow, refused, flow, accepted, lost, flow];
    Arc::new(Batch { index: Arc::default(), flows, extras: Vec::new() })
}

fn totals(state: &HistoryState) -> [u64; 2] {
    [state.history(), state.failures()].map(|history| history.totals().flows)
}

/// Attempts are kept apart from flows, while they are wanted: what the history of flows holds and
/// counts is the same with and without them.
#[test]
fn failures_are_kept_while_they_are_wanted() {
    let (state, _items) = state();
    let work = &mut Work::default();
    state.copy(work, &batch());
    assert_eq!((totals(&state), state.recorded(), state.recorded_failures()), ([3, 0], 3, 0));
    state.lane().want_failures(true);
    state.copy(work, &batch());
    assert_eq!((totals(&state), state.recorded(), state.recorded_failures()), ([6, 2], 6, 2));
    assert_eq!((state.history().totals().held, state.failures().totals().held), (6, 2));
    state.lane().want_failures(false);
    state.copy(work, &batch());
    assert_eq!((totals(&state), state.recorded_failures()), ([9, 2], 2));
}

/// What the lane has no room for, and what a panic costs, is counted for each; readers of flows get
/// lost events of flows alone.
#[test]
fn lost_failures_are_counted() {
    let (state, _items) = state();
    state.lane().want_failures(true);
    for _ in 0..DEPTH + 5 {
        state.lane().send(&batch(), || ());
    }
    assert_eq!((state.lane().skipped(), state.lane().skipped_failures()), (3 * 5, 2 * 5));
    state.lane().want_failures(false);
    state.lane().send(&batch(), || ());
    assert_eq!((state.lane().skipped(), state.lane().skipped_failures()), (3 * 6, 2 * 5));

    let work = &mut Work::default();
    for (failures, lost) in [(Some(0), 2), (None, 2), (Some(0), 4)] {
        work.current = Some(Current { batch: batch(), flows: 0, failures });
        state.recover(work);
        assert_eq!((state.panicked_failures(), work.current.is_none()), (lost, true));
    }
    assert_eq!((state.panicked(), work.lost, state.recorded_failures()), (9, 9, 0));
}
