//! Keeps the thread that sends flows to outputs.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use webb_observer::stream::{FlowStream, Next};

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::Lifecycle;

/// Starts to send flows. A stop has it send all that there are; a restart goes on behind the event
/// that ended the run before.
pub fn start(stream: Arc<FlowStream>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let body = move |lifecycle: &Lifecycle| {
        run(&stream, lifecycle);
        Ok(())
    };
    ThreadSupervisor::start(Arc::new(body), Arc::new(|| {}), intensity)
}

fn run(stream: &FlowStream, lifecycle: &Lifecycle) {
    stream.begin();
    loop {
        lifecycle.beat();
        if lifecycle.stopping() {
            stream.stop();
        }
        match stream.turn() {
            Next::Turn => {}
            Next::Wait(time) => {
                if !lifecycle.stopping() {
                    lifecycle.while_idle(Duration::MAX, || stream.wait(time));
                }
            }
            Next::End => break,
        }
    }
}
