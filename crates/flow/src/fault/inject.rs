//! Faults on command, for tests: only with the cargo feature `fault-injection`, otherwise every
//! call compiles to nothing.
//!
//! A test arms a point by name (`POST /faults/inject` on the admin listener); the component that
//! owns the point then panics or stalls the next time it passes. A test in the same process can
//! hold it there for as long as it likes.

/// Passes the point `name`; panics or sleeps here if a test has armed it.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_name: &str) {}

/// True if the kernel is to refuse what has this name.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn refuses(_name: &str) -> bool {
    false
}

/// True if the kernel is to refuse what has this name: it is the value of `INJECT_REFUSAL`, since
/// programs are loaded before a listener could be asked for it.
#[cfg(feature = "fault-injection")]
pub fn refuses(name: &str) -> bool {
    std::env::var("INJECT_REFUSAL").is_ok_and(|refused| refused == name)
}

/// Microseconds by which the wall clock is wrong.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub fn wall_skew_us() -> i64 {
    0
}

/// Microseconds by which the wall clock is wrong: the value of `INJECT_WALL_SKEW_S`, in seconds.
#[cfg(feature = "fault-injection")]
pub fn wall_skew_us() -> i64 {
    let seconds = std::env::var("INJECT_WALL_SKEW_S").ok().and_then(|text| text.parse::<i64>().ok());
    seconds.unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(feature = "fault-injection")]
pub use armed::{arm, hold, is_held, point, release};

#[cfg(feature = "fault-injection")]
mod armed {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    /// Action at an armed point.
    #[derive(Debug, Clone, Copy)]
    enum Action {
        Panic,
        Stall(Duration),
        Hold,
    }

    static ARMED: AtomicUsize = AtomicUsize::new(0);
    static POINTS: LazyLock<Mutex<HashMap<String, (Action, u64)>>> = LazyLock::new(Mutex::default);
    /// Points that hold the next thread, and whether one has come there.
    static HELD: LazyLock<Mutex<HashMap<String, bool>>> = LazyLock::new(Mutex::default);
    static RELEASED: Condvar = Condvar::new();

    /// Arms a point for the next `times` passes: a panic, or a stall of `stall_ms` if that is not
    /// zero.
    pub fn arm(name: &str, times: u64, stall_ms: u64) {
        set(name, if stall_ms == 0 { Action::Panic } else { Action::Stall(Duration::from_millis(stall_ms)) }, times);
    }

    /// Arms a point for one pass, which ends when it is released.
    pub fn hold(name: &str) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), false);
        set(name, Action::Hold, 1);
    }

    /// True if something stands still at this point.
    pub fn is_held(name: &str) -> bool {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(false)
    }

    /// Lets go what a point holds.
    pub fn release(name: &str) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        RELEASED.notify_all();
    }

    fn stand(name: &str) {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(came) = held.get_mut(name) {
            *came = true;
            held = RELEASED.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn set(name: &str, action: Action, times: u64) {
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
            Action::Hold => stand(name),
        }
    }
}
