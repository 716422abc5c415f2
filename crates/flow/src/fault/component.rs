//! A component: one part of the agent that can fail and be restarted on its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, RwLock};

use super::{FaultLog, FaultType, Passes};

/// The state of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not started yet.
    Starting = 0,
    /// Running.
    Up = 1,
    /// Failed; restarts when its backoff ends.
    Restarting = 2,
    /// Stopping, or finished.
    Stopped = 3,
    /// Restart limit exceeded; the agent shuts down.
    GaveUp = 4,
    /// Running with something missing; `Component::reason` names it.
    Degraded = 5,
}

impl State {
    /// Value in `/actors` and `/readyz`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::GaveUp => "gave_up",
            Self::Degraded => "degraded",
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Up,
            2 => Self::Restarting,
            3 => Self::Stopped,
            4 => Self::GaveUp,
            5 => Self::Degraded,
            _ => Self::Starting,
        }
    }
}

/// One part of the agent, with its state as seen from outside. Written by its owner, read by any
/// thread, without locks but for the text of [`Component::reason`].
#[derive(Debug)]
pub struct Component {
    name: String,
    state: AtomicU8,
    reason: RwLock<String>,
    restarts: AtomicU64,
    faults: [AtomicU64; FaultType::ALL.len()],
    beats: AtomicU64,
    last_beat_ms: AtomicU64,
    queue: AtomicU64,
    passes: Passes,
    log: Arc<FaultLog>,
}

impl Component {
    /// Name of the component, for example `reader` or `aggregator/tcp`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its current state.
    pub fn state(&self) -> State {
        State::of(self.state.load(Relaxed))
    }

    /// Moves to `state`; `reason` is for a person and may be empty.
    pub fn set_state(&self, state: State, reason: &str) {
        self.state.store(state as u8, Relaxed);
        let mut text = self.reason.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *text != reason {
            reason.clone_into(&mut text);
        }
    }

    /// Reason for the state; empty if there is none.
    pub fn reason(&self) -> String {
        self.reason.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Counts a fault, keeps it in the fault log and logs it.
    pub fn fault(&self, kind: FaultType, text: &str) {
        if let Some(counter) = self.faults.get(kind as usize) {
            counter.fetch_add(1, Relaxed);
        }
        self.log.push(&self.name, kind, text);
        tracing::error!(component = %self.name, kind = kind.label(), "component fault: {text}");
    }

    /// Faults of one kind since start.
    pub fn faults(&self, kind: FaultType) -> u64 {
        self.faults.get(kind as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Counts a restart.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// Restarts since start.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Records a heartbeat. Called once per iteration of a loop, never per event.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
        self.last_beat_ms.store(self.log.uptime_ms(), Relaxed);
    }

    /// Number of beats since start: a stall shows as no movement.
    pub fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    /// Milliseconds since the last beat.
    pub fn since_beat_ms(&self) -> u64 {
        self.log.uptime_ms().saturating_sub(self.last_beat_ms.load(Relaxed))
    }

    /// Sets the number of items in its queue.
    pub fn set_queue(&self, depth: usize) {
        self.queue.store(depth as u64, Relaxed);
    }

    /// Runs of its periodic work; none are counted where it has no such work.
    pub fn passes(&self) -> &Passes {
        &self.passes
    }

    /// Number of items in its queue, as last set.
    pub fn queue(&self) -> u64 {
        self.queue.load(Relaxed)
    }
}

/// All components, in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Components {
    list: Arc<RwLock<Vec<Arc<Component>>>>,
    log: Arc<FaultLog>,
}

impl Components {
    /// The component of that name, made if it is new: a restarted owner finds its counters again.
    pub fn component(&self, name: &str) -> Arc<Component> {
        let mut list = self.list.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = list.iter().find(|known| known.name == name) {
            return Arc::clone(known);
        }
        let made = Arc::new(Component {
            name: name.to_owned(),
            state: AtomicU8::new(State::Starting as u8),
            reason: RwLock::default(),
            restarts: AtomicU64::default(),
            faults: std::array::from_fn(|_| AtomicU64::default()),
            beats: AtomicU64::default(),
            last_beat_ms: AtomicU64::new(self.log.uptime_ms()),
            queue: AtomicU64::default(),
            passes: Passes::default(),
            log: Arc::clone(&self.log),
        });
        list.push(Arc::clone(&made));
        made
    }

    /// A new component of that name, in the place of one that may have it: the owner is another,
    /// not a restarted one.
    pub fn renew(&self, name: &str) -> Arc<Component> {
        self.list.write().unwrap_or_else(std::sync::PoisonError::into_inner).retain(|known| known.name != name);
        self.component(name)
    }

    /// Takes a component off the list; false if it was not on it (any more).
    pub fn remove(&self, component: &Arc<Component>) -> bool {
        let mut list = self.list.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = list.len();
        list.retain(|known| !Arc::ptr_eq(known, component));
        list.len() < before
    }

    /// All components.
    pub fn all(&self) -> Vec<Arc<Component>> {
        self.list.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// True if every component does its work, perhaps with less than it should have.
    pub fn are_up(&self) -> bool {
        let list = self.list.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        list.iter().all(|component| matches!(component.state(), State::Up | State::Degraded))
    }

    /// The last faults.
    pub fn log(&self) -> &FaultLog {
        &self.log
    }
}
