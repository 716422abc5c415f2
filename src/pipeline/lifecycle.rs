//! The lifecycle of one run of a thread: its stop request, its waits and its heartbeat.
//!
//! A thread without work must not wake up to check for a stop request: on a virtual machine each
//! wake-up costs 50 µs and disturbs what else runs on that core. So a wait has no time-out of its
//! own, and a stop request ends it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};
use webb_flow::fault::{Component, State};

/// The state that one run of a thread shares with its supervisor.
#[derive(Debug)]
pub struct Lifecycle {
    stop: AtomicBool,
    idle: AtomicBool,
    created: Instant,
    /// The end of the wait while idle, in milliseconds since `created`.
    idle_until_ms: AtomicU64,
    work: OnceLock<WorkCheck>,
    moved: AtomicBool,
    thread: OnceLock<Thread>,
    /// The kernel's number of the thread.
    tid: OnceLock<Pid>,
    component: Arc<Component>,
}

/// Tells whether work waits for a thread.
struct WorkCheck(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for WorkCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkCheck").finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// Creates the lifecycle of a run of the thread that `component` stands for.
    pub fn new(component: Arc<Component>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            created: Instant::now(),
            idle_until_ms: AtomicU64::new(u64::MAX),
            work: OnceLock::new(),
            moved: AtomicBool::new(false),
            thread: OnceLock::new(),
            tid: OnceLock::new(),
            component,
        }
    }

    /// The component that the thread is.
    pub fn component(&self) -> &Component {
        &self.component
    }

    /// Records the thread, so that [`Lifecycle::stop`] can end its [`Lifecycle::wait`].
    pub fn bind_thread(&self, thread: Thread) {
        // Bound once, by the supervisor that spawned the thread.
        let _already_bound = self.thread.set(thread);
    }

    /// Records the calling thread as the one of this run, for [`Lifecycle::in_kernel`].
    pub fn enter_thread(&self) {
        let _already_entered = self.tid.set(gettid());
    }

    /// True while the kernel lets nothing end a call of the thread, not even a signal: it waits for
    /// a lock of the kernel, such as that over interfaces, or for a device.
    pub fn in_kernel(&self) -> bool {
        let Some(tid) = self.tid.get() else { return false };
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", tid.as_raw_nonzero()));
        stat.is_ok_and(|stat| is_uninterruptible(&stat))
    }

    /// True once a stop was requested.
    pub fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Requests a stop; ends a [`Lifecycle::wait`].
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits for `time`, or until a stop is requested. May end early, as parking does.
    pub fn wait(&self, time: Duration) {
        if !self.stopping() {
            self.while_idle(time, || std::thread::park_timeout(time));
        }
    }

    /// Has `has_work` asked while the thread is idle: one that waits although there is work stands
    /// still.
    pub fn check_work(&self, has_work: impl Fn() -> bool + Send + Sync + 'static) {
        let _already_set = self.work.set(WorkCheck(Box::new(has_work)));
    }

    /// Runs `wait`, which ends when there is work or a stop request, or after `time`: until then a
    /// missing heartbeat is no stall.
    pub fn while_idle<T>(&self, time: Duration, wait: impl FnOnce() -> T) -> T {
        let until = self.created.elapsed().saturating_add(time).as_millis();
        self.idle_until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
        self.idle.store(true, Relaxed);
        let outcome = wait();
        self.beat();
        self.idle.store(false, Relaxed);
        outcome
    }

    /// Emits a heartbeat, once a turn of the loop. The first one marks the component as up: the
    /// thread has done what comes before its loop, such as attaching to the interfaces that exist.
    pub fn beat(&self) {
        if !self.moved.load(Relaxed) {
            self.moved.store(true, Relaxed);
            self.component.set_state(State::Up, "");
        }
        self.component.beat();
    }

    /// Emits a heartbeat of a thread with a long start: the component stays `Starting`, until its
    /// state is set.
    pub fn beat_starting(&self, why: &str) {
        self.moved.store(true, Relaxed);
        self.component.set_state(State::Starting, why);
        self.component.beat();
    }

    /// True while the thread waits for work, as long as it may: there is none, and the time of the
    /// wait is not over.
    pub fn is_idle(&self) -> bool {
        let overdue = || self.created.elapsed().as_millis() > u128::from(self.idle_until_ms.load(Relaxed));
        let has_work = || self.work.get().is_some_and(|work| (work.0)());
        self.idle.load(Relaxed) && !overdue() && !has_work()
    }
}

/// The state of a thread in `/proc/PID/task/TID/stat`: the field behind its name, which may hold
/// anything.
fn is_uninterruptible(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('D'))
}

#[cfg(test)]
mod tests {
    use super::is_uninterruptible;

    #[test]
    fn the_state_is_behind_the_name() {
        assert!(is_uninterruptible("71 (probes) D 1 71 71 0"));
        assert!(!is_uninterruptible("71 (probes) S 1 71 71 0"));
        assert!(!is_uninterruptible("71 (a) D (b) R 1 71 71 0"));
        assert!(!is_uninterruptible(""));
    }
}
