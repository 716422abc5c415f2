//! One life of a thread, between two restarts: how it is told to stop, how it waits, and how it
//! shows that it moves.
//!
//! A thread that has nothing to do must not wake up to see whether it is to stop: on a virtual
//! machine each wake-up costs 50 µs and disturbs what else runs on that core. So a wait has no
//! time-out of its own, and stopping ends it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use webb_flow::fault::{Component, State};

/// The thread's side of its keeper.
#[derive(Debug)]
pub struct Life {
    stop: AtomicBool,
    idle: AtomicBool,
    moved: AtomicBool,
    thread: OnceLock<Thread>,
    component: Arc<Component>,
}

impl Life {
    /// A new life of the thread that `component` stands for.
    pub fn new(component: Arc<Component>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            thread: OnceLock::new(),
            component,
        }
    }

    /// Says what thread this is the life of, so that [`Life::stop`] can end its [`Life::wait`].
    pub fn runs_on(&self, thread: Thread) {
        // A life has one thread and is told so once.
        let _told = self.thread.set(thread);
    }

    /// True once the thread should come to its end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Tells the thread to come to its end; a [`Life::wait`] ends.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits for `time`, or until the thread is to stop. May end early for no reason, as parking
    /// does.
    pub fn wait(&self, time: Duration) {
        if !self.stopping() {
            self.idly(|| std::thread::park_timeout(time));
        }
    }

    /// Does `wait`, which ends when there is work and when the thread is to stop: meanwhile a beat
    /// that stands still is no stall.
    pub fn idly<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.idle.store(true, Relaxed);
        let outcome = wait();
        self.beat();
        self.idle.store(false, Relaxed);
        outcome
    }

    /// A sign of life, once a turn of the loop. The first one says that the thread has done what it
    /// does before its loop, such as attaching to the interfaces that are there: only then is
    /// the component up.
    pub fn beat(&self) {
        if !self.moved.load(Relaxed) {
            self.moved.store(true, Relaxed);
            self.component.set_state(State::Up, "");
        }
        self.component.beat();
    }

    /// A sign of life of a thread whose start takes longer: the component is not up with this beat,
    /// nor with a later one, but when it is said to be.
    pub fn beat_starting(&self, why: &str) {
        self.moved.store(true, Relaxed);
        self.component.set_state(State::Starting, why);
        self.component.beat();
    }

    /// True while the thread waits for work.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Relaxed)
    }
}
