//! Keeps the thread that reads the rings.

use std::sync::Arc;

use actix::Addr;

use super::keeper::ThreadKeeper;
use super::restart::Intensity;
use crate::pipeline::Reader;

/// Starts the ring-buffer reader. A restart opens the rings where the life before left them.
pub fn start(reader: Arc<Reader>, intensity: Intensity) -> Addr<ThreadKeeper> {
    let waker = reader.waker.clone();
    ThreadKeeper::start(
        Arc::new(move |life| reader.run(life).map_err(Into::into)),
        Arc::new(move || waker.wake()),
        intensity,
    )
}
