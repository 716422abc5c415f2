//! Closes of connections on their way from the reader to the dissector, while layer 7 needs them.
//!
//! They are few, and none is worth a wait: beyond so many on their way, the calls of a connection
//! end by their time-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};
use webb_decode::l7::Close;
use webb_flow::Flow;

/// Closes that may be on their way.
const MAX_CLOSES: usize = 4096;

/// The reader's end.
#[derive(Debug)]
pub(in crate::pipeline) struct ClosesSender {
    to: Sender<Close>,
    wanted: Arc<AtomicBool>,
}

/// The dissector's end.
#[derive(Debug)]
pub(super) struct ClosesReceiver {
    from: Receiver<Close>,
    wanted: Arc<AtomicBool>,
}

pub(super) fn channel() -> (ClosesSender, ClosesReceiver) {
    let (to, from) = bounded(MAX_CLOSES);
    let wanted = Arc::new(AtomicBool::new(false));
    (ClosesSender { to, wanted: Arc::clone(&wanted) }, ClosesReceiver { from, wanted })
}

impl ClosesSender {
    /// Sends the close that a flow stands for, if it does and closes are wanted.
    #[inline]
    pub(in crate::pipeline) fn send(&self, flow: &Flow) {
        if self.wanted.load(Relaxed)
            && let Some(close) = Close::of(flow)
        {
            let _full = self.to.try_send(close);
        }
    }
}

impl ClosesReceiver {
    /// Sets whether closes are wanted.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Relaxed);
    }

    /// Those that have come; no more than may be on their way, however fast others follow.
    pub(super) fn take(&self) -> impl Iterator<Item = Close> {
        self.from.try_iter().take(MAX_CLOSES)
    }
}
