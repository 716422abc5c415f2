//! Keeps the thread that follows a server of Hubble's API.

use std::sync::Arc;

use actix::Addr;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::flow_source::FlowSource;

/// Starts the source. A restart goes on behind the last flow that was counted.
pub fn start(source: Arc<FlowSource>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let waker = source.waker.clone();
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| source.run(lifecycle).map_err(Into::into)),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
