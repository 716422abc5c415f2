//! Keeps a thread that does one task at an interval: it counts what is too slow for a scrape.
//!
//! A task that fails leaves the component degraded, and is tried again after the interval: that is
//! no fault, and does not count towards giving up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use webb_flow::fault::{State, inject};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::Lifecycle;

/// A task. Its error is the reason for which the component is degraded.
pub type Task = Box<dyn Fn(&Lifecycle) -> Result<(), String> + Send + Sync>;

/// Starts the thread: the task is done at once, and then each `interval`.
pub fn start(task: Task, interval: Duration, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let component = Arc::clone(intensity.component());
    let body = move |lifecycle: &Lifecycle| {
        while !lifecycle.stopping() {
            lifecycle.beat();
            inject::point(component.name());
            let done = task(lifecycle);
            if lifecycle.stopping() {
                break;
            }
            match done {
                Ok(()) => component.set_state(State::Up, ""),
                Err(reason) => {
                    // Logged once: it is tried for as long as the agent lives.
                    if component.reason() != reason {
                        tracing::warn!(component = component.name(), "{reason}");
                    }
                    component.set_state(State::Degraded, &reason);
                }
            }
            let until = Instant::now() + interval;
            while !lifecycle.stopping() && Instant::now() < until {
                lifecycle.wait(until.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(|| {}), intensity)
}
