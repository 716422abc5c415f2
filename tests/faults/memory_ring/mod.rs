//! The pipeline's first stage without a kernel: a ring that a test fills.

#![allow(dead_code, reason = "each uses its part of it")]

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use webb::records::{RecordSource, Rings, Signal, Waker};
use webb_flow::abi::{Record, VERSION, kind};
use zerocopy::IntoBytes;

/// A ring in memory that behaves like the kernel's: a record is consumed even if its handling
/// unwinds.
#[derive(Clone, Default)]
pub(crate) struct MemoryRing(Arc<Mutex<VecDeque<Record>>>);

impl MemoryRing {
    pub(crate) fn push(&self, records: usize) {
        self.push_all(std::iter::repeat_n(syn(), records));
    }

    pub(crate) fn push_all(&self, records: impl Iterator<Item = Record>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(records);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl RecordSource for MemoryRing {
    fn wait(&mut self, _: Duration) -> std::io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize {
        let mut drained = 0;
        loop {
            let Some(record) = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else {
                return drained;
            };
            drained += 1;
            if take(Signal::Flow, record.as_bytes()).is_break() {
                return drained;
            }
        }
    }
}

impl Rings for MemoryRing {
    fn open(&self, _: &Waker) -> std::io::Result<Box<dyn RecordSource>> {
        Ok(Box::new(self.clone()))
    }
}

/// A TCP SYN of one packet, 60 bytes.
pub(crate) fn syn() -> Record {
    Record {
        version: VERSION,
        kind: kind::NEW,
        length: 80,
        family: 4,
        protocol: 6,
        tcp_flags: 0x02,
        destination_port: 80,
        packets: 1,
        bytes: 60,
        ..Record::default()
    }
}
