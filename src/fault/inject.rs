//! Faults on command, for tests: only with the cargo feature `fault-injection`, otherwise every call compiles to
//! nothing.
//!
//! A test arms a point by name (`POST /faults/inject` on the admin listener); the component that owns the point then
//! panics or stalls the next time it passes.

/// Passes the point `name`; panics or sleeps here if a test has armed it.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_name: &str) {}

#[cfg(feature = "fault-injection")]
pub use armed::{arm, point};

#[cfg(feature = "fault-injection")]
mod armed {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    /// What happens at an armed point.
    #[derive(Debug, Clone, Copy)]
    enum Action {
        Panic,
        Stall(Duration),
    }

    static ARMED: AtomicUsize = AtomicUsize::new(0);
    static POINTS: LazyLock<Mutex<HashMap<String, (Action, u64)>>> = LazyLock::new(Mutex::default);

    /// Arms a point for the next `times` passes: a panic, or a stall of `stall_ms` if that is not zero.
    pub fn arm(name: &str, times: u64, stall_ms: u64) {
        let action = if stall_ms == 0 { Action::Panic } else { Action::Stall(Duration::from_millis(stall_ms)) };
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        points.insert(name.to_owned(), (action, times));
        ARMED.store(points.len(), Relaxed);
    }

    /// Passes the point `name`.
    ///
    /// # Panics
    /// If a test has armed the point so.
    #[allow(clippy::panic, reason = "panicking on command is what this is for")]
    pub fn point(name: &str) {
        if ARMED.load(Relaxed) == 0 {
            return;
        }
        let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((action, left)) = points.get_mut(name) else { return };
        let action = *action;
        if *left == 0 {
            points.remove(name);
            return;
        }
        *left -= 1;
        if *left == 0 {
            points.remove(name);
            ARMED.store(points.len(), Relaxed);
        }
        drop(points);
        match action {
            Action::Panic => panic!("injected fault at {name}"),
            Action::Stall(time) => std::thread::sleep(time),
        }
    }
}
