//! Keeps the thread of one output.

use std::sync::Arc;

use actix::Addr;
use webb_flow::fault::State;
use webb_otlp::{Output, Owner};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::Lifecycle;

/// Starts an output's thread. A restart goes on with the same queue.
pub fn start(output: Arc<Output>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let woken = Arc::clone(&output);
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| {
            output.run(&ThreadOwner(lifecycle))?;
            Ok(())
        }),
        Arc::new(move || woken.wake()),
        intensity,
    )
}

/// The run of the thread, as the output sees it.
struct ThreadOwner<'a>(&'a Lifecycle);

impl Owner for ThreadOwner<'_> {
    fn beat(&self) {
        self.0.beat();
    }

    fn stopping(&self) -> bool {
        self.0.stopping()
    }

    /// A receiver that does not answer is a fault of something else: the component is degraded, and
    /// not restarted.
    fn problem(&self, problem: &str) {
        let state = if problem.is_empty() { State::Up } else { State::Degraded };
        self.0.component().set_state(state, problem);
    }
}
