//! Keeps the thread that reads the ring of layer 7.

use std::sync::Arc;

use actix::Addr;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::layer7::DissectLoop;

/// Starts the dissector. A restart goes on behind the record that ended the run before.
pub fn start(dissector: Arc<DissectLoop>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let waker = dissector.waker();
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| dissector.run(lifecycle).map_err(Into::into)),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
