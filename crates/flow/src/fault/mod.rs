//! Faults as data: the component that failed, the kind of fault, its count, and the restart that
//! followed.
//!
//! Every part of the agent that can fail on its own is a [`Component`]: a thread or an actor with a
//! state, a beat, and counters of its faults by [`FaultType`] and of its restarts. All are atomics
//! behind an `Arc`, so threads write them without a lock and `/actors`, `/readyz` and the
//! self-metrics read them at any time, whichever component is down.

mod component;
pub mod inject;
mod log;
mod passes;

pub use component::{Component, Components, State};
pub use log::{Entry, FaultLog};
pub use passes::{PASS_BOUNDS, PassCounts, Passes};

/// Type of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FaultType {
    /// A panic, which was caught.
    Panicked = 0,
    /// A returned error.
    Failed = 1,
    /// Its beat stood still although work was waiting.
    Stalled = 2,
}

impl FaultType {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Panicked, Self::Failed, Self::Stalled];

    /// Value of the `kind` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }
}

/// The text of a caught panic.
pub fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}
