//! Keeps the thread that reads the rings.

use std::sync::Arc;

use actix::Addr;

use super::restart::Intensity;
use super::thread_supervisor::ThreadSupervisor;
use crate::pipeline::Reader;

/// Starts the ring-buffer reader. A restart opens the rings where the life before left them.
pub fn start(reader: Arc<Reader>, intensity: Intensity) -> Addr<ThreadSupervisor> {
    let waker = reader.waker.clone();
    ThreadSupervisor::start(
        Arc::new(move |lifecycle| reader.run(lifecycle).map_err(Into::into)),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
