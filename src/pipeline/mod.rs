//! The pipeline of events: ring, reader, batches, aggregators. Threads and channels only; no actor,
//! no eBPF library.
//!
//! Events travel through channels, lifecycle through actor messages. Every edge is bounded. When an
//! aggregator is slow the reader waits, and the ring, memory that is paid for already, is the
//! elastic buffer. An aggregator that is down is not waited for: what finds its lane full is
//! skipped. Records and flows that cause a panic are passed over. Each of these losses has its own
//! counter ([`Counters`], [`Lane`], [`AggregatorState`]); docs/architecture.md lists all there are,
//! and all bounds.
//!
//! ```text
//! RecordSource ─► read_loop (decode, deferred_flows, fill) ─► Lane (bounded) ─► work_loop ─► SnapshotResponse ─► SnapshotCollector
//! ```

mod batch;
mod collector;
mod command;
mod connection_events;
mod counters;
mod deferred_flows;
mod drops;
mod first_names;
pub mod flow_source;
mod lane;
mod lanes;
pub mod layer7;
mod lifecycle;
mod pending_queries;
mod pool;
mod read_loop;
mod record_loop;
mod rollups;
mod snapshot;
mod unnamed;
mod work_loop;

pub use batch::{BATCH, Batch};
pub use collector::SnapshotCollector;
pub use command::{Command, Commands};
pub use counters::{Counters, DECODE_OUTCOMES, LOOKUPS};
pub use deferred_flows::Translations;
pub use drops::{Dropped, Drops};
pub use lane::{Consumer, Item, Lane, LaneWaker};
pub use lanes::{LaneChange, Lanes, Skipped};
pub use lifecycle::Lifecycle;
pub use pending_queries::MAX_PENDING_QUERIES;
pub use read_loop::{DecoderSlot, Reader, ReaderState};
pub use record_loop::{HistoryState, record};
pub use rollups::{
    HandedOver, RollupCounts, RollupLedger, RollupSite, RollupState, Unrolled, WantedRollups, heartbeat, new_uuid,
    resource, roll_up,
};
pub use snapshot::{SnapshotRequest, SnapshotResponse};
pub use unnamed::NAME_WAITS;
pub use work_loop::{AggregatorState, Looks, work};
