//! The registry of open connections: what a gauge of them stands on.
//!
//! A gauge that is raised at the begin of a connection and lowered at its end is wrong for ever
//! after one lost record. So each open connection has an entry here, with the place that it was
//! counted in: its end lowers that one, whatever its ends are named by then, and an end without an
//! entry lowers none. A listing of the kernel's table corrects the rest: connections that it names
//! are added, those that it does not name are removed, and both are counted.

use hashbrown::{HashMap, HashSet};

use crate::Flow;
use crate::hash::RandomState;

/// Corrections of the registry, since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Corrections {
    /// Open connections that a listing has added.
    pub added: u64,
    /// Connections without an end that a listing did not name.
    pub removed: u64,
    /// Connections that found the registry full.
    pub refused: u64,
}

impl Corrections {
    /// The counts with the value of their label `outcome`.
    pub fn rows(self) -> [(&'static str, u64); 3] {
        [("added", self.added), ("removed", self.removed), ("refused", self.refused)]
    }
}

/// A step of a listing of all open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListingStep {
    /// The flows of the listing follow.
    Begin,
    /// They have all been seen: what they did not name is not open.
    End,
    /// Nothing is known any more; a listing will follow.
    Reset,
}

/// A connection at an interface. The addresses are a keyed hash of those in its packets, which
/// translation has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Connection {
    ifindex: u32,
    addresses: u32,
    ports: [u16; 2],
}

impl Connection {
    fn of(flow: &Flow) -> Self {
        Self { ifindex: flow.ifindex, addresses: flow.packets, ports: [flow.source_port, flow.destination_port] }
    }
}

#[derive(Debug, Clone, Copy)]
struct Place {
    slot: u32,
    /// The last listing that named it, or during which it began.
    listing: u32,
}

/// The open connections that one consumer of flows counts, each with the place that it counts it
/// in: the slot of a series, or of a row.
#[derive(Debug)]
pub struct OpenConnections {
    known: HashMap<Connection, Place, RandomState>,
    most: usize,
    listing: u32,
    corrections: Corrections,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self { known: HashMap::default(), most: usize::MAX, listing: 0, corrections: Corrections::default() }
    }
}

impl OpenConnections {
    /// Holds no more than so many.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    /// True if the connection has an entry, or can have none. A known one is marked as named by the
    /// listing under way.
    pub fn holds(&mut self, flow: &Flow) -> bool {
        if let Some(place) = self.known.get_mut(&Connection::of(flow)) {
            place.listing = self.listing;
            return true;
        }
        let full = self.known.len() >= self.most;
        self.corrections.refused += u64::from(full);
        full
    }

    /// Adds a connection that is counted in `slot`.
    pub fn insert(&mut self, flow: &Flow, slot: u32, listed: bool) {
        self.corrections.added += u64::from(listed);
        self.known.insert(Connection::of(flow), Place { slot, listing: self.listing });
    }

    /// Removes a connection that has ended; returns the slot that it was counted in.
    pub fn remove(&mut self, flow: &Flow) -> Option<u32> {
        self.known.remove(&Connection::of(flow)).map(|place| place.slot)
    }

    /// Begins a listing.
    pub fn begin_listing(&mut self) {
        self.listing = self.listing.wrapping_add(1);
    }

    /// Ends a listing: removes the connections that it did not name, and returns their slots.
    pub fn end_listing(&mut self) -> Vec<u32> {
        let listing = self.listing;
        let gone: Vec<u32> =
            self.known.extract_if(|_, place| place.listing != listing).map(|(_, place)| place.slot).collect();
        self.corrections.removed += gone.len() as u64;
        gone
    }

    /// Removes the connections of removed series.
    pub fn forget(&mut self, slots: &[u32]) {
        if slots.is_empty() || self.known.is_empty() {
            return;
        }
        let slots: HashSet<u32, RandomState> = slots.iter().copied().collect();
        self.known.retain(|_, place| !slots.contains(&place.slot));
    }

    /// Removes all; returns their slots.
    pub fn clear(&mut self) -> Vec<u32> {
        self.known.drain().map(|(_, place)| place.slot).collect()
    }

    /// Gives the series other slots: those in this order are 0, 1, 2, ...
    pub fn renumber(&mut self, slots: &[u32]) {
        if self.known.is_empty() {
            return;
        }
        let moved: HashMap<u32, u32, RandomState> = slots.iter().copied().zip(0..).collect();
        self.known.retain(|_, place| {
            let slot = moved.get(&place.slot).copied();
            place.slot = slot.unwrap_or(place.slot);
            slot.is_some()
        });
    }

    /// Corrections since start.
    pub fn corrections(&self) -> Corrections {
        self.corrections
    }
}
