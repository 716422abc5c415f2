//! The road of events: ring, reader, batches, aggregators. Threads and channels only; no actor, no eBPF library.
//!
//! Events ride channels, lifecycle rides mailboxes. Data may be lost in exactly one place, the kernel ring, and is
//! counted there. Every edge is bounded: when an aggregator is slow the reader waits, and the ring, memory that is paid
//! for already, is the elastic buffer.

mod batch;
pub mod source;

pub use batch::{BATCH, Batch};
pub use source::Rings;
pub use source::{RecordSource, Signal};
pub use waker::Waker;

mod waker;
