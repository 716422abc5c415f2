//! The flows of layer 7 between two threads. Their rows travel back to be used again, so nothing
//! is allocated once they have their usual size.

use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use webb_flow::{Extra, Flow};

use super::closes::ClosesReceiver;
use crate::records::Waker;

/// Flows of one load at most.
pub(super) const MAX_FLOWS: usize = 256;

/// Questions that are given up beside the flows of one load at most.
pub(super) const MAX_GIVEN_UP: usize = MAX_FLOWS;

/// Loads that may be on their way: 8,192 flows, and so many questions that are given up.
const MAX_LOADS: usize = 32;

/// Some flows with what they carry, in the order in which they were seen.
#[derive(Debug, Default)]
pub(super) struct Messages {
    rows: Vec<(Flow, Extra)>,
    used: usize,
}

impl Messages {
    /// A row to be written; its former content is overwritten.
    pub(super) fn next(&mut self) -> Option<&mut (Flow, Extra)> {
        if self.used == self.rows.len() {
            self.rows.push((Flow::default(), Extra::default()));
        }
        self.used += 1;
        self.rows.get_mut(self.used - 1)
    }

    /// The rows that were written.
    pub(super) fn rows(&mut self) -> &mut [(Flow, Extra)] {
        self.rows.get_mut(..self.used).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
    }
}

/// The dissector's end.
#[derive(Debug)]
pub struct Outbox {
    to: Sender<Messages>,
    back: Receiver<Messages>,
    reader: Waker,
    /// Closes of connections.
    pub(super) closes: ClosesReceiver,
}

impl Outbox {
    /// The dissector's end, and the channels of the reader's; `reader` wakes the reader.
    pub(super) fn new(reader: Waker, closes: ClosesReceiver) -> (Self, Receiver<Messages>, Sender<Messages>) {
        let (to, from) = bounded(MAX_LOADS);
        let (give_back, back) = bounded(MAX_LOADS + 1);
        (Self { to, back, reader, closes }, from, give_back)
    }

    /// An empty load.
    pub(super) fn take(&self) -> Messages {
        let mut messages = self.back.try_recv().unwrap_or_default();
        messages.clear();
        messages
    }

    /// Hands a load on. Waits while the reader is behind, which fills the ring and not memory;
    /// `waiting` is called meanwhile. False if the reader is gone.
    pub(super) fn send(&self, mut messages: Messages, waiting: impl Fn()) -> bool {
        loop {
            match self.to.send_timeout(messages, Duration::from_millis(50)) {
                Ok(()) => {
                    self.reader.wake();
                    return true;
                }
                Err(SendTimeoutError::Timeout(again)) => messages = again,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
            waiting();
        }
    }
}
