//! The time of the server and the agent, which a test advances, and the events of pods by then.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

use super::objects::STEPS;

/// Places whose pods are replaced, in a second.
pub(super) const PLACES_PER_SECOND: usize = 20;

/// Time between two indexes of an agent.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Places that a tick begins with.
pub(super) const PLACES_PER_TICK: usize = PLACES_PER_SECOND / 5;

/// Ticks between the steps of one place: a second.
const TICKS_PER_STEP: usize = 5;

/// Ticks from the first step of a place to its last one.
pub(super) const TICKS_OF_A_CHANGE: u32 = 35;

/// A step of a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Number of the pod that goes.
    pub(super) pod: usize,
    pub(super) step: usize,
}

/// What has happened so far.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Now {
    pub(super) time: Duration,
    /// Events so far.
    pub(super) events: usize,
    /// Events that the watch of pods has been through, and those of them that were sent.
    pub(super) passed: usize,
    pub(super) sent: usize,
    /// Requests that are being answered, but for watches that wait for events.
    pub(super) answering: usize,
    pub(super) is_over: bool,
}

/// The time, and the plan.
#[derive(Debug)]
pub(super) struct Time {
    events: Vec<Event>,
    /// Number of events at the end of each tick.
    ticks: Vec<usize>,
    now: Mutex<Now>,
    advanced: Condvar,
    /// Notified when the server has come to the present, or a step towards it.
    pub(super) passed: Notify,
}

impl Time {
    /// In each of so many seconds 20 places get another pod, and some seconds later all have it.
    pub(super) fn new(seconds: usize) -> Self {
        let places = seconds * PLACES_PER_SECOND;
        let last_tick = if places == 0 { 0 } else { places / PLACES_PER_TICK + TICKS_OF_A_CHANGE as usize };
        let (mut events, mut ticks) = (Vec::with_capacity(places * STEPS), Vec::with_capacity(last_tick));
        for tick in 0..last_tick {
            // The oldest first: an address is free before it is another's.
            for step in (0..STEPS).rev() {
                let Some(begun) = tick.checked_sub(step * TICKS_PER_STEP) else { continue };
                let of_tick = begun * PLACES_PER_TICK..(begun + 1) * PLACES_PER_TICK;
                events.extend(of_tick.filter(|pod| *pod < places).map(|pod| Event { pod, step }));
            }
            ticks.push(events.len());
        }
        assert_eq!(events.len(), places * STEPS);
        Self { events, ticks, now: Mutex::default(), advanced: Condvar::new(), passed: Notify::new() }
    }

    /// Number of ticks until all has happened.
    pub(super) fn ticks(&self) -> usize {
        self.ticks.len()
    }

    /// After a tick, the number of places that have another pod, and of those that have it or are
    /// getting it.
    pub(super) fn places(&self, tick: usize) -> (usize, usize) {
        let begun = |ticks: usize| (ticks * PLACES_PER_TICK).min(self.events.len() / STEPS);
        (begun((tick + 1).saturating_sub(TICKS_OF_A_CHANGE as usize)), begun(tick + 1))
    }

    pub(super) fn event(&self, number: usize) -> Event {
        self.events[number]
    }

    pub(super) fn now(&self) -> Now {
        *self.lock()
    }

    /// Goes on to the end of a tick.
    pub(super) fn advance(&self, tick: usize) {
        let mut now = self.lock();
        now.time = TICK * u32::try_from(tick + 1).unwrap();
        now.events = self.ticks.get(tick).copied().unwrap_or(self.events.len());
        self.advanced.notify_all();
    }

    /// Ends all watches.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.advanced.notify_all();
    }

    /// Notes that a request is being answered.
    pub(super) fn begin_answer(&self) {
        self.lock().answering += 1;
    }

    /// Notes that it is answered, or waits for events.
    pub(super) fn end_answer(&self) {
        self.lock().answering -= 1;
        self.passed.notify_one();
    }

    /// Notes that the watch of pods is at an event, and sent so many.
    pub(super) fn pass(&self, event: usize, sent: usize) {
        let mut now = self.lock();
        now.passed = event;
        now.sent += sent;
        self.passed.notify_one();
    }

    /// Waits for an event after this one, or for a time.
    pub(super) fn wait(&self, event: usize, time: Duration) -> Now {
        let is_idle = |now: &mut Now| now.events <= event && now.time < time && !now.is_over;
        *self.advanced.wait_while(self.lock(), is_idle).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap()
    }
}
