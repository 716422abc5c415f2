//! Keeps the thread of one exporter.
//!
//! A disk that answers slowly, or not at all, holds up this thread alone. A write may take as long
//! as it likes and is no stall; what the exporter misses meanwhile is counted.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use webb_flow::fault::State;
use webb_observer::export::{Exporter, Next};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::Lifecycle;

/// Starts an exporter's thread. A stop has it write all events that there are.
pub fn start(exporter: Arc<Exporter>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let body = move |lifecycle: &Lifecycle| {
        run(&exporter, lifecycle);
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(|| {}), intensity)
}

fn run(exporter: &Exporter, lifecycle: &Lifecycle) {
    exporter.begin();
    lifecycle.beat();
    if exporter.is_active() {
        write(exporter, lifecycle);
    }
    loop {
        lifecycle.beat();
        if lifecycle.stopping() {
            exporter.stop();
        }
        match exporter.fill() {
            Next::Fill => {}
            Next::Write => write(exporter, lifecycle),
            Next::Wait(time) => {
                if !lifecycle.stopping() {
                    lifecycle.while_idle(Duration::MAX, || exporter.wait(time));
                }
            }
            Next::End => break,
        }
    }
    lifecycle.while_idle(Duration::MAX, || exporter.close());
}

/// Writes, and shows whether that is possible.
fn write(exporter: &Exporter, lifecycle: &Lifecycle) {
    lifecycle.while_idle(Duration::MAX, || exporter.write());
    let component = lifecycle.component();
    let problem = exporter.counters().problem();
    let state = if problem.is_empty() { State::Up } else { State::Degraded };
    if component.state() != state || component.reason() != problem {
        component.set_state(state, &problem);
    }
}
