//! A piece of the history: flows and events that came together, and what names them.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use webb_flow::sym::{Names, Sym};
use webb_flow::{Extra, Flow};
use webb_index::policy::PolicyName;
use webb_index::{Endpoint, Index, Zones};

/// Events that came together, oldest first. Never changed once in the history, so readers share it.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The events.
    pub events: Vec<Event>,
    /// The table that the flows' extra ids point into.
    pub extras: Vec<Extra>,
    /// The events that are no flows; [`Event::Other`] points here.
    pub others: Vec<Other>,
    /// Flows that another program wrote, as `flow.Flow`, encoded: the n-th event's. Empty in a
    /// segment of flows that were seen here, which are encoded when they are read.
    pub encoded: Vec<Bytes>,
    /// Names the flows' endpoints.
    pub index: Arc<Index>,
    /// Owns the names that are not the index's own. Segments share it.
    pub table: Option<Arc<NameTable>>,
    /// Events of earlier segments that share the table.
    pub before: usize,
    /// The policies that the flows' rulings point to.
    pub policies: Vec<PolicyName>,
    /// The places of nodes and networks, for the endpoints of the index.
    pub zones: Arc<Zones>,
    /// Labels of this node, `key=value`, sorted.
    pub node_labels: Arc<[String]>,
    /// Unix time less the clock of the flows, in nanoseconds.
    pub unix_offset_ns: u64,
}

/// The index of a segment that has none yet: making one costs more than copying a hundred flows.
static EMPTY: LazyLock<Arc<Index>> = LazyLock::new(Arc::default);

/// The places of a segment that has none.
static NOWHERE: LazyLock<Arc<Zones>> = LazyLock::new(Arc::default);

impl Default for Segment {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            extras: Vec::new(),
            others: Vec::new(),
            encoded: Vec::new(),
            index: Arc::clone(&EMPTY),
            table: None,
            before: 0,
            node_labels: Arc::default(),
            policies: Vec::new(),
            zones: Arc::clone(&NOWHERE),
            unix_offset_ns: 0,
        }
    }
}

/// Owner of the names of a few segments, which their writer adds to.
#[derive(Debug, Default)]
pub struct NameTable {
    names: Mutex<Names>,
}

impl NameTable {
    /// Becomes an owner of a name.
    pub(crate) fn hold(&self, name: Sym) {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).hold(name);
    }

    /// Memory of the names, in bytes, although others may own them, too.
    fn bytes(&self) -> usize {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A flow.
    Flow(Flow),
    /// Anything else: its row in [`Segment::others`].
    Other(u32),
}

// An event is no larger than a flow.
const _: () = assert!(size_of::<Event>() == size_of::<Flow>());

/// An event that is no flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its type.
    pub sort: OtherSort,
    /// The message, encoded.
    pub message: Bytes,
    /// The node that it is from.
    pub node_name: String,
    /// Unix time in nanoseconds.
    pub time_ns: u64,
}

/// The types of events that are no flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherSort {
    /// `flow.LostEvent`.
    Lost,
    /// `flow.AgentEvent`.
    Agent,
    /// `flow.DebugEvent`.
    Debug,
}

impl Segment {
    /// Number of its flows: each other event has a row in `others`.
    pub(crate) fn flows(&self) -> u64 {
        self.events.len().saturating_sub(self.others.len()) as u64
    }

    /// Memory that it alone takes, about, in bytes: without index and names, which segments share.
    pub(crate) fn bytes(&self) -> usize {
        let encoded: usize = self.encoded.iter().map(|flow| flow.len() + size_of::<Bytes>()).sum();
        let others: usize = self.others.iter().map(|other| other.message.len() + size_of::<Other>()).sum();
        self.events.capacity() * size_of::<Event>()
            + self.extras.capacity() * size_of::<Extra>()
            + self.extras.iter().map(Extra::bytes).sum::<usize>()
            + self.policies.capacity() * size_of::<PolicyName>()
            + encoded
            + others
    }

    /// Memory of its index and names, about, in bytes.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.index.rows() * size_of::<Endpoint>() + self.table.as_ref().map_or(0, |table| table.bytes())
    }

    /// True if it has names from the same table as the next one.
    pub(crate) fn shares_names(&self, next: &Self) -> bool {
        self.table.as_ref().zip(next.table.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// The extra of a flow.
    pub fn extra(&self, flow: &Flow) -> Option<&Extra> {
        self.extras.get(usize::try_from(flow.extra.0).ok()?)
    }

    /// An event that is no flow.
    pub fn other(&self, row: u32) -> Option<&Other> {
        self.others.get(usize::try_from(row).ok()?)
    }

    /// The time of a flow, Unix time in nanoseconds.
    pub fn flow_time_ns(&self, flow: &Flow) -> u64 {
        flow.time_ns.saturating_add(self.unix_offset_ns)
    }

    /// The time of an event, Unix time in nanoseconds.
    pub fn time_ns(&self, event: &Event) -> u64 {
        match event {
            Event::Flow(flow) => self.flow_time_ns(flow),
            Event::Other(row) => self.other(*row).map_or(0, |other| other.time_ns),
        }
    }
}
