//! The source of records: the first stage of the pipeline, as both of its ends see it.
//!
//! `bpf_loader` implements these for the kernel's rings, tests and benches for memory, and
//! `pipeline` reads through them; neither side knows the other.

mod waker;

use std::ops::ControlFlow;
use std::time::Duration;

pub use waker::Waker;

/// Signal that names the ring of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The connection table's ring (`flow.bpf.c`).
    Flow,
    /// The drop point's ring (`drop.bpf.c`).
    Drop,
    /// The ring of layer 7 (`l7.h`).
    Message,
}

/// A set of rings with one reader.
pub trait RecordSource: Send {
    /// Waits until a ring holds a record, the waker was rung or `timeout` has passed.
    fn wait(&mut self, timeout: Duration) -> std::io::Result<()>;

    /// True if a ring is filled to half or more. Below that the programs share it without limits.
    fn is_half_full(&self) -> bool {
        false
    }

    /// Hands records to `take`, oldest first, until the rings are empty or `take` breaks. A record
    /// is consumed when `take` returns *or unwinds*: one that makes it panic is not met again.
    /// Returns how many were handed over.
    fn drain(&mut self, take: &mut dyn FnMut(Signal, &[u8]) -> ControlFlow<()>) -> usize;
}

/// Opens the rings anew for each run of the reader; the consumer position is the kernel's, so
/// nothing is read twice.
pub trait Rings: Send + Sync {
    /// Opens the rings; `waker` ends a wait early.
    fn open(&self, waker: &Waker) -> std::io::Result<Box<dyn RecordSource>>;

    /// True if the rings are kept for the next process, and written all the while: they need not be
    /// empty at the end, and may never be.
    fn are_kept(&self) -> bool {
        false
    }
}
