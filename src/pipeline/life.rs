//! One life of a thread, between two restarts: how it is told to stop and how it shows that it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::fault::{Component, State};

/// The thread's side of its keeper.
#[derive(Debug)]
pub struct Life {
    stop: AtomicBool,
    idle: AtomicBool,
    moved: AtomicBool,
    component: Arc<Component>,
}

impl Life {
    /// A new life of the thread that `component` stands for.
    pub fn new(component: Arc<Component>) -> Self {
        Self { stop: AtomicBool::new(false), idle: AtomicBool::new(false), moved: AtomicBool::new(false), component }
    }

    /// True once the thread should come to its end.
    pub fn stopping(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Tells the thread to come to its end.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// A sign of life, once a turn of the loop. The first one says that the thread has done what it does before its
    /// loop, such as attaching to the interfaces that are there: only then is the component up.
    pub fn beat(&self) {
        if !self.moved.load(Relaxed) {
            self.moved.store(true, Relaxed);
            self.component.set_state(State::Up, "");
        }
        self.component.beat();
    }

    /// True while the thread waits without a time-out.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Relaxed)
    }

    /// Says whether the thread waits for work without a time-out: then a beat that stands still is no stall.
    pub fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Relaxed);
    }
}
